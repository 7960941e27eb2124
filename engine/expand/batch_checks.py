"""Post-conditions of every batch, checked on its arrays before it is written or handed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.tally import tally_rows
from arrival_engine.engine.expand.backend import BatchResult, BatchSums
from arrival_engine.engine.expand.planning import Plan

if TYPE_CHECKING:
    from arrival_engine.gpu_kernels.columns import Kept


_OUTSIDE_BUCKET = "an arrival lies outside its bucket"
_WRONG_VIRTUAL = "virtual arrivals differ from the count rows' totals"


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
        raise _defect(result, Code.BUCKET_COUNT_MISMATCH, _wrong_count(where))
    _check_windows(plan, result)
    if np.count_nonzero(columns.is_virtual) != virtual_arrivals(result):
        raise _defect(result, Code.RNG_ACCOUNTING_MISMATCH, _WRONG_VIRTUAL)


def check_kept(plan: Plan, result: BatchSums, kept: Kept) -> None:
    """As `check_batch`, of columns on a device, by the library that holds them; only verdicts reach the host."""
    library, columns = kept.library, kept.columns
    row = columns.row[: kept.arrivals]
    expected = library.asarray(plan.world.rows.arrivals[slice(*result.batch.rows)])
    if not bool(((row >= 0) & (row < expected.size)).all()):
        raise _defect(result, Code.BUCKET_COUNT_MISMATCH, _wrong_count("outside the batch"))
    wrong = library.bincount(row, minlength=expected.size) != expected
    if bool(wrong.any()):
        raise _defect(result, Code.BUCKET_COUNT_MISMATCH, _wrong_count(f"{int(wrong.argmax())} of the batch"))
    grid = kept.lookups.tables.grid
    bucket = kept.lookups.rows.bucket[row.astype(np.int64) + kept.first_row]
    offset = columns.ts_us[: kept.arrivals] - grid.start_us[bucket]
    if not bool(((offset >= 0) & (offset < grid.duration_us.astype(np.int64)[bucket])).all()):
        raise _defect(result, Code.TS_OUTSIDE_BUCKET_WINDOW, _OUTSIDE_BUCKET)
    if int(library.count_nonzero(columns.is_virtual[: kept.arrivals])) != virtual_arrivals(result):
        raise _defect(result, Code.RNG_ACCOUNTING_MISMATCH, _WRONG_VIRTUAL)


def virtual_arrivals(result: BatchSums) -> int:
    """Virtual arrivals of a batch, by the totals of its count rows."""
    return int(result.row_totals.virtual.sum(dtype=np.int64))


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
        raise _defect(result, Code.TS_OUTSIDE_BUCKET_WINDOW, _OUTSIDE_BUCKET)


def _wrong_count(where: str) -> str:
    return f"count row {where} has the wrong number of arrivals"


def _defect(result: BatchSums, code: Code, problem: str) -> ArrivalError:
    return ArrivalError(
        code,
        f"batch {result.batch.index}: {problem}",
        hint="this is a defect of the engine; please report it with the run report",
        batch=result.batch.index,
    )
