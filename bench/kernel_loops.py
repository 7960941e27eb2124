"""Loops around single parts of the expansion, compiled as the product's kernels are, calling the product's functions.

Each stores or folds what it computes, so that no compiler may leave the work out.
"""

from __future__ import annotations

import numpy as np

from cpu_fallback import route
from cpu_fallback.expand import Scratch, Work, _draw_keys, _sort_keys
from cpu_fallback.jit import njit
from cpu_fallback.philox import philox2x64
from cpu_fallback.tables import I32, I64, U64, Columns

RING = 1023  # a power of two less one: a division would cost more than the block
_part = njit(allocates=False)
_find_group_table = _part(route.find_group_table)
_route_arrival = _part(route.route_arrival)
_local_time = _part(route.local_time)
_row_digest = _part(route.row_digest)


@njit(nogil=True, allocates=False)
def philox_blocks(blocks: int, key: np.uint64, words: U64) -> None:
    """Blocks with counters 0, 1, 2, ... into a short array: the floor under everything that draws.

    Folded into one word they would be computed with vector instructions, which have no 128 bit product: half as fast.
    """
    for counter in range(blocks):
        x0, x1 = philox2x64(np.uint64(counter), np.uint64(1), key)
        words[counter & RING] = x0 ^ x1


@njit(nogil=True, allocates=False)
def draw(work: Work, span: tuple[int, int], shift: np.uint64, scratch: Scratch) -> np.uint64:
    """Time words and sort keys of segments span[0] to span[1]."""
    folded = np.uint64(0)
    starts = work.segments.row_start
    for segment in range(span[0], span[1]):
        size = _draw_keys(work.tables, work.rows, starts[segment], starts[segment + 1], shift, scratch)
        folded ^= scratch.keys[size - 1]
    return folded


@njit(nogil=True, allocates=False)
def draw_and_sort(work: Work, span: tuple[int, int], shift: np.uint64, scratch: Scratch) -> np.uint64:
    """The same, and the keys in order."""
    folded = np.uint64(0)
    starts = work.segments.row_start
    for segment in range(span[0], span[1]):
        size = _draw_keys(work.tables, work.rows, starts[segment], starts[segment + 1], shift, scratch)
        _sort_keys(scratch, size)
        folded ^= scratch.scattered[size - 1]
    return folded


class Arrivals:
    """Entities, buckets and zones of a batch's arrivals, as arrays that the loops below read."""

    def __init__(self, work: Work, rows: tuple[int, int], columns: Columns) -> None:
        self.entity: I32 = work.rows.entity[rows[0] : rows[1]][columns.row]
        self.bucket: I32 = work.rows.bucket[rows[0] : rows[1]][columns.row]
        self.columns = columns


@njit(nogil=True, allocates=False)
def _route_all(work: Work, entity: I32, bucket: I32) -> np.uint64:
    folded = np.uint64(0)
    tables, switches = work.tables, work.switches
    group_table = np.int64(-1)
    last_entity, last_bucket = np.int32(-1), np.int32(-1)
    for i in range(entity.size):
        # Once a segment in the product; a change of merchant or bucket is close enough to that.
        if switches.use_group_weights and (bucket[i] != last_bucket or entity[i] < last_entity):
            merchant = tables.entities.merchant[entity[i]]
            group_table = _find_group_table(tables.merchants, tables.groups, merchant, tables.grid.day[bucket[i]])
        last_entity, last_bucket = entity[i], bucket[i]
        _, place, primary, _, _ = _route_arrival(tables, switches.coin, entity[i], bucket[i], group_table, np.int64(i))
        folded ^= place + np.uint64(primary)
    return folded


@njit(nogil=True, allocates=False)
def _clock_all(work: Work, zone: I32, ts_us: I64) -> np.uint64:
    folded = np.uint64(0)
    for i in range(zone.size):
        folded ^= np.uint64(_local_time(work.tables.zones, zone[i], ts_us[i]))
    return folded


@njit(nogil=True, allocates=False)
def _digest_all(work: Work, entity: I32, bucket: I32, columns: Columns) -> np.uint64:
    folded = np.uint64(0)
    for i in range(entity.size):
        routed = (columns.is_virtual[i], columns.place[i], columns.primary[i], columns.settlement[i], False)
        clocks = (columns.local_us[i], columns.settlement_local_us[i])
        a, b = _row_digest(work.tables, entity[i], bucket[i], columns.arrival_seq[i], columns.ts_us[i], routed, clocks)
        folded += a ^ b
    return folded


def route_all(work: Work, arrivals: Arrivals) -> np.uint64:
    """Group, site or edge of every arrival."""
    return _route_all(work, arrivals.entity, arrivals.bucket)


def clock_all(work: Work, arrivals: Arrivals) -> np.uint64:
    """Local time of every arrival in its primary zone."""
    return _clock_all(work, arrivals.columns.primary, arrivals.columns.ts_us)


def digest_all(work: Work, arrivals: Arrivals) -> np.uint64:
    """Both digest lanes of every arrival."""
    return _digest_all(work, arrivals.entity, arrivals.bucket, arrivals.columns)
