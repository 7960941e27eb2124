"""The run report: one line per scenario in segment_state_runs.jsonl.

docs/reference/layouts.md, "Run report", says what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from arrival_engine.contracts import ArrivalError, Code, check_document, dataset, receipt_json
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.moments import utc_now
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.process.version import LAW_VERSION, version
from arrival_engine.engine.rundir.json_lines import append_line as append
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.staging import make_folder

if TYPE_CHECKING:
    # Validation writes its lines with this module, and must not load what the expansion is made of.
    from arrival_engine.engine.expand.ledger import FamilyAccount, ScenarioLedger

_LABELS = {"time": "arrival_time_jitter", "site": "arrival_site_pick", "edge": "arrival_edge_pick"}


def report_head(identity: Identity, scenario_id: str | None, started: str) -> dict[str, Any]:
    """The fields of every line, of passed and failed runs alike."""
    return {
        "layer": "layer2",
        "segment": "5B",
        "state": "S4",
        "state_id": "5B.S4",
        **identity.document(),
        **({"scenario_id": scenario_id} if scenario_id else {}),
        "started_at_utc": started,
        "finished_at_utc": utc_now(),
        "engine_version": version(),
        "law_version": LAW_VERSION,
    }


def scenario_facts(ledger: ScenarioLedger, accounts: Mapping[str, FamilyAccount]) -> dict[str, Any]:
    """Every metric that follows from the scenario itself; the same for any backend, thread count or batch size."""
    world = ledger.world
    grid = world.tables.grid
    durations = grid.duration_us[ledger.buckets()] // np.uint64(1_000_000)
    drawn = accounts["arrival_time_jitter"].blocks
    return {
        "n_buckets_total": int(grid.start_us.size),
        "n_buckets_nonzero": int(durations.size),
        "n_arrivals_total": ledger.digest.rows,
        "n_arrivals_physical": ledger.digest.rows - ledger.virtual,
        "n_arrivals_virtual": ledger.virtual,
        "min_bucket_duration": int(durations.min()) if durations.size else None,
        "max_bucket_duration": int(durations.max()) if durations.size else None,
        "n_arrivals_at_bucket_start": ledger.at_start,
        "n_arrivals_at_bucket_end_minus_epsilon": ledger.at_end,
        "counts_match_s3": ledger.digest.rows == ledger.counted,
        "rng_accounting_ok": drawn == ledger.counted,
        **{f"rng_draws_{name}": accounts[label].words for name, label in _LABELS.items()},
        **{f"rng_blocks_{name}": accounts[label].blocks for name, label in _LABELS.items()},
        "count_rows_read": world.input_rows,
        "count_rows_zero": world.zero_rows,
        "count_rows_merged": world.merged_rows,
        "count_rows_drawn": ledger.count_rows,
        "entities": int(world.tables.entities.merchant.size),
        "merchants": int(world.tables.merchants.id.size),
        "fallbacks": ledger.fallbacks(),
        "arrival_digest": str(ledger.digest),
        "sealed_inputs_digest": world.seal_digest,
        "policy_digests": dict(world.settings.policy_digests),
        "routing_universe_hash": world.universe_hash,
    }


def failure_facts(error: ArrivalError) -> dict[str, Any]:
    """The fields of a failed run."""
    facts = error.to_dict()
    return {
        "status": "FAIL",
        "error_code": str(error.code),
        "error_message": error.message,
        "error_context": facts["context"],
    }


def append_line(receipt: Receipt, line: Mapping[str, Any]) -> None:
    """Append one line to the day's run report, schema-checked, whole or not at all. Raises IO_WRITE_FAILED."""
    entry = dataset("segment_state_runs")
    day = str(line["started_at_utc"])[:10]
    path = receipt.path(entry.id, utc_day=day)
    check_document(entry.schema, dict(line), code=Code.SCHEMA_VIOLATION, where=str(path))
    with writing("run report", path):
        make_folder(path.parent)
    append("run report", path, receipt_json(line) + b"\n")
