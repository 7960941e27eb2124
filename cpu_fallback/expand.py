"""The CPU kernel: a run of segments to ordered arrivals, on one thread, without the GIL."""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback import route
from arrival_engine.cpu_fallback.draw import Scratch, draw_keys, scratch, sort_keys
from arrival_engine.cpu_fallback.jit import is_cached, njit
from arrival_engine.cpu_fallback.law import NON_VIRTUAL
from arrival_engine.cpu_fallback.physical import pick_sites, store_physical
from arrival_engine.cpu_fallback.route import Clocks, Routed
from arrival_engine.cpu_fallback.segments import position_bits
from arrival_engine.cpu_fallback.tables import (
    NO_TABLE,
    Columns,
    Merchants,
    Results,
    Segments,
    Work,
    empty_batch_totals,
    empty_columns,
    empty_row_totals,
)

_part = njit(allocates=False, internal=True)
_find_group_table = _part(route.find_group_table)
_route_arrival = _part(route.route_arrival)
_local_time = _part(route.local_time)
_row_digest = _part(route.row_digest)
_forbidden_fallback = _part(route.forbidden_fallback)


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
def _expand_mixed(
    work: Work, segment: int, group_table: np.int64, shift: np.uint64, space: Scratch, results: Results
) -> bool:
    """Write the arrivals of one segment with sorted keys, one by one; False at a forbidden fallback."""
    tables, rows, segments, switches = work
    first_row = segments.row_start[segment]
    # The columns start with the batch's first row and arrival, so both are counted from there.
    batch_row = results.totals.origin[0]
    out = segments.arrival_start[segment] - results.totals.origin[1]
    bucket = rows.bucket[first_row]
    start_us = tables.grid.start_us[bucket]
    last_offset = np.int64(tables.grid.duration_us[bucket]) - 1
    without_group = switches.use_group_weights and group_table < 0
    low_bits = (np.uint64(1) << shift) - np.uint64(1)
    seq = segments.arrivals_before[segment]
    for i in range(segments.arrival_start[segment + 1] - segments.arrival_start[segment]):
        position = np.int64(space.ordered[i] & low_bits)
        offset = np.int64(space.ordered[i] >> shift)
        owner = space.owner[position]
        row = first_row + owner
        entity = rows.entity[row]
        draw = position - space.row_first[owner]
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


@_part
def _is_physical(merchants: Merchants, merchant: np.int32) -> bool:
    edges = merchants.edge_start[merchant + 1] - merchants.edge_start[merchant]
    return bool(merchants.mode[merchant] == NON_VIRTUAL or edges == 0)


@njit(nogil=True, allocates=False)
def _expand(work: Work, span: tuple[int, int], shift: np.uint64, space: Scratch, results: Results) -> None:
    tables, rows, segments, switches = work
    results.totals.origin[0] = segments.row_start[span[0]]
    results.totals.origin[1] = segments.arrival_start[span[0]]
    for segment in range(span[0], span[1]):
        first_row = segments.row_start[segment]
        merchant = tables.entities.merchant[rows.entity[first_row]]
        group_table = np.int64(NO_TABLE)
        if switches.use_group_weights:
            day = tables.grid.day[rows.bucket[first_row]]
            group_table = _find_group_table(tables.merchants, tables.groups, merchant, day)
        size = draw_keys(tables, rows, segments, segment, shift, space)
        sort_keys(space, size)
        physical = _is_physical(tables.merchants, merchant)
        # The other branch handles a forbidden fallback: it reports the first one in output order.
        if physical and pick_sites(work, segment, group_table, space, results):
            store_physical(work, segment, shift, space, results)
        elif not _expand_mixed(work, segment, group_table, shift, space, results):
            return


def expand_segments(work: Work, span: tuple[int, int], room: Columns | None = None) -> Results:
    """Expand segments span[0] to span[1] to their arrivals in output order (LAW sections 4, 5, 7).

    room: columns to write to, with at least one element per arrival (ValueError); new columns by default. Releases the
    GIL. If `totals.failure[0]` is not 0, the columns are incomplete.
    """
    first, last = span
    segments = work.segments
    sizes = np.diff(segments.arrival_start[first : last + 1])
    row_counts = np.diff(segments.row_start[first : last + 1])
    arrivals = int(sizes.sum())
    if room and min(column.size for column in room) < arrivals:
        raise ValueError(f"there is no room for {arrivals} arrivals")
    columns = Columns._make(column[:arrivals] for column in room) if room else empty_columns(arrivals)
    results = Results(columns, empty_row_totals(int(row_counts.sum())), empty_batch_totals())
    longest = int(sizes.max(initial=0))
    space = scratch(longest, int(row_counts.max(initial=0)))
    _expand(work, span, np.uint64(position_bits(longest)), space, results)
    return results


def kernels_are_cached() -> bool:
    """Whether the kernel's machine code is in the cache on disk, so that it loads in well under a second."""
    return is_cached(_expand)


def load_kernel(work: Work) -> None:
    """Compile the kernel for these argument types, or load it from the cache; no segment is expanded."""
    nothing = Segments(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64))
    expand_segments(work._replace(segments=nothing), (0, 0))
