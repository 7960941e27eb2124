"""Checks of the published tables of sites and edges: they are what the sealed inputs say, row by row."""

from __future__ import annotations

from collections.abc import Sequence

from arrival_engine.contracts import arrow_schema
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import EXAMPLES_MAX
from arrival_engine.engine.validation.inputs import source
from arrival_engine.engine.validation.record_tables import judge_form, missing, stands

_SITES = """
    SELECT merchant_id::UBIGINT AS merchant_id, site_id::UBIGINT AS place,
           {'country': legal_country_iso::VARCHAR, 'number': site_order::BIGINT, 'tzid': tzid::VARCHAR,
            'weight': p_weight::DOUBLE} AS facts"""
_SITES_OF_INPUTS = """
    SELECT merchant_id, site_id AS place,
           {'country': country, 'number': site_order, 'tzid': tzid, 'weight': weight} AS facts
    FROM site WHERE tzid IS NOT NULL"""
_EDGES = """
    SELECT merchant_id::UBIGINT AS merchant_id, edge_id::UBIGINT AS place,
           {'hex': edge_hex::VARCHAR, 'country': country_iso::VARCHAR, 'tzid': tzid_operational::VARCHAR,
            'weight': edge_weight::DOUBLE} AS facts"""
_EDGES_OF_INPUTS = """
    SELECT merchant_id, edge_id AS place,
           {'hex': format('{:016x}', edge_id), 'country': country, 'tzid': tzid, 'weight': weight} AS facts
    FROM edge WHERE edge_id > 0"""
_SITE_KEY = ("merchant_id", "legal_country_iso", "site_order")
_EDGE_KEY = ("merchant_id", "edge_id")


def judge_places(case: Case) -> None:
    """Enter site_table and edge_table."""
    _judge(case, "site_table", "arrival_sites_5B", _SITES, _SITES_OF_INPUTS, _SITE_KEY)
    _judge(case, "edge_table", "arrival_edges_5B", _EDGES, _EDGES_OF_INPUTS, _EDGE_KEY)


def _judge(case: Case, check: str, dataset_id: str, stated: str, expected: str, key: Sequence[str]) -> None:
    path = case.receipt.path(dataset_id)
    if not stands(path, dataset_id):
        case.book.judge(check, 0, 1, message=missing(dataset_id))
        return
    columns = case.receipt.identity.columns()
    names = arrow_schema(dataset_id).names
    faults, sound = judge_form(path, dataset_id, {name: columns[name] for name in columns if name in names}, key)
    if not sound:
        case.book.judge(check, 0, len(faults), examples=faults)
        return
    table = source(case.cursor, case.receipt, dataset_id)
    # A full join finds a row that is missing, of a place that does not exist, or listed twice: a key has one row.
    different = f"""
        FROM (SELECT merchant_id, place, first(facts) AS stated, count(*) AS times
              FROM ({stated} FROM {table}) GROUP BY 1, 2)
        FULL JOIN ({expected}) AS inputs USING (merchant_id, place)
        WHERE stated IS DISTINCT FROM inputs.facts OR times <> 1"""
    (rows,) = case.cursor.row(f"SELECT count(*) FROM {table}")
    (bad,) = case.cursor.row(f"SELECT count(*) {different}")
    shown = "merchant_id, place, stated::VARCHAR AS stated, inputs.facts::VARCHAR AS expected"
    if bad:
        faults += case.cursor.records(f"SELECT {shown} {different} ORDER BY 1, 2 LIMIT {EXAMPLES_MAX}")
    case.book.judge(check, rows, max(bad, len(faults)), examples=faults)
