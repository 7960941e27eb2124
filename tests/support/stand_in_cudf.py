"""What `gpu_kernels.cudf_parquet` uses of pylibcudf 26.10, on numpy and pyarrow: same names, parameters and refusals.

It keeps cuDF's ways that the engine has to cope with: one switch for all timestamps of a file, a code past the end as
the only null of a gather, no dictionaries, no Arrow schema of its own, and a required column that must have no null.
"""

from __future__ import annotations

import sys
import types as python_types
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STREAM = "the stream of the columns"


class TypeId(IntEnum):
    INT32 = 3
    INT64 = 4
    UINT64 = 8
    BOOL8 = 11
    TIMESTAMP_MICROSECONDS = 15
    STRING = 23


_ARROW = {
    TypeId.INT32: pa.int32(),
    TypeId.INT64: pa.int64(),
    TypeId.UINT64: pa.uint64(),
    TypeId.BOOL8: pa.bool_(),
    TypeId.TIMESTAMP_MICROSECONDS: pa.timestamp("us", "UTC"),
    TypeId.STRING: pa.string(),
}


class DataType:
    def __init__(self, type_id):
        self.id = TypeId(type_id)


class Gpumemoryview:
    def __init__(self, array):
        assert array.flags.c_contiguous
        assert array.ndim == 1
        self.obj, self.ptr, self.size = array, array.ctypes.data, array.nbytes


class Column:
    def __init__(self, data_type, size, data, mask, null_count, offset, children):
        assert (offset, list(children)) == (0, [])
        self.kind, self.count, self.data, self.mask, self.nulls = data_type.id, size, data, mask, null_count

    @staticmethod
    def from_arrow(array, *, stream):
        assert stream.obj == STREAM
        assert array.type == pa.string()
        texts = Column(DataType(TypeId.STRING), len(array), None, None, array.null_count, 0, [])
        texts.data = array
        return texts

    def with_mask(self, mask, null_count):
        return Column(DataType(self.kind), self.count, self.data, mask, null_count, 0, [])

    def size(self):
        return self.count

    def to_arrow(self):
        if self.kind == TypeId.STRING:
            return self.data
        values = self.data.obj
        assert values.dtype.itemsize == (1 if self.kind == TypeId.BOOL8 else int(_ARROW[self.kind].bit_width) // 8)
        nulls = None if self.mask is None else ~self.mask.valid
        if self.kind == TypeId.TIMESTAMP_MICROSECONDS:
            return pa.array(values, pa.int64(), mask=nulls).cast(_ARROW[self.kind])
        return pa.array(values, _ARROW[self.kind], mask=nulls)


class Table:
    def __init__(self, columns):
        assert len({column.size() for column in columns}) == 1
        self._columns = tuple(columns)

    def columns(self):
        return self._columns


class OutOfBoundsPolicy(IntEnum):
    NULLIFY = 0
    DONT_CHECK = 1


def gather(source_table, gather_map, bounds_policy, stream):
    assert stream.obj == STREAM
    assert gather_map.kind == TypeId.INT32
    (texts,) = source_table.columns()
    codes = gather_map.data.obj
    assert codes.size == 0 or codes.min() >= 0, "cuDF would count from the end"
    outside = codes >= texts.size()
    assert bounds_policy == OutOfBoundsPolicy.NULLIFY or not outside.any(), "cuDF would read past the end"
    found = texts.data.take(pa.array(np.where(outside, 0, codes), mask=outside))
    return Table([Column.from_arrow(found, stream=stream)])


def bools_to_mask(column, stream):
    assert stream.obj == STREAM
    assert column.kind == TypeId.BOOL8
    valid = column.data.obj.copy()
    return SimpleNamespace(valid=valid, ptr=valid.ctypes.data, size=valid.nbytes), int(np.count_nonzero(~valid))


class CompressionType(Enum):
    NONE = "none"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"


class StatisticsFreq(IntEnum):
    STATISTICS_ROWGROUP = 1


class DictionaryPolicy(IntEnum):
    ADAPTIVE = 1


class ColumnEncoding(IntEnum):
    USE_DEFAULT = -1
    PLAIN = 1


class ColumnInMetadata:
    encoding = ColumnEncoding.USE_DEFAULT

    def set_name(self, name):
        self.name = name
        return self

    def set_nullability(self, nullable):
        self.nullable = nullable
        return self

    def set_encoding(self, encoding):
        self.encoding = ColumnEncoding(encoding)
        return self


class TableInputMetadata:
    def __init__(self, table):
        self.column_metadata = [ColumnInMetadata() for _ in table.columns()]


class SinkInfo:
    def __init__(self, sinks):
        (self.path,) = sinks
        assert isinstance(self.path, str)


class _Builder:
    def __init__(self, sink):
        self.given = {"sink": sink}

    def __getattr__(self, name):
        known = ("metadata", "key_value_metadata", "compression", "stats_level", "row_group_size_rows")
        assert name in (*known, "write_arrow_schema"), name

        def set_option(value):
            self.given[name] = value
            return self

        return set_option

    def build(self):
        return ChunkedParquetWriterOptions(self.given)


class ChunkedParquetWriterOptions:
    def __init__(self, given):
        self.given = given

    @staticmethod
    def builder(sink):
        return _Builder(sink)

    def set_dictionary_policy(self, policy):
        self.given["dictionary_policy"] = DictionaryPolicy(policy)


class ChunkedParquetWriter:
    @staticmethod
    def from_options(options, stream):
        assert stream.obj == STREAM
        return ChunkedParquetWriter(options.given)

    def __init__(self, given):
        assert given["write_arrow_schema"] is False
        self._columns, self._most = given["metadata"].column_metadata, given["row_group_size_rows"]
        (metadata,) = given["key_value_metadata"]
        self._open = {
            "compression": given["compression"].value,
            "store_schema": False,
            "use_dictionary": [column.name for column in self._columns if column.encoding != ColumnEncoding.PLAIN],
        }
        self._path, self._metadata, self._writer = given["sink"].path, metadata, None

    def write(self, table):
        arrays = [column.to_arrow() for column in table.columns()]
        for array, column in zip(arrays, self._columns, strict=True):
            assert column.nullable or array.null_count == 0, f"{column.name} is required and has nulls"
        fields = [
            pa.field(column.name, array.type, column.nullable)
            for array, column in zip(arrays, self._columns, strict=True)
        ]
        whole = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
        assert 0 < whole.num_rows <= self._most
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, whole.schema, **self._open)
        self._writer.write_table(whole, row_group_size=self._most)

    def close(self, metadata_file_path):
        assert metadata_file_path == []
        self._writer.add_key_value_metadata(self._metadata)
        self._writer.close()


