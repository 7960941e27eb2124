"""Inputs as lookup tables of the validation database, read and keyed independently of the expansion.

Tables of the run: `site`, `edge`, `merchant`, `group_weight`, `zone_alloc`, `alias_2b`, `alias_3b`, `zone_names`.
Tables remade for each scenario: `grid`, `entity` (merchants' zones and channels, numbered in the order of the law),
`expected` (count rows with arrivals, repeated keys summed), `clock`, `change`, with the types `zone_t` and `channel_t`
of the texts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code, check_document, dataset
from arrival_engine.contracts.columns import table_shape
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.zone_names import zone_of_name
from arrival_engine.engine.recomputing.identifiers import site_id
from arrival_engine.engine.rundir.inputs import read_bytes
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.sealed_files import InputFile
from arrival_engine.engine.rundir.strict_json import read_json, read_json_rows
from arrival_engine.engine.rundir.table_limits import check_sizes
from arrival_engine.engine.validation.civil import ClockTable, change_table, clock_table
from arrival_engine.engine.validation.database import Cursor
from arrival_engine.engine.validation.policy import document

KEY = "merchant_id, zone, channel, bucket_index"
_HINT = "restore the inputs that were sealed"
# Of a row group, in the columns that DuckDB reads; it reads 2,048 rows per thread.
_ROWS_AT_ONCE = 1 << 20
_US_PER_DAY = 86_400_000_000


def files_of(receipt: Receipt, dataset_id: str, **tokens: str) -> list[InsidePath]:
    """A dataset's files; an absent optional one has none, a required one raises S5.S0_SEALED_INPUTS_INCONSISTENT."""
    entry = dataset(dataset_id)
    found = receipt.files(dataset_id, **tokens)
    if not found and entry.need == "always":
        raise ArrivalError(
            Code.S5_S0_SEALED_INPUTS_INCONSISTENT,
            f"{dataset_id} is missing at {receipt.path(dataset_id, **tokens)}",
            hint=_HINT,
            dataset=dataset_id,
        )
    return found


def document_of(receipt: Receipt, dataset_id: str) -> dict[str, Any]:
    """A JSON input, checked against its schema."""
    (path,) = files_of(receipt, dataset_id)
    code = Code.S5_S0_SEALED_INPUTS_INCONSISTENT
    document = read_json(path, what=dataset_id, code=code, hint=_HINT, opened=receipt.open)
    check_document(dataset(dataset_id).schema, document, code=code, where=str(path))
    return dict(document)


def source(cursor: Cursor, receipt: Receipt, dataset_id: str, **tokens: str) -> str:
    """FROM item over a table of the run; empty if an optional one is absent.

    A sealed table is read as the seal check has hashed it.
    """
    files = files_of(receipt, dataset_id, **tokens)
    if not files:
        return ""
    sealed = dataset(dataset_id).sealed
    inputs = [receipt.input(path) if sealed else InputFile(path) for path in files]
    for file in inputs:
        if not cursor.holds(file):
            check_sizes(dataset_id, file, {column.name for column in table_shape(dataset_id).columns}, _ROWS_AT_ONCE)
    return cursor.parquet(inputs)


def columns_of(cursor: Cursor, relation: str) -> set[str]:
    """Column names of a relation."""
    return {row[0] for row in cursor.rows(f"DESCRIBE SELECT * FROM {relation}")}


def load_run(cursor: Cursor, receipt: Receipt) -> None:
    """Make the tables that all scenarios share, and `one_name(tzid)`, the same text for all names of one zone."""
    others = zone_of_name()
    # An argument that is a column is looked up in the subquery first: these names must not be those of other tables.
    cursor.store("zone_names", pa.table({"other_name": [*others], "current_name": [*others.values()]}))
    cursor.run("""
        CREATE OR REPLACE MACRO one_name(given) AS
        coalesce((SELECT current_name FROM zone_names WHERE other_name = given), given)""")
    _sites(cursor, receipt)
    _edges(cursor, receipt)
    _aliases(cursor, receipt)
    _merchants(cursor, receipt)
    used = document(receipt, "arrival_routing_policy_5B")["physical_router"]["use_group_weights"]
    cursor.run(f"""
        CREATE OR REPLACE TABLE group_weight AS
        SELECT merchant_id::UBIGINT AS merchant_id, (utc_day::DATE - DATE '1970-01-01')::INTEGER AS day,
               tz_group_id::VARCHAR AS tzid, max(p_group)::DOUBLE AS weight
        FROM {source(cursor, receipt, "s4_group_weights")} WHERE {used} GROUP BY ALL""")
    allocation = source(cursor, receipt, "zone_alloc")
    rows = (
        f"SELECT merchant_id::UBIGINT AS merchant_id, legal_country_iso::VARCHAR AS country, tzid::VARCHAR AS tzid, "
        f"max(zone_site_count)::BIGINT AS sites FROM {allocation} GROUP BY ALL"
        if allocation
        else "SELECT 0::UBIGINT AS merchant_id, '' AS country, '' AS tzid, 0::BIGINT AS sites WHERE false"
    )
    cursor.run(f"CREATE OR REPLACE TABLE zone_alloc AS {rows}")


