"""The CPU kernel: a run of segments to ordered arrivals, on one thread, without the GIL."""

from __future__ import annotations

import numpy as np

from cpu_fallback import route
from cpu_fallback.jit import cache_directory, cache_is_usable, njit
from cpu_fallback.law import counter_word1, draw_offset
from cpu_fallback.philox import philox2x64
from cpu_fallback.tables import (
    FAILED_NO_GROUP,
    FAILED_NO_SITE,
    NO_TABLE,
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

_find_group_table = njit(route.find_group_table)
_route_arrival = njit(route.route_arrival)
_local_time = njit(route.local_time)
_row_digest = njit(route.row_digest)


@njit
def _draw_keys(tables, rows, first_row, last_row, shift, keys, bins, owner, row_first):  # type: ignore[no-untyped-def]
    """Sort keys of a segment in (row, draw) order: offset above, position below `shift` bits."""
    total = np.int64(0)
    for row in range(first_row, last_row):
        total += rows.count[row]
    size = np.uint64(total)
    bucket = rows.bucket[first_row]
    duration = tables.grid.duration_us[bucket]
    position = np.int64(0)
    for row in range(first_row, last_row):
        entity = rows.entity[row]
        key = tables.entities.time_key[entity]
        word1 = counter_word1(tables.entities.time_hi[entity], bucket)
        row_first[row - first_row] = position
        for draw in range(rows.count[row]):
            x0, _ = philox2x64(np.uint64(draw), word1, key)
            keys[position] = (draw_offset(x0, duration) << shift) | np.uint64(position)
            bins[position] = mul_hi(x0, size)
            owner[position] = row
            position += 1
    return total


@njit
def _sort_keys(keys, bins, fill, scattered, size):  # type: ignore[no-untyped-def]
    """Ascending keys into `scattered`: n equal bins of the time word, then insertion.

    Offsets are uniform, so a bin holds about one key and the insertion pass moves almost nothing. The bin is monotone
    in the offset; keys of equal offset may start in neighbouring bins, which the insertion pass puts right.
    """
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


@njit(nogil=True)
def _expand(tables, rows, segments, first, last, longest, shift, switches, columns, row_totals, totals):  # type: ignore[no-untyped-def]
    keys = np.empty(longest, np.uint64)
    scattered = np.empty(longest, np.uint64)
    bins = np.empty(longest, np.uint32)
    fill = np.empty(longest + 1, np.int64)
    owner = np.empty(longest, np.int64)
    most_rows = np.int64(0)
    for segment in range(first, last):
        most_rows = max(most_rows, segments.row_start[segment + 1] - segments.row_start[segment])
    row_first = np.empty(most_rows, np.int64)
    low_bits = (np.uint64(1) << shift) - np.uint64(1)
    batch_row = segments.row_start[first]
    sum_a = np.uint64(0)
    sum_b = np.uint64(0)
    out = np.int64(0)
    for segment in range(first, last):
        first_row = segments.row_start[segment]
        size = _draw_keys(
            tables, rows, first_row, segments.row_start[segment + 1], shift, keys, bins, owner, row_first
        )
        _sort_keys(keys, bins, fill, scattered, size)
        bucket = rows.bucket[first_row]
        start_us = tables.grid.start_us[bucket]
        last_offset = np.int64(tables.grid.duration_us[bucket]) - 1
        group_table = np.int64(NO_TABLE)
        if switches.use_group_weights:
            merchant = tables.entities.merchant[rows.entity[first_row]]
            group_table = _find_group_table(tables.merchants, tables.groups, merchant, tables.grid.day[bucket])
        seq = segments.arrivals_before[segment]
        for i in range(size):
            position = np.int64(scattered[i] & low_bits)
            offset = np.int64(scattered[i] >> shift)
            row = owner[position]
            entity = rows.entity[row]
            draw = position - row_first[row - first_row]
            routed = _route_arrival(tables, switches.coin, entity, bucket, group_table, draw)
            is_virtual, place, primary, settlement, without_site = routed
            if switches.use_group_weights and group_table < 0 and not is_virtual:
                if switches.fail_no_group:
                    totals.failure[0] = FAILED_NO_GROUP
                    totals.failure[1] = row - batch_row
                    return
                row_totals.without_group[row - batch_row] += 1
            if without_site:
                if switches.fail_no_site:
                    totals.failure[0] = FAILED_NO_SITE
                    totals.failure[1] = row - batch_row
                    return
                row_totals.without_site[row - batch_row] += 1
            seq += 1
            ts_us = start_us + offset
            local_us = _local_time(tables.zones, primary, ts_us)
            settlement_local_us = np.int64(0)
            if is_virtual:
                row_totals.virtual[row - batch_row] += 1
                settlement_local_us = _local_time(tables.zones, settlement, ts_us)
            a, b = _row_digest(tables, entity, bucket, seq, ts_us, routed, local_us, settlement_local_us)
            sum_a += a
            sum_b += b
            if offset == 0:
                totals.at_start[0] += 1
            if offset == last_offset:
                totals.at_end[0] += 1
            columns.row[out] = row - batch_row
            columns.arrival_seq[out] = seq
            columns.ts_us[out] = ts_us
            columns.place[out] = place
            columns.primary[out] = primary
            columns.local_us[out] = local_us
            columns.settlement[out] = settlement
            columns.settlement_local_us[out] = settlement_local_us
            columns.is_virtual[out] = is_virtual
            out += 1
    totals.digest[0] = sum_a
    totals.digest[1] = sum_b


def expand_segments(
    tables: Tables, rows: Rows, segments: Segments, span: tuple[int, int], switches: Switches
) -> tuple[Columns, RowTotals, BatchTotals]:
    """Expand segments span[0] to span[1] to their arrivals in output order (LAW sections 4, 5, 7).

    Releases the GIL. When `failure[0]` of the totals is not 0, the columns are incomplete.
    """
    first, last = span
    sizes = np.diff(segments.arrival_start[first : last + 1])
    longest = int(sizes.max(initial=0))
    columns = empty_columns(int(sizes.sum()))
    row_totals = empty_row_totals(int(segments.row_start[last] - segments.row_start[first]))
    totals = empty_batch_totals()
    if longest:
        shift = np.uint64(position_bits(longest))
        _expand(tables, rows, segments, first, last, longest, shift, switches, columns, row_totals, totals)
    return columns, row_totals, totals


def kernels_are_cached() -> bool:
    """Whether machine code of the kernel lies ready on disk, so that loading it takes well under a second."""
    return cache_is_usable() and any(cache_directory().rglob("expand._expand-*.nbi"))


def load_kernel(tables: Tables, rows: Rows, switches: Switches) -> None:
    """Compile the kernel for these argument types, or load it from the cache, by expanding no segment at all."""
    nothing = Segments(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64))
    columns, row_totals, totals = empty_columns(0), empty_row_totals(0), empty_batch_totals()
    _expand(tables, rows, nothing, 0, 0, 0, np.uint64(0), switches, columns, row_totals, totals)


def position_bits(longest_segment: int) -> int:
    """Bits that hold any position within a segment of that many arrivals."""
    return max(longest_segment - 1, 0).bit_length()
