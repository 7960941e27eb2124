"""Scalar decisions of the arrival law: offset, alias pick, coin, counter (LAW sections 2 to 4).

Every function takes and returns scalars. It casts its arguments first, because the CUDA simulator passes plain Python
ints and a signed operand would turn the arithmetic into int64 or float64.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.wide import mul_hi

Word = np.uint64 | np.int64 | np.int32 | int

_ONE = np.uint64(1)
_HALF_WORD = np.uint64(32)
_LOW_HALF = np.uint64(0xFFFFFFFF)

# Codes of a merchant's mode, and virtual_classification_3B.virtual_mode by code.
NON_VIRTUAL, HYBRID, VIRTUAL_ONLY = 0, 1, 2
MODES = ("NON_VIRTUAL", "HYBRID", "VIRTUAL_ONLY")


@njit
def counter_word1(hi0: np.uint64, bucket: Word) -> np.uint64:
    """Counter word 1 of an entity's stream in a bucket: (hi0 + b) mod 2^64."""
    return np.uint64(hi0) + np.uint64(bucket)


@njit
def draw_offset(x0: np.uint64, duration: np.uint64) -> np.uint64:
    """Offset in microseconds within a bucket of `duration` microseconds, in [0, duration): LAW 4.1.

    floor((x0 * D + floor(D / 2)) / 2^64) on 128 bits.
    """
    x0 = np.uint64(x0)
    duration = np.uint64(duration)
    low = x0 * duration
    rounded = low + (duration >> _ONE)
    carry = np.uint64(rounded < low)
    return mul_hi(x0, duration) + carry


@njit
def alias_slot(x: np.uint64, size: np.uint64) -> np.uint64:
    """Slot of a table of `size` slots that the word x falls in: floor(x * n / 2^64)."""
    return mul_hi(np.uint64(x), np.uint64(size))


@njit
def alias_choice(x: np.uint64, size: np.uint64, slot: np.uint64, packed: np.uint64) -> np.uint64:
    """The index taken, the slot or its alias, by the 32 bits of x below the slot (LAW section 3, pick).

    `packed` holds the threshold in the low and the alias in the high 32 bits (`cpu_fallback.alias.pack`).
    """
    packed = np.uint64(packed)
    fraction = (np.uint64(x) * np.uint64(size)) >> _HALF_WORD
    if fraction < (packed & _LOW_HALF):
        return np.uint64(slot)
    return packed >> _HALF_WORD


def coin_threshold(p: Fraction) -> int:
    """floor(p * 2^64) for the policy's exact probability p < 1; words below it are virtual (LAW 4.2)."""
    return int(p * (1 << 64))


@njit
def coin_is_virtual(x1: np.uint64, threshold: np.uint64) -> bool:
    """The HYBRID coin: virtual iff x1 < `coin_threshold` (LAW 4.2)."""
    return bool(np.uint64(x1) < np.uint64(threshold))


@njit
def whole_seconds(ts_us: np.int64) -> np.int64:
    """floor(ts / 10^6), also before 1970 (LAW 4.5)."""
    return np.int64(ts_us) // np.int64(1_000_000)
