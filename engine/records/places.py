"""The sites and edges that arrivals name, as tables to join them with (docs/reference/layouts.md, "Sites and edges").

Both hold the whole world, so that they are the same for every scenario.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.contracts import arrow_schema
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.cpu_fallback.identifiers import site_id
from arrival_engine.engine.records.columns import laid_out
from arrival_engine.engine.rundir.arrow_files import write_table
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.world.sites import SITE_KEY, read_sites

_EDGE_COLUMNS = ("merchant_id", "edge_id", "edge_seq_index", "country_iso", "tzid_operational", "edge_weight")
_GROUP_ROWS = 1 << 18


def write_sites(receipt: Receipt, path: InsidePath) -> None:
    """One row per site with a weight and a zone, ordered by (merchant, country, order)."""
    sites = read_sites(receipt).drop_null()
    keys = zip(*(sites[name].to_pylist() for name in SITE_KEY), strict=True)
    _write(receipt, "arrival_sites_5B", path, sites, site_id=pa.array([site_id(*key) for key in keys], pa.uint64()))


def write_edges(receipt: Receipt, path: InsidePath) -> None:
    """One row per edge, ordered by (merchant, edge)."""
    edges = read_table(receipt, "edge_catalogue_3B", _EDGE_COLUMNS)
    edges = edges.set_column(1, "edge_hex", edges["edge_id"].cast(pa.string()))
    # Zero is not an id: a run refuses an edge of that id if it can be drawn.
    edges = edges.filter(pc.not_equal(edges["edge_hex"], "0" * 16))
    edges = edges.sort_by([("merchant_id", "ascending"), ("edge_hex", "ascending")])
    numbers = pa.array([int(text, 16) for text in edges["edge_hex"].to_pylist()], pa.uint64())
    _write(receipt, "arrival_edges_5B", path, edges, edge_id=numbers)


def _write(receipt: Receipt, dataset_id: str, path: InsidePath, table: pa.Table, **more: pa.Array) -> None:
    schema = arrow_schema(dataset_id)
    constants = {name: value for name, value in receipt.identity.columns().items() if name in schema.names}
    columns = {name: table[name] for name in table.column_names} | more
    with writing("table of places", path):
        table = laid_out(schema, len(table), constants, columns)
        write_table(path, table, compression="ZSTD", row_group_size=_GROUP_ROWS)
