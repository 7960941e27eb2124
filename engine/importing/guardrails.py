"""What a world's contents need of the guardrails in its policies, and what no guardrail can allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arrival_engine.contracts import Code, Notice
from arrival_engine.cpu_fallback.segments import KEY_BITS, offset_bits, position_bits
from arrival_engine.cpu_fallback.tables import Grid
from arrival_engine.engine.importing.contents import Contents, Counts, Ints, runs, sorted_order
from arrival_engine.engine.importing.grid import length, told
from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.importing.values import MICROS

# Runs hold the count of a row in 32 bits.
ARRIVALS_MAX = 2**31 - 1
# Counts so many buckets apart are told if three quarters of the grid lie between them, because a year may be wrong.
_FAR = 1000


@dataclass(frozen=True)
class Needs:
    """The number of buckets, the longest bucket in seconds, and the largest count of a merchant, zone and channel."""

    buckets: int
    bucket_seconds: int
    arrivals_per_bucket: int


def needs_of(contents: Contents) -> Needs:
    """The needs of a world, whose count rows have unique keys."""
    edges = contents.grid_us
    return Needs(len(edges) - 1, int(np.diff(edges).max()) // MICROS, int(contents.counts.arrivals.max()))


def long_gap(contents: Contents) -> list[Notice]:
    """A notice of a stretch without counts that is most of the grid."""
    edges, used = contents.grid_us, np.unique(contents.counts.bucket)
    gaps = np.diff(used) - 1
    widest = int(np.argmax(gaps)) if len(gaps) else 0
    if not len(gaps) or gaps[widest] < _FAR or 4 * gaps[widest] < 3 * (len(edges) - 1):
        return []
    begin, end = (told(int(edges[bucket])) for bucket in (used[widest] + 1, used[widest + 1]))
    message = (
        f"there are no counts in {gaps[widest]:,} of the {len(edges) - 1:,} buckets, from {begin} to {end}: check the"
        " years of the times around them"
    )
    return [Notice("LONG_GAP", message, {"buckets": int(gaps[widest]), "start_utc": begin, "end_utc": end})]


def refuse_unordered(table: Table, row: Ints, counts: Counts, grid_us: Ints) -> None:
    """Refuse a merchant with more arrivals in one bucket than the law's sort keys can tell apart: LIMIT_EXCEEDED.

    row: int64[R], a row of the table that each count comes from.
    """
    duration = np.diff(grid_us)
    grid = Grid(grid_us[:-1], duration.astype(np.uint64), np.zeros(len(duration), np.int32))
    places = KEY_BITS - offset_bits(grid)
    # The common case needs no order: all arrivals together have few enough.
    if position_bits(int(counts.arrivals.sum())) <= places:
        return
    order = sorted_order(counts.merchant, counts.bucket)
    first = runs(counts.merchant[order], counts.bucket[order])
    arrivals = np.add.reduceat(counts.arrivals[order], first)
    largest = int(np.argmax(arrivals))
    if position_bits(int(arrivals[largest])) <= places:
        return
    at = int(order[first[largest]])
    table.refuse(
        int(row[at]),
        f"merchant {counts.merchant[at]} has {arrivals[largest]:,} arrivals from"
        f" {told(int(grid_us[counts.bucket[at]]))}; with buckets of up to {length(int(duration.max()))},"
        f" {2**places:,} of one bucket can be ordered",
        "use shorter buckets, or divide the merchant's arrivals among several merchants",
        code=Code.LIMIT_EXCEEDED,
    )
