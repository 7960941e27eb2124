"""Sizes of groups of whole segments, limited by a number of arrivals and by the width of a sort key."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.tables import I64, Grid

KEY_BITS = 64


class Segment(NamedTuple):
    """One segment, as the loops of the CPU kernel take it."""

    first_row: np.int64
    last_row: np.int64
    batch_row: np.int64  # the first row, counted from the batch's first
    arrivals: np.int64
    first: np.uint64  # arrivals of the batch before it
    bucket: np.int32
    start_us: np.uint64  # modulo 2^64
    duration_us: np.uint64


def position_bits(longest_segment: int) -> int:
    """Bits that hold any position within a segment of `longest_segment` arrivals."""
    return max(longest_segment - 1, 0).bit_length()


def offset_bits(grid: Grid) -> int:
    """Bits that hold any offset within any bucket."""
    return (int(grid.duration_us.max(initial=1)) - 1).bit_length()


def check_key_width(grid: Grid, arrival_start: I64, where: str = "bucket counts") -> None:
    """Raise LIMIT_EXCEEDED for a segment whose arrivals have no 64-bit sort keys.

    arrival_start: int64[S + 1], arrivals before each segment; where: what the error names, such as the scenario.
    """
    longest = int(np.diff(arrival_start).max(initial=0))
    if offset_bits(grid) + position_bits(longest) > KEY_BITS:
        raise ArrivalError(
            Code.LIMIT_EXCEEDED,
            f"{where}: a merchant has {longest} arrivals in one bucket, more than can be ordered at once",
            hint="use shorter buckets or smaller counts",
            largest_segment=longest,
        )


def greedy_end(arrival_start: I64, first: int, most_arrivals: int) -> int:
    """The end of the longest run of segments from `first` with at most `most_arrivals`; at least one, however large.

    arrival_start: int64[S + 1], arrivals before each segment.
    """
    fitting = np.searchsorted(arrival_start, arrival_start[first] + most_arrivals, side="right")
    return max(int(fitting) - 1, first + 1)
