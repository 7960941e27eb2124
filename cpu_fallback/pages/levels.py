"""Definition levels, and the facts of a page."""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.pages.bits import part, put_flags, put_run, put_varint
from arrival_engine.cpu_fallback.pages.layout import (
    BEGIN,
    ENCODING,
    NULLS,
    PLAIN_SIZE,
    REQUIRED,
    SIZE,
    VALUES,
    WHERE_CLEAR,
    Cut,
    Described,
)
from arrival_engine.cpu_fallback.pages.words import put32
from arrival_engine.cpu_fallback.tables import U8, Index

_ONE_BIT = np.int64(1)


@part
def put_levels(body: U8, at: Index, cut: Cut, page: Index) -> Index:
    """Definition levels of a page: their size in four bytes, then a run where they are equal, or one bit each."""
    if cut.levels == REQUIRED:
        return at
    first, last = cut.row[page], cut.row[page + 1]
    values = cut.value[page + 1] - cut.value[page]
    begin = at
    at += 4
    if values == 0 or values == last - first:
        at = put_run(body, at, last - first, np.int64(values != 0), _ONE_BIT)
    else:
        at = put_varint(body, at, np.uint64((((last - first + 7) >> 3) << 1) | 1))
        at = put_flags(body, at, cut.flags, first, last, cut.levels == WHERE_CLEAR)
    put32(body, begin, np.uint32(at - begin - 4))
    return at


@part
def describe(described: Described, cut: Cut, page: Index, encoding: Index, begin: Index, end: Index) -> None:
    """Note a page that is not compressed."""
    facts = described.pages[page]
    rows = cut.row[page + 1] - cut.row[page]
    facts[BEGIN], facts[SIZE], facts[PLAIN_SIZE], facts[ENCODING] = begin, end - begin, end - begin, encoding
    facts[VALUES], facts[NULLS] = rows, rows - (cut.value[page + 1] - cut.value[page])
