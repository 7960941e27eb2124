"""Realism of weighted choices: sites, edges and tz groups against their weights, hybrid merchants against p."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.statistics import (
    chi_square_tail,
    g_test,
    kolmogorov_tail,
    normal_two_sided,
    rounded,
    uniform_distance,
)

# Each query lists `grp` (a table's number, larger tables first), `n` (draws found) and `weight`, one row per member.
_SITES = """
    SELECT dense_rank() OVER (ORDER BY total DESC, merchant_id, place) AS grp, n, weight, total
    FROM (SELECT site.merchant_id, place, site.site_id, coalesce(n, 0) AS n, weight,
                 sum(coalesce(n, 0)) OVER (PARTITION BY site.merchant_id, place) AS total
          FROM (SELECT *, one_name(tzid) AS place FROM site) AS site
               LEFT JOIN (SELECT merchant_id, site_id, tzid, sum(n)::BIGINT AS n FROM found_place
                               WHERE site_id IS NOT NULL GROUP BY 1, 2, 3) USING (merchant_id, site_id, tzid))"""
_EDGES = """
    SELECT dense_rank() OVER (ORDER BY total DESC, merchant_id) AS grp, n, weight, total
    FROM (SELECT edge.merchant_id, edge.edge_id, coalesce(n, 0) AS n, weight,
                 sum(coalesce(n, 0)) OVER (PARTITION BY edge.merchant_id) AS total
          FROM edge LEFT JOIN (SELECT merchant_id, edge_id, sum(n)::BIGINT AS n FROM found_place
                               WHERE edge_id IS NOT NULL GROUP BY 1, 2) USING (merchant_id, edge_id))"""
# Only days on which every group has a site: otherwise, arrivals of one group are found in the zones of others.
_GROUPS = """
    SELECT dense_rank() OVER (ORDER BY total DESC, merchant_id, day) AS grp, n, weight, total
    FROM (SELECT given.merchant_id, given.day, place, coalesce(n, 0) AS n, weight,
                 sum(coalesce(n, 0)) OVER (PARTITION BY given.merchant_id, given.day) AS total
          FROM (SELECT merchant_id, day, one_name(tzid) AS place, sum(weight) AS weight FROM group_weight
                GROUP BY 1, 2, 3) AS given
          LEFT JOIN (SELECT merchant_id, day, one_name(tzid) AS place, sum(n)::BIGINT AS n FROM found_day
                     WHERE NOT is_virtual GROUP BY 1, 2, 3)
               USING (merchant_id, day, place)
          ANTI JOIN (SELECT merchant_id, day
                     FROM (SELECT *, one_name(tzid) AS place FROM group_weight WHERE weight > 0)
                     ANTI JOIN (SELECT merchant_id, one_name(tzid) AS place FROM site WHERE weight > 0)
                          USING (merchant_id, place)) USING (merchant_id, day))"""


def judge_choices(case: Case) -> None:
    """Enter site_weights, group_weights, edge_weights and hybrid_share."""
    _weights(case, "site_weights", _SITES)
    if case.routing["physical_router"]["use_group_weights"]:
        _weights(case, "group_weights", _GROUPS)
    else:
        severity = case.policy.block("statistical_checks").severity
        case.book.measure("group_weights", 0, None, severity=severity, message="the routing policy leaves them unused")
    _weights(case, "edge_weights", _EDGES)
    _hybrid_share(case)


def _weights(case: Case, check: str, members: str) -> None:
    """G-tests of the tables with the most draws, their sum, and the distribution of their p-values."""
    rules = case.policy.block("statistical_checks")
    limits = rules.block("weighted_choice")
    found = case.cursor.arrow(
        f"SELECT * FROM ({members}) WHERE total >= {limits.count('min_draws_per_table')} "
        f"AND grp <= {limits.count('max_tables')} ORDER BY grp, weight, n"
    )
    table = found["grp"].to_numpy()
    observed = found["n"].to_numpy().astype(np.int64)
    weights = found["weight"].to_numpy().astype(np.float64)
    bounds = np.flatnonzero(np.append(True, table[1:] != table[:-1])).tolist() if table.size else []
    tests = []
    draws = 0
    for first, last in zip(bounds, [*bounds[1:], table.size], strict=False):
        if weights[first:last].sum() <= 0.0:
            continue
        test = g_test(observed[first:last], weights[first:last], limits.number("min_expected_per_cell"))
        if test is not None:
            tests.append(test)
            draws += int(observed[first:last].sum())
    if not tests:
        case.book.measure(check, draws, None, severity=rules.severity, facts={"tables": 0})
        return
    p_values = [chi_square_tail(g, freedom) for g, freedom in tests]
    total_g, total_freedom = math.fsum(g for g, _ in tests), sum(freedom for _, freedom in tests)
    pooled = chi_square_tail(total_g, total_freedom)
    # The least p-value is judged by the probability of one that small among all of them.
    least = min(p_values)
    of_least = -math.expm1(len(p_values) * math.log1p(-least)) if least < 1.0 else 1.0
    verdicts = [pooled, of_least]
    facts = {
        "tables": len(tests),
        "draws": draws,
        "g": rounded(total_g),
        "degrees_of_freedom": total_freedom,
        "p_pooled": rounded(pooled),
        "p_least": rounded(least),
        "p_of_least": rounded(of_least),
    }
    if len(p_values) >= limits.count("min_tables_for_ks"):
        distance = uniform_distance(p_values)
        p_ks = kolmogorov_tail(distance, len(p_values))
        verdicts.append(p_ks)
        facts |= {"ks_distance": rounded(distance), "p_ks": rounded(p_ks)}
    holds = min(verdicts) >= rules.number("p_value_min")
    case.book.measure(check, draws, holds, severity=rules.severity, facts=facts)


def _hybrid_share(case: Case) -> None:
    """Virtual arrivals of all hybrid merchants together against p, by the normal approximation of the binomial."""
    rules = case.policy.block("statistical_checks")
    total, virtual, merchants = case.cursor.row("""
        SELECT coalesce(sum(n), 0)::BIGINT, coalesce(sum(n) FILTER (is_virtual), 0)::BIGINT,
               count(DISTINCT merchant_id)
        FROM found_place JOIN merchant USING (merchant_id) WHERE mode = 'HYBRID' AND has_edges""")
    share = float(Fraction(case.routing["hybrid_policy"]["p_virtual_hybrid"]))
    if total < rules.block("hybrid_share").count("min_draws"):
        case.book.measure("hybrid_share", total, None, severity=rules.severity, facts={"expected": share})
        return
    z = (virtual - total * share) / math.sqrt(total * share * (1.0 - share))
    p_value = normal_two_sided(z)
    holds = p_value >= rules.number("p_value_min")
    facts = {
        "merchants": merchants,
        "expected": share,
        "found": rounded(virtual / total),
        "z": rounded(z),
        "p": rounded(p_value),
    }
    case.book.measure("hybrid_share", total, holds, severity=rules.severity, facts=facts)
