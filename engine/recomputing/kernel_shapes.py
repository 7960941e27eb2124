"""The tables and buffers that the compiled law works on. Their fields' order is part of compiled code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

TIME, SITE, EDGE = 0, 1, 2
# Kinds of merchants. STRANDED: virtual or hybrid without an edge table, and therefore physical.
PHYSICAL, VIRTUAL, HYBRID, STRANDED = 0, 1, 2, 3
NONE = -1


class Slots(NamedTuple):
    """Alias tables end to end: table t has slots start[t] to start[t + 1].

    threshold: uint64, 0 to 2^32. alias: int32, within the table. member: int32, what the slot stands for.
    """

    start: I64
    threshold: U64
    alias: I32
    member: I32


class Merchants(NamedTuple):
    """M merchants, ascending. edges, sites: each one's alias table, NONE without one; groups: bounds in `group_day`."""

    id: U64
    kind: U8
    edges: I32
    sites: I32
    groups: I64
    segments: I64


class Entities(NamedTuple):
    """E entities by (merchant, zone, channel). home: the alias table of the sites in the zone; key, hi0: uint64[E, 3]
    by family.
    """

    zone: I32
    channel: I32
    home: I32
    key: U64
    hi0: U64


class Places(NamedTuple):
    """Identifiers and zones of all sites, or of all edges; members of alias tables."""

    id: U64
    zone: I32


class Grid(NamedTuple):
    """Buckets: start in microseconds, duration in microseconds, UTC day of the start, counted from `first_day`."""

    start_us: I64
    duration_us: U64
    day: I32


class Rows(NamedTuple):
    """R count rows by (merchant, bucket, zone, channel), and the S segments that they form.

    start: int64[S + 1] into the rows. merchant: int32[S]. before: int64[S], the merchant's arrivals in earlier
    segments.
    """

    entity: I32
    bucket: I32
    arrivals: I32
    start: I64
    merchant: I32
    before: I64


class Law(NamedTuple):
    """Everything that decides an arrival. coin: uint64[1], floor(p * 2^64); group_day: int32[G], by merchant."""

    merchants: Merchants
    entities: Entities
    group_day: I32
    groups: Slots  # members: alias tables of `site_tables`, or NONE
    site_tables: Slots
    edge_tables: Slots
    sites: Places
    edges: Places
    grid: Grid
    rows: Rows
    coin: U64


class Draws(NamedTuple):
    """One segment's arrivals: room for as many as the largest has. order: their numbers by (time, zone, channel, j)."""

    ts_us: I64
    place: U64
    zone: I32
    member: I32
    group: I64  # the slot of `groups` that was picked, or NONE
    row: I64
    is_virtual: U8
    order: I32
    fill: I32  # room for a histogram, one longer


class Recount(NamedTuple):
    """By count row: virtual arrivals, and physical ones whose zone has no site. seen: by segment, whether expanded."""

    virtual: I32
    homeless: I32
    seen: U8


class Tally(NamedTuple):
    """Stored arrivals, counted.

    Those that are as recomputed: site, edge, by place; group, by slot of the group tables; zone_day, by zone and day.
    All in their bucket: bins, by place in it; ends, at its first and last microsecond; large, int64[rows, bins] for the
    count rows `watched`, which have at least `least` arrivals.
    """

    site: I64
    edge: I64
    group: I64
    zone_day: I64
    bins: I64
    ends: I64
    watched: I64
    least: I64
    large: I64


class Stored(NamedTuple):
    """Columns of n stored rows; zone, channel, primary: codes of the law's texts, NONE for others."""

    merchant: U64
    bucket: U64
    seq: I64
    ts_us: I64
    is_virtual: NDArray[np.bool_]
    place: U64
    zone: I32
    channel: I32
    primary: I32
