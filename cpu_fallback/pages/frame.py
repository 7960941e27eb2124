"""The frame around the pages: their headers, the page index, and the footer's row groups.

What the structs are is said by programs, which `engine.pages.frame` makes (parquet-format, parquet.thrift).
"""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.pages.bits import part, put_bytes, put_varint, zigzag
from arrival_engine.cpu_fallback.pages.layout import (
    BEGIN,
    BOUNDARY_ORDER,
    BYTES,
    CHUNK_HIGH,
    CHUNK_LOW,
    CHUNK_NULLS,
    CHUNK_PAGES,
    CHUNK_VALUES,
    DATA_AT,
    DATA_PAGE,
    DICT_AT,
    DICT_BEGIN,
    DICT_PLAIN_SIZE,
    DICT_SIZE,
    DICTIONARY_PAGE,
    ENCODING,
    FORM,
    GROUP_AT,
    GROUP_BEGIN,
    GROUP_BYTES,
    GROUP_END,
    GROUP_PLAIN_BYTES,
    GROUP_ROWS,
    HIGH,
    INDEX_AT,
    INDEX_BYTES,
    INDEX_END,
    LIST,
    LOW,
    NULLS,
    OFFSET_INDEXES,
    OFFSETS_AT,
    OFFSETS_BYTES,
    PAGE_AT,
    PAGE_BYTES,
    PAGE_LOCATIONS,
    PAGE_ROW,
    PLAIN_BYTES,
    PLAIN_SIZE,
    ROW_GROUPS,
    SIZE,
    TEXT,
    VALUES,
    VARINT,
    Frame,
    Laid,
    Located,
)
from arrival_engine.cpu_fallback.pages.words import put64
from arrival_engine.cpu_fallback.tables import I64, U8, Index

_SIGN = np.int64(-(2**63))


@part
def _put_steps(out: U8, at: Index, frame: Frame, program: I64, facts: I64) -> Index:
    for number in range(program[0], program[1]):
        kind, a, b = frame.steps[number, 0], frame.steps[number, 1], frame.steps[number, 2]
        if kind == TEXT:
            at = put_bytes(out, at, frame.text, a, b)
        elif kind == VARINT:
            at = put_varint(out, at, zigzag(facts[a]))
        elif kind == LIST:
            # The head of a list of up to 14 elements holds their number.
            if facts[a] < 15:
                out[at] = (facts[a] << 4) | b
                at += 1
            else:
                out[at] = 0xF0 | b
                at = put_varint(out, at + 1, np.uint64(facts[a]))
        else:
            # A binary value of eight bytes.
            out[at] = 8
            put64(out, at + 1, np.uint64(facts[a]))
            at += 9
    return at


@part
def _note_chunk(facts: I64, pages: I64, bounded: np.int32) -> None:
    """What a chunk's pages sum up to."""
    # Makes 64-bit words comparable as signed numbers.
    flip = _SIGN if bounded == 2 else np.int64(0)
    low, high = pages[0, LOW] ^ flip, pages[0, HIGH] ^ flip
    before_low, before_high, ascends = low, high, True
    facts[CHUNK_PAGES], facts[FORM] = pages.shape[0], pages[0, ENCODING]
    for number in range(pages.shape[0]):
        page = pages[number]
        facts[PLAIN_BYTES] += page[PLAIN_SIZE] - page[SIZE]
        facts[CHUNK_VALUES] += page[VALUES]
        facts[CHUNK_NULLS] += page[NULLS]
        page_low, page_high = page[LOW] ^ flip, page[HIGH] ^ flip
        ascends &= page_low >= before_low and page_high >= before_high
        before_low, before_high = page_low, page_high
        low, high = min(low, page_low), max(high, page_high)
    facts[CHUNK_LOW], facts[CHUNK_HIGH], facts[BOUNDARY_ORDER] = low ^ flip, high ^ flip, ascends


