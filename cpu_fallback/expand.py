"""The CPU kernel: a run of segments to ordered arrivals, on one thread, without the GIL."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpu_fallback import route
from cpu_fallback.jit import is_cached, njit
from cpu_fallback.law import counter_word1, draw_offset
from cpu_fallback.philox import philox2x64
from cpu_fallback.route import Clocks, Routed
from cpu_fallback.tables import (
    I64,
    NO_TABLE,
    U64,
    BatchTotals,
    Columns,
    Rows,
    RowTotals,
    Segments,
    Switches,
    Tables,
    empty_batch_totals,
    empty_columns,
    empty_row_totals,
)
from cpu_fallback.wide import mul_hi

_part = njit(allocates=False, internal=True)
_find_group_table = _part(route.find_group_table)
_route_arrival = _part(route.route_arrival)
_local_time = _part(route.local_time)
_row_digest = _part(route.row_digest)
_forbidden_fallback = _part(route.forbidden_fallback)


class Scratch(NamedTuple):
    """Working space for the largest segment of a batch, n arrivals in m count rows."""

    keys: U64  # [n]
    scattered: U64  # [n]
    bins: NDArray[np.uint32]  # [n]
    fill: I64  # [n + 1]
    owner: I64  # [n]
    row_first: I64  # [m]


def _scratch(arrivals: int, rows: int) -> Scratch:
    return Scratch(
        np.empty(arrivals, np.uint64),
        np.empty(arrivals, np.uint64),
        np.empty(arrivals, np.uint32),
        np.empty(arrivals + 1, np.int64),
        np.empty(arrivals, np.int64),
        np.empty(rows, np.int64),
    )


@_part
def _draw_keys(
    tables: Tables, rows: Rows, first_row: np.int64, last_row: np.int64, shift: np.uint64, scratch: Scratch
) -> np.int64:
    """Sort keys of a segment in (row, draw) order: offset above, position below `shift` bits."""
    keys, bins, owner, row_first = scratch.keys, scratch.bins, scratch.owner, scratch.row_first
    total = np.int64(0)
    for row in range(first_row, last_row):
        total += rows.arrivals[row]
    size = np.uint64(total)
    bucket = rows.bucket[first_row]
    duration = tables.grid.duration_us[bucket]
    position = np.int64(0)
    for row in range(first_row, last_row):
        entity = rows.entity[row]
        key = tables.entities.time_key[entity]
        word1 = counter_word1(tables.entities.time_hi[entity], bucket)
        row_first[row - first_row] = position
        for draw in range(rows.arrivals[row]):
            x0, _ = philox2x64(np.uint64(draw), word1, key)
            keys[position] = (draw_offset(x0, duration) << shift) | np.uint64(position)
            bins[position] = mul_hi(x0, size)
            owner[position] = row
            position += 1
    return total


@_part
def _sort_keys(scratch: Scratch, size: np.int64) -> None:
    """Ascending keys into `scratch.scattered`: n equal bins of the time word, then insertion.

    Offsets are uniform, so a bin holds about one key and the insertion pass moves almost nothing. The bin is monotone
    in the offset; keys of equal offset may start in neighbouring bins, which the insertion pass puts right.
    """
    keys, bins, fill, scattered = scratch.keys, scratch.bins, scratch.fill, scratch.scattered
    fill[: size + 1] = 0
    for i in range(size):
        fill[bins[i] + 1] += 1
    for i in range(size):
        fill[i + 1] += fill[i]
    for i in range(size):
        at = fill[bins[i]]
        fill[bins[i]] = at + 1
        scattered[at] = keys[i]
    for i in range(1, size):
        key = scattered[i]
        at = i
        while at > 0 and scattered[at - 1] > key:
            scattered[at] = scattered[at - 1]
            at -= 1
        scattered[at] = key


class Work(NamedTuple):
    """What a batch is expanded from."""

    tables: Tables
    rows: Rows
    segments: Segments
    switches: Switches


class Results(NamedTuple):
    """What a batch is expanded to."""

    columns: Columns
    row_totals: RowTotals
    totals: BatchTotals


@_part
def _store(
    columns: Columns, out: np.int64, row: np.int64, seq: np.int64, ts_us: np.int64, routed: Routed, clocks: Clocks
) -> None:
    is_virtual, place, primary, settlement, _ = routed
    columns.row[out] = row
    columns.arrival_seq[out] = seq
    columns.ts_us[out] = ts_us
    columns.place[out] = place
    columns.primary[out] = primary
    columns.local_us[out] = clocks[0]
    columns.settlement[out] = settlement
    columns.settlement_local_us[out] = clocks[1]
    columns.is_virtual[out] = is_virtual


@_part
def _expand_segment(work: Work, segment: int, shift: np.uint64, scratch: Scratch, results: Results) -> bool:
    """One segment, its keys sorted in `scratch`, to its place in the columns; False at a forbidden fallback."""
    tables, rows, segments, switches = work
    first_row = segments.row_start[segment]
    # Rows and arrivals are counted from the batch's first, which the columns start with.
    batch_row = results.totals.origin[0]
    out = segments.arrival_start[segment] - results.totals.origin[1]
    bucket = rows.bucket[first_row]
    start_us = tables.grid.start_us[bucket]
    last_offset = np.int64(tables.grid.duration_us[bucket]) - 1
    group_table = np.int64(NO_TABLE)
    if switches.use_group_weights:
        merchant = tables.entities.merchant[rows.entity[first_row]]
        group_table = _find_group_table(tables.merchants, tables.groups, merchant, tables.grid.day[bucket])
    without_group = switches.use_group_weights and group_table < 0
    low_bits = (np.uint64(1) << shift) - np.uint64(1)
    seq = segments.arrivals_before[segment]
    for i in range(segments.arrival_start[segment + 1] - segments.arrival_start[segment]):
        position = np.int64(scratch.scattered[i] & low_bits)
        offset = np.int64(scratch.scattered[i] >> shift)
        row = scratch.owner[position]
        entity = rows.entity[row]
        draw = position - scratch.row_first[row - first_row]
        routed = _route_arrival(tables, switches.coin, entity, bucket, group_table, draw)
        is_virtual, _, primary, settlement, without_site = routed
        failure = _forbidden_fallback(switches, without_group and not is_virtual, without_site)
        if failure != 0:
            results.totals.failure[0] = failure
            results.totals.failure[1] = row - batch_row
            return False
        seq += 1
        ts_us = start_us + offset
        settlement_local_us = np.int64(0)
        if is_virtual:
            settlement_local_us = _local_time(tables.zones, settlement, ts_us)
        clocks = (_local_time(tables.zones, primary, ts_us), settlement_local_us)
        a, b = _row_digest(tables, entity, bucket, seq, ts_us, routed, clocks)
        results.totals.digest[0] += a
        results.totals.digest[1] += b
        results.totals.at_start[0] += offset == 0
        results.totals.at_end[0] += offset == last_offset
        results.row_totals.virtual[row - batch_row] += is_virtual
        results.row_totals.without_group[row - batch_row] += without_group and not is_virtual
        results.row_totals.without_site[row - batch_row] += without_site
        _store(results.columns, out, row - batch_row, seq, ts_us, routed, clocks)
        out += 1
    return True


@njit(nogil=True, allocates=False)
def _expand(work: Work, span: tuple[int, int], shift: np.uint64, scratch: Scratch, results: Results) -> None:
    rows, segments = work.rows, work.segments
    results.totals.origin[0] = segments.row_start[span[0]]
    results.totals.origin[1] = segments.arrival_start[span[0]]
    for segment in range(span[0], span[1]):
        size = _draw_keys(
            work.tables, rows, segments.row_start[segment], segments.row_start[segment + 1], shift, scratch
        )
        _sort_keys(scratch, size)
        if not _expand_segment(work, segment, shift, scratch, results):
            return


def expand_segments(work: Work, span: tuple[int, int]) -> Results:
    """Expand segments span[0] to span[1] to their arrivals in output order (LAW sections 4, 5, 7).

    Releases the GIL. When `totals.failure[0]` is not 0, the columns are incomplete.
    """
    first, last = span
    segments = work.segments
    sizes = np.diff(segments.arrival_start[first : last + 1])
    row_counts = np.diff(segments.row_start[first : last + 1])
    results = Results(empty_columns(int(sizes.sum())), empty_row_totals(int(row_counts.sum())), empty_batch_totals())
    longest = int(sizes.max(initial=0))
    scratch = _scratch(longest, int(row_counts.max(initial=0)))
    _expand(work, span, np.uint64(position_bits(longest)), scratch, results)
    return results


def kernels_are_cached() -> bool:
    """Whether machine code of the kernel lies ready on disk, so that loading it takes well under a second."""
    return is_cached(_expand)


def load_kernel(work: Work) -> None:
    """Compile the kernel for these argument types, or load it from the cache, by expanding no segment at all."""
    nothing = Segments(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64))
    expand_segments(work._replace(segments=nothing), (0, 0))


def position_bits(longest_segment: int) -> int:
    """Bits that hold any position within a segment of that many arrivals."""
    return max(longest_segment - 1, 0).bit_length()
