"""The tables that describe pages and column chunks between the encoders of columns and the frame of the file.

All are int64 and indexed by the constants below. A batch has R row groups, and each column cuts them into P pages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arrival_engine.cpu_fallback.tables import I32, I64, U8, U64, Index

# Encodings of parquet.thrift.
PLAIN, RLE, DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY, RLE_DICTIONARY = (np.int64(code) for code in (0, 3, 5, 7, 8))

# Fields of a page. Positions count bytes of the body; LOW and HIGH are the least and greatest value as 64-bit words.
BEGIN, SIZE, PLAIN_SIZE, VALUES, NULLS, ENCODING, LOW, HIGH = range(8)
PAGE_FIELDS = 8

# Fields of a chunk's dictionary page; DICT_SIZE is -1 where there is none.
DICT_BEGIN, DICT_SIZE, DICT_PLAIN_SIZE, DICT_COUNT = range(4)
DICT_FIELDS = 4

# Levels of a column: REQUIRED columns have none, the others a null where the flag is not as stated.
REQUIRED, WHERE_SET, WHERE_CLEAR = range(3)


class Cut(NamedTuple):
    """How a column is cut into pages, and the pages into row groups; which of its rows have a value."""

    row: I64  # [P + 1] rows before each page
    value: I64  # [P + 1] values before each page
    group: I64  # [R + 1] pages before each row group
    levels: Index  # REQUIRED, WHERE_SET or WHERE_CLEAR
    flags: U8  # by row, 0 or 1, and seven elements to spare; of a REQUIRED column, not looked at


class Dictionary(NamedTuple):
    """What the codes of a column stand for: code c is data[start[c]:start[c + 1]], in the PLAIN encoding.

    Eight bytes follow the last entry, so that each can be read as a word.
    """

    data: U8
    start: I64
    words: Index  # 1 if entries are 64-bit words, which may be stored PLAIN instead


class Runs(NamedTuple):
    """A column of runs: value i from row start[i] on; start has the number of rows at its end."""

    code: I32
    start: I64


class Twin(NamedTuple):
    """A column without nulls whose delta blocks are in the body: another one with the same steps copies them."""

    values: I64  # by row; empty for the first such column, which fills in `blocks`
    blocks: I64  # [P, 2] begin and end of the delta blocks of each page


class Described(NamedTuple):
    """Where a column's pages are, and what they hold."""

    pages: I64  # [P, PAGE_FIELDS]
    dictionaries: I64  # [R, DICT_FIELDS]


class Room(NamedTuple):
    """Working space of one thread."""

    codes: U64  # [n] of a row group, by value
    used: I32  # by code within the row group
    stamp: I64  # by code of the dictionary: the last row group that had it
    code_of: I32  # by code of the dictionary: the code within the row group
    clock: I64  # [1] the last stamp
    deltas: I64  # [128]
    packed: U64  # [128]


def new_room(rows: int, codes: int) -> Room:
    """Working space for row groups of at most `rows` rows and dictionaries of at most `codes` entries."""
    return Room(
        codes=np.empty(rows, np.uint64),
        used=np.empty(codes + 1, np.int32),
        stamp=np.zeros(codes, np.int64),
        code_of=np.empty(codes, np.int32),
        clock=np.zeros(1, np.int64),
        deltas=np.empty(128, np.int64),
        packed=np.empty(128, np.uint64),
    )


# Facts of a column chunk for the footer. Positions count bytes of the file; DICT_AT is 0 where there is none.
DATA_AT, DICT_AT, PLAIN_BYTES, BYTES, CHUNK_VALUES, CHUNK_NULLS, CHUNK_LOW, CHUNK_HIGH = range(8)
CHUNK_PAGES, FORM, BOUNDARY_ORDER, INDEX_AT, INDEX_BYTES, OFFSETS_AT, OFFSETS_BYTES = range(8, 15)
CHUNK_FIELDS = 15
# FORM is the encoding of the data pages. What a chunk's entry in the footer says of its encodings follows from it.
FORMS = 9

# Facts of a row group for the footer.
GROUP_PLAIN_BYTES, GROUP_ROWS, GROUP_AT, GROUP_BYTES = range(4)
GROUP_FIELDS = 4

# Facts of a page for the offset index: position in the file, size with its header, rows of the row group before it.
PAGE_AT, PAGE_BYTES, PAGE_ROW = range(3)
LOCATION_FIELDS = 3

# Programs. The lists of a column index and the one of an offset index have two each: for the head and for an entry.
NULL_PAGES, MINIMA, MAXIMA, NULL_COUNTS, PAGE_LOCATIONS = range(0, 10, 2)
INDEX_END, DATA_PAGE, DICTIONARY_PAGE, GROUP_BEGIN, GROUP_END = range(10, 15)
PROGRAMS = 15

# What follows the pages in a file, in this order.
COLUMN_INDEXES, OFFSET_INDEXES, ROW_GROUPS = range(3)

# Steps of a program: bytes a to b of the text, fact a as a varint, as a binary of 8 bytes, or as the length of a list
# of elements of type b.
TEXT, VARINT, WORD, LIST = range(4)


class Frame(NamedTuple):
    """Programs that write structs of Thrift's compact protocol, with gaps for facts."""

    text: U8  # what programs copy
    steps: I64  # [n, 3] kind, a and b
    programs: I64  # [PROGRAMS, 2] begin and end of each, among the steps
    chunk: I64  # [C, FORMS, 2] those of a column chunk's entry in the footer


class Laid(NamedTuple):
    """All columns of a batch, laid: C columns of R row groups."""

    body: U8
    pages: I64  # [C, P, PAGE_FIELDS]
    dictionaries: I64  # [C, R, DICT_FIELDS]
    page_start: I64  # [2, R + 1] pages before each row group: of the columns with many pages, of those with one
    single: I32  # [C] 1 if the column has one page per row group
    bounded: I32  # [C] 0 without statistics, 1 signed, 2 unsigned


class Located(NamedTuple):
    """Where everything is in the file, filled in as it is written."""

    base: Index  # position in the file of the buffer that is written to
    pages: I64  # [C, P, LOCATION_FIELDS]
    chunks: I64  # [R, C, CHUNK_FIELDS]
    groups: I64  # [R, GROUP_FIELDS]