@njit(nogil=True, allocates=False)
def put_pages(laid: Laid, frame: Frame, out: U8, at: Index, located: Located) -> Index:
    """The pages of all row groups, column by column, each behind its header; returns the position after them."""
    for group in range(located.groups.shape[0]):
        of_group = located.groups[group]
        of_group[:] = 0
        group_begin = at
        of_group[GROUP_AT] = located.base + at
        for column in range(laid.single.size):
            facts, begin = located.chunks[group, column], at
            facts[:] = 0
            dictionary = laid.dictionaries[column, group]
            size = dictionary[DICT_SIZE]
            if size >= 0:
                facts[DICT_AT], facts[PLAIN_BYTES] = located.base + at, dictionary[DICT_PLAIN_SIZE] - size
                at = _put_steps(out, at, frame, frame.programs[DICTIONARY_PAGE], dictionary)
                at = put_bytes(out, at, laid.body, dictionary[DICT_BEGIN], dictionary[DICT_BEGIN] + size)
            start = laid.page_start[laid.single[column]]
            pages = laid.pages[column, start[group] : start[group + 1]]
            locations = located.pages[column, start[group] : start[group + 1]]
            facts[DATA_AT], row = located.base + at, np.int64(0)
            for number in range(pages.shape[0]):
                page, location, page_begin = pages[number], locations[number], at
                location[PAGE_AT], location[PAGE_ROW] = located.base + at, row
                at = _put_steps(out, at, frame, frame.programs[DATA_PAGE], page)
                at = put_bytes(out, at, laid.body, page[BEGIN], page[BEGIN] + page[SIZE])
                location[PAGE_BYTES] = at - page_begin
                row += page[VALUES]
            _note_chunk(facts, pages, laid.bounded[column])
            facts[BYTES] = at - begin
            facts[PLAIN_BYTES] += at - begin
            of_group[GROUP_PLAIN_BYTES] += facts[PLAIN_BYTES]
            of_group[GROUP_ROWS] = row
        of_group[GROUP_BYTES] = at - group_begin
    return at


@part
def _put_list(out: U8, at: Index, frame: Frame, program: Index, chunk: I64, entries: I64) -> Index:
    """A list by two programs: one for its head, the next for each entry."""
    at = _put_steps(out, at, frame, frame.programs[program], chunk)
    for number in range(entries.shape[0]):
        at = _put_steps(out, at, frame, frame.programs[program + 1], entries[number])
    return at


@njit(nogil=True, allocates=False)
def put_footer(laid: Laid, located: Located, frame: Frame, out: U8, at: Index, what: Index) -> Index:
    """What the file says of these pages after all pages; returns the position after it.

    what: COLUMN_INDEXES, then OFFSET_INDEXES, then ROW_GROUPS, which are entries of the footer.
    """
    for group in range(located.groups.shape[0]):
        if what == ROW_GROUPS:
            at = _put_steps(out, at, frame, frame.programs[GROUP_BEGIN], located.groups[group])
        for column in range(laid.single.size):
            chunk, start, begin = located.chunks[group, column], laid.page_start[laid.single[column]], at
            first, last = start[group], start[group + 1]
            if what == ROW_GROUPS:
                at = _put_steps(out, at, frame, frame.chunk[column, chunk[FORM]], chunk)
            elif what == OFFSET_INDEXES:
                at = _put_list(out, at, frame, np.int64(PAGE_LOCATIONS), chunk, located.pages[column, first:last])
                at = _put_steps(out, at, frame, frame.programs[INDEX_END], chunk)
                chunk[OFFSETS_AT], chunk[OFFSETS_BYTES] = located.base + begin, at - begin
            elif laid.bounded[column]:
                for number in range(0, PAGE_LOCATIONS, 2):
                    at = _put_list(out, at, frame, np.int64(number), chunk, laid.pages[column, first:last])
                at = _put_steps(out, at, frame, frame.programs[INDEX_END], chunk)
                chunk[INDEX_AT], chunk[INDEX_BYTES] = located.base + begin, at - begin
        if what == ROW_GROUPS:
            at = _put_steps(out, at, frame, frame.programs[GROUP_END], located.groups[group])
    return at
