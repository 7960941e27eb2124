"""Batches on a device as cuDF data frames. Written against cuDF 26.10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.gpu_kernels.columns import DeviceColumn
from arrival_engine.gpu_kernels.delivery import LEGACY_DEFAULT_STREAM, Delivery

__all__ = ["data_frame"]


class _Exporter:
    """What pylibcudf takes a table from."""

    def __init__(self, export: Callable[[], tuple[Any, Any]]) -> None:
        self._export = export

    def __arrow_c_device_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return self._export()


def data_frame(delivery: Delivery, columns: Sequence[DeviceColumn], export: Callable[[], tuple[Any, Any]]) -> Any:
    """The frame of a batch that `export` gives with codes as int32; its errors are those of `DeviceBatch.to_cudf`."""
    for name in ("cudf", "pylibcudf"):
        if find_spec(name) is None:
            raise ArrivalError(
                Code.DEPENDENCY_MISSING,
                f"a cuDF data frame needs {name}, which this installation lacks",
                hint="pip install 'arrival-engine[cuda13]' (for a CUDA 12 driver: [cuda12])",
            )
    if delivery.stream_number != LEGACY_DEFAULT_STREAM:
        # cuDF would read memory that this stream may already use again.
        raise ValueError("cuDF works in the default stream: iterate `expand` outside of `with stream:`")
    cudf, pylibcudf = import_module("cudf"), import_module("pylibcudf")
    with delivery.current():
        # Waits on the device for the event of the export.
        table = pylibcudf.Table.from_arrow(_Exporter(export))
        frame = cudf.DataFrame.from_pylibcudf(table, {"columns": [column.name for column in columns]})
        categories: dict[tuple[str, ...], Any] = {}
        for column in columns:
            if column.texts is not None:
                if column.texts not in categories:
                    categories[column.texts] = cudf.Index(list(column.texts))
                coded = cudf.CategoricalIndex.from_codes(frame[column.name], categories[column.texts], ordered=False)
                frame[column.name] = cudf.Series(coded)
    return frame
