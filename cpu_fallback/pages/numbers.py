"""Columns of integers."""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.pages.bits import part, put_bytes, put_delta_blocks, put_delta_head
from arrival_engine.cpu_fallback.pages.layout import DELTA_BINARY_PACKED, HIGH, LOW, PLAIN, Cut, Described, Room, Twin
from arrival_engine.cpu_fallback.pages.levels import describe, put_levels
from arrival_engine.cpu_fallback.pages.words import put64
from arrival_engine.cpu_fallback.tables import I64, U8, Index


@part
def _note_bounds(described: Described, page: Index, values: I64) -> None:
    if values.size == 0:
        return
    low = high = values[0]
    for i in range(values.size):
        low, high = min(low, values[i]), max(high, values[i])
    described.pages[page, LOW], described.pages[page, HIGH] = low, high


@part
def _same_steps(values: I64, twin: I64) -> bool:
    """Whether both differ by one number throughout, and so have the same delta blocks."""
    apart = values[0] - twin[0]
    differs = np.int64(0)
    for i in range(values.size):
        differs |= (values[i] - twin[i]) ^ apart
    return bool(differs == 0)


@njit(nogil=True, allocates=False)
def lay_deltas(values: I64, cut: Cut, twin: Twin, body: U8, at: Index, room: Room, described: Described) -> Index:
    """Pages of DELTA_BINARY_PACKED integers, with the bounds of each page that has values.

    values: int64[n], those of nulls left out. Returns the position after the last byte.
    """
    for page in range(cut.row.size - 1):
        begin = at
        some = values[cut.value[page] : cut.value[page + 1]]
        rows = twin.values[cut.row[page] : cut.row[page + 1]]
        at = put_levels(body, at, cut, page)
        at = put_delta_head(body, at, some)
        start = at
        # The slice of an empty twin is empty.
        if some.size > 0 and some.size == rows.size and _same_steps(some, rows):
            at = put_bytes(body, at, body, twin.blocks[page, 0], twin.blocks[page, 1])
        else:
            at = put_delta_blocks(body, at, some, room.deltas, room.packed)
        if twin.values.size == 0:
            twin.blocks[page, 0], twin.blocks[page, 1] = start, at
        describe(described, cut, page, DELTA_BINARY_PACKED, begin, at)
        _note_bounds(described, page, some)
    return at


@njit(nogil=True, allocates=False)
def lay_words(values: I64, cut: Cut, body: U8, at: Index, described: Described) -> Index:
    """As `lay_deltas`, in the PLAIN encoding."""
    for page in range(cut.row.size - 1):
        begin = at
        some = values[cut.value[page] : cut.value[page + 1]]
        at = put_levels(body, at, cut, page)
        for i in range(some.size):
            put64(body, at + i * 8, np.uint64(some[i]))
        at += some.size * 8
        describe(described, cut, page, PLAIN, begin, at)
        _note_bounds(described, page, some)
    return at
