"""The structs of `parquet.thrift` that validation reads, as forms of `contracts.thrift`.

Names below a form are numbers of its fields.
"""

from __future__ import annotations

from arrival_engine.contracts.thrift import BINARY, BYTE, I16, I32, I64, TRUE

# Statistics, of a chunk or of a page.
STATISTICS = {1: BINARY, 2: BINARY, 3: I64, 4: I64, 5: BINARY, 6: BINARY, 7: TRUE, 8: TRUE}
MAX, MIN, NULLS, DISTINCT, MAX_VALUE, MIN_VALUE = range(1, 7)

PAGE_HEADER = {
    1: I32,
    2: I32,
    3: I32,
    4: I32,
    5: {1: I32, 2: I32, 3: I32, 4: I32, 5: STATISTICS},
    7: {1: I32, 2: I32, 3: TRUE},
}
PAGE_TYPE, PAGE_PLAIN_BYTES, PAGE_BYTES, PAGE_CRC, DATA_PAGE, DICTIONARY_PAGE = 1, 2, 3, 4, 5, 7
PAGE_VALUES, PAGE_ENCODING, DEFINITION_LEVELS, REPETITION_LEVELS, PAGE_STATISTICS = range(1, 6)
# A dictionary page has the first two as well.
DICTIONARY_SORTED = 3

OFFSET_INDEX = {1: [{1: I64, 2: I32, 3: I64}], 2: [I64]}
LOCATIONS, TEXT_BYTES = 1, 2

COLUMN_INDEX = {1: [TRUE], 2: [BINARY], 3: [BINARY], 4: I32, 5: [I64], 6: [I64], 7: [I64]}
NULL_PAGES, MINS, MAXES, BOUNDARY_ORDER, NULL_COUNTS, REPETITIONS, DEFINITIONS = range(1, 8)

# SchemaElement.
_UNIT: dict[int, dict[int, int]] = {1: {}, 2: {}, 3: {}}
_LOGICAL_TYPE = {
    **{number: dict[int, int]() for number in (1, 2, 3, 4, 6, 11, 12, 13, 14, 15)},
    5: {1: I32, 2: I32},
    7: {1: TRUE, 2: _UNIT},
    8: {1: TRUE, 2: _UNIT},
    10: {1: BYTE, 2: TRUE},
}
_ELEMENT = {
    **dict.fromkeys((1, 2, 3, 5, 6, 7, 8, 9), I32),
    4: BINARY,
    10: _LOGICAL_TYPE,
}
TYPE, REPETITION, NAME, CHILDREN, CONVERTED, LOGICAL = 1, 3, 4, 5, 6, 10
REQUIRED, OPTIONAL = 0, 1
STRING, TIMESTAMP, INTEGER = 1, 8, 10
MICROSECONDS = 2

# ColumnMetaData.
_COLUMN = {
    1: I32,
    2: [I32],
    3: [BINARY],
    4: I32,
    5: I64,
    6: I64,
    7: I64,
    8: [{1: BINARY, 2: BINARY}],
    9: I64,
    10: I64,
    11: I64,
    12: STATISTICS,
    13: [{1: I32, 2: I32, 3: I32}],
    14: I64,
    15: I32,
    16: {1: I64, 2: [I64], 3: [I64]},
}
PHYSICAL, ENCODINGS, PATH, CODEC, VALUES = range(1, 6)
CHUNK_BYTES, DATA_AT, DICTIONARY_AT, CHUNK_STATISTICS, ENCODING_STATS = 7, 9, 11, 12, 13
INT32, INT64 = 1, 2

# ColumnChunk.
_CHUNK = {1: BINARY, 2: I64, 3: _COLUMN, 4: I64, 5: I32, 6: I64, 7: I32}
CHUNK_AT, COLUMN, OFFSET_INDEX_AT, OFFSET_INDEX_BYTES, COLUMN_INDEX_AT, COLUMN_INDEX_BYTES = range(2, 8)

_GROUP = {1: [_CHUNK], 2: I64, 3: I64, 4: [{1: I32, 2: TRUE, 3: TRUE}], 5: I64, 6: I64, 7: I16}
CHUNKS, GROUP_ROWS, GROUP_AT, GROUP_BYTES = 1, 3, 5, 6

# FileMetaData.
FILE = {1: I32, 2: [_ELEMENT], 3: I64, 4: [_GROUP], 5: [{1: BINARY, 2: BINARY}], 6: BINARY, 7: [{1: {}}]}
SCHEMA, FILE_ROWS, GROUPS, PAIRS = 2, 3, 4, 5
