"""Parquet files taken apart into footer, page headers, pages and page index, changed, and put together again.

Positions and sizes follow what was changed, so that only what a test forges is false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arrival_engine.contracts.thrift import BINARY, FALSE, LIST, MAGIC, STRUCT, TRUE, Compact, list_head, varint, zigzag
from arrival_engine.engine.validation import parquet_forms as forms

Struct = dict[int, Any]
_INDEXES = ((forms.COLUMN_INDEX_AT, forms.COLUMN_INDEX), (forms.OFFSET_INDEX_AT, forms.OFFSET_INDEX))


@dataclass
class Page:
    """A page: its header by field number, and its bytes."""

    header: Struct
    data: bytes

    @property
    def statistics(self) -> Struct:
        """Those that the header of a data page states."""
        stated: Struct = self.header[forms.DATA_PAGE].setdefault(forms.PAGE_STATISTICS, {})
        return stated


@dataclass
class Chunk:
    """A column chunk: its entry in the footer, its pages, and its page index; empty structs where there is none.

    tail: bytes behind the offset index that are counted as its own.
    """

    group: int
    name: str
    entry: Struct
    dictionary: list[Page]
    pages: list[Page]
    column_index: Struct
    offset_index: Struct
    tail: bytes = b""

    @property
    def facts(self) -> Struct:
        """The chunk's ColumnMetaData."""
        facts: Struct = self.entry[forms.COLUMN]
        return facts


@dataclass
class Laid:
    """A file taken apart."""

    footer: Struct
    chunks: list[Chunk] = field(default_factory=list)

    def chunk(self, name: str, group: int = 0) -> Chunk:
        """The chunk of a column in a row group."""
        return next(chunk for chunk in self.chunks if (chunk.name, chunk.group) == (name, group))


Change = Callable[[Laid], None]


def unchanged(laid: Laid) -> None:
    """No change."""


def relaid(path: Path, *, pages: Change = unchanged, index: Change = unchanged, footer: Change = unchanged) -> None:
    """Change pages and headers, then the page index that follows from them, then the footer that follows from both."""
    laid = _taken_apart(path.read_bytes())
    pages(laid)
    data = bytearray(MAGIC)
    for chunk in laid.chunks:
        _lay_pages(chunk, data)
    _place_groups(laid)
    index(laid)
    for at, form in _INDEXES:
        for chunk in laid.chunks:
            _lay_index(chunk, at, form, data)
    footer(laid)
    tail = encoded(laid.footer, forms.FILE)
    path.write_bytes(bytes(data) + tail + len(tail).to_bytes(4, "little") + MAGIC)


def _taken_apart(data: bytes) -> Laid:
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    laid = Laid(Compact(footer).record(forms.FILE))
    for number, group in enumerate(laid.footer[forms.GROUPS]):
        for entry in group[forms.CHUNKS]:
            facts = entry[forms.COLUMN]
            at = facts.get(forms.DICTIONARY_AT) or facts[forms.DATA_AT]
            pages = _pages(data, at, at + facts[forms.CHUNK_BYTES])
            dictionary = [page for page in pages if forms.DICTIONARY_PAGE in page.header]
            columns, offsets = (Compact(data[entry[at] :]).record(form) if at in entry else {} for at, form in _INDEXES)
            name = ".".join(part.decode() for part in facts[forms.PATH])
            laid.chunks.append(Chunk(number, name, entry, dictionary, pages[len(dictionary) :], columns, offsets))
    return laid


def _pages(data: bytes, at: int, end: int) -> list[Page]:
    pages = []
    while at < end:
        thrift = Compact(data[at:end])
        header = thrift.record(forms.PAGE_HEADER)
        at += thrift.at + header[forms.PAGE_BYTES]
        pages.append(Page(header, data[at - header[forms.PAGE_BYTES] : at]))
    return pages


def _lay_pages(chunk: Chunk, data: bytearray) -> None:
    begin, row = len(data), 0
    if chunk.dictionary:
        chunk.facts[forms.DICTIONARY_AT] = begin
        _lay_page(chunk.dictionary[0], data)
    chunk.facts[forms.DATA_AT] = len(data)
    places = []
    for page in chunk.pages:
        at = len(data)
        _lay_page(page, data)
        places.append({1: at, 2: len(data) - at, 3: row})
        row += page.header[forms.DATA_PAGE][forms.PAGE_VALUES]
    chunk.facts[forms.CHUNK_BYTES] = len(data) - begin
    if chunk.offset_index:
        chunk.offset_index[forms.LOCATIONS] = places


def _lay_page(page: Page, data: bytearray) -> None:
    data += encoded(page.header, forms.PAGE_HEADER) + page.data


def _place_groups(laid: Laid) -> None:
    for number, group in enumerate(laid.footer[forms.GROUPS]):
        chunks = [chunk for chunk in laid.chunks if chunk.group == number]
        first = chunks[0].facts
        group[forms.GROUP_AT] = first.get(forms.DICTIONARY_AT) or first[forms.DATA_AT]
        group[forms.GROUP_BYTES] = sum(chunk.facts[forms.CHUNK_BYTES] for chunk in chunks)


def _lay_index(chunk: Chunk, at: int, form: Struct, data: bytearray) -> None:
    stated = chunk.column_index if at == forms.COLUMN_INDEX_AT else chunk.offset_index
    for number in (at, at + 1):
        chunk.entry.pop(number, None)
    if stated:
        begin = len(data)
        data += encoded(stated, form) + (chunk.tail if at == forms.OFFSET_INDEX_AT else b"")
        chunk.entry |= {at: begin, at + 1: len(data) - begin}


def encoded(struct: Struct, form: Struct) -> bytes:
    """A struct in the compact protocol."""
    out, last = bytearray(), 0
    for number in sorted(struct):
        kind, value = form[number], struct[number]
        if kind == TRUE:
            kind, data = (TRUE if value else FALSE), b""
        else:
            kind, data = _value(value, kind)
        out.append(number - last << 4 | kind)
        out += data
        last = number
    return bytes(out) + b"\0"


def _value(value: Any, form: Any) -> tuple[int, bytes]:
    """The type of a value, and its bytes."""
    if isinstance(form, dict):
        return STRUCT, encoded(value, form)
    if isinstance(form, list):
        return LIST, _list(value, form[0])
    if form == BINARY:
        return BINARY, varint(len(value)) + value
    return form, bytes([value]) if form == 3 else zigzag(value)


def _list(values: Sequence[Any], form: Any) -> bytes:
    if form == TRUE:
        return list_head(len(values), TRUE) + bytes(TRUE if value else FALSE for value in values)
    kind = STRUCT if isinstance(form, dict) else form
    return list_head(len(values), kind) + b"".join(_value(value, form)[1] for value in values)
