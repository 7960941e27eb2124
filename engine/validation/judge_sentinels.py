"""Calibration sentinels: shares and spreads of the population that the policy describes."""

from __future__ import annotations

import math
from collections.abc import Callable

from arrival_engine.engine.process import human
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import Measured, Severity
from arrival_engine.engine.validation.inputs import columns_of, source
from arrival_engine.engine.validation.policy import Rules
from arrival_engine.engine.validation.scan import Scan

_TOP_ZONES = 10


def judge_sentinels(case: Case, scan: Scan) -> None:
    """Enter top_zones, virtual_share, weekend_share and residual_spread.

    `note` and `warn_only` compare with level b, and note or warn; the other modes fail by their own level.
    """
    rules = case.policy.block("calibration_sentinels")
    mode = rules.text("evaluation_mode")
    level = rules.block("bplus" if mode == "enforce_bplus" else "b")
    severity = {"note": Severity.INFO, "warn_only": Severity.WARN}.get(mode, Severity.ERROR)
    (rows,) = case.cursor.row("SELECT coalesce(sum(n), 0)::BIGINT FROM found_place")
    least = rules.count("min_sample_rows")
    low, high = level.bounds("virtual_share")
    most, delta = level.number("top10_tz_share_max"), level.number("weekend_share_delta_pp_max")

    def sentinel(check: str, reason: str, measure: Callable[[], tuple[Measured, dict[str, int]]]) -> None:
        if reason:
            case.book.inapplicable(check, reason, severity=severity)
        elif rows < least:
            case.book.undecided(check, rows, f"{human.count(least)} arrivals needed", severity=severity)
        else:
            measured, facts = measure()
            case.book.measure(check, rows, [measured], severity=severity, facts=facts)

    sentinel("top_zones", _few_zones(case, most), lambda: _top_zones(case, rows, most))
    sentinel("virtual_share", _one_kind(case), lambda: (Measured("share", _virtual(case) / rows, low, high), {}))
    sentinel("weekend_share", "", lambda: (Measured("delta_pp", _weekend(case, scan), high=delta), {}))
    _residual_spread(case, rows, rules, level.bounds("residual_sd"), severity)


def _few_zones(case: Case, most: float) -> str:
    """Why the ten largest zones cannot have a share as low as `most`; empty if they can."""
    (zones,) = case.cursor.row("""
        SELECT count(DISTINCT one_name(tzid))
        FROM (SELECT tzid, weight FROM site UNION ALL SELECT tzid, weight FROM edge) WHERE weight > 0""")
    if zones * most >= _TOP_ZONES:
        return ""
    has = "1 zone" if zones == 1 else f"{zones} zones"
    return f"the world has {has}, too few for a share of at most {most:g} in the {_TOP_ZONES} largest"


def _top_zones(case: Case, rows: int, most: float) -> tuple[Measured, dict[str, int]]:
    zones = [
        n
        for _, n in case.cursor.rows(
            "SELECT one_name(tzid), sum(n)::BIGINT FROM found_place GROUP BY 1 ORDER BY 2 DESC, 1"
        )
    ]
    return Measured("share", sum(zones[:_TOP_ZONES]) / rows, high=most), {"zones": len(zones)}


def _one_kind(case: Case) -> str:
    """Why all arrivals are of one kind in this world; empty if both occur."""
    virtual, physical = case.cursor.row(
        "SELECT count(*) FILTER (may_be_virtual), count(*) FILTER (may_be_physical) FROM merchant"
    )
    if not virtual:
        return "the world has no virtual merchants"
    return "" if physical else "the world has no physical merchants"


def _virtual(case: Case) -> int:
    (virtual,) = case.cursor.row("SELECT coalesce(sum(n) FILTER (is_virtual), 0)::BIGINT FROM found_place")
    return int(virtual)


def _weekend(case: Case, scan: Scan) -> float:
    """Difference in percentage points of the weekend's share by the stored primary clock from that by tzdata."""
    (rows,) = case.cursor.row("SELECT sum(n)::BIGINT FROM found_row")
    return 100.0 * abs(scan.weekend_excess(case.cursor)) / float(rows)


def _residual_spread(case: Case, arrivals: int, rules: Rules, bounds: tuple[float, float], severity: Severity) -> None:
    """Standard deviation of (N - mu) / sqrt(mu) over count rows with an intensity above zero."""
    counts = source(case.cursor, case.receipt, "s3_bucket_counts_5B", scenario_id=case.scenario_id)
    names = columns_of(case.cursor, counts)
    mean = "mu" if "mu" in names else "lambda_realised" if "lambda_realised" in names else ""
    stated, merchants = case.cursor.row(f"""
        SELECT count(*) FILTER ({mean or "NULL"} > 0), count(DISTINCT merchant_id) FROM {counts}""")
    if not stated or merchants == 1:
        reason = "one merchant has all counts" if stated else "the counts state no intensity (mu or lambda_realised)"
        case.book.inapplicable("residual_spread", reason, severity=severity)
        return
    least = rules.count("min_sample_rows")
    if arrivals < least or stated < 2:
        needed = f"{human.count(least)} arrivals and 2 count rows with an intensity needed"
        case.book.undecided("residual_spread", stated, needed, severity=severity)
        return
    rows, total, squares = case.cursor.row(f"""
        SELECT count(*), fsum((count_N - {mean}) / sqrt({mean})), fsum((count_N - {mean}) * (count_N - {mean}) / {mean})
        FROM {counts} WHERE {mean} > 0""")
    deviation = math.sqrt(max(0.0, (squares - total * total / rows) / (rows - 1)))
    case.book.measure("residual_spread", rows, [Measured("standard_deviation", deviation, *bounds)], severity=severity)
