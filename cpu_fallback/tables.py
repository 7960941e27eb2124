"""Lookup tables and columns that both backends read and write, as small named groups of arrays.

Tables in compressed rows carry a `start` array: table t owns the slots start[t] to start[t + 1]. "Packed" slots are
`cpu_fallback.alias.pack` words. A zone, channel, merchant, entity or table is named by its index in its own group.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Group = TypeVar("Group", bound=tuple[Any, ...])

I8 = NDArray[np.int8]
U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
# A position, a count or a code, in plain Python and in compiled code.
Index = int | np.int64

NO_TABLE = -1
FAILED_NO_GROUP = 1
FAILED_NO_SITE = 2


class Grid(NamedTuple):
    """Buckets, B of them, ascending in time and not overlapping."""

    start_us: I64  # microseconds since the epoch
    duration_us: U64  # D of the law, > 0
    day: I32  # UTC day of the bucket start, days since the epoch


class Entities(NamedTuple):
    """Entities, E of them, ordered by (merchant, zone bytes, channel bytes)."""

    merchant: I32
    zone: I32
    channel: I32
    site_table: I32  # sites of the merchant in the count row's zone, or NO_TABLE
    time_key: U64
    time_hi: U64
    site_key: U64
    site_hi: U64
    edge_key: U64
    edge_hi: U64


class Merchants(NamedTuple):
    """Merchants with arrivals, M of them, ascending by id."""

    id: U64
    mode: I8  # index into cpu_fallback.law.MODES
    site_table: I32  # all the merchant's sites, or NO_TABLE
    edge_start: I64  # [M + 1] into Edges; an empty range is a merchant without an edge table
    settlement: I32  # zone, or -1 for none
    group_start: I64  # [M + 1] into Groups


class Groups(NamedTuple):
    """Alias tables over tz groups, one per merchant and UTC day, days ascending within a merchant."""

    day: I32
    start: I64
    packed: U64
    zone: I32
    site_table: I32  # sites of the merchant in the slot's zone, or NO_TABLE


class Sites(NamedTuple):
    """Alias tables over sites: one per (merchant, zone), and one per merchant over all its sites."""

    start: I64
    packed: U64
    id: U64
    zone: I32


class Edges(NamedTuple):
    """Alias slots over virtual edges, as in the 3B blob; table bounds are Merchants.edge_start."""

    packed: U64
    id: U64
    zone: I32


class Zones(NamedTuple):
    """UTC offsets by zone: pair i applies from instant[i] on; the first pair of a zone applies since -2^63."""

    start: I32
    instant: I64  # seconds since the epoch
    offset_us: I64  # microseconds to add to UTC
    text: U64  # [Z] text word of the tzid for the digest


class Tables(NamedTuple):
    """Everything that expansion looks up."""

    grid: Grid
    entities: Entities
    merchants: Merchants
    groups: Groups
    sites: Sites
    edges: Edges
    zones: Zones
    channel_text: U64


class Rows(NamedTuple):
    """Count rows with N > 0, R of them, ordered by (merchant, bucket, zone bytes, channel bytes)."""

    entity: I32
    bucket: I32
    arrivals: I32


class Segments(NamedTuple):
    """Segments, S of them: all count rows of one (merchant, bucket), in row order."""

    row_start: I64  # [S + 1]
    arrivals_before: I64  # [S] arrivals of the same merchant in earlier buckets
    arrival_start: I64  # [S + 1] arrivals of the whole scenario before the segment


class Switches(NamedTuple):
    """The routing policy's decisions, as scalars."""

    coin: np.uint64  # floor(p * 2^64)
    use_group_weights: bool
    fail_no_group: bool  # a physical arrival without a tz group table stops the run instead of using the row's zone
    fail_no_site: bool  # a drawn zone without sites stops the run instead of using all the merchant's sites


class Columns(NamedTuple):
    """Arrivals of one batch in output order, n of them."""

    row: I32  # count row, counted from the batch's first
    arrival_seq: I64
    ts_us: I64
    place: I32  # index into the edges if virtual, else into the sites
    primary: I32  # zone
    local_us: I64
    settlement: I32  # zone; -1 on physical rows
    settlement_local_us: I64  # 0 on physical rows
    is_virtual: NDArray[np.bool_]


class RowTotals(NamedTuple):
    """Totals of the R count rows."""

    virtual: I32
    without_group: I32  # physical arrivals whose merchant-day has no tz group table, while group weights are in use
    without_site: I32  # physical arrivals whose drawn zone has no site table


class BatchTotals(NamedTuple):
    """Sums over a batch, filled by the kernel."""

    digest: U64  # [2] sums A and B
    at_start: I64  # [1] arrivals at the first microsecond of their bucket
    at_end: I64  # [1] arrivals at the last microsecond of their bucket
    origin: I64  # [2] the batch's first count row and first arrival within the scenario
    failure: I64  # [2] what stopped the batch (0 nothing, FAILED_NO_GROUP, FAILED_NO_SITE) and its row in the batch


class Work(NamedTuple):
    """The input of an expansion."""

    tables: Tables
    rows: Rows
    segments: Segments
    switches: Switches


class Results(NamedTuple):
    """The output of one batch."""

    columns: Columns
    row_totals: RowTotals
    totals: BatchTotals


def empty_columns(size: int) -> Columns:
    """Uninitialised columns for `size` arrivals."""
    return Columns(
        row=np.empty(size, np.int32),
        arrival_seq=np.empty(size, np.int64),
        ts_us=np.empty(size, np.int64),
        place=np.empty(size, np.int32),
        primary=np.empty(size, np.int32),
        local_us=np.empty(size, np.int64),
        settlement=np.empty(size, np.int32),
        settlement_local_us=np.empty(size, np.int64),
        is_virtual=np.empty(size, np.bool_),
    )


def empty_batch_totals() -> BatchTotals:
    """Zeroed totals."""
    return BatchTotals(
        digest=np.zeros(2, np.uint64),
        at_start=np.zeros(1, np.int64),
        at_end=np.zeros(1, np.int64),
        origin=np.zeros(2, np.int64),
        failure=np.zeros(2, np.int64),
    )


def empty_row_totals(rows: int) -> RowTotals:
    """Zeroed totals of `rows` count rows."""
    return RowTotals(*(np.zeros(rows, np.int32) for _ in RowTotals._fields))


def owned(group: Group) -> Group:
    """The same tables with every array contiguous and writable.

    Kernels are typed by layout and mutability: a read-only view, as Arrow makes them, would compile a kernel twice.
    """
    return type(group)(
        *(owned(part) if isinstance(part, tuple) else np.require(part, requirements=["C", "W", "O"]) for part in group)
    )
