"""The times of a segment: drawn row by row, then put in order (LAW sections 4.1 and 5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.law import counter_word1, draw_offset
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.tables import I32, I64, U64, Rows, Segments, Tables
from arrival_engine.cpu_fallback.wide import mul_hi

_ONE = np.uint32(1)


class Scratch(NamedTuple):
    """Working space for the largest segment of a batch: n arrivals in m count rows.

    Positions number a segment's arrivals in (row, draw) order. Owners number its count rows. Both start at 0.
    """

    keys: U64  # [n] by position: offset, and below it the position
    ordered: U64  # [n] the keys, ascending
    bins: NDArray[np.uint32]  # [n] by position
    fill: NDArray[np.uint32]  # [n + 1] by bin
    owner: I32  # [n] by position
    row_first: I64  # [m] first position of each owner
    site: I32  # [n] by position, index into the sites; filled by `physical`
    hashes: U64  # [n] in output order, digest terms added up so far; filled by `physical`
    row_hash: U64  # [m] digest terms of each owner; filled by `physical`


def scratch(arrivals: int, rows: int) -> Scratch:
    """Uninitialised working space for segments of at most `arrivals` arrivals and `rows` count rows."""
    return Scratch(
        keys=np.empty(arrivals, np.uint64),
        ordered=np.empty(arrivals, np.uint64),
        bins=np.empty(arrivals, np.uint32),
        fill=np.empty(arrivals + 1, np.uint32),
        owner=np.empty(arrivals, np.int32),
        row_first=np.empty(rows, np.int64),
        site=np.empty(arrivals, np.int32),
        hashes=np.empty(arrivals, np.uint64),
        row_hash=np.empty(rows, np.uint64),
    )


@njit(allocates=False, internal=True)
def draw_keys(
    tables: Tables, rows: Rows, segments: Segments, segment: int, shift: np.uint64, space: Scratch
) -> np.int64:
    """Write a segment's sort keys by position and the number of keys per bin; return the number of arrivals, n.

    A key holds the offset above the position, which has `shift` bits. The n bins are equal parts of the time word.
    """
    keys, bins, fill, owner = space.keys, space.bins, space.fill, space.owner
    first_row, last_row = segments.row_start[segment], segments.row_start[segment + 1]
    total: np.int64 = segments.arrival_start[segment + 1] - segments.arrival_start[segment]
    size = np.uint64(total)
    bucket = rows.bucket[first_row]
    duration = tables.grid.duration_us[bucket]
    fill[: total + 1] = 0
    position = np.int64(0)
    for row in range(first_row, last_row):
        entity = rows.entity[row]
        key = tables.entities.time_key[entity]
        word1 = counter_word1(tables.entities.time_hi[entity], bucket)
        space.row_first[row - first_row] = position
        for draw in range(rows.arrivals[row]):
            x0, _ = philox2x64(np.uint64(draw), word1, key)
            chosen = np.int64(mul_hi(x0, size))
            keys[position] = (draw_offset(x0, duration) << shift) | np.uint64(position)
            bins[position] = chosen
            fill[chosen + 1] += _ONE
            owner[position] = row - first_row
            position += 1
    return total


@njit(allocates=False, internal=True)
def sort_keys(space: Scratch, size: np.int64) -> None:
    """Sort the keys into `space.ordered`: by bins, then by insertion.

    Offsets are uniform, so a bin holds about one key and insertion moves almost nothing. It also orders keys of equal
    offset from neighbouring bins. A bucket lasts at least one second, so these are few.
    """
    keys, bins, fill, ordered = space.keys, space.bins, space.fill, space.ordered
    before = np.uint32(0)
    for i in range(size):
        before += fill[i + 1]
        fill[i + 1] = before
    for i in range(size):
        at = fill[bins[i]]
        fill[bins[i]] = at + _ONE
        ordered[at] = keys[i]
    for i in range(1, size):
        key = ordered[i]
        at = i
        while at > 0 and ordered[at - 1] > key:
            ordered[at] = ordered[at - 1]
            at -= 1
        ordered[at] = key
