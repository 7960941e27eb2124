"""An Arrow table as a pandas DataFrame that holds the same values."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

__all__ = ["lossless"]

# pandas' own conversion makes floats of integers with nulls, which keep 53 bits.
_NULLABLE = {pa.uint64(): pd.UInt64Dtype(), pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}


def lossless(table: pa.Table) -> pd.DataFrame:
    """The table with NumPy's integers where a column has no nulls by its schema, else with pandas' nullable ones."""
    columns = {field.name: _series(table[field.name], field) for field in table.schema}
    return pd.DataFrame(columns, copy=False)


def _series(column: pa.ChunkedArray, field: pa.Field) -> pd.Series:
    kinds = dict(_NULLABLE) if field.nullable else {}
    if pa.types.is_decimal(field.type):
        # Python's decimals would be exact too, and take a hundred bytes each.
        kinds[field.type] = pd.ArrowDtype(field.type)
    series: pd.Series = column.to_pandas(types_mapper=kinds.get)
    return series
