"""Tables that a run records, from their constants and columns."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from arrival_engine.contracts.arrow_columns import constant


def laid_out(
    schema: pa.Schema, rows: int, constants: Mapping[str, str | int], columns: Mapping[str, pa.Array]
) -> pa.Table:
    """A table of the schema, each column cast to its declared type."""
    arrays = {**{name: constant(value, rows) for name, value in constants.items()}, **columns}
    return pa.table([arrays[field.name].cast(field.type) for field in schema], schema=schema)
