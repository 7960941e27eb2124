"""The summary and anomalies datasets (docs/reference/layouts.md, "Summary and anomalies")."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts import arrow_schema
from arrival_engine.contracts.arrow_columns import coded
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.cpu_fallback.streams import domain, length_prefixed
from arrival_engine.engine.expand.ledger import Ledger, ScenarioLedger
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.records.columns import laid_out
from arrival_engine.engine.records.groups import Columns, equal_groups
from arrival_engine.engine.rundir.arrow_files import new_parquet
from arrival_engine.engine.rundir.settings import FALLBACK_MEANINGS
from arrival_engine.engine.world.load import World

_GROUP_ROWS = 1 << 18
# Small or ascending numbers: as deltas they take less room and time than as codes of a dictionary.
_DELTA_COLUMNS = ("bucket_index", "count_N", "count_physical", "count_virtual")
# Statistics cost time per value; readers prune by merchant and by time.
_STATISTICS = ("merchant_id", "bucket_index")
# The default of 1,024 spends a tenth of the time on going from one small batch to the next.
_WRITTEN_AT_ONCE = 65_536


def write_summary(ledger: ScenarioLedger, path: InsidePath) -> None:
    """One row per count row: N, physical, virtual; ordered by (merchant, zone bytes, channel bytes, bucket)."""
    schema = arrow_schema("s4_arrival_summary_5B")
    chunks = (chunk for piece in ledger.pieces() for chunk in _summary_chunks(piece))
    _write(path, schema, (_summary(ledger.world, schema, *columns) for columns in equal_groups(chunks, _GROUP_ROWS)))


def _summary_chunks(piece: Ledger) -> Iterator[Columns]:
    """Entity, bucket, N and virtual arrivals, _GROUP_ROWS count rows at a time."""
    rows = piece.world.rows
    # Entities are numbered by (merchant, zone, channel), so their number is the contract's leading sort key; of one
    # entity the rows ascend by bucket already. Entity and row in one integer sort several times faster than apart.
    bits = rows.entity.size.bit_length()
    keys = rows.entity.astype(np.int64) << bits
    keys |= np.arange(keys.size)
    keys.sort()
    for first in range(0, keys.size, _GROUP_ROWS):
        key = keys[first : first + _GROUP_ROWS]
        row = key & ((1 << bits) - 1)
        yield key >> bits, rows.bucket[row], rows.arrivals[row], piece.row_totals.virtual[row]


def _summary(
    world: World,
    schema: pa.Schema,
    entity: NDArray[np.int64],
    bucket: NDArray[np.int32],
    counts: NDArray[np.int32],
    virtual: NDArray[np.int32],
) -> pa.Table:
    entities = world.tables.entities
    return _table(
        world,
        schema,
        entity.size,
        merchant_id=pa.array(world.tables.merchants.id[entities.merchant[entity]]),
        zone_representation=coded(entities.zone[entity], world.tzids),
        channel_group=coded(entities.channel[entity], world.channels, empty_is_null=True),
        bucket_index=pa.array(bucket),
        count_N=pa.array(counts),
        count_physical=pa.array(counts - virtual),
        count_virtual=pa.array(virtual),
    )


def write_anomalies(ledger: ScenarioLedger, path: InsidePath) -> int:
    """One row per entity and fallback taken, ordered by anomaly_id; returns the number of rows."""
    # An entity's count rows all lie in its merchant's piece, so no anomaly is in two.
    found = sorted((row for piece in ledger.pieces() for row in _anomalies(piece)), key=lambda row: row.anomaly_id)
    schema = arrow_schema("s4_arrival_anomalies_5B")
    columns = list(zip(*found, strict=True)) or [(), (), (), ()]
    table = _table(
        ledger.world,
        schema,
        len(found),
        anomaly_id=pa.array(columns[0], pa.uint64()),
        anomaly_code=pa.array(columns[1], pa.string()),
        severity=pa.array(["WARN"] * len(found), pa.string()),
        context=pa.array(columns[2], schema.field("context").type),
        message=pa.array(columns[3], pa.string()),
    )
    _write(path, schema, iter([table]))
    return len(found)


MEANINGS = {switch.upper(): meaning for switch, meaning in FALLBACK_MEANINGS.items()}


class _Anomaly(NamedTuple):
    """One row; an `anomaly_id` occurs once, so that rows are ordered by it alone."""

    anomaly_id: int
    code: str
    context: Mapping[str, Any]
    message: str


def _anomalies(ledger: Ledger) -> Iterator[_Anomaly]:
    world, rows = ledger.world, ledger.world.rows
    for switch, arrivals in ledger.fallback_rows().items():
        hit = np.flatnonzero(arrivals)
        entities, index, size = np.unique(rows.entity[hit], return_inverse=True, return_counts=True)
        total = np.bincount(index, weights=arrivals[hit], minlength=entities.size).astype(np.int64)
        first = np.full(entities.size, np.iinfo(np.int32).max, np.int32)
        last = np.zeros(entities.size, np.int32)
        np.minimum.at(first, index, rows.bucket[hit])
        np.maximum.at(last, index, rows.bucket[hit])
        for entity, *facts in zip(*(a.tolist() for a in (entities, total, size, first, last)), strict=True):
            yield _anomaly(world, switch.upper(), entity, facts)


def _anomaly(world: World, code: str, entity: int, facts: list[int]) -> _Anomaly:
    tables = world.tables
    merchant = int(tables.merchants.id[tables.entities.merchant[entity]])
    zone = world.tzids[tables.entities.zone[entity]]
    channel = world.channels[tables.entities.channel[entity]]
    arrivals, count_rows, first, last = facts
    context = {
        "merchant_id": merchant,
        "zone_representation": zone,
        "channel_group": channel or None,
        "arrivals": arrivals,
        "count_rows": count_rows,
        "first_bucket": first,
        "last_bucket": last,
    }
    name = length_prefixed(world.scenario_id) + length_prefixed(code) + length_prefixed(domain(merchant, zone, channel))
    anomaly_id = int.from_bytes(hashlib.sha256(b"5B.anomaly" + name).digest()[:8], "big") or 1
    message = f"merchant {merchant}, {zone}: {MEANINGS[code]} ({arrivals} arrivals)"
    return _Anomaly(anomaly_id, code, context, message)


def _table(world: World, schema: pa.Schema, size: int, **columns: pa.Array) -> pa.Table:
    """A table of the schema: the identity columns are filled in, the others given."""
    constants = {
        **world.identity.columns(),
        "scenario_id": world.scenario_id,
        "s4_spec_version": world.spec_version,
    }
    return laid_out(schema, size, constants, columns)


def _write(path: InsidePath, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    deltas = [name for name in schema.names if name in _DELTA_COLUMNS]
    with writing("diagnostic dataset", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_parquet(
            path,
            schema,
            compression="ZSTD",
            use_dictionary=[name for name in schema.names if name not in (*texts, *deltas)],
            column_encoding=dict.fromkeys(deltas, "DELTA_BINARY_PACKED"),
            write_statistics=[name for name in schema.names if name in _STATISTICS],
            write_batch_size=_WRITTEN_AT_ONCE,
        ) as writer:
            # A table is written while the next one is made.
            write = partial(writer.write_table, row_group_size=_GROUP_ROWS)
            with closing(ordered(write, tables, 1, Cancellation(), ahead=1)) as written:
                deque(written, maxlen=0)
