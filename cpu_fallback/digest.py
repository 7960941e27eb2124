"""Arrival digest, version 1: an order-free fingerprint of a set of arrivals (LAW section 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arrival_engine.cpu_fallback.jit import njit

_MASK = (1 << 64) - 1


def _splitmix64(state: int) -> tuple[int, int]:
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    value = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return state, value ^ (value >> 31)


def _multipliers() -> tuple[np.uint64, ...]:
    state, words = 0, []
    for _ in range(12):
        state, word = _splitmix64(state)
        words.append(np.uint64(word | 1))
    return tuple(words)


MULTIPLIERS = _multipliers()
K1, K2, K3, K4, K5, K6, K7, K8, K9, K10, K11, K12 = MULTIPLIERS
SECOND_LANE = np.uint64(0xD6E8FEB86659FD93)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30 = np.uint64(30)
_S27 = np.uint64(27)
_S31 = np.uint64(31)


@njit
def mix64(value: np.uint64) -> np.uint64:
    """splitmix64's finaliser on a uint64."""
    value = np.uint64(value)
    value = (value ^ (value >> _S30)) * _MIX1
    value = (value ^ (value >> _S27)) * _MIX2
    return value ^ (value >> _S31)


@njit
def fold_word(row_hash: np.uint64, word: np.uint64, multiplier: np.uint64) -> np.uint64:
    """row_hash + word * multiplier mod 2^64; a row's words go with K_1 to K_12 in turn, signed ones modulo 2^64."""
    return np.uint64(row_hash) + np.uint64(word) * np.uint64(multiplier)


@njit
def digest_lanes(row_hash: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The terms that one row adds to the sums A and B."""
    row_hash = np.uint64(row_hash)
    return mix64(row_hash), mix64(row_hash ^ SECOND_LANE)


@dataclass(frozen=True)
class Digest:
    """Row count and the two sums modulo 2^64; digests of disjoint sets add."""

    rows: int = 0
    a: int = 0
    b: int = 0

    def __add__(self, other: Digest) -> Digest:
        return Digest(self.rows + other.rows, (self.a + other.a) & _MASK, (self.b + other.b) & _MASK)

    def __str__(self) -> str:
        return f"{self.rows}-{self.a:016x}{self.b:016x}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read the text form back; ValueError for any other text."""
        rows, _, lanes = text.partition("-")
        if len(lanes) != 32 or not rows.isdecimal():
            raise ValueError(f"not an arrival digest: {text!r}")
        return cls(int(rows), int(lanes[:16], 16), int(lanes[16:], 16))
