"""The random-number audit and trace logs (docs/reference/layouts.md, "Random-number logs")."""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arrival_engine.contracts import Code, check_document, compact_json, dataset
from arrival_engine.engine.expand.ledger import FamilyAccount
from arrival_engine.engine.process.version import code_digest, version
from arrival_engine.engine.rundir.staging import write_file
from arrival_engine.engine.rundir.strict_json import read_json_lines
from arrival_engine.engine.world.load import World

if TYPE_CHECKING:
    from arrival_engine.engine.arrivals.publish import Publication

MODULE = "5B.S4"


def update_rng_logs(
    output: Publication, world: World, accounts: Mapping[str, FamilyAccount], moment: str, staged: Path
) -> None:
    """Record this scenario in both logs of the run; a repeated run of the same scenario leaves them as they are.

    The audit log has one record per run identity. The trace log has one record per family and scenario, with totals
    cumulative over scenarios in byte order; records of other modules are kept. Files are replaced whole, by rename,
    and rolled back with the rest of `output`.
    """
    _update_audit(output, world, moment, staged)
    _update_trace(output, world, accounts, moment, staged)


def _update_audit(output: Publication, world: World, moment: str, staged: Path) -> None:
    path = world.receipt.path("rng_audit_log")
    records = read_log(path, "rng_audit_log")
    key = world.receipt.identity.document()
    if any(all(record[name] == value for name, value in key.items()) for record in records):
        return
    record = {
        **key,
        "ts_utc": moment,
        "algorithm": "philox2x64-10",
        "build_commit": f"arrival-engine {version()}",
        "code_digest": code_digest(),
        "hostname": socket.gethostname(),
        "platform": platform.platform(),
        "notes": None,
    }
    _replace(output, path, [*records, record], staged / "rng_audit_log.jsonl")


def _update_trace(
    output: Publication, world: World, accounts: Mapping[str, FamilyAccount], moment: str, staged: Path
) -> None:
    path = world.receipt.path("rng_trace_log")
    records = read_log(path, "rng_trace_log")
    others = [record for record in records if record["module"] != MODULE]
    steps = _increments(record for record in records if record["module"] == MODULE)
    before = dict(steps)
    for label, account in accounts.items():
        steps[label, world.scenario_id] = {
            "rng_counter_before_lo": account.before[0],
            "rng_counter_before_hi": account.before[1],
            "rng_counter_after_lo": account.after[0],
            "rng_counter_after_hi": account.after[1],
            "draws": account.words,
            "blocks": account.blocks,
            "events": account.events,
        }
    if steps == before:
        return
    _replace(output, path, [*others, *_cumulative(world, steps, moment)], staged / "rng_trace_log.jsonl")


Steps = dict[tuple[str, str], dict[str, int]]
_TOTALS = ("draws", "blocks", "events")
_COUNTERS = ("rng_counter_before_lo", "rng_counter_before_hi", "rng_counter_after_lo", "rng_counter_after_hi")


def _increments(records: Iterable[Mapping[str, Any]]) -> Steps:
    """What each (label, scenario) added, from records whose totals are cumulative per label."""
    steps: Steps = {}
    reached: dict[str, dict[str, int]] = {}
    for record in records:
        label = record["substream_label"]
        totals = {name: record[f"{name}_total"] for name in _TOTALS}
        last = reached.get(label, dict.fromkeys(_TOTALS, 0))
        scenario = json.loads(record["detail"])["scenario_id"]
        step = {name: totals[name] - last[name] for name in _TOTALS}
        steps[label, scenario] = {**{name: record[name] for name in _COUNTERS}, **step}
        reached[label] = totals
    return steps


def _cumulative(world: World, steps: Steps, moment: str) -> list[dict[str, Any]]:
    identity = world.receipt.identity
    reached: dict[str, dict[str, int]] = {}
    records = []
    for (label, scenario), step in sorted(steps.items()):
        totals = reached.setdefault(label, dict.fromkeys(_TOTALS, 0))
        for name in _TOTALS:
            totals[name] = min(totals[name] + step[name], (1 << 64) - 1)
        records.append(
            {
                "ts_utc": moment,
                "run_id": identity.run_id,
                "seed": identity.seed,
                "module": MODULE,
                "substream_label": label,
                **{name: step[name] for name in _COUNTERS},
                **{f"{name}_total": totals[name] for name in _TOTALS},
                "detail": compact_json({"scenario_id": scenario}).decode(),
            }
        )
    return records


def read_log(path: Path, dataset_id: str) -> list[dict[str, Any]]:
    """The records of a JSON Lines log, schema-checked; none where there is no file. Raises SCHEMA_VIOLATION."""
    if not path.exists():
        return []
    code, hint = Code.SCHEMA_VIOLATION, "an earlier run was cut off while it wrote; move the log away and run again"
    records = read_json_lines(path, what="log", where=str(path), code=code, hint=hint)
    check_document(dataset(dataset_id).schema, records, code=code, where=str(path))
    return records


def _replace(output: Publication, path: Path, records: list[dict[str, Any]], staged: Path) -> None:
    write_file(staged, b"".join(compact_json(record) + b"\n" for record in records))
    output.file(staged, path)
