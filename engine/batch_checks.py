"""Post-conditions of every batch, from its arrays, before it is written."""

from __future__ import annotations

import numpy as np

from contracts import ArrivalError, Code
from engine.backend import BatchResult
from engine.planning import Plan


def check_batch(plan: Plan, result: BatchResult) -> None:
    """Counts per count row, time windows and routing sums of one batch.

    A failure is a defect of a backend, never of the input. Raises BUCKET_COUNT_MISMATCH, TS_OUTSIDE_BUCKET_WINDOW,
    RNG_ACCOUNTING_MISMATCH.
    """
    world, columns = plan.world, result.columns
    rows = slice(*result.batch.rows)
    expected = world.rows.arrivals[rows]
    found = np.bincount(columns.row, minlength=expected.size)
    if not np.array_equal(found, expected):
        row = int(np.argmax(found != expected)) if found.size == expected.size else expected.size
        raise _defect(
            result,
            Code.BUCKET_COUNT_MISMATCH,
            f"count row {row} of the batch has the wrong number of arrivals",
        )
    grid, bucket = world.tables.grid, world.rows.bucket[rows]
    offset = columns.ts_us - grid.start_us[bucket][columns.row]
    if offset.size and (offset.min() < 0 or (offset >= grid.duration_us[bucket].astype(np.int64)[columns.row]).any()):
        raise _defect(result, Code.TS_OUTSIDE_BUCKET_WINDOW, "an arrival lies outside its bucket")
    if np.count_nonzero(columns.is_virtual) != result.row_totals.virtual.sum(dtype=np.int64):
        raise _defect(result, Code.RNG_ACCOUNTING_MISMATCH, "virtual arrivals differ from the count rows' totals")


def _defect(result: BatchResult, code: Code, problem: str) -> ArrivalError:
    return ArrivalError(
        code,
        f"batch {result.batch.index}: {problem}",
        hint="this is a defect of the engine; please report it with the run report",
        batch=result.batch.index,
    )