def _sites(cursor: Cursor, receipt: Receipt) -> None:
    key = "merchant_id, legal_country_iso, site_order"
    located = source(cursor, receipt, "site_locations")
    known = f"LEFT JOIN (SELECT DISTINCT {key}, true AS located FROM {located}) USING ({key})" if located else ""
    weights, zones = (source(cursor, receipt, table) for table in ("s1_site_weights", "site_timezones"))
    found = cursor.arrow(f"""
        SELECT merchant_id::UBIGINT AS merchant_id, legal_country_iso::VARCHAR AS country,
               site_order::BIGINT AS site_order, max(p_weight)::DOUBLE AS weight, max(tzid)::VARCHAR AS tzid,
               {"coalesce(bool_or(located), false)" if located else "true"} AS located
        FROM {weights} LEFT JOIN {zones} USING ({key}) {known}
        GROUP BY 1, 2, 3""")
    keys = (found[column].to_pylist() for column in ("merchant_id", "country", "site_order"))
    identifiers = pa.array([site_id(*site) for site in zip(*keys, strict=True)], pa.uint64())
    cursor.store("site", found.append_column("site_id", identifiers))


def _edges(cursor: Cursor, receipt: Receipt) -> None:
    cursor.run(f"""
        CREATE OR REPLACE TABLE edge AS
        SELECT merchant_id::UBIGINT AS merchant_id, ('0x' || edge_id)::UBIGINT AS edge_id,
               max(tzid_operational)::VARCHAR AS tzid, max(country_iso)::VARCHAR AS country,
               max(edge_weight)::DOUBLE AS weight
        FROM {source(cursor, receipt, "edge_catalogue_3B")} GROUP BY 1, 2""")


def _aliases(cursor: Cursor, receipt: Receipt) -> None:
    cursor.store("alias_2b", pa.table({"merchant_id": _alias_merchants(receipt)}))
    cursor.run(f"""
        CREATE OR REPLACE TABLE alias_3b AS
        SELECT DISTINCT merchant_id::UBIGINT AS merchant_id
        FROM {source(cursor, receipt, "edge_alias_index_3B")} WHERE scope = 'MERCHANT'""")


def _alias_merchants(receipt: Receipt) -> pa.ChunkedArray:
    """The merchants in the index of 2B's blob, in pieces, because the document grows with their number."""
    dataset_id, code = "s2_alias_index", Code.S5_S0_SEALED_INPUTS_INCONSISTENT
    (path,) = files_of(receipt, dataset_id)
    pieces: list[pa.Array] = []

    def take(rows: list[Any]) -> None:
        check_document("s2_alias_index_merchants", rows, code=code, where=str(path))
        pieces.append(pa.array([row["merchant_id"] for row in rows], pa.uint64()))

    document = read_json_rows(path, "merchants", take, what=dataset_id, code=code, hint=_HINT, opened=receipt.open)
    check_document(dataset_id, document, code=code, where=str(path))
    return pa.chunked_array(pieces, pa.uint64())


def _merchants(cursor: Cursor, receipt: Receipt) -> None:
    # A virtual merchant is one with an edge table: edges in the catalogue and a slice in the blob (LAW section 4).
    cursor.run(f"""
        CREATE OR REPLACE TABLE merchant AS
        SELECT merchant_id, mode, settlement, coalesce(edges, 0) > 0 AND alias_3b.merchant_id IS NOT NULL AS has_edges,
               mode <> 'NON_VIRTUAL' AND has_edges AS may_be_virtual,
               NOT (mode = 'VIRTUAL_ONLY' AND has_edges) AS may_be_physical
        FROM (SELECT merchant_id::UBIGINT AS merchant_id, max(virtual_mode)::VARCHAR AS mode
              FROM {source(cursor, receipt, "virtual_classification_3B")} GROUP BY 1)
        LEFT JOIN (SELECT merchant_id::UBIGINT AS merchant_id, max(tzid_settlement)::VARCHAR AS settlement
                   FROM {source(cursor, receipt, "virtual_settlement_3B")} GROUP BY 1) USING (merchant_id)
        LEFT JOIN (SELECT merchant_id, count(*) AS edges FROM edge GROUP BY 1) USING (merchant_id)
        LEFT JOIN alias_3b USING (merchant_id)""")


