"""Checks of the arrivals: files, values, order, keys, counts, clocks; the totals that the run report states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.civil import ClockTable
from arrival_engine.engine.validation.file_order import RUN, Stream
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Example, Measured
from arrival_engine.engine.validation.inputs import KEY, source
from arrival_engine.engine.validation.metadata import metadata_faults
from arrival_engine.engine.validation.scan import HOUR_US, Scan

# The columns that an example of a failed row check shows beside the key.
_SHOWN: dict[str, Sequence[str]] = {
    "values": ("bucket_index", "ts_utc", "tzid_primary"),
    "identity": ("manifest_fingerprint", "parameter_hash", "seed", "scenario_id", "s4_spec_version"),
    "routing_universe": ("routing_universe_hash",),
    "time_window": ("bucket_index", "ts_us", "start_us", "end_us"),
    "civil_primary": ("ts_us", "tzid_primary", "local_us"),
    "civil_settlement": ("ts_us", "tzid_settlement", "settled_us"),
    "civil_operational": ("ts_us", "tzid_operational", "operated_us"),
    "clock_zones": ("is_virtual", "tzid_primary", "tzid_settlement", "tzid_operational"),
    "site_edge_flag": ("is_virtual", "site_id", "edge_id"),
}
_CLOCKS = {
    "civil_primary": ("local_us", "clock_primary"),
    "civil_settlement": ("settled_us", "clock_settlement"),
    "civil_operational": ("operated_us", "clock_operational"),
}
# Enough to name every break of a usable dataset; beyond this limit, the count is a lower bound.
_RUNS_MAX = 4_000_000


def judge_schema(case: Case) -> bool:
    """Enter schema; whether the rows can be judged at all."""
    shapes = case.events.schema_faults()
    case.book.judge("schema", case.events.rows, len(shapes), examples=shapes)
    return not shapes and bool(case.events.parts)


def judge_files(case: Case, sealed_inputs_digest: str, statements: Sequence[Example] = ()) -> None:
    """Enter files; `statements` of footers that their files' values contradict."""
    events = case.events
    faults: list[Example] = [{"file": name, "fault": "not a part file"} for name in events.strangers]
    if numbering := events.numbering_fault():
        faults.append({"file": "", "fault": numbering})
    faults += [*metadata_faults(case, sealed_inputs_digest), *statements]
    # Rows, not parts: the division into files is not a property of the scenario.
    case.book.judge("files", events.rows, len(faults), examples=faults)


def judge_rows(case: Case, scan: Scan) -> None:
    """Enter every check of single rows; each clock also states its rate of mismatches, which must be 0."""
    gates = case.policy.block("civil_time_gates")
    structure = case.policy.block("structural_checks").block("s4_arrival_events")
    rows = case.events.rows
    found = scan.violations(case.cursor)
    for check, violations in found.items():
        examples = scan.examples(case.cursor, check, _SHOWN[check]) if violations else []
        if check in _CLOCKS:
            _rate(case, check, violations, gates.number("max_civil_mismatch_rate"), examples)
        else:
            case.book.judge(check, rows, violations, severity=structure.severity, examples=examples)
    broken = [check for check in _CLOCKS if found[check]]
    shifted = _one_hour_shifts(case, scan, broken) if broken else 0
    _rate(case, "one_hour_shift", shifted, gates.number("max_one_hour_shift_rate"))


def _rate(case: Case, check: str, violations: int, most: float, examples: Sequence[Example] = ()) -> None:
    rows, severity = case.events.rows, case.policy.block("civil_time_gates").severity
    measured = Measured("mismatch_rate", violations / rows if rows else 0.0, high=most)
    case.book.compare(check, rows, violations, measured, severity=severity, examples=examples)


def _one_hour_shifts(case: Case, scan: Scan, checks: Sequence[str]) -> int:
    """Arrivals with a clock that is off by one hour in either direction."""
    clock: ClockTable = case.horizon.clock
    off = " OR ".join(
        f"abs({local} - {clock.local(alias, 'ts_us')}) = {HOUR_US}" for local, alias in (_CLOCKS[c] for c in checks)
    )
    total = 0
    for part in case.events.parts:
        total += scan.number(case.cursor, part, off)
    return total


