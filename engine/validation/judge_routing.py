"""Checks of routing: sites, edges and zones, by the groups that the scan found."""

from __future__ import annotations

from collections.abc import Sequence

from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import EXAMPLES_MAX
from arrival_engine.engine.validation.scan import Scan

# A site that may be met: it has a positive weight, a zone, and a location where locations are known.
_USABLE = "weight > 0 AND tzid IS NOT NULL AND located"


def judge_routing(case: Case, scan: Scan) -> None:
    """Enter every check of routing but `site_edge_flag` and `routing_universe`, which rows show by themselves."""
    _modes(case, scan)
    _sites(case, scan)
    _edges(case, scan)
    _zone_choice(case, scan)
    _zone_alloc(case, scan)
    _alias_rows(case)


def _modes(case: Case, scan: Scan) -> None:
    places = "(SELECT * FROM found_place LEFT JOIN merchant USING (merchant_id))"
    wrong = "CASE WHEN is_virtual THEN may_be_virtual ELSE may_be_physical END IS NOT TRUE"
    _judge(case, scan, "virtual_mode", places, wrong, ("is_virtual", "mode", "has_edges"))


def _sites(case: Case, scan: Scan) -> None:
    physical = f"""
        (SELECT found.*, site.tzid AS site_tzid, coalesce({_USABLE.replace("tzid", "site.tzid")}, false) AS known,
                site.site_id IS NOT NULL AS owned
         FROM (SELECT * FROM found_place WHERE site_id IS NOT NULL) AS found
         LEFT JOIN site ON site.merchant_id = found.merchant_id AND site.site_id = found.site_id)"""
    _judge(case, scan, "site_of_merchant", physical, "NOT known")
    # A site that does not exist, or is another merchant's, has no zone to compare with.
    _judge(case, scan, "site_zone", physical, "owned AND tzid IS DISTINCT FROM site_tzid")


def _zone_alloc(case: Case, scan: Scan) -> None:
    """A count row's zone must have sites by 3A, or lie in a country of the merchant's that 3A has not allocated."""
    judged = """
        (SELECT found.*, coalesce(given.sites, 0) > 0 OR elsewhere.place IS NOT NULL AS allowed
         FROM (SELECT *, one_name(zone) AS place
               FROM (SELECT merchant_id, zone::VARCHAR AS zone, sum(n)::BIGINT AS n FROM found GROUP BY 1, 2)) AS found
         SEMI JOIN zone_alloc USING (merchant_id)
         LEFT JOIN (SELECT merchant_id, one_name(tzid) AS place, sum(sites) AS sites
                    FROM zone_alloc GROUP BY 1, 2) AS given USING (merchant_id, place)
         LEFT JOIN (SELECT DISTINCT merchant_id, one_name(tzid) AS place
                    FROM site ANTI JOIN zone_alloc USING (merchant_id, country)) AS elsewhere
              USING (merchant_id, place))"""
    rows, violations = case.cursor.row(
        f"SELECT coalesce(sum(n), 0)::BIGINT, coalesce(sum(n) FILTER (NOT allowed), 0)::BIGINT FROM {judged}"
    )
    examples = []
    if violations:
        case.cursor.run(f"CREATE OR REPLACE TABLE suspect AS SELECT merchant_id, zone FROM {judged} WHERE NOT allowed")
        among = (
            "EXISTS (SELECT 1 FROM suspect WHERE suspect.merchant_id = arrival.merchant_id "
            "AND suspect.zone IS NOT DISTINCT FROM arrival.zone_representation)"
        )
        examples = scan.first_rows(case.cursor, case.events.parts, among, ("zone_representation",))
    case.book.judge("zone_alloc", rows, violations, examples=examples)


def _edges(case: Case, scan: Scan) -> None:
    virtual = """
        (SELECT found.*, edge.tzid AS edge_tzid, edge.edge_id IS NOT NULL AS known
         FROM (SELECT * FROM found_place WHERE edge_id IS NOT NULL) AS found
         LEFT JOIN edge ON edge.merchant_id = found.merchant_id AND edge.edge_id = found.edge_id)"""
    _judge(case, scan, "edge_of_merchant", virtual, "NOT known")
    _judge(case, scan, "edge_zone", virtual, "known AND tzid IS DISTINCT FROM edge_tzid")


_PLACE = ("site_id", "edge_id", "tzid_primary")


def _judge(case: Case, scan: Scan, check: str, places: str, bad: str, shown: Sequence[str] = _PLACE) -> None:
    """Enter a check over `found_place`, its examples sought among the rows of the groups that break it."""
    rows, violations = case.cursor.row(
        f"SELECT coalesce(sum(n), 0)::BIGINT, coalesce(sum(n) FILTER ({bad}), 0)::BIGINT FROM {places}"
    )
    examples = []
    if violations:
        case.cursor.run(
            "CREATE OR REPLACE TABLE suspect AS "
            f"SELECT merchant_id, is_virtual, site_id, edge_id, tzid FROM {places} WHERE {bad}"
        )
        among = (
            "EXISTS (SELECT 1 FROM suspect WHERE suspect.merchant_id = arrival.merchant_id "
            "AND suspect.is_virtual IS NOT DISTINCT FROM arrival.is_virtual "
            "AND suspect.site_id IS NOT DISTINCT FROM arrival.site_id "
            "AND suspect.edge_id IS NOT DISTINCT FROM arrival.edge_id AND suspect.tzid = arrival.tzid_primary)"
        )
        examples = scan.first_rows(case.cursor, case.events.parts, among, shown)
    case.book.judge(check, rows, violations, examples=examples)


