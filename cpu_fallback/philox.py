"""Philox2x64-10, the counter-based generator of Random123.

Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC11), table 2; LAW section 2.
"""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.wide import mul_wide

ROUNDS = 10
MULTIPLIER = np.uint64(0xD2B74407B1CE6E93)
KEY_STEP = np.uint64(0x9E3779B97F4A7C15)


@njit
def philox2x64(word0: np.uint64, word1: np.uint64, key: np.uint64) -> tuple[np.uint64, np.uint64]:
    """One block: counter words and key (uint64) to two uint64 words (x0, x1)."""
    word0 = np.uint64(word0)
    word1 = np.uint64(word1)
    key = np.uint64(key)
    for _ in range(ROUNDS):
        high, low = mul_wide(MULTIPLIER, word0)
        word0 = high ^ key ^ word1
        word1 = low
        key = key + KEY_STEP
    return word0, word1
