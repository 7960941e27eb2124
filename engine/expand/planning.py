"""The plan: segments in output order, cut into batches that threads can expand on their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.segments import check_key_width, greedy_end
from arrival_engine.cpu_fallback.tables import Segments, Switches, owned
from arrival_engine.engine.rundir.settings import Settings
from arrival_engine.engine.world.load import World

DEFAULT_BATCH_ARRIVALS = 2_000_000


@dataclass(frozen=True)
class Batch:
    """Whole segments, expanded together into one part file; spans are half-open."""

    index: int
    segments: tuple[int, int]
    rows: tuple[int, int]
    arrivals: int


@dataclass(frozen=True)
class Plan:
    """A world, its segments in (merchant, bucket) order, and its batches in part order."""

    world: World
    segments: Segments
    batches: tuple[Batch, ...]
    switches: Switches
    batch_arrivals: int

    @property
    def arrivals(self) -> int:
        """Exact number of arrivals of the scenario."""
        return int(self.segments.arrival_start[-1])


def plan(world: World, batch_arrivals: int = DEFAULT_BATCH_ARRIVALS) -> Plan:
    """Cut a world into batches of whole segments of at most `batch_arrivals` arrivals.

    A segment larger than that is a batch of its own. The cut depends on the counts and on `batch_arrivals` alone.
    Raises LIMIT_EXCEEDED for a segment too large to be sorted by 64-bit keys.
    """
    segments = segments_of(world)
    check_key_width(world.tables.grid, segments.arrival_start, world.scenario_id)
    return Plan(world, segments, _batches(segments, batch_arrivals), switches_of(world.settings), batch_arrivals)


def switches_of(settings: Settings) -> Switches:
    """What the routing policy decides, as the kernels take it."""
    return Switches(
        np.uint64(settings.coin),
        settings.use_group_weights,
        settings.fallbacks.missing_group_table,
        settings.fallbacks.no_site_in_zone,
    )


def segments_of(world: World, arrivals_before: int = 0) -> Segments:
    """The segments of a world's count rows.

    arrivals_before: arrivals that the first merchant has in buckets whose count rows are not among them.
    """
    rows, tables = world.rows, world.tables
    merchant = tables.entities.merchant[rows.entity]
    first_row = _starts((merchant[1:] != merchant[:-1]) | (rows.bucket[1:] != rows.bucket[:-1]), merchant.size)
    row_start = np.append(first_row, rows.entity.size).astype(np.int64, copy=False)
    arrivals = np.add.reduceat(rows.arrivals, first_row, dtype=np.int64) if first_row.size else np.empty(0, np.int64)
    arrival_start = np.append(0, np.cumsum(arrivals)).astype(np.int64, copy=False)
    owner = merchant[first_row]
    of_merchant = _starts(owner[1:] != owner[:-1], owner.size)
    segments = np.diff(np.append(of_merchant, owner.size))
    before = arrival_start[:-1] - np.repeat(arrival_start[of_merchant], segments)
    before[owner == owner[:1]] += arrivals_before
    return owned(Segments(row_start, before, arrival_start))


def _starts(changed: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Where groups of equals start among `size` values; changed: bool[size - 1], which differ from the one before."""
    return np.flatnonzero(np.append(size > 0, changed))


def segment_spans(arrival_start: NDArray[np.int64], batch_arrivals: int) -> list[tuple[int, int]]:
    """The segments of each batch, half-open: greedily as many whole ones as fit, at least one, however large.

    arrival_start: int64[S + 1], arrivals before each segment.
    """
    spans = []
    first = 0
    while first < arrival_start.size - 1:
        last = greedy_end(arrival_start, first, batch_arrivals)
        spans.append((first, last))
        first = last
    return spans


def _batches(segments: Segments, batch_arrivals: int) -> tuple[Batch, ...]:
    bounds = segments.arrival_start
    return tuple(
        Batch(
            index=index,
            segments=(first, last),
            rows=(int(segments.row_start[first]), int(segments.row_start[last])),
            arrivals=int(bounds[last] - bounds[first]),
        )
        for index, (first, last) in enumerate(segment_spans(bounds, batch_arrivals))
    )
