"""Alias tables from weights, by exact integer arithmetic after one quantisation (LAW section 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.jit import njit

WEIGHT_GRID = 2147483648.0  # 2^31: quantisation step of a weight's share
ALWAYS = np.uint64(1 << 32)  # threshold of a slot that is always taken
_SHIFT = np.uint64(32)

BAD_WEIGHT = 1
BAD_TOTAL = 2


class AliasTables(NamedTuple):
    """Alias tables of many weight lists in compressed rows.

    threshold: uint64[K] in [0, 2^32]; alias: uint32[K], an index within the same table; exists: bool[T], false where
    the weights sum to zero or the list is empty.
    """

    threshold: NDArray[np.uint64]
    alias: NDArray[np.uint32]
    exists: NDArray[np.bool_]


class BadWeightsError(ValueError):
    """A weight is negative or not finite, or a list's sum overflows; `table` is the offending list's index."""

    def __init__(self, table: int, reason: str) -> None:
        super().__init__(f"table {table}: {reason}")
        self.table = table
        self.reason = reason


class _Scratch(NamedTuple):
    scaled: NDArray[np.uint64]
    small: NDArray[np.int64]
    large: NDArray[np.int64]


@njit(allocates=False)
def _total(weights: NDArray[np.float64]) -> float:
    """The plain left-to-right sum; -1 for a weight that is negative or not finite."""
    total = 0.0
    for weight in weights:
        if not (weight >= 0.0) or weight == np.inf:
            return -1.0
        total += weight
    return total


@njit(allocates=False)
def _pair(
    weights: NDArray[np.float64],
    total: float,
    threshold: NDArray[np.uint64],
    alias: NDArray[np.uint32],
    scratch: _Scratch,
) -> None:
    """One table by Vose's two stacks, in integers after the one quantisation."""
    scaled, small, large = scratch
    mass = np.uint64(0)
    for i in range(weights.size):
        units = np.uint64(np.floor((weights[i] / total) * WEIGHT_GRID + 0.5))
        mass += units
        scaled[i] = units * np.uint64(weights.size)
    n_small = 0
    n_large = 0
    for i in range(weights.size):
        threshold[i] = ALWAYS
        alias[i] = i
        if scaled[i] < mass:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small > 0 and n_large > 0:
        n_small -= 1
        taker = small[n_small]
        giver = large[n_large - 1]
        threshold[taker] = (scaled[taker] << _SHIFT) // mass
        alias[taker] = giver
        scaled[giver] -= mass - scaled[taker]
        if scaled[giver] < mass:
            n_large -= 1
            small[n_small] = giver
            n_small += 1


@njit(nogil=True, allocates=False)
def _build(
    weights: NDArray[np.float64], starts: NDArray[np.int64], tables: AliasTables, scratch: _Scratch
) -> tuple[int, int]:
    for table in range(starts.size - 1):
        first = starts[table]
        last = starts[table + 1]
        total = _total(weights[first:last])
        if total < 0.0:
            return table, BAD_WEIGHT
        if total == np.inf:
            return table, BAD_TOTAL
        tables.exists[table] = total > 0.0
        if total > 0.0:
            _pair(weights[first:last], total, tables.threshold[first:last], tables.alias[first:last], scratch)
    return -1, 0


def build_alias_tables(weights: NDArray[np.float64], starts: NDArray[np.int64]) -> AliasTables:
    """Build every table of a compressed-row weight array.

    weights: float64[K], in slot order; starts: int64[T+1], ascending. Raises BadWeightsError.
    """
    sizes = np.diff(starts)
    longest = int(sizes.max(initial=0))
    tables = AliasTables(
        np.zeros(weights.size, np.uint64), np.zeros(weights.size, np.uint32), np.zeros(sizes.size, np.bool_)
    )
    scratch = _Scratch(np.empty(longest, np.uint64), np.empty(longest, np.int64), np.empty(longest, np.int64))
    table, problem = _build(weights, starts, tables, scratch)
    if problem:
        raise BadWeightsError(
            table, "weights sum to infinity" if problem == BAD_TOTAL else "a weight is negative or not finite"
        )
    return tables


def load_kernel() -> None:
    """Compile the kernel, or load it from the cache; no table is built."""
    build_alias_tables(np.empty(0, np.float64), np.zeros(1, np.int64))


def blob_thresholds(prob_q: NDArray[np.uint32], qbits: int) -> NDArray[np.uint64]:
    """Thresholds of slots that are taken with probability prob_q / 2^qbits: prob_q * 2^(32 - qbits)."""
    return prob_q.astype(np.uint64) << np.uint64(32 - qbits)


def pack(threshold: NDArray[np.uint64], alias: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One 8-byte word per slot: threshold in the low, alias in the high 32 bits, so a pick costs one load.

    A threshold of 2^32 does not fit. Only slots that are their own alias have it, so the pick is the same.
    """
    low = np.minimum(threshold, ALWAYS - np.uint64(1))
    packed: NDArray[np.uint64] = low | (alias.astype(np.uint64) << _SHIFT)
    return packed