def universe_hash(receipt: Receipt) -> str:
    """3B's universe hash, recomputed from the index files and the stated digests; empty if these disagree."""
    stated = document_of(receipt, "edge_universe_hash_3B")
    for part, dataset_id in (
        ("edge_alias_index_digest", "edge_alias_index_3B"),
        ("edge_catalogue_index_digest", "edge_catalogue_index_3B"),
    ):
        content = b"".join(read_bytes(receipt, path) for path in files_of(receipt, dataset_id))
        if hashlib.sha256(content).hexdigest() != stated[part]:
            return ""
    names = ("cdn_weights_digest", "edge_alias_index_digest", "edge_catalogue_index_digest", "virtual_rules_digest")
    found = hashlib.sha256(b"".join(bytes.fromhex(stated[name]) for name in names)).hexdigest()
    return found if found == stated["universe_hash"] else ""


@dataclass(frozen=True)
class Horizon:
    """The grid's extent in µs, its buckets, and the clock over it."""

    buckets: int
    start_us: int
    end_us: int
    clock: ClockTable


def load_scenario(cursor: Cursor, receipt: Receipt, scenario_id: str) -> Horizon:
    """Make the tables of one scenario. Raises S5.S1_S3_GRID_DOMAIN_MISMATCH for a grid without a single bucket."""
    cursor.run(f"""
        CREATE OR REPLACE TABLE grid AS
        SELECT bucket_index::BIGINT AS bucket_index, epoch_us(min(bucket_start_utc)::TIMESTAMP) AS start_us,
               epoch_us(max(bucket_end_utc)::TIMESTAMP) AS end_us,
               floor(epoch_us(min(bucket_start_utc)::TIMESTAMP) / {_US_PER_DAY})::INTEGER AS day
        FROM {source(cursor, receipt, "s1_time_grid_5B", scenario_id=scenario_id)} GROUP BY 1""")
    buckets, start_us, end_us = cursor.row("SELECT count(*), min(start_us), max(end_us) FROM grid")
    if not buckets or start_us is None or end_us is None:
        raise ArrivalError(
            Code.S5_S1_S3_GRID_DOMAIN_MISMATCH,
            f"the time grid of {scenario_id} has no bucket with a start and an end",
            hint=_HINT,
            scenario_id=scenario_id,
        )
    horizon = Horizon(buckets, start_us, end_us, clock_table(start_us, end_us))
    cursor.store("clock", horizon.clock.content)
    cursor.store("change", change_table(start_us, end_us))
    _expected(cursor, source(cursor, receipt, "s3_bucket_counts_5B", scenario_id=scenario_id))
    return horizon


def _expected(cursor: Cursor, counts: str) -> None:
    channel = "coalesce(channel_group, '')" if "channel_group" in columns_of(cursor, counts) else "''"
    key = (
        f"""merchant_id::UBIGINT AS merchant_id, zone_representation::VARCHAR AS zone, {channel}::VARCHAR AS channel"""
    )
    drawn = f"FROM {counts} WHERE count_N > 0"
    cursor.run("DROP VIEW IF EXISTS expected; DROP TABLE IF EXISTS entity")
    for kind, column in (("zone_t", "zone"), ("channel_t", "channel")):
        cursor.run(f"DROP TYPE IF EXISTS {kind}")
        cursor.run(f"CREATE TYPE {kind} AS ENUM (SELECT DISTINCT {column} FROM (SELECT {key} {drawn}) ORDER BY 1)")
    # Texts are compared by bytes.
    cursor.run(f"""
        CREATE TABLE entity AS
        SELECT (row_number() OVER (ORDER BY merchant_id, zone, channel) - 1)::INTEGER AS entity,
               merchant_id, zone::zone_t AS zone, channel::channel_t AS channel
        FROM (SELECT DISTINCT {key} {drawn});
        CREATE OR REPLACE TABLE counted AS
        SELECT entity, bucket_index, n
        FROM (SELECT merchant_id, zone::zone_t AS zone, channel::channel_t AS channel, bucket_index, n
              FROM (SELECT {key}, bucket_index::INTEGER AS bucket_index, sum(count_N)::BIGINT AS n
                    {drawn} GROUP BY 1, 2, 3, 4))
        JOIN entity USING (merchant_id, zone, channel);
        CREATE VIEW expected AS
        SELECT merchant_id, zone, channel, bucket_index, n FROM counted JOIN entity USING (entity)""")
