"""Realism of weighted choices: sites, edges and tz groups against their weights, hybrid merchants against p."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from arrival_engine.engine.process import human
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import Measured
from arrival_engine.engine.validation.statistics import (
    chi_square_tail,
    g_test,
    kolmogorov_tail,
    rounded,
    share_tail,
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
          LEFT JOIN (SELECT merchant_id, day, one_name(tzid) AS place, sum(n)::BIGINT AS n FROM found_group
                     GROUP BY 1, 2, 3)
               USING (merchant_id, day, place)
          ANTI JOIN (SELECT merchant_id, day
                     FROM (SELECT *, one_name(tzid) AS place FROM group_weight WHERE weight > 0)
                     ANTI JOIN (SELECT merchant_id, one_name(tzid) AS place FROM site WHERE weight > 0)
                          USING (merchant_id, place)) USING (merchant_id, day))"""


# Whether the world has any choice: two members with a weight in one table.
_SEVERAL_SITES = "SELECT 1 FROM site WHERE weight > 0 GROUP BY merchant_id, one_name(tzid) HAVING count(*) > 1"
_SEVERAL_GROUPS = """
    SELECT 1 FROM group_weight WHERE weight > 0 GROUP BY merchant_id, day HAVING count(DISTINCT one_name(tzid)) > 1"""
_SEVERAL_EDGES = "SELECT 1 FROM edge WHERE weight > 0 GROUP BY merchant_id HAVING count(*) > 1"


def judge_choices(case: Case) -> None:
    """Enter site_weights, group_weights, edge_weights and hybrid_share."""
    if _has(case, _SEVERAL_SITES):
        _weights(case, "site_weights", _SITES)
    else:
        _no_choice(case, "site_weights", "no merchant has two sites in one zone")
    if not case.routing["physical_router"]["use_group_weights"]:
        _no_choice(case, "group_weights", "the routing policy leaves group weights unused")
    elif _has(case, _SEVERAL_GROUPS):
        _weights(case, "group_weights", _GROUPS)
    else:
        _no_choice(case, "group_weights", "no merchant has two zones on one day")
    if _has(case, _SEVERAL_EDGES):
        _weights(case, "edge_weights", _EDGES)
    else:
        _no_choice(case, "edge_weights", "no virtual merchant has two edges")
    if _has(case, "SELECT 1 FROM merchant WHERE mode = 'HYBRID' AND has_edges"):
        _hybrid_share(case)
    else:
        _no_choice(case, "hybrid_share", "the world has no hybrid merchants")


def _has(case: Case, query: str) -> bool:
    (found,) = case.cursor.row(f"SELECT count(*) FROM ({query} LIMIT 1)")
    return bool(found)


def _no_choice(case: Case, check: str, reason: str) -> None:
    case.book.inapplicable(check, reason, severity=case.policy.block("statistical_checks").severity)


def _weights(case: Case, check: str, members: str) -> None:
    """G-tests of the tables with the most draws, and their sum; the distribution of their p-values is only stated."""
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
        enough, cell = human.count(limits.count("min_draws_per_table")), limits.number("min_expected_per_cell")
        needed = f"a table of {enough} draws, with {cell:g} expected of each of two members, needed"
        case.book.undecided(check, draws, needed, severity=rules.severity)
        return
    p_values = [chi_square_tail(g, freedom) for g, freedom in tests]
    total_g, total_freedom = math.fsum(g for g, _ in tests), sum(freedom for _, freedom in tests)
    pooled = chi_square_tail(total_g, total_freedom)
    # The least p-value is judged by the probability of one that small among all of them.
    least = min(p_values)
    of_least = -math.expm1(len(p_values) * math.log1p(-least)) if least < 1.0 else 1.0
    level = rules.number("p_value_min")
    measured = [Measured("p_pooled", pooled, level), Measured("p_of_least", of_least, level)]
    facts = {
        "tables": len(tests),
        "draws": draws,
        "g": rounded(total_g),
        "degrees_of_freedom": total_freedom,
        "p_least": rounded(least),
    }
    if len(p_values) >= limits.count("min_tables_for_ks"):
        # Not judged: p-values of tables with two members come in steps, which many equal tables share.
        distance = uniform_distance(p_values)
        facts |= {"ks_distance": rounded(distance), "p_ks": rounded(kolmogorov_tail(distance, len(p_values)))}
    case.book.measure(check, draws, measured, severity=rules.severity, facts=facts)


def _hybrid_share(case: Case) -> None:
    """Virtual arrivals of all hybrid merchants together against p."""
    rules = case.policy.block("statistical_checks")
    total, virtual, merchants = case.cursor.row("""
        SELECT coalesce(sum(n), 0)::BIGINT, coalesce(sum(n) FILTER (is_virtual), 0)::BIGINT,
               count(DISTINCT merchant_id)
        FROM found_place JOIN merchant USING (merchant_id) WHERE mode = 'HYBRID' AND has_edges""")
    share = float(Fraction(case.routing["hybrid_policy"]["p_virtual_hybrid"]))
    least = rules.block("hybrid_share").count("min_draws")
    if total < least:
        needed = f"{human.count(least)} arrivals of hybrid merchants needed"
        case.book.undecided("hybrid_share", total, needed, severity=rules.severity, facts={"expected": share})
        return
    facts = {"merchants": merchants, "expected": share, "found": rounded(virtual / total)}
    if share == 0.0:
        # Nothing to compare by chance: a single virtual arrival is wrong.
        measured = Measured("virtual", virtual, high=0)
    else:
        z = (virtual - total * share) / math.sqrt(total * share * (1.0 - share))
        facts["z"] = rounded(z)
        measured = Measured("p_at_most", share_tail(virtual, total, total * share), rules.number("p_value_min"))
    case.book.measure("hybrid_share", total, [measured], severity=rules.severity, facts=facts)
