"""Realism of times and places: offsets, DST windows, countries, coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from arrival_engine.engine.process import human
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.file_order import Stream
from arrival_engine.engine.validation.findings import Measured
from arrival_engine.engine.validation.scan import day_of
from arrival_engine.engine.validation.statistics import (
    g_test_uniform,
    kolmogorov_tail,
    rounded,
    share_tail,
    uniform_distance,
)

_HOURS = 24
# The zones, by the names that they have in the world, in which arrivals can lie.
_ZONES = """(SELECT DISTINCT tzid FROM (SELECT tzid, weight FROM site UNION ALL SELECT tzid, weight FROM edge)
             WHERE weight > 0)"""


def judge_realism(case: Case, stream: Stream) -> None:
    """Enter offsets, offsets_largest, offset_variety, dst_hours, coverage and edge_countries."""
    _offsets(case)
    _offsets_largest(case)
    _offset_variety(case, stream)
    _dst_hours(case)
    _coverage(case)
    _edge_countries(case)


def _offsets(case: Case) -> None:
    rules = case.policy.block("statistical_checks")
    limits = rules.block("uniform_offsets")
    bins = limits.count("bins")
    counts = np.zeros(bins, np.int64)
    for place, n in case.cursor.rows("SELECT bin, n FROM found_bin"):
        counts[place] = n
    rows = int(counts.sum())
    least = limits.count("min_expected_per_bin") * bins
    if rows < least:
        case.book.undecided("offsets", rows, _arrivals(least), severity=rules.severity)
        return
    statistic, p_value = g_test_uniform(counts)
    measured = [Measured("p", p_value, rules.number("p_value_min"))]
    facts = {"bins": bins, "g": rounded(statistic)}
    case.book.measure("offsets", rows, measured, severity=rules.severity, facts=facts)


def _arrivals(least: int) -> str:
    return f"{human.count(least)} arrivals needed"


def _offsets_largest(case: Case) -> None:
    """The same within each of the largest count rows, with bins as coarse as their size requires."""
    rules = case.policy.block("statistical_checks")
    limits = rules.block("uniform_offsets")
    bins, least = limits.count("bins"), limits.count("min_expected_per_bin")
    table = np.zeros((limits.count("largest_count_rows"), bins), np.int64)
    for row, place, n in case.cursor.rows("SELECT id, bin, n FROM found_largest"):
        table[row - 1, place] = n
    p_values = []
    arrivals = 0
    for counts in table:
        own = int(counts.sum())
        # The finest division into equal bins that still expects enough in each.
        cells = max((k for k in range(2, bins + 1) if bins % k == 0 and own >= least * k), default=0)
        if cells:
            p_values.append(g_test_uniform(counts.reshape(cells, -1).sum(axis=1))[1])
            arrivals += own
    if not p_values:
        needed = f"a count row of {human.count(2 * least)} arrivals needed"
        case.book.undecided("offsets_largest", arrivals, needed, severity=rules.severity)
        return
    smallest = min(p_values)
    of_least = -math.expm1(len(p_values) * math.log1p(-smallest)) if smallest < 1.0 else 1.0
    distance = uniform_distance(p_values)
    facts = {
        "count_rows": len(p_values),
        "p_least": rounded(smallest),
        "ks_distance": rounded(distance),
        "p_ks": rounded(kolmogorov_tail(distance, len(p_values))),
    }
    measured = [Measured("p_of_least", of_least, rules.number("p_value_min"))]
    case.book.measure("offsets_largest", arrivals, measured, severity=rules.severity, facts=facts)


def _offset_variety(case: Case, stream: Stream) -> None:
    rules = case.policy.block("realism_checks").block("time_realism")
    rows = stream.rows
    if rows < rules.count("min_events"):
        case.book.undecided("offset_variety", rows, _arrivals(rules.count("min_events")), severity=rules.severity)
        return
    (at_start,) = case.cursor.row("SELECT at_start FROM found_end")
    per_thousand = 1000.0 * stream.distinct / rows
    measured = [Measured("distinct_per_1000", per_thousand, rules.count("min_distinct_offsets_per_1000_events"))]
    if rules.demanded({"require_not_all_at_bucket_start": ""}):
        measured.append(Measured("at_bucket_start", at_start, high=rows - 1))
    case.book.measure("offset_variety", rows, measured, severity=rules.severity)


def _dst_hours(case: Case) -> None:
    """Per clock change, the local hours of arrivals on its day and the two beside it: as stored and by tzdata.

    Only arrivals with a wrong clock can tell the two apart, so only those were tallied by hour.
    """
    gates = case.policy.block("civil_time_gates")
    (changes,) = case.cursor.row(f"SELECT count(*) FROM change SEMI JOIN {_ZONES} USING (tzid)")
    if not changes:
        reason = "no zone of the world's sites and edges changes its clocks in the horizon"
        case.book.inapplicable("dst_hours", reason, severity=gates.severity)
        return
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
    facts = {"exposed_windows": len(support), "support": total}
    windows, arrivals = gates.count("dst_window_min_exposed_windows"), gates.count("dst_window_min_total_support")
    if len(support) < windows or total < arrivals:
        needed = (
            f"{human.count(windows)} clock changes with {human.count(gates.count('dst_window_min_support'))} arrivals "
            f"around each and {human.count(arrivals)} around all of them needed"
        )
        case.book.undecided("dst_hours", total, needed, severity=gates.severity, facts=facts)
        return
    worst = max(float(np.abs(surplus[window]).mean()) / n * 100.0 for window, n in support.items())
    measured = [
        Measured("hour_bin_mae_pp_max", worst, high=gates.number("dst_window_hour_bin_mae_pp_max")),
        Measured("in_skipped_hour", in_gap, high=0),
    ]
    case.book.measure("dst_hours", total, measured, severity=gates.severity, facts=facts)


def _coverage(case: Case) -> None:
    """Merchants that must be virtual (or physical) have such arrivals, and hybrid ones have both kinds."""
    rules = case.policy.block("realism_checks").block("routing_realism")
    statistical = case.policy.block("statistical_checks")
    share = float(Fraction(case.routing["hybrid_policy"]["p_virtual_hybrid"]))
    draws, level = statistical.block("hybrid_share").count("min_draws"), statistical.number("p_value_min")
    (hybrids,) = case.cursor.row("SELECT count(*) FROM merchant WHERE mode = 'HYBRID' AND has_edges")
    # So many arrivals that all hybrid merchants have both kinds, but for a chance below p_value_min.
    no_virtual, no_physical = (_certain(chance, draws, level / max(1, 2 * hybrids)) for chance in (share, 1.0 - share))
    lacking = rules.demanded(
        {
            "require_physical_and_virtual_coverage_when_present": f"""
                (mode = 'HYBRID' AND has_edges AND virtual = 0 AND n >= {no_virtual})
                OR (mode = 'HYBRID' AND has_edges AND virtual = n AND n >= {no_physical})
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


