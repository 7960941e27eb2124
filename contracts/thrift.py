"""Thrift's compact protocol: values to write, values read without a schema, and the footer of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

MAGIC = b"PAR1"
# A little-endian length of the footer and the magic bytes end a file.
_TAIL_BYTES = 8
# Types: a boolean field is its own value; i16, i32 and i64 are variable in length, the next ones not.
TRUE, FALSE, BINARY, LIST, STRUCT = 1, 2, 8, 9, 12
BYTE, I16, I32, I64 = 3, 4, 5, 6
_VARINTS, _LISTS, _MAP = (I16, I32, I64), (LIST, 10), 11
# What a value has to be: its type (TRUE for a boolean), for a list the form of an element in a list, for a struct the
# forms of its fields by number.
Form = int | list[Any] | dict[int, Any]
_FIXED = {7: 8, 13: 16}
_DEPTH_MAX = 16
_TOO_SHORT = "the footer ends within a value"


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


def varint(value: int) -> bytes:
    """A number from 0, seven bits per byte, the lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> bytes:
    """A signed number of 64 bits as a varint."""
    return varint(value << 1 ^ value >> 63)


def list_head(size: int, element: int) -> bytes:
    """What comes before the elements of a list; `element` is their type."""
    return bytes([size << 4 | element]) if size < 15 else bytes([0xF0 | element]) + varint(size)


def text_bytes(text: str) -> bytes:
    """A text as a binary value."""
    data = text.encode()
    return varint(len(data)) + data


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
        return kind == TRUE if kind <= FALSE else self._value(kind, depth)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by number."""
        return {number: self.field(kind, depth + 1) for number, kind in self.fields()}

    def record(self, forms: dict[int, Any], *, further: bool = False) -> dict[int, Any]:
        """The fields of a struct by number, each of its form.

        Raises ValueError also for a field that is there twice, and for one that has no form, unless `further` allows
        such fields, in structs within it too.
        """
        found: dict[int, Any] = {}
        for number, kind in self.fields():
            if number in found:
                raise ValueError(f"field {number} is there twice")
            form = forms.get(number)
            if form == kind and kind in _VARINTS:
                found[number] = self._integer()
            elif form == kind or (form == TRUE and kind == FALSE):
                found[number] = self.field(kind)
            elif type(form) is list and kind == LIST:
                found[number] = self._elements(form[0], further)
            elif type(form) is dict and kind == STRUCT:
                found[number] = self.record(form, further=further)
            elif form is None and further:
                self.field(kind)
            else:
                raise ValueError(f"there is a field {number} of type {kind}")
        return found

    def _elements(self, form: Form, further: bool) -> list[Any]:
        size, element = self.list_header()
        if not size:
            return []
        if type(form) is dict and element == STRUCT:
            return [self.record(form, further=further) for _ in range(size)]
        if form == TRUE and element in (TRUE, FALSE):
            flags = self._bytes(size)
            if flags.strip(bytes((TRUE, FALSE))):
                raise ValueError("a list of booleans has other values")
            return [flag == TRUE for flag in flags]
        if form != element:
            raise ValueError(f"there is a list of type {element}")
        if form in _VARINTS:
            return [self._integer() for _ in range(size)]
        return [self._value(element, 0) for _ in range(size)]

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
        if kind in (TRUE, FALSE, BYTE):
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
        at = self.at
        self.at = at + 1
        try:
            return self._data[at]
        except IndexError:
            raise ValueError(_TOO_SHORT) from None

    def _bytes(self, size: int) -> bytes:
        begin, self.at = self.at, self.at + size
        if self.at > len(self._data):
            raise ValueError(_TOO_SHORT)
        return self._data[begin : self.at]

    def _varint(self) -> int:
        value = self._byte()
        if value < 0x80:
            return value
        value, shift = value & 0x7F, 7
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
