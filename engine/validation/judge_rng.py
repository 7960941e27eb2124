"""Checks of the random-number logs against what the law predicts from counts and modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.recomputing.streams import FAMILIES, Claim, Deriver, Entity, overlaps
from arrival_engine.engine.rundir.json_lines import Log
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.sealed_files import InputFile
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.database import Cursor, text
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Book
from arrival_engine.engine.validation.inputs import KEY
from arrival_engine.engine.validation.policy import Rules
from arrival_engine.engine.validation.records import Logs, Record, scenario_of

_REPORTED = {"arrival_time_jitter": "time", "arrival_site_pick": "site", "arrival_edge_pick": "edge"}
# The count rows that touch each family, as conditions over (mode, has_edges): LAW section 6.
_TOUCHED = {
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


def predicted(case: Case) -> dict[str, Account]:
    """LAW section 6 from the counts, the merchants' modes and the virtual arrivals found."""
    budgets = case.policy.block("rng_accounting_checks").block("budgets")
    time, site, edge, coin = (
        budgets.count(name) for name in ("s4_time", "s4_site_physical", "s4_edge_virtual", "s4_hybrid_coin")
    )
    words = {
        "arrival_time_jitter": f"{time} * n",
        "arrival_site_pick": f"{site} * (n - v)",
        # A hybrid merchant tosses a coin for every arrival; a virtual one tosses none.
        "arrival_edge_pick": f"{edge} * v + CASE WHEN mode = 'HYBRID' THEN {coin} * n ELSE 0 END",
    }
    totals = """
        (SELECT merchant.*, rows, n, coalesce(v, 0) AS v
         FROM (SELECT merchant_id, count(*) AS rows, sum(n) AS n FROM expected GROUP BY 1)
         JOIN merchant USING (merchant_id)
         LEFT JOIN (SELECT merchant_id, sum(v) AS v FROM found GROUP BY 1) USING (merchant_id))"""
    accounts = {}
    for label, touched in _TOUCHED.items():
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


def judge_logs(logs: Logs, rules: Rules, scenarios: Sequence[str], book: Book) -> dict[tuple[str, str], Record]:
    """Enter rng_logs: the run's records exist. Return the trace's steps."""
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
    rows = len(logs.audit.entries) + len(logs.trace.entries)
    message = "`arrivals run RUN_ROOT` writes the records that are missing" if faults else ""
    book.judge("rng_logs", rows, len(faults), severity=rules.severity, examples=faults, message=message)
    return steps


def judge_overlap(found: Sequence[Claim], rules: Rules, book: Book) -> None:
    """Enter rng_overlap: the proof over the streams of all scenarios."""
    pairs = overlaps(found) if rules.block("streams").demanded({"require_no_overlap": ""}) else []
    examples = [{"stream": one, "meets": other} for one, other in pairs[:EXAMPLES_MAX]]
    book.judge("rng_overlap", len(found), len(pairs), severity=rules.severity, examples=examples)


def judge_events(case: Case, trace: Mapping[tuple[str, str], Record], index: int) -> None:
    """Enter rng_events: if event records are kept, one per count row and family, with its counters and blocks.

    `index`: the scenario's place among the sealed ones, the number of its parts. Needs the table `stream` of `claims`.
    """
    with _reading_events():
        _judge_events(case, trace, index)


@contextmanager
def _reading_events() -> Iterator[None]:
    try:
        yield
    except ArrivalError as error:
        if error.code is not Code.S5_IO_READ_FAILED:
            raise
        hint = "restore the file, or make it again with `arrivals run RUN_ROOT --rng-events` and its format"
        raise ArrivalError(error.code, error.message, hint=hint, **error.context) from error


def _judge_events(case: Case, trace: Mapping[tuple[str, str], Record], index: int) -> None:
    rules = case.policy.block("rng_accounting_checks")
    faults: list[dict[str, Any]] = []
    rows = violations = 0
    judged = False
    for label, touched in _TOUCHED.items():
        table = _events_table(case.cursor, case.receipt, label, case.scenario_id)
        kept, draws, blocks = case.cursor.row(_TOTALS.format(table=table)) if table else (0, 0, 0)
        # A file of lines that lost all of them is empty, and so is one of a family that no count row touches.
        part = case.receipt.part(f"rng_event_{label}", index).with_suffix(".jsonl")
        if not kept and not (part.is_file() and part.stat().st_size == 0):
            continue
        judged = True
        rows += kept
        wrong, examples = _wrong_events(case, label, touched, table)
        violations += wrong
        faults += examples
        totals = {"events": kept, "draws": draws, "blocks": blocks}
        step = trace.get((label, case.scenario_id), {})
        for name, value in totals.items() if rules.block("trace").demanded({"require_totals_match_events": ""}) else ():
            if step.get(name) != value:
                violations += 1
                faults.append({"family": label, "field": name, "traced": step.get(name), "found": value})
    if judged:
        case.book.judge("rng_events", rows, violations, severity=rules.severity, examples=faults)
    else:
        case.book.inapplicable("rng_events", "the run kept no event records", severity=rules.severity)


