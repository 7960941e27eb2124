"""Loops around single parts of the expansion, compiled as the product's kernels are, calling the product's functions.

Each stores or folds what it computes, so that no compiler may leave the work out.
"""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.draw import Times, draw_keys, segment_at, sort_keys
from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.tables import U64, Work

RING = 1023  # a power of two less one: a division would cost more than the block


@njit(nogil=True, allocates=False)
def philox_blocks(blocks: int, key: np.uint64, words: U64) -> None:
    """Blocks with counters 0, 1, 2, ... into a short array: the floor under everything that draws.

    Folded into one word they would be computed with vector instructions, which have no 128 bit product: half as fast.
    """
    for counter in range(blocks):
        x0, x1 = philox2x64(np.uint64(counter), np.uint64(1), key)
        words[counter & RING] = x0 ^ x1


@njit(nogil=True, allocates=False)
def draw(work: Work, span: tuple[int, int], shift: np.uint64, times: Times) -> np.uint64:
    """Time words and sort keys of segments span[0] to span[1]."""
    time_key, time_hi = work.tables.entities.time_key, work.tables.entities.time_hi
    folded = np.uint64(0)
    for at in range(span[0], span[1]):
        segment = segment_at(work.segments, work.rows, work.tables.grid, at, span[0])
        draw_keys(segment, shift, work.rows, time_key, time_hi, times)
        folded ^= times.keys[segment.arrivals - 1]
    return folded


@njit(nogil=True, allocates=False)
def draw_and_sort(work: Work, span: tuple[int, int], shift: np.uint64, times: Times) -> np.uint64:
    """The same, and the keys in order."""
    time_key, time_hi = work.tables.entities.time_key, work.tables.entities.time_hi
    folded = np.uint64(0)
    for at in range(span[0], span[1]):
        segment = segment_at(work.segments, work.rows, work.tables.grid, at, span[0])
        draw_keys(segment, shift, work.rows, time_key, time_hi, times)
        sort_keys(segment.arrivals, times)
        folded ^= times.ordered[segment.arrivals - 1]
    return folded