class Stream:
    def __init__(self, obj):
        self.obj = obj


def install(monkeypatch):
    """Put the stand-ins where `import pylibcudf` and `import rmm.pylibrmm.stream` look."""
    library: Any = python_types.ModuleType("pylibcudf")
    library.TypeId, library.DataType, library.Column, library.Table = TypeId, DataType, Column, Table
    library.gpumemoryview = Gpumemoryview
    library.copying = SimpleNamespace(gather=gather, OutOfBoundsPolicy=OutOfBoundsPolicy)
    library.transform = SimpleNamespace(bools_to_mask=bools_to_mask)
    library.io = SimpleNamespace(
        SinkInfo=SinkInfo,
        types=SimpleNamespace(
            TableInputMetadata=TableInputMetadata,
            CompressionType=CompressionType,
            StatisticsFreq=StatisticsFreq,
            DictionaryPolicy=DictionaryPolicy,
            ColumnEncoding=ColumnEncoding,
        ),
        parquet=SimpleNamespace(
            ChunkedParquetWriterOptions=ChunkedParquetWriterOptions, ChunkedParquetWriter=ChunkedParquetWriter
        ),
    )
    streams: Any = python_types.ModuleType("rmm.pylibrmm.stream")
    streams.Stream = Stream
    monkeypatch.setitem(sys.modules, "pylibcudf", library)
    for name in ("rmm", "rmm.pylibrmm"):
        monkeypatch.setitem(sys.modules, name, python_types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "rmm.pylibrmm.stream", streams)