_TOTALS = "SELECT count(*), coalesce(sum(draws), 0)::BIGINT, coalesce(sum(blocks), 0)::BIGINT FROM {table}"


def _wrong_events(case: Case, label: str, touched: str, table: str) -> tuple[int, list[dict[str, Any]]]:
    """Number of records without a count row, count rows without a record and wrong counters; the first of them."""
    streams = case.policy.block("rng_accounting_checks").block("streams")
    conditions = {
        "record": "blocks IS DISTINCT FROM n OR before_lo <> 0 "
        f"OR before_hi::HUGEINT <> (hi0::HUGEINT + bucket_index) % {1 << 64}",
        **streams.demanded(
            {
                "require_after_minus_before_equals_blocks": "after_hi <> before_hi "
                "OR after_lo::HUGEINT - before_lo::HUGEINT <> blocks::HUGEINT"
            }
        ),
    }
    bad = " OR ".join(f"coalesce({condition}, true)" for condition in conditions.values())
    wrong = f"""
        FROM (SELECT expected.merchant_id, stream.zone, stream.channel, bucket_index, n, hi0
              FROM expected JOIN merchant ON merchant.merchant_id = expected.merchant_id
              JOIN stream ON stream.label = {text(label)} AND stream.merchant_id = expected.merchant_id
                   AND stream.zone = expected.zone::VARCHAR AND stream.channel = expected.channel::VARCHAR
              WHERE {touched})
        FULL JOIN {table} USING ({KEY}) WHERE {bad}"""
    (number,) = case.cursor.row(f"SELECT count(*) {wrong}")
    shown = f"{text(label)} AS family, {KEY}, n, blocks, before_lo, before_hi, after_lo, after_hi"
    return number, case.cursor.records(f"SELECT {shown} {wrong} ORDER BY 2, 5, 3, 4 LIMIT {EXAMPLES_MAX}")


_EVENT_COLUMNS = {
    "scenario_id": "VARCHAR",
    "merchant_id": "UBIGINT",
    "zone_representation": "VARCHAR",
    "channel_group": "VARCHAR",
    "bucket_index": "BIGINT",
    "rng_counter_before_lo": "UBIGINT",
    "rng_counter_before_hi": "UBIGINT",
    "rng_counter_after_lo": "UBIGINT",
    "rng_counter_after_hi": "UBIGINT",
    "blocks": "UBIGINT",
    "draws": "VARCHAR",
}


def _events_table(cursor: Cursor, receipt: Receipt, label: str, scenario_id: str) -> str:
    """FROM item over a scenario's event records of a family, Parquet or JSON Lines; empty where no file is kept.

    Records without a zone are another engine's: they do not say which count row they are about.
    """
    folder = receipt.path(f"rng_event_{label}")
    found = folder.glob("part-*")
    tables = [path for path in found if path.suffix == ".parquet"]
    lines = [path for path in found if path.suffix == ".jsonl"]
    names = ", ".join(_EVENT_COLUMNS)
    parts = []
    if tables:
        parts.append(f"SELECT {names} FROM {cursor.parquet([*map(InputFile, tables)])}")
    if lines:
        kinds = ", ".join(f"{name}: {text(kind)}" for name, kind in _EVENT_COLUMNS.items())
        parts.append(f"SELECT {names} FROM {cursor.json_lines(lines, kinds)}")
    if not parts:
        return ""
    return f"""(
        SELECT merchant_id, zone_representation::VARCHAR AS zone, coalesce(channel_group, '')::VARCHAR AS channel,
               bucket_index::INTEGER AS bucket_index, blocks, draws::BIGINT AS draws,
               rng_counter_before_lo AS before_lo, rng_counter_before_hi AS before_hi,
               rng_counter_after_lo AS after_lo, rng_counter_after_hi AS after_hi
        FROM ({" UNION ALL ".join(parts)})
        WHERE scenario_id = {text(scenario_id)} AND zone_representation IS NOT NULL)"""