def prepare_zones(case: Case) -> None:
    """Make `grouped` and `ungrouped`: the merchants' days with a table of group weights, and those without one."""
    weighted = "true" if case.routing["physical_router"]["use_group_weights"] else "false"
    case.cursor.run(f"""
        CREATE OR REPLACE TABLE grouped AS
        SELECT merchant_id, day FROM group_weight WHERE {weighted} GROUP BY 1, 2 HAVING sum(weight) > 0;
        CREATE OR REPLACE TABLE ungrouped AS
        SELECT DISTINCT merchant_id, day FROM expected JOIN grid USING (bucket_index)
        ANTI JOIN grouped USING (merchant_id, day)""")


def _zone_choice(case: Case, scan: Scan) -> None:
    """LAW section 4.4: a zone of the day's group table, else the count row's; without a site there, any one."""
    case.cursor.run(f"""
        CREATE OR REPLACE TABLE judged_zone AS
        WITH home AS (SELECT DISTINCT merchant_id, one_name(tzid) AS place FROM site WHERE {_USABLE}),
        candidate AS (SELECT DISTINCT merchant_id, day, one_name(tzid) AS place
                      FROM group_weight SEMI JOIN grouped USING (merchant_id, day) WHERE weight > 0),
        homeless AS (SELECT DISTINCT merchant_id, day FROM candidate ANTI JOIN home USING (merchant_id, place)),
        by_day AS (SELECT *, one_name(tzid) AS place
                   FROM (SELECT merchant_id, day, tzid, sum(n)::BIGINT AS n FROM differing_day
                         ANTI JOIN ungrouped USING (merchant_id, day) WHERE NOT is_virtual GROUP BY 1, 2, 3)),
        by_zone AS (SELECT *, one_name(tzid) AS place, one_name(zone) AS own_place
                    FROM (SELECT merchant_id, day, zone, tzid, sum(n)::BIGINT AS n FROM differing_zone
                          GROUP BY 1, 2, 3, 4))
        SELECT by_day.*, NULL AS zone,
               home.place IS NOT NULL AND (candidate.place IS NOT NULL OR homeless.merchant_id IS NOT NULL) AS allowed
        FROM by_day LEFT JOIN home USING (merchant_id, place) LEFT JOIN candidate USING (merchant_id, day, place)
             LEFT JOIN homeless USING (merchant_id, day)
        UNION ALL BY NAME
        SELECT by_zone.* EXCLUDE own_place,
               home.place IS NOT NULL AND (by_zone.place = own_place OR own.place IS NULL) AS allowed
        FROM by_zone LEFT JOIN home USING (merchant_id, place)
             LEFT JOIN home AS own ON own.merchant_id = by_zone.merchant_id AND own.place = own_place""")
    # A row that is the law's is in a zone that the law has drawn.
    (rows,) = case.cursor.row("SELECT coalesce(sum(n) FILTER (NOT is_virtual), 0)::BIGINT FROM found_place")
    (violations,) = case.cursor.row("SELECT coalesce(sum(n) FILTER (NOT allowed), 0)::BIGINT FROM judged_zone")
    examples = []
    if violations:
        among = (
            "NOT is_virtual AND EXISTS (SELECT 1 FROM judged_zone WHERE NOT allowed "
            "AND judged_zone.merchant_id = arrival.merchant_id AND judged_zone.day IS NOT DISTINCT FROM grid.day "
            "AND judged_zone.tzid = arrival.tzid_primary "
            "AND coalesce(judged_zone.zone, arrival.zone_representation) = arrival.zone_representation)"
        )
        shown = ("bucket_index", "zone_representation", "tzid_primary")
        examples = scan.first_rows(case.cursor, case.events.parts, among, shown)
    case.book.judge("zone_choice", rows, violations, examples=examples)


def _alias_rows(case: Case) -> None:
    """Merchants that were routed physically must be in the 2B index, those routed virtually in the 3B index."""
    rules = case.policy.block("realism_checks").block("routing_realism")
    missing = rules.demanded(
        {
            "require_no_missing_alias_rows": """
        SELECT DISTINCT merchant_id, '2B' AS segment FROM found_place ANTI JOIN alias_2b USING (merchant_id)
        WHERE NOT is_virtual
        UNION ALL
        SELECT DISTINCT merchant_id, '3B' FROM found_place ANTI JOIN alias_3b USING (merchant_id) WHERE is_virtual"""
        }
    )
    (rows,) = case.cursor.row("SELECT count(DISTINCT (merchant_id, is_virtual)) FROM found_place")
    found = [row for sql in missing.values() for row in case.cursor.records(f"SELECT * FROM ({sql}) ORDER BY 1, 2")]
    case.book.judge("alias_rows", rows, len(found), severity=rules.severity, examples=found[:EXAMPLES_MAX])
