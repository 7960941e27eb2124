"""Exports, read back by other programs."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine import RunOptions, run
from tests.support import readers
from tests.support.product import write_sealed
from tests.support.worlds import small_world

# Names in the contract of the columns for people.
CONTRACT_NAMES = {
    "zone": "zone_representation",
    "channel": "channel_group",
    "tzid": "tzid_primary",
    "ts_local": "ts_local_primary",
    "settlement_tzid": "tzid_settlement",
    "settlement_ts_local": "ts_local_settlement",
}


def published(folder, factor=10, **form):
    """A run directory with the small world, its arrivals many times over, and the result of its run."""
    base = small_world()
    world = replace(base, counts=tuple(replace(row, n=row.n * factor) for row in base.counts))
    run_options = {name: form.pop(name) for name in ("batch_arrivals", "format") if name in form}
    root = write_sealed(world, folder, **form).run_root
    (result,) = run(root, RunOptions(backend="cpu", **run_options)).scenarios
    return root, result


def digest_of(table):
    """The arrival digest of columns for people, computed by code that shares nothing with the product's."""
    if "site_id" not in table.column_names:
        place = table["place_id"]
        table = table.rename_columns([CONTRACT_NAMES.get(name, name) for name in table.column_names])
        table = table.append_column("site_id", place).append_column("edge_id", place)
    for name in ("merchant_id", "site_id", "edge_id"):
        if pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type):
            at = table.column_names.index(name)
            table = table.set_column(at, name, table[name].cast(pa.uint64()))
    return readers.digest_of(table)


def _parquet(target):
    return pq.read_table(target)


def _duckdb(target):
    with duckdb.connect(str(target), read_only=True) as database:
        return database.sql("FROM arrivals").to_arrow_table()


# How another program reads an export of each format.
READERS = {"parquet": _parquet, "duckdb": _duckdb}


def seen(to, target):
    """The digest of what a reader sees at a target; None where it sees nothing."""
    return digest_of(READERS[to](target)) if target.exists() else None


def hidden(target):
    """What exports left beside their target, out of sight."""
    return sorted(path.name for path in target.parent.iterdir() if path.name.startswith("."))