def _certain(chance: float, least: int, level: float) -> str:
    """The draws, as SQL, among which something of this chance occurs, but for a probability below `level`."""
    if chance <= 0.0:
        return "'infinity'::DOUBLE"
    return str(max(least, math.ceil(math.log(level) / math.log1p(-chance)) if chance < 1.0 else 1))


def _edge_countries(case: Case) -> None:
    """Shares of virtual arrivals by country: out of range if improbable, and beyond what the policy allows anyway."""
    rules = case.policy.block("realism_checks").block("routing_realism")
    (countries,) = case.cursor.row("SELECT count(DISTINCT country) FROM edge WHERE weight > 0")
    if countries < 2:
        reason = "all edges are in one country" if countries else "the world has no virtual merchants"
        case.book.inapplicable("edge_countries", reason, severity=rules.severity)
        return
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
        needed = f"{human.count(rules.count('ip_country_min_events'))} virtual arrivals needed"
        case.book.undecided("edge_countries", total, needed, severity=rules.severity, facts={"countries": len(shares)})
        return
    country, deviation, p_value = least_likely(shares, rules.number("ip_country_max_abs_dev"))
    measured = [Measured("p_of_least", p_value, case.policy.block("statistical_checks").number("p_value_min"))]
    facts = {"largest_deviation": rounded(deviation), "country": country, "countries": len(shares)}
    case.book.measure("edge_countries", total, measured, severity=rules.severity, facts=facts)


def least_likely(shares: Sequence[tuple[str, int, float]], allowed: float) -> tuple[str, float, float]:
    """The country that deviates most from its expected arrivals, that deviation, and the least p-value of all.

    shares: (country, arrivals found, arrivals expected). The deviation is one of shares, in [0, 1]. The p-value is
    that of the least likely country whose share deviates by more than `allowed`, times the number of countries; 1 if
    no share does.
    """
    total = sum(found for _, found, _ in shares)
    deviations = {country: abs(found - expected) / total for country, found, expected in shares}
    far = [(found, expected) for country, found, expected in shares if deviations[country] > allowed]
    least = min((share_tail(found, total, expected) for found, expected in far), default=1.0)
    worst = max(deviations, key=lambda country: (deviations[country], country))
    return worst, deviations[worst], min(1.0, least * len(shares))
