"""Columns of few values: per row group a dictionary of the values in it, and pages of codes."""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.pages.bits import bit_width, part, put_bytes, put_packed, put_run
from arrival_engine.cpu_fallback.pages.layout import (
    DICT_BEGIN,
    DICT_COUNT,
    DICT_PLAIN_SIZE,
    DICT_SIZE,
    HIGH,
    LOW,
    PLAIN,
    RLE_DICTIONARY,
    Cut,
    Described,
    Dictionary,
    Room,
    Runs,
)
from arrival_engine.cpu_fallback.pages.levels import describe, put_levels
from arrival_engine.cpu_fallback.pages.words import get64, put64
from arrival_engine.cpu_fallback.tables import I32, U8, U64, Index


@part
def _code_width(count: Index) -> Index:
    # One entry takes one bit: readers differ in what they make of none.
    return max(np.int64(1), bit_width(np.uint64(count - 1)))


@part
def _code(values: I32, room: Room) -> Index:
    """Number the values by first appearance: `room.used` by code, and unless all are equal, `room.codes` by value."""
    if values.size == 0:
        return np.int64(0)
    differs = np.int32(0)
    for i in range(values.size):
        differs |= values[i] ^ values[0]
    room.used[0] = values[0]
    if differs == 0:
        return np.int64(1)
    codes, used, stamp, code_of = room.codes, room.used, room.stamp, room.code_of
    room.clock[0] += 1
    now = room.clock[0]
    count = np.int32(0)
    for i in range(values.size):
        value = np.uint32(values[i])
        if stamp[value] != now:
            stamp[value] = now
            code_of[value] = count
            used[count] = value
            count += 1
        codes[i] = np.uint64(code_of[value])
    return np.int64(count)


@part
def _put_dictionary(
    body: U8, at: Index, dictionary: Dictionary, room: Room, count: Index, described: Described, group: Index
) -> Index:
    begin = at
    for code in range(count):
        value = room.used[code]
        at = put_bytes(body, at, dictionary.data, dictionary.start[value], dictionary.start[value + 1])
    facts = described.dictionaries[group]
    facts[DICT_BEGIN], facts[DICT_SIZE], facts[DICT_PLAIN_SIZE], facts[DICT_COUNT] = (
        begin,
        at - begin,
        at - begin,
        count,
    )
    return at


@njit(nogil=True, allocates=False)
def lay_codes(
    values: I32, cut: Cut, dictionary: Dictionary, body: U8, at: Index, room: Room, described: Described
) -> Index:
    """Pages of codes into `dictionary`; PLAIN words in a row group whose dictionary and codes would be larger.

    values: int32[n], codes into `dictionary`, those of nulls left out. Returns the position after the last byte.
    """
    for group in range(cut.group.size - 1):
        first_page, last_page = cut.group[group], cut.group[group + 1]
        first, last = cut.value[first_page], cut.value[last_page]
        count = _code(values[first:last], room)
        width = _code_width(count)
        encoding = RLE_DICTIONARY
        if count == 0 or (dictionary.words and 64 * count + width * (last - first) > 64 * (last - first)):
            encoding = PLAIN
        described.dictionaries[group, DICT_SIZE] = -1
        if encoding == RLE_DICTIONARY:
            at = _put_dictionary(body, at, dictionary, room, count, described, group)
        for page in range(first_page, last_page):
            begin, value = at, cut.value[page]
            at = put_levels(body, at, cut, page)
            if encoding == PLAIN:
                for code in values[value : cut.value[page + 1]]:
                    put64(body, at, get64(dictionary.data, dictionary.start[code]))
                    at += 8
            else:
                codes = room.codes[value - first : cut.value[page + 1] - first]
                at = _put_codes(body, at, codes, count, width)
            describe(described, cut, page, encoding, begin, at)
    return at


@part
def _put_codes(body: U8, at: Index, codes: U64, count: Index, width: Index) -> Index:
    """The width, and all codes as one run; those of a dictionary of one entry are not looked at."""
    body[at] = width
    at += 1
    if codes.size == 0:
        return at
    differs = np.uint64(0)
    if count > 1:
        for i in range(codes.size):
            differs |= codes[i] ^ codes[0]
    if differs == 0:
        return put_run(body, at, codes.size, np.int64(codes[0]) if count > 1 else np.int64(0), width)
    return put_packed(body, at, codes, width)


@njit(nogil=True, allocates=False)
def lay_runs(
    runs: Runs, cut: Cut, dictionary: Dictionary, body: U8, at: Index, room: Room, described: Described
) -> Index:
    """Pages of a column without nulls whose values come in runs, with the bounds of each page.

    The entries of `dictionary` ascend. Returns the position after the last byte.
    """
    run = 0
    for group in range(cut.group.size - 1):
        first_page, last_page = cut.group[group], cut.group[group + 1]
        first, last = cut.row[first_page], cut.row[last_page]
        while runs.start[run + 1] <= first:
            run += 1
        room.clock[0] += 1
        now = room.clock[0]
        count, changes, before, ahead = 0, 0, np.int32(-1), run
        while ahead < runs.code.size and runs.start[ahead] < last:
            value = runs.code[ahead]
            if room.stamp[value] != now:
                room.stamp[value] = now
                room.code_of[value] = count
                room.used[count] = value
                count += 1
            changes += value != before
            before = value
            ahead += 1
        at = _put_dictionary(body, at, dictionary, room, np.int64(count), described, group)
        width = _code_width(np.int64(count))
        packed = changes * (1 + ((width + 7) >> 3)) * 8 > (last - first) * width
        for page in range(first_page, last_page):
            begin, row, end = at, cut.row[page], cut.row[page + 1]
            codes = room.codes[: end - row]
            body[at] = width
            at += 1
            while runs.start[run + 1] <= row:
                run += 1
            low = high = runs.code[run]
            while row < end:
                while runs.start[run + 1] <= row:
                    run += 1
                value = runs.code[run]
                until = min(runs.start[run + 1], end)
                while until < end and runs.code[run + 1] == value:
                    run += 1
                    until = min(runs.start[run + 1], end)
                low, high = min(low, value), max(high, value)
                code = np.int64(room.code_of[value])
                if packed:
                    codes[row - cut.row[page] : until - cut.row[page]] = np.uint64(code)
                else:
                    at = put_run(body, at, until - row, code, width)
                row = until
            if packed:
                at = put_packed(body, at, codes, width)
            describe(described, cut, page, RLE_DICTIONARY, begin, at)
            described.pages[page, LOW] = np.int64(get64(dictionary.data, dictionary.start[low]))
            described.pages[page, HIGH] = np.int64(get64(dictionary.data, dictionary.start[high]))
    return at
