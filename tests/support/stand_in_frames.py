"""What `DeviceBatch.to_cudf` uses of cuDF 26.10, over Arrow arrays, with its names, parameters and refusals.

The table takes device memory as libcudf does: it moves the structs out of their capsules, asks for a CUDA device, waits
for the event, and knows no zones of times. A frame knows no dictionaries. Memory is the host's, so Arrow can read it.
"""

from __future__ import annotations

import ctypes
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

import pyarrow as pa

_POINTER = ctypes.pythonapi.PyCapsule_GetPointer
_POINTER.restype, _POINTER.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
# Offsets of fields of struct ArrowDeviceArray.
_DEVICE_ID, _DEVICE_TYPE, _SYNC_EVENT = 80, 88, 96
_CUDA, _CPU = 2, 1

waited_for: list[int] = []


class Table:
    """`pylibcudf.Table`."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    @staticmethod
    def from_arrow(obj: Any, dtype: Any = None, stream: Any = None, mr: Any = None) -> Table:
        assert dtype is stream is mr is None
        schema, array = obj.__arrow_c_device_array__()
        address = _POINTER(array, b"arrow_device_array")
        kind = ctypes.c_int32.from_address(address + _DEVICE_TYPE)
        if kind.value != _CUDA:
            raise ValueError("ArrowDeviceArray memory must be accessible to CUDA")
        event = ctypes.c_void_p.from_address(address + _SYNC_EVENT)
        waited_for.append(ctypes.c_int64.from_address(event.value).value)
        kind.value, event.value = _CPU, None
        ctypes.c_int64.from_address(address + _DEVICE_ID).value = -1
        batch = pa.RecordBatch._import_from_c_device_capsule(schema, array)
        fields = [
            field.with_type(pa.timestamp("us")) if pa.types.is_timestamp(field.type) else field
            for field in batch.schema
        ]
        arrays = [column.view(field.type) for column, field in zip(batch.columns, fields, strict=True)]
        return Table(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)))


class Index:
    """`cudf.Index`."""

    def __init__(self, data: Any) -> None:
        self.data = data if isinstance(data, pa.Array) else pa.array(data, pa.string())


class CategoricalIndex(Index):
    """`cudf.CategoricalIndex`."""

    @classmethod
    def from_codes(cls, codes: Series, categories: Index, ordered: bool, name: Any = None) -> CategoricalIndex:
        assert (ordered, name) == (False, None)
        assert codes.data.type == pa.int32()
        return cls(pa.DictionaryArray.from_arrays(codes.data, categories.data))


class Series:
    """`cudf.Series`."""

    def __init__(self, data: pa.Array | Index) -> None:
        self.data = data.data if isinstance(data, Index) else data


class DataFrame:
    """`cudf.DataFrame`."""

    def __init__(self, columns: dict[str, pa.Array]) -> None:
        self.arrays = columns

    @classmethod
    def from_pylibcudf(cls, table: Table, metadata: dict[str, Any] | None = None) -> DataFrame:
        assert isinstance(metadata, dict)
        assert set(metadata) == {"columns"}
        columns = dict(zip(metadata["columns"], table.batch.columns, strict=True))
        if any(pa.types.is_dictionary(array.type) for array in columns.values()):
            raise KeyError("TypeId.DICTIONARY32")
        return cls(columns)

    def __getitem__(self, name: str) -> Series:
        return Series(self.arrays[name])

    def __setitem__(self, name: str, series: Series) -> None:
        assert isinstance(series, Series)
        self.arrays[name] = series.data


def install(monkeypatch: Any) -> None:
    """Put the stand-ins where `import cudf` and `import pylibcudf` look."""
    waited_for.clear()
    for name, members in (
        ("pylibcudf", {"Table": Table}),
        ("cudf", {"DataFrame": DataFrame, "Series": Series, "Index": Index, "CategoricalIndex": CategoricalIndex}),
    ):
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        for member, value in members.items():
            setattr(module, member, value)
        monkeypatch.setitem(sys.modules, name, module)
