"""Columns of times as text: each page shares the characters that neighbours have in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.pages.bits import part, put_bytes, put_deltas
from arrival_engine.cpu_fallback.pages.digits import HOUR_SIZE, HOUR_US, PAIRS, day_text, microsecond_text, with_hour
from arrival_engine.cpu_fallback.pages.layout import DELTA_BYTE_ARRAY, PLAIN, Cut, Described, Room
from arrival_engine.cpu_fallback.pages.levels import describe, put_levels
from arrival_engine.cpu_fallback.pages.words import put32, put64, trailing_zeros
from arrival_engine.cpu_fallback.tables import I64, U8, U64, Index

# Characters of the minute and its colon. Seconds are not shared: texts whose own parts begin alike compress better.
_MINUTE_SIZE = np.int64(3)
# What one text is written to, and bytes that are written past the last one.
_STRIDE = 32


class Texts(NamedTuple):
    """The form of the texts of a column, and working space for one page of n values."""

    size: np.int64  # characters of each
    plain: np.int64  # 1 for PLAIN, 0 for DELTA_BYTE_ARRAY
    own: U8  # [32 * (n + 1)] the characters that each text does not share
    sizes: I64  # [2, n] of what a text shares with the one before, and of its own
    pairs: U64  # [100]


def new_texts(size: int, *, plain: bool, values: int) -> Texts:
    """Texts of `size` characters, with working space for pages of at most `values` values."""
    return Texts(
        size=np.int64(size),
        plain=np.int64(plain),
        own=np.empty((values + 1) * _STRIDE, np.uint8),
        sizes=np.empty((2, values), np.int64),
        pairs=PAIRS.copy(),
    )


@part
def _same(words: np.uint64) -> Index:
    """How many of eight characters are the same, from the first one on. words: of both texts, by exclusive or."""
    return np.int64(trailing_zeros(words) >> np.uint64(3))


@part
def _put_plain(body: U8, at: Index, values: I64, text: Texts) -> Index:
    """PLAIN: the size and the characters of each."""
    hour_us, day_before = np.int64(-(2**62)), np.int64(-(2**62))
    month, day, hour = np.uint64(0), np.uint64(0), np.uint64(0)
    for i in range(values.size):
        since = np.uint64(values[i] - hour_us)
        if since >= np.uint64(HOUR_US):
            hours = values[i] // HOUR_US
            hour_us, days = hours * HOUR_US, hours // 24
            if days != day_before:
                day_before, (month, day) = days, day_text(days, text.pairs)
            hour = with_hour(day, hours - days * 24, text.pairs)
            since = np.uint64(values[i] - hour_us)
        first, second = microsecond_text(since, text.pairs)
        put32(body, at, np.uint32(text.size))
        put64(body, at + 4, month)
        put64(body, at + 12, hour | first << np.uint64(48))
        put64(body, at + 20, first >> np.uint64(16) | second << np.uint64(48))
        put64(body, at + 28, second >> np.uint64(16))
        at += 4 + text.size
    return at


@part
def _shifted(low: np.uint64, high: np.uint64, bits: np.uint64) -> np.uint64:
    """The low word of both, shifted by up to 56 bits; a shift by 64 is not defined."""
    return low >> bits | (high << np.uint64(1)) << (np.uint64(63) - bits)


@part
def _put_front_coded(body: U8, at: Index, values: I64, text: Texts, room: Room) -> Index:
    """DELTA_BYTE_ARRAY: the numbers of shared and of own characters as deltas, then the own characters."""
    hour_us, day_before, end = np.int64(-(2**62)), np.int64(-(2**62)), np.int64(0)
    month, day, hour = np.uint64(0), np.uint64(0), np.uint64(0)
    first, second = np.uint64(0), np.uint64(0)
    for i in range(values.size):
        first_before = first
        since = np.uint64(values[i] - hour_us)
        if since < np.uint64(HOUR_US):
            # Neighbours mostly share the hour, which leaves at most 13 characters.
            first, second = microsecond_text(since, text.pairs)
            same = min(_same(first ^ first_before), _MINUTE_SIZE)
            bits = np.uint64(same << 3)
            put64(text.own, end, _shifted(first, second, bits))
            put64(text.own, end + 8, second >> bits)
            shared = HOUR_SIZE + same
        else:
            month_before, hour_before = month, hour
            hours = values[i] // HOUR_US
            hour_us, days = hours * HOUR_US, hours // 24
            if days != day_before:
                day_before, (month, day) = days, day_text(days, text.pairs)
            hour = with_hour(day, hours - days * 24, text.pairs)
            first, second = microsecond_text(np.uint64(values[i] - hour_us), text.pairs)
            shared = _same(month ^ month_before)
            shared += (shared >> 3) * _same(hour ^ hour_before)
            bits = np.uint64((shared & 7) << 3)
            words = (month, hour | first << np.uint64(48), first >> np.uint64(16) | second << np.uint64(48))
            last = second >> np.uint64(16)
            if shared < 8:
                put64(text.own, end, _shifted(words[0], words[1], bits))
                put64(text.own, end + 8, _shifted(words[1], words[2], bits))
                put64(text.own, end + 16, _shifted(words[2], last, bits))
                put64(text.own, end + 24, last >> bits)
            else:
                put64(text.own, end, _shifted(words[1], words[2], bits))
                put64(text.own, end + 8, _shifted(words[2], last, bits))
                put64(text.own, end + 16, last >> bits)
        text.sizes[0, i], text.sizes[1, i] = shared, text.size - shared
        end += text.size - shared
    for row in range(2):
        at = put_deltas(body, at, text.sizes[row, : values.size], room.deltas, room.packed)
    return put_bytes(body, at, text.own, np.int64(0), end)


@njit(nogil=True, allocates=False)
def lay_texts(values: I64, cut: Cut, text: Texts, body: U8, at: Index, room: Room, described: Described) -> Index:
    """Pages of times as texts. values: int64[n] microseconds, those of nulls left out.

    Returns the position after the last byte; writes up to 32 bytes more.
    """
    for page in range(cut.row.size - 1):
        begin = at
        some = values[cut.value[page] : cut.value[page + 1]]
        at = put_levels(body, at, cut, page)
        if text.plain:
            at = _put_plain(body, at, some, text)
            describe(described, cut, page, PLAIN, begin, at)
        else:
            at = _put_front_coded(body, at, some, text, room)
            describe(described, cut, page, DELTA_BYTE_ARRAY, begin, at)
    return at
