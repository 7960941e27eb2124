"""Row groups encoded on threads, each as a small Parquet file in memory, and joined to one file.

A Parquet writer encodes one row group after the other. Here several are encoded at once, and what a file's footer says
about positions is moved to where the row groups are in the file. Field numbers: parquet-format, `parquet.thrift`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import pyarrow as pa

from arrival_engine.contracts.thrift import I64, MAGIC, STRUCT, Compact, list_head, read_footer, zigzag
from arrival_engine.engine.rundir.arrow_files import parquet_bytes

__all__ = ["EncodedGroup", "PlacedGroup", "encoded", "file_end"]

_COMPRESSION = "zstd"
_LEVEL = 3
# Numbers that hardly repeat. They are stored as they are: fastparquet takes differences for other numbers, silently.
_PLAIN = (
    "arrival_seq",
    "ts_utc",
    "ts_local",
    "settlement_ts_local",
    "ts_local_primary",
    "ts_local_settlement",
    "ts_local_operational",
)
# The position of the first page in a file.
_FIRST = len(MAGIC)

# Takes the value of a field, and gives the bytes of another.
Change = Callable[[Compact], bytes]


@dataclass(frozen=True)
class EncodedGroup:
    """A row group: its rows, its pages, and what the footer of a file says of it that begins with it.

    column_indexes, offset_indexes: the page index per column, as that file has it.
    """

    rows: int
    pages: memoryview
    entry: bytes
    column_indexes: tuple[bytes, ...]
    offset_indexes: tuple[bytes, ...]

    def without_pages(self) -> EncodedGroup:
        """What a footer takes of it."""
        return replace(self, pages=memoryview(b""))


class PlacedGroup(NamedTuple):
    """A row group in a file; at: the position of its first page."""

    at: int
    group: EncodedGroup


def encoded(table: pa.Table) -> EncodedGroup:
    """All rows of a table, one or more, as one row group."""
    data = parquet_bytes(
        table,
        version="2.6",
        compression=_COMPRESSION,
        compression_level=_LEVEL,
        use_dictionary=[name for name in table.column_names if name not in _PLAIN],
        store_schema=False,
        write_page_index=True,
    )
    footer = read_footer(pa.BufferReader(data))[1]
    (group,) = Compact(footer).struct()[4]
    view, chunks = memoryview(data), group[1]
    return EncodedGroup(
        table.num_rows,
        view[_FIRST : min(chunk[6] for chunk in chunks)],
        _entry(footer),
        tuple(bytes(view[chunk[6] : chunk[6] + chunk[7]]) for chunk in chunks),
        tuple(bytes(view[chunk[4] : chunk[4] + chunk[5]]) for chunk in chunks),
    )


def _entry(footer: bytes) -> bytes:
    """The bytes of the only row group's entry in a footer."""
    thrift = Compact(footer)
    for number, kind in thrift.fields():
        if number == 4:
            thrift.list_header()
            begin = thrift.at
            thrift.struct()
            return footer[begin : thrift.at]
        thrift.field(kind)
    raise ValueError("the footer has no row groups")


def file_end(placed: Sequence[PlacedGroup], at: int) -> tuple[list[bytes], bytes]:
    """What follows the row groups of a file: the page index, which begins at `at`, and their entries in the footer."""
    columns = [index for _, group in placed for index in group.column_indexes]
    offsets = [_moved_index(index, at - _FIRST) for at, group in placed for index in group.offset_indexes]
    positions = list(accumulate((len(index) for index in (*columns, *offsets)), initial=at))
    of_columns, of_offsets = iter(positions[: len(columns)]), iter(positions[len(columns) :])
    entries = [_moved_entry(group.entry, at - _FIRST, of_columns, of_offsets) for at, group in placed]
    return [*columns, *offsets], b"".join(entries)


def _moved_index(index: bytes, by: int) -> bytes:
    """An offset index whose pages are further on in the file."""
    page = {1: _further(by)}
    return _changed(Compact(index), index, {1: partial(_each, data=index, changes=page)})


def _moved_entry(entry: bytes, by: int, of_columns: Iterator[int], of_offsets: Iterator[int]) -> bytes:
    """A row group's entry with the positions of its pages, and of its page index in the order of the columns."""
    pages = {9: _further(by), 11: _further(by)}
    chunk: dict[int, Change] = {
        3: lambda thrift: _changed(thrift, entry, pages),
        4: lambda thrift: _instead(thrift, next(of_offsets)),
        6: lambda thrift: _instead(thrift, next(of_columns)),
    }
    group: dict[int, Change] = {1: partial(_each, data=entry, changes=chunk), 5: _further(by)}
    return _changed(Compact(entry), entry, group)


def _further(by: int) -> Change:
    return lambda thrift: zigzag(int(thrift.field(I64)) + by)


def _instead(thrift: Compact, value: int) -> bytes:
    thrift.field(I64)
    return zigzag(value)


def _each(thrift: Compact, data: bytes, changes: Mapping[int, Change]) -> bytes:
    """A list of structs, each with changed fields."""
    size, _ = thrift.list_header()
    return list_head(size, STRUCT) + b"".join(_changed(thrift, data, changes) for _ in range(size))


def _changed(thrift: Compact, data: bytes, changes: Mapping[int, Change]) -> bytes:
    """The bytes of a struct, of whose fields some have other values; `data` is what `thrift` reads."""
    out, before = bytearray(), 0
    for number, kind in thrift.fields():
        begin = thrift.at
        if number in changes:
            value = changes[number](thrift)
        else:
            thrift.field(kind)
            value = data[begin : thrift.at]
        # Fields of these structs are few and in order, so that each has the short form of a header.
        out.append((number - before) << 4 | kind)
        out += value
        before = number
    out.append(0)
    return bytes(out)
