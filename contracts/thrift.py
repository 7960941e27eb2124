"""Thrift's compact protocol, read without its schema, and the footer of a Parquet file, which is a struct in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

MAGIC = b"PAR1"
# A little-endian length of the footer and the magic bytes end a file.
_TAIL_BYTES = 8
# Types: a boolean field is its own value; i16, i32 and i64 are variable in length, the next ones not.
TRUE, FALSE, BINARY, STRUCT = 1, 2, 8, 12
_VARINTS, _BYTE, _LISTS, _MAP = (4, 5, 6), 3, (9, 10), 11
_FIXED = {7: 8, 13: 16}
_DEPTH_MAX = 16


def read_footer(source: IO[bytes]) -> tuple[int, bytes]:
    """The position of a Parquet file's footer, and its bytes. Raises OSError, ValueError."""
    end = source.seek(0, 2)
    source.seek(max(end - _TAIL_BYTES, 0))
    tail = source.read(_TAIL_BYTES)
    begin = end - _TAIL_BYTES - int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or begin < len(MAGIC):
        raise ValueError("the file does not end like a Parquet file")
    source.seek(begin)
    return begin, source.read(end - _TAIL_BYTES - begin)


class Compact:
    """A position in bytes of the compact protocol. Raises ValueError for bytes that are not.

    at: the position of the next byte.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct; the caller takes its value by `field` before the next."""
        number = 0
        while header := self._byte():
            delta, kind = header >> 4, header & 15
            number = number + delta if delta else self._integer()
            yield number, kind

    def field(self, kind: int, depth: int = 0) -> Any:
        """The value of a field: a boolean, an integer, bytes, a list, None for a map, or a struct by field number."""
        return kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by number."""
        return {number: self.field(kind, depth + 1) for number, kind in self.fields()}

    def list_header(self) -> tuple[int, int]:
        """Number of a list's elements, and their type."""
        header = self._byte()
        return self._size(self._varint() if header >> 4 == 15 else header >> 4), header & 15

    def take(self) -> bytes:
        """The bytes of a binary value."""
        return self._bytes(self._varint())

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            raise ValueError("the footer nests its values too deeply")
        if kind in _VARINTS:
            return self._integer()
        if kind in (TRUE, FALSE, _BYTE):
            return self._byte()
        if kind in _FIXED:
            return self._bytes(_FIXED[kind])
        if kind == BINARY:
            return self.take()
        if kind == STRUCT:
            return self.struct(depth)
        if kind in _LISTS:
            size, element = self.list_header()
            return [self._value(element, depth + 1) for _ in range(size)]
        if kind == _MAP:
            return self._map(depth + 1)
        raise ValueError(f"a value of the footer has the unknown type {kind}")

    def _map(self, depth: int) -> None:
        if size := self._size(self._varint()):
            kinds = self._byte()
            for _ in range(size):
                self._value(kinds >> 4, depth)
                self._value(kinds & 15, depth)

    def _size(self, size: int) -> int:
        # Each element takes a byte at least.
        if size > len(self._data) - self.at:
            raise ValueError("a list is longer than the footer")
        return size

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, size: int) -> bytes:
        begin, self.at = self.at, self.at + size
        if self.at > len(self._data):
            raise ValueError("the footer ends within a value")
        return self._data[begin : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while shift <= 63:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("a number of the footer is too long")

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