def judge_stream(case: Case, stream: Stream) -> bool:
    """Enter order and primary_key from the results of the pass in file order; whether the keys are sound."""
    misplaced = [place._asdict() for place in stream.misplaced]
    case.book.judge("order", stream.rows, stream.disorder, examples=misplaced)
    runs = np.concatenate([np.empty(0, RUN), *stream.runs])
    if runs.size > _RUNS_MAX:
        broken = int(runs.size)
        case.book.judge("primary_key", stream.rows, broken, message="at least so many breaks of the sequence")
        return False
    missing, repeated, examples = sequence_faults(runs)
    facts = {"missing": missing, "repeated": repeated}
    case.book.judge("primary_key", stream.rows, missing + repeated, examples=examples, facts=facts)
    return not (missing or repeated)


def sequence_faults(runs: NDArray[Any]) -> tuple[int, int, list[dict[str, Any]]]:
    """Numbers of missing and of repeated keys, with the first of them, from runs of consecutive sequence numbers."""
    missing = repeated = 0
    examples: list[dict[str, Any]] = []
    merchant, reached = None, 0
    # A valid dataset has one run per merchant and part; each break adds one.
    for owner, first, length in np.sort(runs, order=("merchant_id", "first", "length")).tolist():
        if owner != merchant:
            merchant, reached = owner, 0
        gap = first - reached - 1
        again = max(0, min(reached, first + length - 1) - first + 1)
        missing += max(0, gap)
        repeated += again
        if (gap > 0 or again) and len(examples) < EXAMPLES_MAX:
            fault = "missing" if gap > 0 else "repeated"
            examples.append({"merchant_id": owner, "arrival_seq": reached + 1 if gap > 0 else first, "fault": fault})
        reached = max(reached, first + length - 1)
    return missing, repeated, examples


def judge_counts(case: Case, *, proved: bool) -> None:
    """Enter counts; `proved` if the stored rows are the law's, each once."""
    different = f"""
        FROM found FULL JOIN expected USING ({KEY}) WHERE found.n IS DISTINCT FROM expected.n"""
    (rows,) = case.cursor.row("SELECT count(*) FROM expected")
    (bad,) = (0,) if proved else case.cursor.row(f"SELECT count(*) {different}")
    columns = "merchant_id, zone::VARCHAR AS zone, channel::VARCHAR AS channel, bucket_index"
    examples = (
        case.cursor.records(
            f"SELECT {columns}, expected.n AS expected, found.n AS found {different} "
            f"ORDER BY 1, 4, 2, 3 LIMIT {EXAMPLES_MAX}"
        )
        if bad
        else []
    )
    case.book.judge("counts", rows, bad, examples=examples)


def report_totals(case: Case, stream: Stream) -> dict[str, Any]:
    """The run report's metrics that follow from arrivals and inputs, computed again."""
    cursor = case.cursor
    at_start, at_end = cursor.row("SELECT at_start, at_end FROM found_end")
    used, least, most = cursor.row(
        "SELECT count(*), min((end_us - start_us) // 1000000), max((end_us - start_us) // 1000000) "
        "FROM grid SEMI JOIN expected USING (bucket_index)"
    )
    counts = source(case.cursor, case.receipt, "s3_bucket_counts_5B", scenario_id=case.scenario_id)
    read, drawn = cursor.row(f"SELECT count(*), count(*) FILTER (count_N > 0) FROM {counts}")
    merged, merchants = cursor.row("SELECT count(*), count(DISTINCT merchant_id) FROM expected")
    (entities,) = cursor.row("SELECT count(DISTINCT (merchant_id, zone, channel)) FROM expected")
    return {
        "n_buckets_total": case.horizon.buckets,
        "n_buckets_nonzero": used,
        "n_arrivals_total": stream.rows,
        "n_arrivals_physical": stream.rows - stream.virtual,
        "n_arrivals_virtual": stream.virtual,
        "min_bucket_duration": least,
        "max_bucket_duration": most,
        "n_arrivals_at_bucket_start": at_start,
        "n_arrivals_at_bucket_end_minus_epsilon": at_end,
        "count_rows_read": read,
        "count_rows_zero": read - drawn,
        "count_rows_drawn": merged,
        "count_rows_merged": drawn - merged,
        "merchants": merchants,
        "entities": entities,
    }
