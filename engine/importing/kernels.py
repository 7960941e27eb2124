"""Compiled loop of the division of local days among buckets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.law import draw_offset
from arrival_engine.cpu_fallback.philox import philox2x64

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


@njit(nogil=True)
def divide_days(stream: Words, length: Words, arrivals: Ints, first: Ints, end: Words, divided: Ints) -> None:
    """Count each day's arrivals by the piece of the day that they fall in.

    stream: uint64[D, 2], key and counter word 1 of each day. length: uint64[D], microseconds. arrivals: int64[D].
    first: int64[D + 1], the pieces of day d are first[d] to first[d + 1]. end: uint64[P], where each piece ends,
    in microseconds from the start of its day. divided: int64[P], zeros that become the counts.
    """
    for day in range(len(arrivals)):
        key, word1 = stream[day, 0], stream[day, 1]
        for draw in range(arrivals[day]):
            x0, _ = philox2x64(np.uint64(draw), word1, key)
            offset = draw_offset(x0, length[day])
            piece = first[day]
            while offset >= end[piece]:
                piece += 1
            divided[piece] += 1
