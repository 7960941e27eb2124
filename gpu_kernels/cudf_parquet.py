"""Part files written by cuDF on the device that holds their columns.

Only this module uses pylibcudf, the layer of cuDF that lets a caller choose stream, nullability and key-value metadata.
`gpu_kernels.columns` decides values and types. `gpu_kernels.footer` corrects in the footer what cuDF has no switch for.
Written against pylibcudf 26.10.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arrival_engine.gpu_kernels.columns import DeviceColumn, Kept, Layout, arranged
from arrival_engine.gpu_kernels.footer import state_instants

__all__ = ["ARROW_SCHEMA_KEY", "DevicePart", "arrow_schema_text", "write_part"]

# Arrow's readers take the schema of the writer from this key; it makes texts dictionaries again.
ARROW_SCHEMA_KEY = "ARROW:schema"
_DEFAULT_ROW_GROUP_ROWS = 1_000_000
# Element types of arrays by cuDF type.
_DTYPES = {
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT64": np.dtype(np.uint64),
    "BOOL8": np.dtype(np.bool_),
    "TIMESTAMP_MICROSECONDS": np.dtype(np.int64),
}
# Both cuDF and Arrow write Parquet's raw LZ4.
_CODECS = {"lz4": "LZ4", "zstd": "ZSTD", "snappy": "SNAPPY", "none": "NONE"}


@dataclass(frozen=True)
class DevicePart:
    """One part file to write; `compression` is a name of arrival_output_policy_5B.

    row_groups: half-open ranges of arrivals within the batch, at least one. plain: columns to store without a
    dictionary, value by value; for the others cuDF chooses, never deltas.
    """

    path: Path
    metadata: Mapping[str, str]
    compression: str
    row_groups: Sequence[tuple[int, int]]
    plain: frozenset[str] = frozenset()


def write_part(layout: Layout, kept: Kept, stream: Any, part: DevicePart) -> None:
    """Write a batch's columns as one Parquet file of the layout's schema.

    `stream` is the device stream that computed the columns. `kept` must not change until this returns. Raises
    MemoryError if the device has no room, OSError, and the errors of pylibcudf.
    """
    cudf = import_module("pylibcudf")
    order = import_module("rmm.pylibrmm.stream").Stream(stream)
    texts = _Texts(cudf, order)
    writer = None
    for first, last in part.row_groups:
        columns = arranged(layout, kept, first, last)
        table = cudf.Table([_column(cudf, order, layout.schema, texts, column) for column in columns])
        writer = writer or _open_writer(cudf, order, layout, part, table)
        writer.write(table)
    if writer is None:
        raise ValueError("a part without arrivals is not written on a device")
    writer.close([])
    state_instants(part.path, dict(_instants(layout.schema)))


def arrow_schema_text(schema: pa.Schema, metadata: Mapping[str, str]) -> str:
    """The value of ARROW:schema for a file to be read with this schema and metadata.

    Arrow's readers take the metadata from here; they read the file's own only if this key is absent.
    """
    return base64.b64encode(schema.with_metadata(dict(metadata)).serialize()).decode("ascii")


def _instants(schema: pa.Schema) -> Iterator[tuple[str, bool]]:
    for field in schema:
        if pa.types.is_timestamp(field.type):
            yield field.name, field.type.tz is not None


def _open_writer(cudf: Any, order: Any, layout: Layout, part: DevicePart, table: Any) -> Any:
    types, parquet = cudf.io.types, cudf.io.parquet
    metadata = types.TableInputMetadata(table)
    for field, column in zip(layout.schema, metadata.column_metadata, strict=True):
        column.set_name(field.name)
        column.set_nullability(field.nullable)
        if field.name in part.plain:
            column.set_encoding(types.ColumnEncoding.PLAIN)
    # Each table within this limit becomes one row group.
    most_rows = max(_DEFAULT_ROW_GROUP_ROWS, *(last - first for first, last in part.row_groups))
    options = (
        parquet.ChunkedParquetWriterOptions.builder(cudf.io.SinkInfo([str(part.path)]))
        .metadata(metadata)
        .key_value_metadata([{**part.metadata, ARROW_SCHEMA_KEY: arrow_schema_text(layout.schema, part.metadata)}])
        .compression(getattr(types.CompressionType, _CODECS[part.compression]))
        .stats_level(types.StatisticsFreq.STATISTICS_ROWGROUP)
        .row_group_size_rows(most_rows)
        .write_arrow_schema(False)
        .build()
    )
    options.set_dictionary_policy(types.DictionaryPolicy.ADAPTIVE)
    return parquet.ChunkedParquetWriter.from_options(options, order)


class _Texts:
    """Vocabularies as string columns on the device, uploaded once per part."""

    def __init__(self, cudf: Any, order: Any) -> None:
        self._cudf, self._order = cudf, order
        self._columns: dict[tuple[str, ...], Any] = {}

    def column(self, texts: tuple[str, ...]) -> Any:
        if texts not in self._columns:
            strings = pa.array(texts, pa.string())
            self._columns[texts] = self._cudf.Column.from_arrow(strings, stream=self._order)
        return self._columns[texts]


def _column(cudf: Any, order: Any, schema: pa.Schema, texts: _Texts, column: DeviceColumn) -> Any:
    if column.texts is not None:
        return _gathered(cudf, order, texts.column(column.texts), column)
    plain = _wrapped(cudf, _type_name(schema.field(column.name).type), column.values)
    if column.valid is None:
        return plain
    mask, nulls = cudf.transform.bools_to_mask(_wrapped(cudf, "BOOL8", column.valid), order)
    return plain.with_mask(mask, nulls) if nulls else plain


def _gathered(cudf: Any, order: Any, vocabulary: Any, column: DeviceColumn) -> Any:
    """Texts by code; cuDF turns a code past the end into a null (-1 would count from the end)."""
    policy = cudf.copying.OutOfBoundsPolicy
    bounds = policy.DONT_CHECK if column.valid is None else policy.NULLIFY
    wanted = _wrapped(cudf, "INT32", column.values)
    (found,) = cudf.copying.gather(cudf.Table([vocabulary]), wanted, bounds, order).columns()
    return found


def _wrapped(cudf: Any, type_name: str, array: Any) -> Any:
    """A column over the array's own memory, which the column keeps alive; no later check would notice a wrong type."""
    if array.dtype != _DTYPES[type_name]:
        raise TypeError(f"a column of {type_name} is made of {_DTYPES[type_name]}, not of {array.dtype}")
    kind = cudf.DataType(getattr(cudf.TypeId, type_name))
    return cudf.Column(kind, array.size, cudf.gpumemoryview(array), None, 0, 0, [])


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP_MICROSECONDS"
    return {pa.uint64(): "UINT64", pa.int64(): "INT64", pa.bool_(): "BOOL8"}[kind]
