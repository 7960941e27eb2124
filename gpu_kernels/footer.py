"""The UTC flags of a Parquet file's timestamp columns, corrected in its footer without moving a byte.

cuDF has one switch for all timestamps of a file, but the contract has both instants (`ts_utc`) and wall clocks. In the
footer, which is in Thrift's compact protocol, the flag is the low half of one byte per column: 1 for true, 2 for false.
The rest of the footer is skipped. Field numbers: parquet-format, `parquet.thrift`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from arrival_engine.contracts.thrift import BINARY, FALSE, STRUCT, TRUE, Compact, read_footer

__all__ = ["state_instants"]

# FileMetaData.schema; SchemaElement.name and .logicalType; LogicalType.TIMESTAMP; TimestampType.isAdjustedToUTC.
_SCHEMA, _NAME, _LOGICAL_TYPE, _TIMESTAMP, _ADJUSTED_TO_UTC = 2, 4, 10, 8, 1


def state_instants(path: Path, instants: Mapping[str, bool]) -> None:
    """Set for each named column whether its timestamps are instants in UTC (true) or wall clocks (false).

    Raises OSError, and ValueError for a file without a readable footer or without such a timestamp column.
    """
    with path.open("r+b") as file:
        begin, footer = read_footer(file)
        flags = _flags(footer)
        if missing := sorted(set(instants) - set(flags)):
            raise ValueError(f"{path} has no timestamp column {', '.join(missing)}")
        for name, instant in instants.items():
            at = flags[name]
            file.seek(begin + at)
            file.write(bytes([footer[at] & 0xF0 | (TRUE if instant else FALSE)]))


def _flags(footer: bytes) -> dict[str, int]:
    """Position of the header byte of isAdjustedToUTC by column name. Raises ValueError."""
    thrift = Compact(footer)
    found = {}
    for field, kind in thrift.fields():
        if field != _SCHEMA:
            thrift.field(kind)
            continue
        count, _ = thrift.list_header()
        for _ in range(count):
            name, flag = _schema_element(thrift)
            if flag is not None:
                found[name] = flag
    return found


def _schema_element(thrift: Compact) -> tuple[str, int | None]:
    """Column name, and the position of its isAdjustedToUTC if it is a timestamp."""
    name, flag = "", None
    for field, kind in thrift.fields():
        if field == _NAME and kind == BINARY:
            name = thrift.take().decode("utf-8", "replace")
        elif field == _LOGICAL_TYPE and kind == STRUCT:
            flag = _timestamp_flag(thrift)
        else:
            thrift.field(kind)
    return name, flag


def _timestamp_flag(thrift: Compact) -> int | None:
    flag = None
    for field, kind in thrift.fields():
        if field != _TIMESTAMP or kind != STRUCT:
            thrift.field(kind)
            continue
        for inner, inner_kind in thrift.fields():
            if inner == _ADJUSTED_TO_UTC and inner_kind in (TRUE, FALSE):
                # A header of one byte: the field is the first of its struct.
                flag = thrift.at - 1
            else:
                thrift.field(inner_kind)
    return flag
