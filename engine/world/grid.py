"""The time grid: what each bucket index means."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts import ArrivalError, Code
from cpu_fallback.tables import Grid
from engine.receipt import Receipt
from engine.world.tables_io import read_table

_COLUMNS = ("bucket_index", "bucket_start_utc", "bucket_end_utc", "bucket_duration_seconds")
_US_PER_DAY = 86_400_000_000


def load_grid(receipt: Receipt, scenario_id: str, max_duration_seconds: int) -> Grid:
    """Buckets of a scenario, checked: indices contiguous from 0, positive, ascending, disjoint, durations as stated.

    Raises TIME_GRID_MISMATCH.
    """
    table = read_table(receipt, "s1_time_grid_5B", _COLUMNS, scenario_id=scenario_id)
    table = table.sort_by("bucket_index")
    index = table["bucket_index"].to_numpy()
    if index.size == 0 or not np.array_equal(index, np.arange(index.size)):
        wrong = int(np.argmax(index != np.arange(index.size))) if index.size else 0
        raise _mismatch(scenario_id, wrong, "bucket_index must count 0, 1, 2, ... without gap or repetition")
    start = _microseconds(table["bucket_start_utc"])
    end = _microseconds(table["bucket_end_utc"])
    stated = table["bucket_duration_seconds"].to_numpy()
    duration = end - start
    for bad, problem in (
        (duration <= 0, "the bucket does not end after it starts"),
        (duration != stated * 1_000_000, "end - start differs from bucket_duration_seconds"),
        (stated > max_duration_seconds, f"longer than max_bucket_duration_seconds = {max_duration_seconds}"),
        (np.append(False, start[1:] < end[:-1]), "the bucket starts before the one before it ends"),
    ):
        if bad.any():
            raise _mismatch(scenario_id, int(np.argmax(bad)), problem)
    return Grid(start, duration.astype(np.uint64), np.floor_divide(start, _US_PER_DAY).astype(np.int32))


def _microseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    instants = pc.cast(column, pa.timestamp("us", "UTC"))
    micros: NDArray[np.int64] = instants.combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)
    return micros


def _mismatch(scenario_id: str, bucket: int, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.TIME_GRID_MISMATCH,
        f"time grid of {scenario_id}, bucket {bucket}: {problem}",
        hint="correct s1_time_grid_5B and seal again",
        scenario_id=scenario_id,
        bucket_index=bucket,
    )
