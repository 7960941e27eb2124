"""The time grid: what each bucket index means."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.moments import END_US, FIRST_US, NOT_IN_RANGE
from arrival_engine.cpu_fallback.tables import Grid
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import Receipt

_COLUMNS = ("bucket_index", "bucket_start_utc", "bucket_end_utc", "bucket_duration_seconds")
_US_PER_DAY = 86_400_000_000


def load_grid(receipt: Receipt, scenario_id: str, max_duration_seconds: int) -> Grid:
    """Buckets of a scenario, checked: indices 0, 1, 2, ..., each starting where the last ended, durations as stated.

    Raises TIME_GRID_MISMATCH, LIMIT_EXCEEDED for a bucket longer than `max_duration_seconds`.
    """
    table = read_table(receipt, "s1_time_grid_5B", _COLUMNS, scenario_id=scenario_id)
    table = table.sort_by("bucket_index")
    index = table["bucket_index"].to_numpy()
    if index.size == 0:
        raise _mismatch(scenario_id, 0, "the grid has no rows")
    if not np.array_equal(index, np.arange(index.size)):
        wrong = int(np.argmax(index != np.arange(index.size)))
        raise _mismatch(scenario_id, wrong, "bucket_index must count 0, 1, 2, ... without gap or repetition")
    start = _microseconds(scenario_id, table, "bucket_start_utc")
    end = _microseconds(scenario_id, table, "bucket_end_utc")
    stated = table["bucket_duration_seconds"].to_numpy()
    duration = end - start
    for bad, problem in (
        (duration <= 0, "the bucket does not end after it starts"),
        (duration != stated * 1_000_000, "end - start differs from bucket_duration_seconds"),
        ((start < FIRST_US) | (end > END_US), f"the bucket {NOT_IN_RANGE}"),
        (np.append(False, start[1:] < end[:-1]), "the bucket starts before the one before it ends"),
        (np.append(False, start[1:] > end[:-1]), "the bucket starts after the one before it ends"),
    ):
        if bad.any():
            raise _mismatch(scenario_id, int(np.argmax(bad)), problem)
    if stated.max() > max_duration_seconds:
        bucket = int(np.argmax(stated > max_duration_seconds))
        raise ArrivalError(
            Code.LIMIT_EXCEEDED,
            f"s1_time_grid_5B of {scenario_id}, bucket {bucket}: {stated[bucket]} s is longer than "
            f"max_bucket_duration_seconds = {max_duration_seconds}",
            hint="use shorter buckets, or raise the limit in arrival_time_placement_policy_5B, and seal again",
            scenario_id=scenario_id,
            bucket_index=bucket,
        )
    return grid_of(start, duration)


def grid_of(start: NDArray[np.int64], duration: NDArray[np.int64]) -> Grid:
    """The grid of checked buckets: starts and durations in microseconds, int64[B]."""
    return Grid(start, duration.astype(np.uint64), np.floor_divide(start, _US_PER_DAY).astype(np.int32))


def _microseconds(scenario_id: str, table: pa.Table, name: str) -> NDArray[np.int64]:
    texts = table[name].cast(pa.string())
    try:
        instants = pc.cast(texts, pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        # The schema checks the form only, not whether the day and the hour exist.
        bucket, text = next((at, text) for at, text in enumerate(texts.to_pylist()) if not _is_instant(text))
        raise _mismatch(scenario_id, bucket, f"{name} {text} is not a valid time") from None
    micros: NDArray[np.int64] = instants.combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)
    return micros


def _is_instant(text: str) -> bool:
    try:
        pc.cast(pa.scalar(text), pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return False
    return True


def _mismatch(scenario_id: str, bucket: int, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.TIME_GRID_MISMATCH,
        f"s1_time_grid_5B of {scenario_id}, bucket {bucket}: {problem}",
        hint="correct s1_time_grid_5B and seal again",
        scenario_id=scenario_id,
        bucket_index=bucket,
    )
