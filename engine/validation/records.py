"""Run-report lines and random-number logs of a run.

Other programs write to the same logs: only the records of this engine about this run are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from arrival_engine.contracts import Notice, dataset
from arrival_engine.engine.recomputing.streams import FAMILIES, MODULE
from arrival_engine.engine.rundir.json_lines import Log, Record, read_log
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.strict_json import parse_json

__all__ = ["History", "Logs", "Record", "history", "read_logs", "scenario_of", "successes"]


@dataclass(frozen=True)
class Logs:
    """The records about a run: report by day, audit (the first record, which every later program keeps) and trace."""

    days: tuple[Log, ...]
    audit: Log
    trace: Log

    def lines(self, state: str) -> list[Record]:
        """The run report's lines of a state, by day and place in its file."""
        return [line for day in self.days for line in day.records if line["state"] == state]

    def notices(self) -> tuple[Notice, ...]:
        """Name the lines of all files that were set aside."""
        return tuple(notice for log in (*self.days, self.audit, self.trace) for notice in log.notices())


def read_logs(receipt: Receipt) -> Logs:
    """Read the run report of every day and both random-number logs. Raises IO_READ_FAILED."""
    identity, root = receipt.identity.document(), receipt.run_root
    report = dataset("segment_state_runs")
    days = [
        read_log(day / PurePosixPath(report.path).name, root, report.id, lambda line: _is_line(line, identity))
        for day in receipt.partitions(report.id, "utc_day").values()
    ]
    audit = read_log(
        receipt.path("rng_audit_log"), root, "rng_audit_log", lambda record: identity.items() <= record.items()
    )
    trace = read_log(receipt.path("rng_trace_log"), root, "rng_trace_log", lambda record: _is_traced(record, identity))
    return Logs(tuple(days), replace(audit, entries=audit.entries[:1]), trace)


def successes(logs: Logs) -> dict[str, Record]:
    """The last successful line of each scenario."""
    return {
        line["scenario_id"]: line for line in logs.lines("S4") if line["status"] == "PASS" and "scenario_id" in line
    }


@dataclass(frozen=True)
class History:
    """What the run report tells of one scenario.

    line: the last of a successful run. versions: of the engine, in all of those lines. later: lines of runs that failed
    after that one, of this scenario or before they came to one. events: the form of the event records that were kept,
    "" for none.
    """

    line: Record | None
    versions: frozenset[str]
    later: tuple[Record, ...]
    events: str


def history(logs: Logs, scenario_id: str) -> History:
    """The lines about a scenario, in their order."""
    passed: list[Record] = []
    later: list[Record] = []
    events = ""
    for line in logs.lines("S4"):
        if line["status"] == "PASS" and line.get("scenario_id") == scenario_id:
            passed.append(line)
            later = []
            if line.get("rng_events") in ("parquet", "jsonl"):
                events = line["rng_events"]
            elif line.get("published") != "identical":
                # With arrivals that are replaced, their event records go.
                events = ""
        elif line["status"] != "PASS" and line.get("scenario_id", scenario_id) == scenario_id:
            later.append(line)
    versions = frozenset(line["engine_version"] for line in passed)
    return History(passed[-1] if passed else None, versions, tuple(later), events)


def scenario_of(record: Mapping[str, Any]) -> str:
    """The scenario that this engine states in a trace record; "" if the record is another program's."""
    try:
        stated = parse_json(record["detail"].encode())["scenario_id"]
    except (AttributeError, LookupError, TypeError, ValueError):
        return ""
    return stated if isinstance(stated, str) else ""


def _is_line(line: Record, identity: Mapping[str, Any]) -> bool:
    # Other engines that run the same states do not name a version of this one.
    return identity.items() <= line.items() and line.get("segment") == "5B" and "engine_version" in line


def _is_traced(record: Record, identity: Mapping[str, Any]) -> bool:
    ours = {"module": MODULE, "run_id": identity["run_id"], "seed": identity["seed"]}
    if not ours.items() <= record.items() or not scenario_of(record):
        return False
    return record.get("substream_label") in [*FAMILIES]
