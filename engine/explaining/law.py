"""The arrival law on Python integers, one expression per rule, so that every number shown can be redone by hand.

On purpose apart from the compiled law: what `arrivals explain` shows must not come from the code it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

TWO32 = 1 << 32
TWO64 = 1 << 64
_ROUNDS = 10
_MULTIPLIER = 0xD2B74407B1CE6E93
_KEY_STEP = 0x9E3779B97F4A7C15


def philox2x64(word0: int, word1: int, key: int) -> tuple[int, int]:
    """One Philox2x64-10 block (LAW section 2)."""
    for _ in range(_ROUNDS):
        product = _MULTIPLIER * word0
        word0, word1 = (product >> 64) ^ key ^ word1, product % TWO64
        key = (key + _KEY_STEP) % TWO64
    return word0, word1


def counter_word1(hi0: int, bucket: int) -> int:
    """Counter word 1 of a stream in a bucket (LAW section 2)."""
    return (hi0 + bucket) % TWO64


def offset_us(x0: int, duration_us: int) -> int:
    """Microseconds from the bucket's start (LAW 4.1)."""
    return (x0 * duration_us + duration_us // 2) // TWO64


class Slot(NamedTuple):
    """One pick from an alias table (LAW section 3): the slot x falls in, the rest of x, and what is taken."""

    slot: int
    fraction: int
    threshold: int
    alias: int
    taken: int


class Table(NamedTuple):
    """An alias table: by slot, the threshold, 0 to 2^32, and the slot taken otherwise."""

    thresholds: Sequence[int]
    aliases: Sequence[int]


def pick(x: int, table: Table) -> Slot:
    """Pick with the word x."""
    scaled = x * len(table.thresholds)
    index, fraction = scaled // TWO64, scaled % TWO64 // TWO32
    threshold, alias = table.thresholds[index], table.aliases[index]
    return Slot(index, fraction, threshold, alias, index if fraction < threshold else alias)


def share(table: Table, chosen: int) -> float:
    """The chance that a pick from the table gives `chosen`."""
    units = 0
    for index, (threshold, alias) in enumerate(zip(*table, strict=True)):
        units += threshold * (index == chosen) + (TWO32 - threshold) * (alias == chosen)
    return units / (TWO32 * len(table.thresholds))
