"""The contract's 21 columns from a batch's arrays, by the library that holds them: codes, numbers and flags, no texts.

`engine.expand.assemble` does the same on the host for Arrow. Here the arrays stay on the device, which writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from arrival_engine.cpu_fallback.tables import Columns, Rows, Tables

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DeviceColumn", "Kept", "Layout", "Lookups", "arranged", "null_counts", "owned"]

# Columns of a batch that `arranged` returns as they stand. It gathers from the others or computes with them.
_RETURNED = ("arrival_seq", "ts_us", "primary", "local_us", "settlement_local_us", "is_virtual")


@dataclass(frozen=True)
class Lookups:
    """Tables and count rows as arrays of one library (numpy, CuPy)."""

    tables: Tables
    rows: Rows


@dataclass(frozen=True)
class Kept:
    """A batch's columns where they were computed, each of at least `arrivals` elements.

    library: numpy, or a module that has its functions for these arrays. first_row: the batch's first count row.
    """

    library: Any
    lookups: Lookups
    columns: Columns
    first_row: int
    arrivals: int


@dataclass(frozen=True)
class Layout:
    """What the columns of a run need besides its arrays.

    schema: names, order, types and nullability. constants: text columns of one value. tzids, channels: texts by code; a
    first channel of "" is null. mirror: the settlement and operational columns of physical rows repeat the primary
    clock instead of being null.
    """

    schema: pa.Schema
    constants: Mapping[str, str]
    seed: int
    tzids: tuple[str, ...]
    channels: tuple[str, ...]
    mirror: bool


class DeviceColumn(NamedTuple):
    """One column: plain values, or int32 codes of `texts`; `valid` is a bool array, None if nothing is null.

    The code of a null is len(texts); a plain value under a null is undefined. Timestamps are int64 microseconds.
    """

    name: str
    values: Any
    valid: Any = None
    texts: tuple[str, ...] | None = None


def arranged(layout: Layout, kept: Kept, first: int, last: int) -> list[DeviceColumn]:
    """The columns of arrivals first to last (half-open, within the batch) in the schema's order."""
    cut: list[Any] = [column[first:last] for column in kept.columns]
    columns = Columns(*cut)
    found = {
        **_row_columns(layout, kept, columns),
        **_clock_columns(layout, kept.library, columns),
        **_constant_columns(layout, kept.library, last - first),
    }
    physical = ~columns.is_virtual
    found |= {
        "arrival_seq": DeviceColumn("arrival_seq", columns.arrival_seq),
        "ts_utc": DeviceColumn("ts_utc", columns.ts_us),
        "is_virtual": DeviceColumn("is_virtual", columns.is_virtual),
        "site_id": _place(kept, "site_id", kept.lookups.tables.sites.id, columns.place, physical),
        "edge_id": _place(kept, "edge_id", kept.lookups.tables.edges.id, columns.place, columns.is_virtual),
    }
    return [found[name] for name in layout.schema.names]


def owned(kept: Kept) -> Kept:
    """The same columns; those that `arranged` returns as they stand are copied to arrays of their own."""
    copies = {name: getattr(kept.columns, name)[: kept.arrivals].copy() for name in _RETURNED}
    return replace(kept, columns=kept.columns._replace(**copies))


def null_counts(layout: Layout, arrivals: int, virtual: int, without_channel: int) -> dict[str, int]:
    """Nulls of each column that can have some, among arrivals of which so many are virtual or have no channel."""
    physical = arrivals - virtual
    clocks = 0 if layout.mirror else physical
    return {
        "channel_group": without_channel,
        "tzid_settlement": clocks,
        "ts_local_settlement": clocks,
        "tzid_operational": clocks,
        "ts_local_operational": clocks,
        "site_id": virtual,
        "edge_id": physical,
    }


def _row_columns(layout: Layout, kept: Kept, columns: Columns) -> dict[str, DeviceColumn]:
    """The columns that arrivals take over from their count row."""
    tables, rows = kept.lookups.tables, kept.lookups.rows
    row = columns.row.astype(np.int64) + kept.first_row
    entity = rows.entity[row]
    channel, channels, valid = tables.entities.channel[entity], layout.channels, None
    if channels[:1] == ("",):
        # At least one text, so that a column of nulls alone has a vocabulary to gather from.
        channel, channels, valid = channel - np.int32(1), channels[1:] or ("",), channel > 0
    found = (
        DeviceColumn("merchant_id", tables.merchants.id[tables.entities.merchant[entity]]),
        DeviceColumn("zone_representation", tables.entities.zone[entity], None, layout.tzids),
        _coded(kept.library, "channel_group", channel, valid, channels),
        DeviceColumn("bucket_index", rows.bucket[row].astype(np.int64)),
    )
    return {column.name: column for column in found}


def _place(kept: Kept, name: str, ids: Any, place: Any, valid: Any) -> DeviceColumn:
    """The ids of the places that `valid` marks; the others' indices belong to another table."""
    index = kept.library.where(valid, place, np.int32(0))
    values = ids[index] if ids.size else kept.library.zeros(place.size, np.uint64)
    return DeviceColumn(name, values, valid)


def _clock_columns(layout: Layout, library: Any, columns: Columns) -> dict[str, DeviceColumn]:
    virtual, primary, local = columns.is_virtual, columns.primary, columns.local_us
    settlement, settlement_local = columns.settlement, columns.settlement_local_us
    valid: Any = virtual
    if layout.mirror:
        settlement = library.where(virtual, settlement, primary)
        settlement_local = library.where(virtual, settlement_local, local)
        valid = None
    found = (
        DeviceColumn("tzid_primary", primary, None, layout.tzids),
        DeviceColumn("ts_local_primary", local),
        _coded(library, "tzid_settlement", settlement, valid, layout.tzids),
        DeviceColumn("ts_local_settlement", settlement_local, valid),
        _coded(library, "tzid_operational", primary, valid, layout.tzids),
        DeviceColumn("ts_local_operational", local, valid),
    )
    return {column.name: column for column in found}


def _coded(library: Any, name: str, codes: Any, valid: Any, texts: tuple[str, ...]) -> DeviceColumn:
    if valid is not None:
        codes = library.where(valid, codes, np.int32(len(texts)))
    return DeviceColumn(name, codes, valid, texts)


def _constant_columns(layout: Layout, library: Any, size: int) -> dict[str, DeviceColumn]:
    zeros = library.zeros(size, np.int32)
    found = {name: DeviceColumn(name, zeros, None, (text,)) for name, text in layout.constants.items()}
    # A scalar of the type, because not every library takes a plain number beyond int64.
    return {**found, "seed": DeviceColumn("seed", library.full(size, np.uint64(layout.seed), np.uint64))}
