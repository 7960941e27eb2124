"""Columns of the tables that a run records: constants, texts by code, identity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def constant(value: str | int, rows: int) -> pa.Array:
    """A column of one value, uint64 for an int."""
    if isinstance(value, int):
        return pa.array(np.full(rows, value, np.uint64))
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], pa.string()))


def coded(codes: NDArray[np.int32], texts: tuple[str, ...]) -> pa.Array:
    """Texts by code; the null channel, which is the empty text and sorts first, as null."""
    null = int(texts[:1] == ("",))
    indices = pa.array(codes - np.int32(null), mask=codes < null)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts[null:], pa.string()))


def laid_out(
    schema: pa.Schema, rows: int, constants: Mapping[str, str | int], columns: Mapping[str, pa.Array]
) -> pa.Table:
    """A table of the schema, each column cast to its declared type."""
    arrays = {**{name: constant(value, rows) for name, value in constants.items()}, **columns}
    return pa.table([arrays[field.name].cast(field.type) for field in schema], schema=schema)
