"""Post-conditions of every batch, checked on its arrays before it is written."""

from __future__ import annotations

import numpy as np

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.tally import tally_rows
from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.expand.planning import Plan


def check_batch(plan: Plan, result: BatchResult) -> None:
    """Counts per count row, time windows and routing sums of one batch.

    A failure is a defect of a backend, never of the input. Raises BUCKET_COUNT_MISMATCH, TS_OUTSIDE_BUCKET_WINDOW,
    RNG_ACCOUNTING_MISMATCH.
    """
    world, columns = plan.world, result.columns
    rows = slice(*result.batch.rows)
    expected = world.rows.arrivals[rows]
    found = tally_rows(columns.row, expected.size)
    if found is None or not np.array_equal(found, expected):
        where = "outside the batch" if found is None else f"{int(np.argmax(found != expected))} of the batch"
        raise _defect(
            result,
            Code.BUCKET_COUNT_MISMATCH,
            f"count row {where} has the wrong number of arrivals",
        )
    _check_windows(plan, result)
    if np.count_nonzero(columns.is_virtual) != result.row_totals.virtual.sum(dtype=np.int64):
        raise _defect(result, Code.RNG_ACCOUNTING_MISMATCH, "virtual arrivals differ from the count rows' totals")


def _check_windows(plan: Plan, result: BatchResult) -> None:
    """Every segment within its bucket: arrivals are in segment order, so its extremes tell."""
    rows, grid = plan.world.rows, plan.world.tables.grid
    first, last = result.batch.segments
    starts = plan.segments.arrival_start[first:last] - plan.segments.arrival_start[first]
    bucket = rows.bucket[plan.segments.row_start[first:last]]
    earliest = np.minimum.reduceat(result.columns.ts_us, starts)
    latest = np.maximum.reduceat(result.columns.ts_us, starts)
    start = grid.start_us[bucket]
    if (earliest < start).any() or (latest - start >= grid.duration_us[bucket].astype(np.int64)).any():
        raise _defect(result, Code.TS_OUTSIDE_BUCKET_WINDOW, "an arrival lies outside its bucket")


def _defect(result: BatchResult, code: Code, problem: str) -> ArrivalError:
    return ArrivalError(
        code,
        f"batch {result.batch.index}: {problem}",
        hint="this is a defect of the engine; please report it with the run report",
        batch=result.batch.index,
    )
