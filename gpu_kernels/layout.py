"""The kernels by name, the groups of device arrays that they take, and the words that they leave for the host."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.tables import I32, I64, U64, Columns, Rows, RowTotals, Switches, Tables
from arrival_engine.gpu_kernels.shape import LaunchShape

# Slots of `Output.sums`.
SUM_A, SUM_B, AT_START, AT_END, FAILURE = range(5)
SUMS = 5

# A failure is kept as LATEST - (position * FAILURE_CODES + code). Cleared memory then means "none", and the greatest
# word has the earliest position. Below 2^63, signed and unsigned words have the same maximum.
LATEST = np.uint64((1 << 63) - 1)
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


class Kernel(NamedTuple):
    """A function of `gpu_kernels.kernels`: dynamic shared memory per thread, and the types of its arguments."""

    name: str
    shared_bytes_per_thread: int
    arguments: tuple[Any, ...]

    def shared_bytes(self, shape: LaunchShape) -> int:
        """Dynamic shared memory of one block."""
        return self.shared_bytes_per_thread * shape.threads

    def prototypes(self) -> tuple[Any, ...]:
        """Arguments of the right types: arrays of one element, and zeros."""
        return tuple(_prototype(kind) for kind in self.arguments)


# Two words per thread: the bounds of a tile, and the two lanes of the digest.
_TWO_WORDS = 2 * 8
PREPARE = Kernel("prepare_segments", 0, (Resident,))
DRAW = Kernel("draw_keys", _TWO_WORDS, (Resident, Piece, U64))
SETTLE = Kernel("settle", _TWO_WORDS, (Resident, Piece, U64, Output))
KERNELS = (PREPARE, DRAW, SETTLE)


def _prototype(kind: Any) -> Any:
    if get_origin(kind) is np.ndarray:
        _, dtype = get_args(kind)
        (element,) = get_args(dtype)
        return np.zeros(1, element)
    if hasattr(kind, "_fields"):
        return kind(*map(_prototype, get_type_hints(kind).values()))
    return kind(0)
