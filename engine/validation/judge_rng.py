"""Checks of the random-number logs against what the law predicts from counts and modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from arrival_engine.contracts import compact_json
from arrival_engine.engine.recomputing.streams import FAMILIES, Claim, Deriver, Entity, overlaps
from arrival_engine.engine.rundir.json_lines import Log
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Book
from arrival_engine.engine.validation.policy import Rules
from arrival_engine.engine.validation.records import Logs, Record, scenario_of

_REPORTED = {"arrival_time_jitter": "time", "arrival_site_pick": "site", "arrival_edge_pick": "edge"}
# The count rows that touch each family, as conditions over (mode, has_edges): LAW section 6.
TOUCHED = {
    "arrival_time_jitter": "true",
    "arrival_site_pick": "may_be_physical",
    "arrival_edge_pick": "may_be_virtual",
}


@dataclass(frozen=True)
class Account:
    """A family's use in one scenario; counters as (word 0, word 1) before the first and after the last count row."""

    events: int
    blocks: int
    words: int
    before: tuple[int, int]
    after: tuple[int, int]

    def step(self) -> dict[str, int]:
        """The fields of a trace record that this account decides."""
        return {
            "rng_counter_before_lo": self.before[0],
            "rng_counter_before_hi": self.before[1],
            "rng_counter_after_lo": self.after[0],
            "rng_counter_after_hi": self.after[1],
            "draws": self.words,
            "blocks": self.blocks,
            "events": self.events,
        }


def words_drawn(budgets: Rules) -> dict[str, str]:
    """SQL for the words that n arrivals of a merchant's mode, v of them virtual, draw of each family."""
    time, site, edge, coin = (
        budgets.count(name) for name in ("s4_time", "s4_site_physical", "s4_edge_virtual", "s4_hybrid_coin")
    )
    return {
        "arrival_time_jitter": f"{time} * n",
        "arrival_site_pick": f"{site} * (n - v)",
        # A hybrid merchant tosses a coin for every arrival; a virtual one tosses none.
        "arrival_edge_pick": f"{edge} * v + CASE WHEN mode = 'HYBRID' THEN {coin} * n ELSE 0 END",
    }


def predicted(case: Case) -> dict[str, Account]:
    """LAW section 6 from the counts, the merchants' modes and the virtual arrivals recomputed."""
    words = words_drawn(case.policy.block("rng_accounting_checks").block("budgets"))
    totals = """
        (SELECT * FROM (SELECT merchant_id, count(*) AS rows, sum(n) AS n, sum(v) AS v FROM recount GROUP BY 1)
         JOIN merchant USING (merchant_id))"""
    accounts = {}
    for label, touched in TOUCHED.items():
        events, blocks, drawn = case.cursor.row(
            f"SELECT coalesce(sum(rows), 0)::BIGINT, coalesce(sum(n), 0)::BIGINT, "
            f"coalesce(sum({words[label]}), 0)::BIGINT FROM {totals} WHERE {touched}"
        )
        accounts[label] = Account(events, blocks, drawn, *_ends(case, label, touched))
    return accounts


