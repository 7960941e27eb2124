"""Sizes and extremes of the column chunks of a Parquet file, read from its footer without Arrow.

Arrow ends the process when it is asked about a chunk whose entry in the footer is not sound, so it is not asked. The
footer is a struct in Thrift's compact protocol; of it, only the fields that are needed are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import pyarrow as pa

_MAGIC = b"PAR1"
_TAIL_BYTES = 8
_DEPTH_MAX = 16
# Types of Thrift's compact protocol that stand for themselves, and those of integers.
_TRUE, _FALSE = 1, 2
_INTEGERS = (4, 5, 6)
_UINT64_BYTES = 8

Struct = dict[int, Any]


class Chunk(NamedTuple):
    """A column of a row group: its bytes uncompressed, as stated, and the least and greatest of its unsigned values.

    Both are None without statistics of that form.
    """

    uncompressed_bytes: int
    least: int | None
    greatest: int | None

    def may_hold(self, value: int) -> bool:
        """Whether the statistics allow this value, 0 or more; true without statistics."""
        if self.least is None or self.greatest is None:
            return True
        # As unsigned numbers, negative extremes are large: then nothing is known.
        return self.least > self.greatest or self.least <= value <= self.greatest


class RowGroup(NamedTuple):
    """A row group: its rows, as stated, and its chunks by the dotted path of their column."""

    rows: int
    chunks: Mapping[str, Chunk]


class _Reader:
    """A position in bytes of the compact protocol. Raises IndexError or ValueError for bytes that are not."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number is too long")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _bytes(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise ValueError("a text is cut off")
        value = self._data[self._at : end]
        self._at = end
        return value

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._varint())
            case 9 | 10:
                return self._list(depth)
            case 11:
                return self._map(depth)
            case 12:
                return self.struct(depth)
        raise ValueError(f"a value has the unknown type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size = head >> 4
        if size == 15:
            size = self._varint()
        if size > len(self._data) - self._at:
            raise ValueError("a list is longer than the footer")
        return [self._value(head & 15, depth) for _ in range(size)]

    def _map(self, depth: int) -> None:
        size = self._varint()
        if size > len(self._data) - self._at:
            raise ValueError("a map is longer than the footer")
        kinds = self._byte() if size else 0
        for _ in range(size):
            self._value(kinds >> 4, depth)
            self._value(kinds & 15, depth)

    def struct(self, depth: int = 0) -> Struct:
        """The fields of a struct by number."""
        if depth > _DEPTH_MAX:
            raise ValueError("structs are nested too deeply")
        fields: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            # A boolean field is its own value.
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth + 1)
        return fields


def row_groups(source: IO[bytes]) -> list[RowGroup]:
    """The row groups of a Parquet file. Raises OSError, and ArrowInvalid for a file whose footer is not sound."""
    try:
        footer = _Reader(_footer(source)).struct()
        return [RowGroup(int(group[3]), dict(map(_chunk, group[1]))) for group in footer[4]]
    except (AttributeError, IndexError, LookupError, TypeError, ValueError) as failure:
        raise pa.ArrowInvalid(f"the Parquet footer is damaged: {failure}") from failure


def _footer(source: IO[bytes]) -> bytes:
    end = source.seek(0, 2)
    if end < len(_MAGIC) + _TAIL_BYTES:
        raise ValueError("the file is too short")
    source.seek(end - _TAIL_BYTES)
    tail = source.read(_TAIL_BYTES)
    size = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or size > end - _TAIL_BYTES - len(_MAGIC):
        raise ValueError("the file does not end in one")
    source.seek(end - _TAIL_BYTES - size)
    return source.read(size)


def _chunk(entry: Struct) -> tuple[str, Chunk]:
    facts = entry[3]
    statistics = facts.get(12, {})
    path = ".".join(name.decode() for name in facts[3])
    return path, Chunk(int(facts[6]), _unsigned(statistics.get(6)), _unsigned(statistics.get(5)))


def _unsigned(stated: object) -> int | None:
    return int.from_bytes(stated, "little") if isinstance(stated, bytes) and len(stated) == _UINT64_BYTES else None
