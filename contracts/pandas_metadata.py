"""What files of arrivals state for pandas: integers with nulls are nullable integers, not floats of 53 bits.

pandas and Dask give a column the type that the key `pandas` of a file's metadata names. Without it, pyarrow makes
float64 of every column of integers that has a null.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from arrival_engine.contracts.forms import compact_json

__all__ = ["KEY", "pandas_metadata"]

KEY = "pandas"

_NULLABLE = {"uint64": "UInt64", "int64": "Int64", "int32": "Int32"}


def pandas_metadata(schema: pa.Schema) -> str:
    """The value of KEY for files with these columns, which are no index: JSON in the form that pyarrow reads."""
    document = {"index_columns": [], "column_indexes": [], "columns": [_column(field) for field in schema]}
    return compact_json(document).decode()


def _column(field: pa.Field) -> dict[str, Any]:
    pandas_type, numpy_type, metadata = _types(field)
    return {
        "name": field.name,
        "field_name": field.name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": metadata,
    }


def _types(field: pa.Field) -> tuple[str, str, dict[str, Any] | None]:
    kind = field.type
    if pa.types.is_timestamp(kind):
        zone = {"timezone": kind.tz} if kind.tz else None
        return ("datetimetz" if kind.tz else "datetime"), f"datetime64[{kind.unit}]", zone
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return "unicode", "object", None
    if pa.types.is_decimal(kind):
        return "decimal", "object", {"precision": kind.precision, "scale": kind.scale}
    name = str(kind)
    return name, _NULLABLE.get(name, name) if field.nullable else name, None