def _ends(case: Case, label: str, touched: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Counters before the first and after the last count row that touches the family, in the dataset's order."""
    deriver = Deriver(case.receipt.identity, case.scenario_id, FAMILIES[label])
    ends = []
    for direction in ("ASC", "DESC"):
        order = ", ".join(
            f"{key} {direction}" for key in ("merchant_id", "bucket_index", "zone::VARCHAR", "channel::VARCHAR")
        )
        found = case.cursor.rows(
            f"SELECT merchant_id, zone::VARCHAR, channel::VARCHAR, bucket_index, n "
            f"FROM expected JOIN merchant USING (merchant_id) WHERE {touched} ORDER BY {order} LIMIT 1"
        )
        if not found:
            return (0, 0), (0, 0)
        merchant, zone, channel, bucket, n = found[0]
        word1 = deriver.stream(Entity(merchant, zone, channel)).word1(bucket)
        ends.append((n if direction == "DESC" else 0, word1))
    return ends[0], ends[1]


def claims(case: Case) -> list[Claim]:
    """The counters that every stream of a scenario may use; also kept as the table `stream` (`label`, `hi0`)."""
    entities = case.cursor.rows(
        "SELECT DISTINCT merchant_id, zone::VARCHAR, channel::VARCHAR FROM expected ORDER BY ALL"
    )
    found = []
    for label, family in FAMILIES.items():
        deriver = Deriver(case.receipt.identity, case.scenario_id, family)
        for row in entities:
            stream = deriver.stream(Entity(*row))
            owner = f"{label} of {'|'.join(map(str, row))} in {case.scenario_id}"
            found.append(Claim(stream.key, stream.hi0, case.horizon.buckets, owner))
    merchants, zones, channels = (list(column) for column in zip(*entities, strict=True)) if entities else ([], [], [])
    content = {
        "label": pa.array([label for label in FAMILIES for _ in entities], pa.string()),
        "merchant_id": pa.array(merchants * len(FAMILIES), pa.uint64()),
        "zone": pa.array(zones * len(FAMILIES), pa.string()),
        "channel": pa.array(channels * len(FAMILIES), pa.string()),
        "hi0": pa.array([claim.hi0 for claim in found], pa.uint64()),
    }
    case.cursor.store("stream", pa.table(content))
    return found


def judge_draws(case: Case, accounts: Mapping[str, Account], trace: Mapping[tuple[str, str], Record]) -> None:
    """Enter rng_draws: the run report's and the trace's numbers for one scenario."""
    wrong: list[dict[str, Any]] = []
    compared = 0
    for label, account in accounts.items():
        step = trace.get((label, case.scenario_id))
        expected: dict[str, int] = account.step()
        for name, value in expected.items() if step is not None else ():
            compared += 1
            if step is not None and step[name] != value:
                wrong.append({"family": label, "field": name, "traced": step[name], "expected": value})
        reported = {
            f"rng_draws_{_REPORTED[label]}": account.words,
            f"rng_blocks_{_REPORTED[label]}": account.blocks,
        }
        for name, value in reported.items() if case.line is not None else ():
            compared += 1
            if case.line is not None and case.line.get(name) != value:
                wrong.append({"family": label, "field": name, "reported": case.line.get(name), "expected": value})
    severity = case.policy.block("rng_accounting_checks").severity
    case.book.judge("rng_draws", compared, len(wrong), severity=severity, examples=wrong)


def trace_steps(trace: Log) -> dict[tuple[str, str], Record]:
    """The increments of each (label, scenario) in the cumulative totals of the trace.

    A record has none if a line before it was set aside, which may have been the one that its totals follow.
    """
    steps: dict[tuple[str, str], Record] = {}
    reached: dict[str, tuple[int, dict[str, int]]] = {}
    for line, record in trace.entries:
        label = record["substream_label"]
        totals = {name: record[f"{name}_total"] for name in ("draws", "blocks", "events")}
        since, last = reached.get(label, (0, dict.fromkeys(totals, 0)))
        reached[label] = line, totals
        if not trace.has_gap(since, line):
            counters = {name: value for name, value in record.items() if name.startswith("rng_counter_")}
            steps[label, scenario_of(record)] = {**counters, **{name: totals[name] - last[name] for name in totals}}
    return steps


def judge_logs(
    logs: Logs, rules: Rules, scenarios: Sequence[str], sealed: Sequence[str], book: Book
) -> dict[tuple[str, str], Record]:
    """Enter rng_logs: the run's records exist, each once, in order. Return the trace's steps.

    Not compared are `ts_utc`, which is the moment of the run, and what names the build and the machine. Of several
    audit records the first counts: later programs add theirs.
    """
    faults: list[dict[str, Any]] = []
    if not logs.audit.entries:
        faults.append({"log": "rng_audit_log", "fault": "has no record of this run"})
    steps = trace_steps(logs.trace)
    faults += [
        {"log": "rng_trace_log", "fault": f"has no record of {label} for {scenario}"}
        for scenario in scenarios
        for label in FAMILIES
        if (label, scenario) not in steps
    ]
    faults += _trace_faults(logs.trace, sealed)
    rows = len(logs.audit.entries) + len(logs.trace.entries)
    message = "`arrivals run RUN_ROOT` writes the records of this run again" if faults else ""
    book.judge("rng_logs", rows, len(faults), severity=rules.severity, examples=faults, message=message)
    return steps


def _trace_faults(trace: Log, scenarios: Sequence[str]) -> list[dict[str, Any]]:
    """Records of this engine that are there twice, out of order, of no sealed scenario, or that add to `detail`."""
    faults: list[dict[str, Any]] = []
    before: tuple[str, str] | None = None
    for line, record in trace.entries:
        scenario = scenario_of(record)
        key = record["substream_label"], scenario
        wrong = []
        if scenario not in scenarios:
            wrong.append(f"is of the scenario {scenario}, which is not sealed; remove it")
        if record["detail"] != compact_json({"scenario_id": scenario}).decode():
            wrong.append("has another detail")
        if before is not None and key <= before:
            wrong.append("is there twice" if key == before else "is out of order")
        before = key
        faults += [{"log": "rng_trace_log", "line": line, "fault": fault} for fault in wrong]
    return faults


def judge_overlap(found: Sequence[Claim], rules: Rules, book: Book) -> None:
    """Enter rng_overlap: the proof over the streams of all scenarios."""
    pairs = overlaps(found) if rules.block("streams").demanded({"require_no_overlap": ""}) else []
    examples = [{"stream": one, "meets": other} for one, other in pairs[:EXAMPLES_MAX]]
    book.judge("rng_overlap", len(found), len(pairs), severity=rules.severity, examples=examples)
