"""The UTC flags of a Parquet file's timestamp columns, corrected in its footer without moving a byte.

cuDF has one switch for all timestamps of a file, but the contract has both instants (`ts_utc`) and wall clocks. In the
footer, which is in Thrift's compact protocol, the flag is the low half of one byte per column: 1 for true, 2 for false.
The rest of the footer is skipped. Field numbers: parquet-format, `parquet.thrift`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["state_instants"]

_MAGIC = b"PAR1"
# A little-endian length of the footer and the magic bytes end a file.
_TAIL = 8
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = 1, 2, 3, 7, 8, 9, 10, 11, 12, 13
_VARINTS = (4, 5, 6)  # i16, i32, i64
_FIXED = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}
# FileMetaData.schema; SchemaElement.name and .logicalType; LogicalType.TIMESTAMP; TimestampType.isAdjustedToUTC.
_SCHEMA, _NAME, _LOGICAL_TYPE, _TIMESTAMP, _ADJUSTED_TO_UTC = 2, 4, 10, 8, 1


def state_instants(path: Path, instants: Mapping[str, bool]) -> None:
    """Set for each named column whether its timestamps are instants in UTC (true) or wall clocks (false).

    Raises OSError, and ValueError for a file without a readable footer or without such a timestamp column.
    """
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL, 0))
        tail = file.read(_TAIL)
        length = int.from_bytes(tail[:4], "little")
        if len(tail) != _TAIL or tail[4:] != _MAGIC or length + _TAIL > size:
            raise ValueError(f"{path} does not end like a Parquet file")
        begin = size - _TAIL - length
        file.seek(begin)
        flags = _flags(file.read(length))
        if missing := sorted(set(instants) - set(flags)):
            raise ValueError(f"{path} has no timestamp column {', '.join(missing)}")
        for name, instant in instants.items():
            at, header = flags[name]
            file.seek(begin + at)
            file.write(bytes([header & 0xF0 | (_TRUE if instant else _FALSE)]))


def _flags(footer: bytes) -> dict[str, tuple[int, int]]:
    """Position and value of the header byte of isAdjustedToUTC by column name."""
    thrift = _Thrift(footer)
    found = {}
    try:
        for field, kind in thrift.fields():
            if field != _SCHEMA:
                thrift.skip(kind)
                continue
            count, _ = thrift.list_header()
            for _ in range(count):
                name, flag = thrift.schema_element()
                if flag is not None:
                    found[name] = flag, footer[flag]
    except (IndexError, RecursionError) as failure:
        raise ValueError("the Parquet footer ends within a value") from failure
    return found


class _Thrift:
    """A position in bytes of Thrift's compact protocol; raises IndexError at their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Field number and type of each field of a struct; the caller moves past each value."""
        number = 0
        while header := self._byte():
            delta, kind = header >> 4, header & 0x0F
            number = number + delta if delta else self._zigzag()
            yield number, kind

    def list_header(self) -> tuple[int, int]:
        """Number of elements and their type."""
        header = self._byte()
        count = header >> 4
        return (self._varint() if count == 15 else count), header & 0x0F

    def schema_element(self) -> tuple[str, int | None]:
        """Column name, and the position of its isAdjustedToUTC if it is a timestamp."""
        name, flag = "", None
        for field, kind in self.fields():
            if field == _NAME and kind == _BINARY:
                name = self._take(self._varint()).decode("utf-8", "replace")
            elif field == _LOGICAL_TYPE and kind == _STRUCT:
                flag = self._timestamp_flag()
            else:
                self.skip(kind)
        return name, flag

    def _timestamp_flag(self) -> int | None:
        flag = None
        for field, kind in self.fields():
            if field != _TIMESTAMP or kind != _STRUCT:
                self.skip(kind)
                continue
            for inner, inner_kind in self.fields():
                if inner == _ADJUSTED_TO_UTC and inner_kind in (_TRUE, _FALSE):
                    # A header of one byte: the field is the first of its struct.
                    flag = self._at - 1
                else:
                    self.skip(inner_kind)
        return flag

    def skip(self, kind: int) -> None:
        """Step over a value of this type."""
        if kind in (_TRUE, _FALSE):
            return
        if kind in _VARINTS:
            self._varint()
        elif kind in _FIXED:
            self._take(_FIXED[kind])
        elif kind == _BINARY:
            self._take(self._varint())
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner)
        elif kind in (_LIST, _SET):
            count, element = self.list_header()
            for _ in range(count):
                self._skip_element(element)
        elif kind == _MAP:
            self._skip_map()
        else:
            raise ValueError(f"the Parquet footer has a value of unknown type {kind}")

    def _skip_map(self) -> None:
        if count := self._varint():
            kinds = self._byte()
            for _ in range(count):
                self._skip_element(kinds >> 4)
                self._skip_element(kinds & 0x0F)

    def _skip_element(self, kind: int) -> None:
        # A boolean is a byte in a list, but part of the header as a field.
        self.skip(_BYTE if kind in (_TRUE, _FALSE) else kind)

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise IndexError
        return self._data[self._at - size : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
