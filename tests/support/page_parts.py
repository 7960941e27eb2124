"""The scalar parts of pages, which only compiled code can call, one entry each."""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.pages import bits, digits
from arrival_engine.cpu_fallback.tables import Index


@njit(nogil=True, allocates=False)
def put_varints(out, values):
    at: Index = 0
    for i in range(values.size):
        at = bits.put_varint(out, at, values[i])
    return at


@njit(nogil=True, allocates=False)
def put_zigzags(out, values):
    for i in range(values.size):
        out[i] = bits.zigzag(values[i])


@njit(nogil=True, allocates=False)
def put_packed(out, codes, width):
    return bits.put_packed(out, np.int64(0), codes, width)


@njit(nogil=True, allocates=False)
def put_run(out, count, code, width):
    return bits.put_run(out, np.int64(0), count, code, width)


@njit(nogil=True, allocates=False)
def put_flags(out, flags, first, last, flip):
    return bits.put_flags(out, np.int64(0), flags, first, last, flip)


@njit(nogil=True, allocates=False)
def put_deltas(out, values, deltas, packed):
    return bits.put_deltas(out, np.int64(0), values, deltas, packed)


@njit(nogil=True, allocates=False)
def put_times(out, values, pairs):
    """Each time as the four words of 8, 6, 8 and 5 characters that its digits come in, 32 bytes per time."""
    for i in range(values.size):
        hours = values[i] // digits.HOUR_US
        month, day = digits.day_text(hours // 24, pairs)
        hour = digits.with_hour(day, hours - hours // 24 * 24, pairs)
        first, second = digits.microsecond_text(np.uint64(values[i] - hours * digits.HOUR_US), pairs)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = month, hour, first, second
