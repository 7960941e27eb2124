"""A plan in time order: segments by bucket, arrivals of a batch by instant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.segments import greedy_end, position_bits
from arrival_engine.cpu_fallback.tables import I64, Rows, Segments, owned
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.stream.window import Window
from arrival_engine.engine.world.load import World

# Small buckets are expanded together, because a call costs as much as about a thousand arrivals.
BATCH_ARRIVALS = 131_072


def by_bucket(plan: Plan, window: Window, merchants: Collection[int | str] | None = None) -> Plan:
    """The same segments in (bucket, merchant) order, in batches of whole consecutive buckets.

    Only buckets that the window touches, and only the merchants given by id or text (default: all). A bucket of more
    than `BATCH_ARRIVALS` arrivals is a batch of its own. Segments keep their first arrival_seq, so nothing before the
    window is expanded. Raises OPTION_INVALID for a merchant without arrivals.
    """
    world, segments = plan.world, plan.segments
    first_row = segments.row_start[:-1]
    bucket = world.rows.bucket[first_row]
    first, last = buckets_in(world, window)
    chosen = (bucket >= first) & (bucket < last)
    if merchants is not None:
        chosen &= _of_merchants(world, first_row, [world.merchant_id_of(merchant) for merchant in merchants])
    at = np.flatnonzero(chosen)
    order = at[np.argsort(bucket[at], kind="stable")]
    rows, reordered = _reordered(world.rows, segments, order)
    batches = _batches(reordered, bucket[order])
    return replace(
        plan, world=replace(world, rows=rows), segments=reordered, batches=batches, batch_arrivals=BATCH_ARRIVALS
    )


def buckets_in(world: World, window: Window) -> tuple[int, int]:
    """First and last + 1 of the buckets that a window touches; for an empty window, the second may be smaller."""
    grid = world.tables.grid
    ends = grid.start_us + grid.duration_us.astype(np.int64)
    return (
        int(np.searchsorted(ends, window.start_us, side="right")),
        int(np.searchsorted(grid.start_us, window.end_us, side="left")),
    )


def _refuse_merchants_without_arrivals(world: World, merchants: Collection[int]) -> None:
    """Raise OPTION_INVALID, naming the first merchant that the world's counts lack."""
    known = set(world.tables.merchants.id.tolist())
    unknown = [merchant for merchant in merchants if merchant not in known]
    if unknown:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"{_named(world, unknown)} in scenario {world.scenario_id}",
            hint="name merchants of s3_bucket_counts_5B that have a count above zero",
            **world.known_as(unknown[0]),
            scenario_id=world.scenario_id,
        )


def _named(world: World, unknown: Sequence[int]) -> str:
    first = f"merchant {world.told(unknown[0])}"
    if len(unknown) == 1:
        return f"{first} has no arrivals"
    return f"{first} and {len(unknown) - 1} more of those asked for have no arrivals"


def _of_merchants(world: World, first_row: I64, merchants: Collection[int]) -> NDArray[np.bool_]:
    _refuse_merchants_without_arrivals(world, merchants)
    wanted = np.isin(world.tables.merchants.id, np.array(sorted(merchants), np.uint64))
    return wanted[world.tables.entities.merchant[world.rows.entity[first_row]]]


def _reordered(rows: Rows, segments: Segments, order: NDArray[np.int64]) -> tuple[Rows, Segments]:
    """The segments of `order`, in that order, and their rows."""
    row_counts = np.diff(segments.row_start)[order]
    row_start = _starts(row_counts)
    # Row i of the result is as far from its segment's first row as among the old rows.
    source = np.arange(row_start[-1]) + np.repeat(segments.row_start[:-1][order] - row_start[:-1], row_counts)
    arrivals = np.diff(segments.arrival_start)[order]
    return (
        owned(Rows(*(column[source] for column in rows))),
        owned(Segments(row_start, segments.arrivals_before[order], _starts(arrivals))),
    )


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.append(0, np.cumsum(sizes)).astype(np.int64)


def _batches(segments: Segments, bucket: NDArray[np.int32]) -> tuple[Batch, ...]:
    """Batches of whole buckets, at least one each, within `BATCH_ARRIVALS`."""
    # The first segment of each bucket, and the end of the last bucket's.
    bounds = np.append(np.flatnonzero(np.diff(bucket, prepend=-1)), bucket.size)
    before = segments.arrival_start[bounds]
    batches: list[Batch] = []
    at = 0
    while at < bounds.size - 1:
        until = greedy_end(before, at, BATCH_ARRIVALS)
        first, last = int(bounds[at]), int(bounds[until])
        batches.append(
            Batch(
                index=len(batches),
                segments=(first, last),
                rows=(int(segments.row_start[first]), int(segments.row_start[last])),
                arrivals=int(before[until] - before[at]),
            )
        )
        at = until
    return tuple(batches)


def time_order(ts_us: I64) -> NDArray[np.int64]:
    """Positions in ascending order of instant, stable; `ts_us` int64[n] microseconds."""
    if ts_us.size == 0:
        return np.empty(0, np.int64)
    low = ts_us.min()
    shift = position_bits(ts_us.size)
    if int(ts_us.max() - low).bit_length() + shift > 63:
        return np.argsort(ts_us, kind="stable")
    # Instant above, position below: sorting plain integers is several times faster than a stable argsort.
    keys: NDArray[np.int64] = (ts_us - low) << shift
    keys |= np.arange(ts_us.size)
    keys.sort()
    keys &= (1 << shift) - 1
    return keys
