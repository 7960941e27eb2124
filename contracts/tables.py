"""Arrow schemas derived from the JSON Schemas, and the check of Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.contracts.columns import Column, TableShape, table_shape
from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.tablevalues import Fault, first_null, range_fault, text_fault

TimestampEncoding = Literal["timestamp", "rfc3339"]

_TEXT_CODES = pa.dictionary(pa.int32(), pa.string())
_ARROW_TYPES: dict[str, pa.DataType] = {
    "uint64": pa.uint64(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "dictionary<int32,string>": _TEXT_CODES,
    "list<string>": pa.list_(pa.string()),
    "timestamp[us, UTC]": pa.timestamp("us", tz="UTC"),
    "timestamp[us]": pa.timestamp("us"),
}
_UTC_NAMES = ("UTC", "Etc/UTC", "Z", "+00:00")


@cache
def arrow_schema(dataset_id: str, timestamp_encoding: TimestampEncoding = "timestamp") -> pa.Schema:
    """The Arrow schema of a table: fields in declared order, nullable if null or absence is allowed.

    `timestamp_encoding="rfc3339"` turns columns declared as timestamps into the contract's strings.
    """
    return pa.schema(
        [
            pa.field(column.name, _target(column, timestamp_encoding), nullable=_null_allowed(column))
            for column in table_shape(dataset_id).columns
        ]
    )


def conform(
    dataset_id: str,
    table: pa.Table,
    *,
    where: str,
    columns: Sequence[str] | None = None,
    timestamp_encoding: TimestampEncoding = "timestamp",
) -> pa.Table:
    """Check `table` against its contract and return it with the declared types, in declared column order.

    Undeclared columns are dropped if the contract allows them. With `columns` the result has exactly these, in this
    order; the values of other columns are not checked, and an absent optional column is all null. Text may be string,
    large_string, string_view or a dictionary of these; a dictionary becomes dictionary<int32,string>. Integers are
    cast only if every value fits; a float is never an integer. Raises ArrivalError with the dataset's `on_invalid`
    code, naming `where`, the column, the row (from 0) and the value.
    """
    shape = table_shape(dataset_id)
    wanted = [_declared(shape, name) for name in columns] if columns is not None else None
    _check_names(shape, table, where, wanted)
    fields: list[pa.Field] = []
    arrays: list[pa.ChunkedArray] = []
    for column in wanted if wanted is not None else shape.columns:
        target = _target(column, timestamp_encoding)
        if column.name in table.column_names:
            array = _conform_column(shape, column, table.column(column.name), target, where)
        elif wanted is not None:
            array = pa.chunked_array([pa.nulls(table.num_rows, target)], type=target)
        else:
            continue
        arrays.append(array)
        fields.append(pa.field(column.name, array.type, nullable=_null_allowed(column)))
    return pa.table(arrays, schema=pa.schema(fields))


def _target(column: Column, encoding: TimestampEncoding) -> pa.DataType:
    if column.fields:
        struct = pa.struct(
            [pa.field(field.name, _target(field, encoding), nullable=_null_allowed(field)) for field in column.fields]
        )
        return pa.list_(struct) if column.json_type == "array" else struct
    kind = _ARROW_TYPES[column.arrow]
    return pa.string() if encoding == "rfc3339" and pa.types.is_timestamp(kind) else kind


def _null_allowed(column: Column) -> bool:
    # In an optional column, null represents a row without the value.
    return column.nullable or not column.required


def _declared(shape: TableShape, name: str) -> Column:
    column = shape.column(name)
    if column is None:
        raise ArrivalError(
            Code.UNEXPECTED_INTERNAL_ERROR,
            f"{shape.dataset_id} declares no column {name!r}",
            hint=f"contracts/schemas describes the columns of {shape.dataset_id}",
            dataset=shape.dataset_id,
            column=name,
        )
    return column


def _check_names(shape: TableShape, table: pa.Table, where: str, wanted: Sequence[Column] | None) -> None:
    names = table.column_names
    for name in names:
        if names.count(name) > 1:
            _refuse(shape, where, name, "appears more than once")
        if not shape.extras_allowed and shape.column(name) is None:
            _refuse(shape, where, name, "is not part of the contract, which allows no additional columns")
    for column in shape.columns if wanted is None else wanted:
        if column.required and column.name not in names:
            _refuse(shape, where, column.name, f"is missing (found: {', '.join(names) or 'no columns'})")


def _conform_column(
    shape: TableShape, column: Column, array: pa.ChunkedArray, target: pa.DataType, where: str
) -> pa.ChunkedArray:
    array = _plain_nulls(array)
    if array.null_count and not _null_allowed(column):
        _refuse(shape, where, column.name, "is null, but needs a value", row=first_null(array))
    if pa.types.is_null(array.type) and (_null_allowed(column) or len(array) == 0):
        return pa.chunked_array([pa.nulls(len(array), target)], type=target)
    if not _compatible(column, array.type, target):
        _refuse(shape, where, column.name, f"has type {array.type}, expected {target}")
    fault = _value_fault(column, array, target)
    if fault is not None:
        _refuse(shape, where, column.name, fault.what, row=fault.row, value=fault.value)
    return _cast(shape, column, array, target, where)


def _plain_nulls(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """`array` with nulls inside a dictionary turned into ordinary nulls."""
    if not pa.types.is_dictionary(array.type):
        return array
    if not any(chunk.dictionary.null_count for chunk in array.chunks):
        return array
    return pc.cast(array, array.type.value_type).dictionary_encode()


def _compatible(column: Column, found: pa.DataType, target: pa.DataType) -> bool:
    if pa.types.is_string(target) or pa.types.is_dictionary(target):
        return _is_text(found.value_type if pa.types.is_dictionary(found) else found)
    if column.json_type == "integer":
        return bool(pa.types.is_integer(found))
    if column.json_type == "number":
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found))
    if pa.types.is_timestamp(target):
        if not pa.types.is_timestamp(found):
            return False
        return bool(found.tz in _UTC_NAMES if target.tz else found.tz is None)
    if column.fields:
        # Parquet knows no structs of dictionaries' codes and names a list's items in its own way.
        return bool(found.equals(target))
    if pa.types.is_list(target):
        return bool(pa.types.is_list(found) or pa.types.is_large_list(found)) and _is_text(found.value_type)
    return bool(found == target)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _value_fault(column: Column, array: pa.ChunkedArray, target: pa.DataType) -> Fault | None:
    if column.json_type in ("integer", "number"):
        return range_fault(column, array, target)
    if pa.types.is_string(target) or pa.types.is_dictionary(target):
        return text_fault(column, array)
    return None


def _cast(
    shape: TableShape, column: Column, array: pa.ChunkedArray, target: pa.DataType, where: str
) -> pa.ChunkedArray:
    if pa.types.is_dictionary(array.type):
        target = _TEXT_CODES
    if array.type == target:
        return array
    if pa.types.is_dictionary(target) and not pa.types.is_dictionary(array.type):
        return pc.cast(array, pa.string()).dictionary_encode()
    try:
        return array.cast(target)
    except pa.ArrowInvalid as error:
        _refuse(shape, where, column.name, f"cannot be read as {target} without loss: {error}")


def _refuse(
    shape: TableShape, where: str, column: str, what: str, *, row: int | None = None, value: object = None
) -> NoReturn:
    place = "" if row is None else f" in row {row}"
    raise ArrivalError(
        shape.on_invalid,
        f"{where}: column {column}{place} {what}",
        hint=f"{shape.dataset_id} must follow contracts/schemas/{shape.dataset_id}.schema.json",
        dataset=shape.dataset_id,
        where=where,
        column=column,
        row=row,
        value=value,
    )
