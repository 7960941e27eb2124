"""The CPU kernel: a run of segments to ordered arrivals, on one thread, without the GIL."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arrival_engine.cpu_fallback.draw import Times, draw_keys, empty_times, segment_at, sort_keys
from arrival_engine.cpu_fallback.jit import is_cached, njit
from arrival_engine.cpu_fallback.places import Lists, Places, empty_places, find_choice, pick_places
from arrival_engine.cpu_fallback.segments import position_bits
from arrival_engine.cpu_fallback.store import number, prepare, store, store_virtual
from arrival_engine.cpu_fallback.tables import (
    FAILED_NO_GROUP,
    FAILED_NO_SITE,
    U64,
    Columns,
    Results,
    Segments,
    Work,
    empty_batch_totals,
    empty_columns,
    empty_row_totals,
)

_ONE = np.uint64(1)


class Scratch(NamedTuple):
    """Working space for the largest segment of a batch."""

    times: Times
    places: Places
    clocks: U64  # [Z, 4] of each zone: see `store`


def scratch(arrivals: int, zones: int) -> Scratch:
    """Uninitialised working space for segments of at most `arrivals` arrivals."""
    return Scratch(empty_times(arrivals), empty_places(arrivals), np.empty((zones, 4), np.uint64))


@njit(nogil=True, allocates=False)
def _expand(work: Work, span: tuple[int, int], shift: np.uint64, space: Scratch, results: Results) -> None:
    tables, rows, segments, switches = work
    columns, row_totals, totals = results
    times, places, clocks = space
    totals.origin[0] = segments.row_start[span[0]]
    totals.origin[1] = segments.arrival_start[span[0]]
    prepare(columns, clocks)
    for draw in range(places.every.size):
        places.every[draw] = draw
    lists = Lists(tables.entities, tables.zones.text, tables.channel_text, tables.groups, tables.sites, tables.edges)
    for at in range(span[0], span[1]):
        segment = segment_at(segments, rows, tables.grid, at, span[0])
        at_start, at_end = draw_keys(segment, shift, rows, tables.entities.time_key, tables.entities.time_hi, times)
        totals.at_start[0] += at_start
        totals.at_end[0] += at_end
        merchant = tables.entities.merchant[rows.entity[segment.first_row]]
        choice = find_choice(
            tables.merchants, tables.groups, switches, merchant, segment.bucket, tables.grid.day[segment.bucket]
        )
        fallbacks, least = pick_places(segment, choice, lists, rows, times.keys, places, row_totals)
        if fallbacks > 0 and (choice.forbids_all or switches.fail_no_site):
            totals.failure[0] = FAILED_NO_GROUP if choice.forbids_all else FAILED_NO_SITE
            totals.failure[1] = segment.batch_row + times.owner[least & ((_ONE << shift) - _ONE)]
            return
        sort_keys(segment.arrivals, times)
        store(segment, shift, times, places, columns, tables.zones, clocks)
        if choice.may_be_virtual:
            settlement = tables.merchants.settlement[merchant]
            store_virtual(segment, settlement, times.keys, columns, tables.zones, clocks)
        number(segment, segments.arrivals_before[at], times.keys, columns, totals)


def expand_segments(work: Work, span: tuple[int, int], room: Columns | None = None) -> Results:
    """Expand segments span[0] to span[1] to their arrivals in output order (LAW sections 4, 5, 7).

    room: columns to write to, with at least one element per arrival (ValueError); new columns by default. Releases the
    GIL. If `totals.failure[0]` is not 0, the columns are incomplete.
    """
    first, last = span
    segments = work.segments
    sizes = np.diff(segments.arrival_start[first : last + 1])
    arrivals = int(sizes.sum())
    if room and min(column.size for column in room) < arrivals:
        raise ValueError(f"there is no room for {arrivals} arrivals")
    columns = Columns._make(column[:arrivals] for column in room) if room else empty_columns(arrivals)
    rows = int(segments.row_start[last] - segments.row_start[first])
    results = Results(columns, empty_row_totals(rows), empty_batch_totals())
    longest = int(sizes.max(initial=0))
    space = scratch(longest, work.tables.zones.text.size)
    _expand(work, span, np.uint64(position_bits(longest)), space, results)
    return results


def kernels_are_cached() -> bool:
    """Whether the kernel's machine code is in the cache on disk, so that it loads in well under a second."""
    return is_cached(_expand)


def load_kernel(work: Work) -> None:
    """Compile the kernel for these argument types, or load it from the cache; no segment is expanded."""
    nothing = Segments(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64))
    expand_segments(work._replace(segments=nothing), (0, 0))
