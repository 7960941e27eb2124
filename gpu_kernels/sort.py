"""Pieces of a batch that are sorted together: their keys fit 64 bits and their arrays fit the device.

`gpu_kernels.kernels` describes and builds the key. `gpu_kernels.memory` has the radix sort.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from arrival_engine.cpu_fallback.segments import KEY_BITS, greedy_end
from arrival_engine.cpu_fallback.tables import Columns, RowTotals, Segments, empty_columns, empty_row_totals
from arrival_engine.gpu_kernels.layout import Piece


def _element_bytes(group: Columns | RowTotals) -> int:
    return sum(array.itemsize for array in group)


# Device bytes per arrival: its key twice, because the radix sort has two buffers, its columns, and at most one element
# of each row total, because a count row has at least one arrival.
ARRIVAL_BYTES = 2 * 8 + _element_bytes(empty_columns(0)) + _element_bytes(empty_row_totals(0))


def cut(segments: Segments, span: tuple[int, int], bits: int, most_arrivals: int) -> Iterator[Piece]:
    """Cut segments span[0] to span[1] into pieces of at most `most_arrivals` arrivals, in order.

    `bits` is `offset_bits` of the grid. A piece has fewer arrivals if keys would not fit otherwise: the first key after
    n arrivals is 2n << bits. A larger segment is a piece of its own.
    """
    starts = segments.arrival_start
    limit = max(min(most_arrivals, 1 << (KEY_BITS - 1 - bits)), 1)
    first = span[0]
    while first < span[1]:
        last = min(greedy_end(starts, first, limit), span[1])
        yield Piece(
            first_segment=np.int64(first),
            last_segment=np.int64(last),
            first_arrival=starts[first],
            arrivals=starts[last] - starts[first],
            batch_row=segments.row_start[span[0]],
            batch_position=starts[first] - starts[span[0]],
            offset_bits=np.uint64(bits),
        )
        first = last
