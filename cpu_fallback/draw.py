"""The times of a segment: drawn row by row, then put in order (LAW sections 4.1 and 5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.law import counter_word1, draw_offset
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.segments import Segment
from arrival_engine.cpu_fallback.tables import I32, U64, Grid, Rows, Segments
from arrival_engine.cpu_fallback.wide import mul_hi

U32 = NDArray[np.uint32]
_ONE = np.uint64(1)
_ONE32 = np.uint32(1)


class Times(NamedTuple):
    """Working space for the times of segments of at most n arrivals.

    Positions number a segment's arrivals in (row, draw) order. Owners number its count rows. Both start at 0.
    """

    keys: U64  # [n] by position: offset, and below it the position; once ordered, digest terms in output order
    ordered: U64  # [n] the keys, ascending
    bins: U32  # [n] by position
    fill: U32  # [n + 1] by bin
    owner: I32  # [n] by position


def empty_times(arrivals: int) -> Times:
    """Uninitialised working space for segments of at most `arrivals` arrivals."""
    return Times(
        keys=np.empty(arrivals, np.uint64),
        ordered=np.empty(arrivals, np.uint64),
        bins=np.empty(arrivals, np.uint32),
        fill=np.empty(arrivals + 1, np.uint32),
        owner=np.empty(arrivals, np.int32),
    )


@njit(allocates=False, internal=True)
def segment_at(segments: Segments, rows: Rows, grid: Grid, at: int, first: int) -> Segment:
    """Segment number `at` of the batch that begins with segment number `first`."""
    row = segments.row_start[at]
    bucket = rows.bucket[row]
    return Segment(
        row,
        segments.row_start[at + 1],
        row - segments.row_start[first],
        segments.arrival_start[at + 1] - segments.arrival_start[at],
        np.uint64(segments.arrival_start[at] - segments.arrival_start[first]),
        bucket,
        np.uint64(grid.start_us[bucket]),
        grid.duration_us[bucket],
    )


@njit(allocates=False, internal=True)
def draw_keys(
    segment: Segment, shift: np.uint64, rows: Rows, time_key: U64, time_hi: U64, times: Times
) -> tuple[np.int64, np.int64]:
    """Write a segment's sort keys and owners by position, and the number of keys per bin.

    A key holds the offset above the position, which has `shift` bits. There are as many bins as arrivals: equal parts
    of the time word. time_key, time_hi: as in `Entities`. Returns how many arrivals are at the first, and how many at
    the last microsecond of the bucket.
    """
    keys, _, bins, fill, owner = times
    size = np.uint64(segment.arrivals)
    for i in range(segment.arrivals + 1):
        fill[i] = 0
    at_start, at_end = np.int64(0), np.int64(0)
    position = np.uint64(0)
    for row in range(segment.first_row, segment.last_row):
        entity = rows.entity[row]
        key = time_key[entity]
        word1 = counter_word1(time_hi[entity], segment.bucket)
        for draw in range(rows.arrivals[row]):
            x0, _ = philox2x64(np.uint64(draw), word1, key)
            chosen = mul_hi(x0, size)
            offset = draw_offset(x0, segment.duration_us)
            at_start += offset == 0
            at_end += offset == segment.duration_us - _ONE
            keys[position] = (offset << shift) | position
            bins[position] = chosen
            fill[chosen + _ONE] += _ONE32
            owner[position] = row - segment.first_row
            position += _ONE
    return at_start, at_end


@njit(allocates=False, internal=True)
def sort_keys(arrivals: np.int64, times: Times) -> None:
    """Sort the keys into `ordered`: by bins, then by insertion.

    Offsets are uniform, so a bin holds about one key and insertion moves almost nothing. It also orders keys of equal
    offset from neighbouring bins. A bucket lasts at least one second, so these are few.
    """
    keys, ordered, bins, fill, _ = times
    before = np.uint32(0)
    for i in range(arrivals):
        before += fill[i + 1]
        fill[i + 1] = before
    for i in range(arrivals):
        at = fill[bins[i]]
        fill[bins[i]] = at + _ONE32
        ordered[at] = keys[i]
    for i in range(1, arrivals):
        key = ordered[i]
        at = i
        while at > 0 and ordered[at - 1] > key:
            ordered[at] = ordered[at - 1]
            at -= 1
        ordered[at] = key
