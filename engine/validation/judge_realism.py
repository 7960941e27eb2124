"""Realism of times and shares: offsets, DST windows, countries, coverage, and the calibration sentinels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.file_order import Stream
from arrival_engine.engine.validation.findings import Severity
from arrival_engine.engine.validation.inputs import columns_of, source
from arrival_engine.engine.validation.scan import AT_END, AT_START, OUTSIDE, Scan, day_of
from arrival_engine.engine.validation.statistics import chi_square_uniform, kolmogorov_tail, rounded, uniform_distance

_HOURS = 24
_TOP_ZONES = 10


def judge_realism(case: Case, scan: Scan, stream: Stream) -> None:
    """Enter offsets, offsets_largest, offset_variety, dst_hours, coverage, edge_countries and the sentinels."""
    _offsets(case)
    _offsets_largest(case)
    _offset_variety(case, stream)
    _dst_hours(case)
    _coverage(case)
    _edge_countries(case)
    _sentinels(case, scan)


def _offsets(case: Case) -> None:
    rules = case.policy.block("statistical_checks")
    limits = rules.block("uniform_offsets")
    bins = limits.count("bins")
    counts = np.zeros(bins, np.int64)
    ends = {AT_START: 0, AT_END: bins - 1}
    for place, n in case.cursor.rows(f"SELECT bin, sum(n)::BIGINT FROM found_row WHERE bin <> {OUTSIDE} GROUP BY 1"):
        counts[ends.get(place, place)] += n
    rows = int(counts.sum())
    if rows < limits.count("min_expected_per_bin") * bins:
        case.book.measure("offsets", rows, None, severity=rules.severity)
        return
    statistic, p_value = chi_square_uniform(counts)
    holds = p_value >= rules.number("p_value_min")
    facts = {"bins": bins, "chi_square": rounded(statistic), "p": rounded(p_value)}
    case.book.measure("offsets", rows, holds, severity=rules.severity, facts=facts)


def _offsets_largest(case: Case) -> None:
    """The same within each of the largest count rows, with bins as coarse as their size requires."""
    rules = case.policy.block("statistical_checks")
    limits = rules.block("uniform_offsets")
    bins, least = limits.count("bins"), limits.count("min_expected_per_bin")
    table = np.zeros((limits.count("largest_count_rows"), bins), np.int64)
    for row, place, n in case.cursor.rows("SELECT id, bin, sum(n)::BIGINT FROM found_largest GROUP BY 1, 2"):
        table[row - 1, place] = n
    p_values = []
    arrivals = 0
    for counts in table:
        own = int(counts.sum())
        # The finest division into equal bins that still expects enough in each.
        cells = max((k for k in range(2, bins + 1) if bins % k == 0 and own >= least * k), default=0)
        if cells:
            p_values.append(chi_square_uniform(counts.reshape(cells, -1).sum(axis=1))[1])
            arrivals += own
    if not p_values:
        case.book.measure("offsets_largest", arrivals, None, severity=rules.severity)
        return
    smallest = min(p_values)
    of_least = -math.expm1(len(p_values) * math.log1p(-smallest)) if smallest < 1.0 else 1.0
    distance = uniform_distance(p_values)
    facts = {
        "count_rows": len(p_values),
        "p_least": rounded(smallest),
        "p_of_least": rounded(of_least),
        "ks_distance": rounded(distance),
        "p_ks": rounded(kolmogorov_tail(distance, len(p_values))),
    }
    holds = of_least >= rules.number("p_value_min")
    case.book.measure("offsets_largest", arrivals, holds, severity=rules.severity, facts=facts)


def _offset_variety(case: Case, stream: Stream) -> None:
    rules = case.policy.block("realism_checks").block("time_realism")
    rows = stream.rows
    if rows < rules.count("min_events"):
        case.book.measure("offset_variety", rows, None, severity=rules.severity)
        return
    (at_start,) = case.cursor.row(f"SELECT coalesce(sum(n), 0)::BIGINT FROM found_row WHERE bin = {AT_START}")
    per_thousand = 1000.0 * stream.distinct / rows
    spread = all(at_start < rows for _ in rules.demanded({"require_not_all_at_bucket_start": ""}))
    holds = spread and per_thousand >= rules.count("min_distinct_offsets_per_1000_events")
    facts = {"at_bucket_start": at_start, "distinct_per_1000": rounded(per_thousand)}
    case.book.measure("offset_variety", rows, holds, severity=rules.severity, facts=facts)


def _dst_hours(case: Case) -> None:
    """Per clock change, the local hours of arrivals on its day and the two beside it: as stored and by tzdata.

    Only arrivals with a wrong clock can tell the two apart, so only those were tallied by hour.
    """
    gates = case.policy.block("civil_time_gates")
    support = {
        (tzid, instant): n
        for tzid, instant, n in case.cursor.rows(f"""
            SELECT change.tzid, instant_us, sum(n)::BIGINT
            FROM change JOIN found_day ON found_day.tzid = change.tzid
                 AND day BETWEEN {day_of("instant_us")} - 1 AND {day_of("instant_us")} + 1
            GROUP BY 1, 2 ORDER BY 1, 2""")
        if n >= gates.count("dst_window_min_support")
    }
    surplus = {window: np.zeros(_HOURS, np.int64) for window in support}
    in_gap = 0
    for tzid, instant, stored, expected, gap, n in case.cursor.rows(
        "SELECT tzid, instant_us, stored, expected, in_gap, sum(n)::BIGINT FROM found_hour GROUP BY ALL ORDER BY ALL"
    ):
        in_gap += n if gap else 0
        if (tzid, instant) in surplus:
            surplus[tzid, instant][stored] += n
            surplus[tzid, instant][expected] -= n
    total = sum(support.values())
    facts: dict[str, Any] = {"exposed_windows": len(support), "support": total, "in_skipped_hour": in_gap}
    exposed = len(support) >= gates.count("dst_window_min_exposed_windows")
    if not exposed or total < gates.count("dst_window_min_total_support"):
        case.book.measure("dst_hours", total, None, severity=gates.severity, facts=facts)
        return
    worst = max(float(np.abs(surplus[window]).mean()) / n * 100.0 for window, n in support.items())
    holds = worst <= gates.number("dst_window_hour_bin_mae_pp_max") and in_gap == 0
    facts = {**facts, "hour_bin_mae_pp_max": rounded(worst)}
    case.book.measure("dst_hours", total, holds, severity=gates.severity, facts=facts)


def _coverage(case: Case) -> None:
    """Merchants that must be virtual (or physical) have such arrivals, and hybrid ones have both kinds."""
    rules = case.policy.block("realism_checks").block("routing_realism")
    least = case.policy.block("statistical_checks").block("hybrid_share").count("min_draws")
    lacking = rules.demanded(
        {
            "require_physical_and_virtual_coverage_when_present": f"""
                (mode = 'HYBRID' AND has_edges AND n >= {least} AND (virtual = 0 OR virtual = n))
                OR (may_be_virtual AND NOT may_be_physical AND virtual = 0)
                OR (may_be_physical AND NOT may_be_virtual AND virtual = n)"""
        }
    )
    bad = " OR ".join(lacking.values()) or "false"
    rows, violations = case.cursor.row(f"""
        SELECT count(*), count(*) FILTER ({bad})
        FROM (SELECT merchant_id, sum(n) AS n, coalesce(sum(n) FILTER (is_virtual), 0) AS virtual
              FROM found_place GROUP BY 1) JOIN merchant USING (merchant_id)""")
    case.book.judge("coverage", rows, violations, severity=rules.severity)


def _edge_countries(case: Case) -> None:
    rules = case.policy.block("realism_checks").block("routing_realism")
    shares = case.cursor.rows("""
        WITH weighed AS (SELECT merchant_id, edge_id, country, weight / sum(weight) OVER (PARTITION BY merchant_id) AS p
                         FROM edge SEMI JOIN (SELECT merchant_id FROM edge GROUP BY 1 HAVING sum(weight) > 0)
                              USING (merchant_id)),
        met AS (SELECT merchant_id, edge_id, sum(n) AS n FROM found_place WHERE edge_id IS NOT NULL GROUP BY 1, 2),
        owner AS (SELECT merchant_id, sum(n) AS total FROM met GROUP BY 1)
        SELECT country, coalesce(sum(n), 0)::BIGINT, fsum(p * total)
        FROM weighed JOIN owner USING (merchant_id) LEFT JOIN met USING (merchant_id, edge_id)
        GROUP BY 1 ORDER BY 1""")
    total = sum(found for _, found, _ in shares)
    if total < rules.count("ip_country_min_events"):
        case.book.measure("edge_countries", total, None, severity=rules.severity, facts={"countries": len(shares)})
        return
    deviations = {country: abs(found - expected) / total for country, found, expected in shares}
    worst = max(deviations, key=lambda country: (deviations[country], country))
    holds = deviations[worst] <= rules.number("ip_country_max_abs_dev")
    facts = {"countries": len(shares), "largest_deviation": rounded(deviations[worst]), "country": worst}
    case.book.measure("edge_countries", total, holds, severity=rules.severity, facts=facts)


def _sentinels(case: Case, scan: Scan) -> None:
    """Calibration: `warn_only` compares with level b and warns, the other modes fail by their own level."""
    rules = case.policy.block("calibration_sentinels")
    mode = rules.text("evaluation_mode")
    level = rules.block("bplus" if mode == "enforce_bplus" else "b")
    severity = Severity.WARN if mode == "warn_only" else Severity.ERROR
    (rows,) = case.cursor.row("SELECT coalesce(sum(n), 0)::BIGINT FROM found_place")
    checks = ("top_zones", "virtual_share", "weekend_share")
    if rows < rules.count("min_sample_rows"):
        for check in (*checks, "residual_spread"):
            case.book.measure(check, rows, None, severity=severity)
        return
    zones = [
        n
        for _, n in case.cursor.rows(
            "SELECT one_name(tzid), sum(n)::BIGINT FROM found_place GROUP BY 1 ORDER BY 2 DESC, 1"
        )
    ]
    top = sum(zones[:_TOP_ZONES]) / rows
    (virtual,) = case.cursor.row("SELECT coalesce(sum(n) FILTER (is_virtual), 0)::BIGINT FROM found_place")
    low, high = level.bounds("virtual_share")
    shares = {
        "top_zones": (top <= level.number("top10_tz_share_max"), {"share": rounded(top), "zones": len(zones)}),
        "virtual_share": (low <= virtual / rows <= high, {"share": rounded(virtual / rows)}),
        "weekend_share": _weekend(case, scan, level.number("weekend_share_delta_pp_max")),
    }
    for check in checks:
        holds, facts = shares[check]
        case.book.measure(check, rows, holds, severity=severity, facts=facts)
    _residual_spread(case, level.bounds("residual_sd"), severity)


def _weekend(case: Case, scan: Scan, most: float) -> tuple[bool, Mapping[str, Any]]:
    """Difference in percentage points of the weekend's share by the stored primary clock from that by tzdata."""
    (rows,) = case.cursor.row("SELECT sum(n)::BIGINT FROM found_row")
    delta = 100.0 * abs(scan.weekend_excess(case.cursor)) / rows
    return delta <= most, {"delta_pp": rounded(delta)}


def _residual_spread(case: Case, bounds: tuple[float, float], severity: Severity) -> None:
    """Standard deviation of (N - mu) / sqrt(mu) over count rows with an intensity above zero."""
    counts = source(case.receipt, "s3_bucket_counts_5B", scenario_id=case.scenario_id)
    names = columns_of(case.cursor, counts)
    mean = "mu" if "mu" in names else "lambda_realised" if "lambda_realised" in names else ""
    if not mean:
        case.book.measure("residual_spread", 0, None, severity=severity)
        return
    rows, total, squares = case.cursor.row(f"""
        SELECT count(*), fsum((count_N - {mean}) / sqrt({mean})), fsum((count_N - {mean}) * (count_N - {mean}) / {mean})
        FROM {counts} WHERE {mean} > 0""")
    if rows < 2:
        case.book.measure("residual_spread", rows, None, severity=severity)
        return
    deviation = math.sqrt(max(0.0, (squares - total * total / rows) / (rows - 1)))
    low, high = bounds
    facts = {"standard_deviation": rounded(deviation)}
    case.book.measure("residual_spread", rows, low <= deviation <= high, severity=severity, facts=facts)
