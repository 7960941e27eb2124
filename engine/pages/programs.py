"""Programs for the structs of a part that differ from page to page, in Thrift's compact protocol.

A program is text with gaps for facts. A byte before a gap is the head of a field: its type in the low half, and how far
its number is from the one before. Numbers of fields and types: parquet-format, parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from arrival_engine.contracts.thrift import BINARY, I32, I64, STRUCT, TRUE, list_head, text_bytes, zigzag
from arrival_engine.cpu_fallback.pages import layout as facts
from arrival_engine.cpu_fallback.pages.layout import LIST, TEXT, VARINT, WORD, Frame

Step = bytes | tuple[int, int, int]
Program = Sequence[Step]

_CODECS = {"none": 0, "snappy": 1, "zstd": 6, "lz4": 7}
_BOOLEAN, _INT64, _BYTE_ARRAY = 0, 2, 6
_DATA, _DICTIONARY = 0, 2
# What the pages of a column can be encoded in.
_ENCODINGS = (facts.PLAIN, facts.DELTA_BINARY_PACKED, facts.DELTA_BYTE_ARRAY, facts.RLE_DICTIONARY)


def _number(fact: int) -> Step:
    return VARINT, fact, 0


def _word(fact: int) -> Step:
    return WORD, fact, 0


def _count(fact: int, element: int) -> Step:
    return LIST, fact, element


# ColumnIndex: 1 pages of nulls only, 2 minima, 3 maxima, 4 order, 5 nulls. OffsetIndex: 1 page locations. PageHeader:
# 1 type, 2 and 3 sizes, 5 data page, 7 dictionary page. RowGroup: 2 bytes uncompressed, 3 rows, 5 position, 6 bytes.
_FIXED: Mapping[int, Program] = {
    facts.NULL_PAGES: [b"\x19", _count(facts.CHUNK_PAGES, TRUE)],
    facts.NULL_PAGES + 1: [b"\x02"],
    facts.MINIMA: [b"\x19", _count(facts.CHUNK_PAGES, BINARY)],
    facts.MINIMA + 1: [_word(facts.LOW)],
    facts.MAXIMA: [b"\x19", _count(facts.CHUNK_PAGES, BINARY)],
    facts.MAXIMA + 1: [_word(facts.HIGH)],
    facts.NULL_COUNTS: [b"\x15", _number(facts.BOUNDARY_ORDER), b"\x19", _count(facts.CHUNK_PAGES, I64)],
    facts.NULL_COUNTS + 1: [_number(facts.NULLS)],
    facts.PAGE_LOCATIONS: [b"\x19", _count(facts.CHUNK_PAGES, STRUCT)],
    facts.PAGE_LOCATIONS + 1: [
        *(b"\x16", _number(facts.PAGE_AT), b"\x15", _number(facts.PAGE_BYTES)),
        *(b"\x16", _number(facts.PAGE_ROW), b"\0"),
    ],
    facts.INDEX_END: [b"\0"],
    facts.DATA_PAGE: [
        *(b"\x15", zigzag(_DATA), b"\x15", _number(facts.PLAIN_SIZE), b"\x15", _number(facts.SIZE)),
        *(b"\x2c\x15", _number(facts.VALUES), b"\x15", _number(facts.ENCODING)),
        *(b"\x15", zigzag(int(facts.RLE)), b"\x15", zigzag(int(facts.RLE)), b"\0\0"),
    ],
    facts.DICTIONARY_PAGE: [
        *(b"\x15", zigzag(_DICTIONARY), b"\x15", _number(facts.DICT_PLAIN_SIZE), b"\x15", _number(facts.DICT_SIZE)),
        *(b"\x4c\x15", _number(facts.DICT_COUNT), b"\x15", zigzag(int(facts.PLAIN)), b"\0\0"),
    ],
    facts.GROUP_END: [
        *(b"\x16", _number(facts.GROUP_PLAIN_BYTES), b"\x16", _number(facts.GROUP_ROWS)),
        *(b"\x26", _number(facts.GROUP_AT), b"\x16", _number(facts.GROUP_BYTES), b"\0"),
    ],
}


def frame_of(schema: pa.Schema, bounded: Sequence[int], codecs: Mapping[str, str]) -> Frame:
    """The programs for parts of a schema.

    bounded: by column, 0 without statistics; codecs: by column, those of pages that are compressed.
    """
    fixed = {**_FIXED, facts.GROUP_BEGIN: [b"\x19" + list_head(len(schema), STRUCT)]}
    programs = [fixed[number] for number in range(facts.PROGRAMS)]
    chunks = [
        _chunk(field, int(encoding), bool(has_bounds), _CODECS[codecs.get(field.name, "none")])
        for field, has_bounds in zip(schema, bounded, strict=True)
        for encoding in _ENCODINGS
    ]
    text, steps, ends = bytearray(), list[tuple[int, int, int]](), [0]
    for program in [*programs, *chunks]:
        for step in _joined(program):
            if isinstance(step, bytes):
                steps.append((TEXT, len(text), len(text) + len(step)))
                text += step
            else:
                steps.append(step)
        ends.append(len(steps))
    spans = np.stack([ends[:-1], ends[1:]], axis=1)
    of_chunks = np.zeros((len(schema), facts.FORMS, 2), np.int64)
    of_chunks[:, np.array(_ENCODINGS)] = spans[facts.PROGRAMS :].reshape(len(schema), len(_ENCODINGS), 2)
    return Frame(
        np.frombuffer(bytes(text), np.uint8).copy(),
        np.array(steps, np.int64),
        spans[: facts.PROGRAMS].copy(),
        of_chunks,
    )


def _joined(program: Program) -> Iterable[Step]:
    """The same with neighbouring texts as one step."""
    text = b""
    for step in program:
        if isinstance(step, bytes):
            text += step
            continue
        if text:
            yield text
        yield step
        text = b""
    if text:
        yield text


def _chunk(field: pa.Field, encoding: int, bounded: bool, codec: int) -> Program:
    """A ColumnChunk of a column whose data pages have this encoding."""
    coded = encoding == facts.RLE_DICTIONARY
    used = sorted({encoding, int(facts.RLE), *([int(facts.PLAIN)] if coded else [])})
    # Statistics: 3 nulls, 5 greatest, 6 least, 7 and 8 that both are values of the column.
    bounds = [b"\x28", _word(facts.CHUNK_HIGH), b"\x18", _word(facts.CHUNK_LOW), b"\x11\x11"]
    column_index = [b"\x16", _number(facts.INDEX_AT), b"\x15", _number(facts.INDEX_BYTES)]
    return [
        # 2 file offset, 3 ColumnMetaData: 1 type, 2 encodings, 3 path, 4 codec, 5 values, 6 bytes uncompressed,
        # 7 bytes, 9 first data page, 11 dictionary page, 12 statistics, 13 pages by type and encoding.
        *(b"\x26\x00\x1c\x15", zigzag(_physical(field.type))),
        *(b"\x19", list_head(len(used), I32), *map(zigzag, used)),
        *(b"\x19", list_head(1, BINARY), text_bytes(field.name), b"\x15", zigzag(codec)),
        *(b"\x16", _number(facts.CHUNK_VALUES), b"\x16", _number(facts.PLAIN_BYTES), b"\x16", _number(facts.BYTES)),
        *(b"\x26", _number(facts.DATA_AT)),
        *((b"\x26", _number(facts.DICT_AT)) if coded else ()),
        *(b"\x1c" if coded else b"\x3c", b"\x36", _number(facts.CHUNK_NULLS), *(bounds if bounded else ()), b"\0"),
        *(b"\x19", list_head(1 + coded, STRUCT)),
        *((_pages_of(_DICTIONARY, int(facts.PLAIN)) + zigzag(1) + b"\0") if coded else b"",),
        *(_pages_of(_DATA, encoding), _number(facts.CHUNK_PAGES), b"\0\0"),
        # 4 and 5 the offset index, 6 and 7 the column index.
        *(b"\x16", _number(facts.OFFSETS_AT), b"\x15", _number(facts.OFFSETS_BYTES)),
        *(column_index if bounded else ()),
        b"\0",
    ]


def _pages_of(kind: int, encoding: int) -> bytes:
    """PageEncodingStats up to the number of pages."""
    return b"\x15" + zigzag(kind) + b"\x15" + zigzag(encoding) + b"\x15"


def _physical(kind: pa.DataType) -> int:
    if pa.types.is_boolean(kind):
        return _BOOLEAN
    return _BYTE_ARRAY if pa.types.is_dictionary(kind) or pa.types.is_string(kind) else _INT64
