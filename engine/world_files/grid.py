"""The time grid of 5B.S1."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa

from arrival_engine.contracts.arrow_columns import constant
from arrival_engine.engine.world_files.shelf import SPEC_VERSION, Shelf

Band = Literal["baseline", "stress"]


def instant_text(instant: datetime) -> str:
    """A UTC instant of whole seconds in the contract's form."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def write_time_grid(edges: Sequence[datetime], shelf: Shelf, weekend_days: Sequence[int], band: Band) -> None:
    """Write `s1_time_grid_5B`: bucket b lies between edges b and b + 1, in UTC and whole seconds; annotated in UTC.

    weekend_days: ISO weekdays, from 1.
    """
    starts, buckets = edges[:-1], len(edges) - 1
    texts = [instant_text(edge) for edge in edges]
    seconds = [int((end - start).total_seconds()) for start, end in zip(starts, edges[1:], strict=True)]
    days = np.array([start.isoweekday() for start in starts], np.int64)
    shelf.table(
        "s1_time_grid_5B",
        {
            **shelf.common(buckets, "manifest_fingerprint", "parameter_hash", "scenario_id"),
            "bucket_index": pa.array(np.arange(buckets, dtype=np.int64)),
            "bucket_start_utc": pa.array(texts[:-1]),
            "bucket_end_utc": pa.array(texts[1:]),
            "bucket_duration_seconds": pa.array(np.array(seconds, np.int64)),
            "local_day_of_week": pa.array(days),
            "local_minutes_since_midnight": pa.array(
                np.array([start.hour * 60 + start.minute for start in starts], np.int64)
            ),
            "is_weekend": pa.array(np.isin(days, weekend_days)),
            "scenario_is_baseline": pa.array(np.full(buckets, band == "baseline")),
            "scenario_is_stress": pa.array(np.full(buckets, band != "baseline")),
            "s1_spec_version": constant(SPEC_VERSION, buckets),
            "scenario_labels": pa.array([[band]] * buckets, pa.list_(pa.string())),
        },
    )
