"""The groups of device arrays that kernels take, and the words that they leave for the host."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.tables import I32, I64, U64, Columns, Rows, RowTotals, Switches, Tables

# Slots of `Output.sums`.
SUM_A, SUM_B, AT_START, AT_END, FAILURE = range(5)
SUMS = 5

# A failure is kept as LATEST - (position * FAILURE_CODES + code). Cleared memory then means "none", and the greatest
# word has the earliest position.
LATEST = np.uint64(0xFFFFFFFFFFFFFFFF)
FAILURE_CODES = np.uint64(4)


class Spans(NamedTuple):
    """Positions of the S segments among the R count rows and the scenario's arrivals."""

    row_start: I64  # [S + 1]
    arrivals_before: I64  # [S] arrivals of the same merchant in earlier buckets
    arrival_start: I64  # [S + 1] arrivals of the scenario before the segment
    row_arrivals: I64  # [R + 1] arrivals of the scenario before the count row
    shift: NDArray[np.uint8]  # [S] bits of a position within the segment
    group_table: I32  # [S] tz group table of the segment's merchant-day, or NO_TABLE


class Resident(NamedTuple):
    """Arrays that stay on the device for a whole run."""

    tables: Tables
    rows: Rows
    spans: Spans
    switches: Switches


class Piece(NamedTuple):
    """Consecutive whole segments that are sorted together; `batch_...` give the piece's position in its batch."""

    first_segment: np.int64
    last_segment: np.int64  # exclusive
    first_arrival: np.int64  # of the scenario
    arrivals: np.int64
    batch_row: np.int64  # the batch's first count row
    batch_position: np.int64  # arrivals of the batch before the piece
    offset_bits: np.uint64  # bits of any offset within a bucket


class Output(NamedTuple):
    """Columns of one piece; row totals and sums of the whole batch, cleared before its first piece."""

    columns: Columns
    row_totals: RowTotals
    sums: U64  # [SUMS]
