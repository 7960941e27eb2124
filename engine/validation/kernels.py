"""The loops of a pass over stored rows: digest and order, compiled. Written from LAW sections 5 and 7, not from the
kernels that expand, with which they share nothing but the compiler.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.jit import njit

Words = NDArray[np.uint64]

_SECOND_LANE = np.uint64(0xD6E8FEB86659FD93)
_ADDEND = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1 = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


class StoredRows(NamedTuple):
    """Columns of n rows; nulls are zero. Texts are codes into the words of `Terms`."""

    merchant: Words
    bucket: Words
    seq: NDArray[np.int64]
    ts_us: NDArray[np.int64]
    local_us: NDArray[np.int64]
    is_virtual: NDArray[np.bool_]
    place: Words  # edge of virtual rows, site of others
    zone: NDArray[np.int32]
    channel: NDArray[np.int32]
    primary: NDArray[np.int32]


class Terms(NamedTuple):
    """Digest terms to look up: words by code, times their factor; both settlement terms by virtual row."""

    zone: Words
    channel: Words
    primary: Words
    settlement: Words


@njit
def finalise(value: np.uint64) -> np.uint64:
    """splitmix64's finaliser."""
    value = (value ^ (value >> _30)) * _FACTOR_1
    value = (value ^ (value >> _27)) * _FACTOR_2
    return value ^ (value >> _31)


def factors() -> Words:
    """K_1 to K_12 of LAW section 7: splitmix64 from state 0, each made odd."""
    states = np.arange(1, 13, dtype=np.uint64) * _ADDEND
    return np.array([int(finalise(state)) | 1 for state in states], np.uint64)


@njit(nogil=True, allocates=False)
def digest_rows(rows: StoredRows, terms: Terms, k: Words, sums: Words) -> None:
    """Add both lanes of every row to `sums`, uint64[2]; k: the twelve factors."""
    settled = 0
    for i in range(rows.merchant.size):
        h = rows.merchant[i] * k[0] + rows.bucket[i] * k[3]
        h += np.uint64(rows.seq[i]) * k[4] + np.uint64(rows.ts_us[i]) * k[5]
        h += rows.place[i] * k[7] + np.uint64(rows.local_us[i]) * k[9]
        h += terms.zone[rows.zone[i]] + terms.channel[rows.channel[i]] + terms.primary[rows.primary[i]]
        if rows.is_virtual[i]:
            h += k[6] + terms.settlement[settled]
            settled += 1
        sums[0] += finalise(h)
        sums[1] += finalise(h ^ _SECOND_LANE)


@njit(nogil=True, allocates=False)
def irregular_rows(rows: StoredRows, found: NDArray[np.int64]) -> int:
    """Write to `found` the rows whose successor is not the same merchant's next arrival at a later time; count them."""
    count = 0
    for i in range(rows.merchant.size - 1):
        regular = (
            rows.merchant[i + 1] == rows.merchant[i]
            and rows.ts_us[i + 1] > rows.ts_us[i]
            and rows.seq[i + 1] - rows.seq[i] == 1
        )
        found[count] = i
        count += not regular
    return count
