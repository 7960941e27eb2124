"""The random-number audit and trace logs (docs/reference/layouts.md, "Random-number logs")."""

from __future__ import annotations

import platform
import socket
from collections.abc import Container, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from arrival_engine.contracts import Notice, compact_json
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.expand.ledger import FamilyAccount
from arrival_engine.engine.process.version import code_digest, version
from arrival_engine.engine.rundir.json_lines import Log, copied_lines, read_log
from arrival_engine.engine.rundir.staging import write_pieces
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.world.load import World, sealed

if TYPE_CHECKING:
    from arrival_engine.engine.arrivals.publish import Publication

MODULE = "5B.S4"


def update_rng_logs(
    output: Publication, world: World, accounts: Mapping[str, FamilyAccount], moment: str, staged: InsidePath
) -> tuple[Notice, ...]:
    """Record this scenario in both logs of the run; a repeated run of the same scenario leaves them as they are.

    The audit log has one record per run identity. The trace log has one record per family and scenario, with totals
    cumulative over scenarios in byte order. Every other line is kept: records of other programs, and lines that are
    not records, which the notices name. Files are replaced whole, by rename, and rolled back with the rest of `output`.
    """
    audit = _update_audit(output, world, moment, staged)
    trace = _update_trace(output, world, accounts, moment, staged)
    return (*audit.notices(), *trace.notices())


def _update_audit(output: Publication, world: World, moment: str, staged: InsidePath) -> Log:
    receipt = sealed(world).receipt
    path, key = receipt.path("rng_audit_log"), receipt.identity.document()
    log = read_log(path, receipt.run_root, "rng_audit_log", lambda record: key.items() <= record.items())
    if log.entries:
        return log
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
    _replace(output, path, log, [record], staged / "rng_audit_log.jsonl")
    return log


def _update_trace(
    output: Publication, world: World, accounts: Mapping[str, FamilyAccount], moment: str, staged: InsidePath
) -> Log:
    receipt = sealed(world).receipt
    path = receipt.path("rng_trace_log")
    log = read_log(path, receipt.run_root, "rng_trace_log", partial(_is_ours, receipt.identity, accounts))
    steps = _increments(log)
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
    if steps != before:
        _replace(output, path, log, _cumulative(world, steps, moment), staged / "rng_trace_log.jsonl")
    return log


def _is_ours(identity: Identity, labels: Container[str], record: Mapping[str, Any]) -> bool:
    """Whether a trace record is one of this engine and run: only this engine names the scenario in `detail`."""
    ours = {"module": MODULE, "run_id": identity.run_id, "seed": identity.seed}
    if any(record.get(name) != value for name, value in ours.items()):
        return False
    label = record.get("substream_label")
    return isinstance(label, str) and label in labels and scenario_of(record) is not None


def scenario_of(record: Mapping[str, Any]) -> str | None:
    """The scenario that this engine states in a trace record; None if the record is another program's."""
    detail = record.get("detail")
    try:
        stated = parse_json(detail.encode()) if isinstance(detail, str) else None
    except ValueError:
        return None
    scenario = stated.get("scenario_id") if isinstance(stated, dict) else None
    return scenario if isinstance(scenario, str) and scenario else None


Steps = dict[tuple[str, str], dict[str, int]]
_TOTALS = ("draws", "blocks", "events")
_COUNTERS = ("rng_counter_before_lo", "rng_counter_before_hi", "rng_counter_after_lo", "rng_counter_after_hi")


def _increments(log: Log) -> Steps:
    """What each (label, scenario) added, from records whose totals are cumulative per label.

    A record after a line set aside is left out: that line may have been the one before it in the sum.
    """
    steps: Steps = {}
    reached: dict[str, tuple[int, dict[str, int]]] = {}
    for line, record in log.entries:
        label = record["substream_label"]
        totals = {name: record[f"{name}_total"] for name in _TOTALS}
        since, last = reached.get(label, (0, dict.fromkeys(_TOTALS, 0)))
        reached[label] = line, totals
        if not log.has_gap(since, line):
            step = {name: totals[name] - last[name] for name in _TOTALS}
            steps[label, str(scenario_of(record))] = {**{name: record[name] for name in _COUNTERS}, **step}
    return steps


def _cumulative(world: World, steps: Steps, moment: str) -> list[dict[str, Any]]:
    identity = world.identity
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


def _replace(
    output: Publication, path: InsidePath, log: Log, records: Sequence[Mapping[str, Any]], staged: InsidePath
) -> None:
    """Put these records in the place of the log's entries: after other programs', before the lines set aside.

    A line set aside spoils the sums of the records after it.
    """
    replaced, aside = {entry.line for entry in log.entries}, {aside.line for aside in log.aside}
    others = copied_lines(path, lambda number: number not in replaced | aside)
    ours = (compact_json(record) + b"\n" for record in records)
    rest = copied_lines(path, lambda number: number in aside)
    write_pieces(staged, chain(others, ours, rest))
    output.file(staged, path)
