"""One batch of arrivals whose columns lie in device memory, and the interfaces by which other libraries take them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from arrival_engine.gpu_kernels.columns import DeviceColumn
from arrival_engine.gpu_kernels.delivery import Delivery

if TYPE_CHECKING:
    import pyarrow as pa

    from arrival_engine.cpu_fallback.digest import Digest
    from arrival_engine.gpu_kernels.arrow_device import Vocabulary

__all__ = ["BatchArrays", "BatchColumn", "DeviceBatch", "Vocabularies"]


class Vocabularies:
    """Vocabularies on a device, each uploaded once; safe to use from many threads."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._made: dict[tuple[str, ...], Vocabulary] = {}
        self._lock = threading.Lock()

    def of(self, texts: tuple[str, ...]) -> Vocabulary:
        """The vocabulary of these texts."""
        from arrival_engine.gpu_kernels.arrow_device import uploaded_vocabulary

        with self._lock:
            if texts not in self._made:
                with self._delivery.current():
                    self._made[texts] = uploaded_vocabulary(self._delivery.library, texts)
            return self._made[texts]


class BatchArrays(NamedTuple):
    """The columns of a batch in the schema's order, nulls by column, vocabularies by texts."""

    schema: pa.Schema
    columns: Sequence[DeviceColumn]
    nulls: Mapping[str, int]
    vocabularies: Mapping[tuple[str, ...], Vocabulary]


class BatchColumn:
    """One column of a `DeviceBatch`, n elements in output order.

    It has `__cuda_array_interface__` (version 3) for its values, with the stream that computed them, and a mask if the
    column has nulls; without nulls also DLPack. Columns may share memory, so do not write to it.
    """

    def __init__(self, column: DeviceColumn, nulls: int, delivery: Delivery) -> None:
        self._column, self._nulls, self._delivery = column, nulls, delivery

    def __len__(self) -> int:
        return int(self._column.values.size)

    def __repr__(self) -> str:
        return f"<BatchColumn {self.name}: {len(self)} of {self.values.dtype}, {self.null_count} null>"

    @property
    def name(self) -> str:
        """The contract's name of the column."""
        return self._column.name

    @property
    def values(self) -> Any:
        """A CuPy array: int32 codes of `texts`, int64 microseconds, or the numbers or flags themselves.

        What it holds where `valid` is false is undefined.
        """
        return self._column.values

    @property
    def valid(self) -> Any:
        """A CuPy array of bool, false where the element is null; None for a column that never has nulls."""
        return self._column.valid

    @property
    def texts(self) -> tuple[str, ...] | None:
        """The texts by code; None if the values are not codes."""
        return self._column.texts

    @property
    def null_count(self) -> int:
        """How many elements are null, known without reading the device."""
        return self._nulls

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        mask = _Lent(self._delivery, self.valid) if self._nulls else None
        return {**_described(self._delivery, self.values), "mask": mask}

    def __dlpack__(self, **options: Any) -> Any:
        """The values as a DLPack capsule, ready in the stream that `options` name. Raises BufferError for nulls."""
        if self._nulls:
            raise BufferError(f"{self.name} has nulls, which DLPack cannot tell: take its `values` and `valid`")
        with self._delivery.current():
            return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


class _Lent:
    """A bare array with the stream that computed it."""

    def __init__(self, delivery: Delivery, array: Any) -> None:
        self._delivery, self._array = delivery, array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return _described(self._delivery, self._array)


def _described(delivery: Delivery, array: Any) -> dict[str, Any]:
    return {
        "shape": tuple(array.shape),
        "typestr": array.dtype.str,
        # PyTorch refuses read-only arrays.
        "data": (delivery.address(array), False),
        "version": 3,
        "strides": None,
        "stream": delivery.stream_number,
    }


class DeviceBatch:
    """Arrivals of one plan batch in output order, n of them, in device memory: the contract's 21 columns.

    Texts are codes with a dictionary. The batch owns its memory, which stays as it is for as long as the batch, one of
    its arrays or a consumer of it lives. `stream` computed it and is the order in which the memory is used again.
    """

    def __init__(self, index: int, digest: Digest, arrays: BatchArrays, delivery: Delivery) -> None:
        self._index, self._digest, self._arrays, self._delivery = index, digest, arrays, delivery
        self._columns = {
            column.name: BatchColumn(column, arrays.nulls.get(column.name, 0), delivery) for column in arrays.columns
        }

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, name: str) -> BatchColumn:
        return self._columns[name]

    def __repr__(self) -> str:
        return f"<DeviceBatch {self.index}: {self.num_rows} arrivals on device {self.device_id}>"

    @property
    def index(self) -> int:
        """Which batch of the plan this is."""
        return self._index

    @property
    def digest(self) -> Digest:
        """The digest of these arrivals. The sum over all batches is the digest of the run."""
        return self._digest

    @property
    def num_rows(self) -> int:
        """The number of arrivals, at least one."""
        return int(self._arrays.columns[0].values.size)

    @property
    def schema(self) -> pa.Schema:
        """The contract's Arrow schema: names, types and nullability."""
        return self._arrays.schema

    @property
    def columns(self) -> Mapping[str, BatchColumn]:
        """The columns by name, in the contract's order."""
        return dict(self._columns)

    @property
    def device_id(self) -> int:
        """The ordinal of the CUDA device."""
        return self._delivery.device_id

    @property
    def stream(self) -> Any:
        """The CuPy stream that computed the columns."""
        return self._delivery.stream

    def __arrow_c_schema__(self) -> Any:
        """A capsule `arrow_schema` of the contract's schema."""
        return self.schema.__arrow_c_schema__()

    def __arrow_c_device_array__(self, requested_schema: Any = None, **options: Any) -> tuple[Any, Any]:
        """Capsules `arrow_schema` and `arrow_device_array`, without copying columns; flags become bitmaps.

        A requested schema is not followed. Raises NotImplementedError for any other option that is not None.
        """
        _refuse(options)
        return self._exported(coded=False)

    def to_cudf(self) -> Any:
        """A cudf.DataFrame over the same memory: texts as categories, times as datetime64[us] without a zone.

        Only flags and the codes of categories are copied, on the device. Raises DEPENDENCY_MISSING without cuDF, and
        ValueError for a batch of another stream than the default one, in which cuDF works.
        """
        from arrival_engine.gpu_kernels.cudf_frame import data_frame

        return data_frame(self._delivery, self._arrays.columns, lambda: self._exported(coded=True))

    def _exported(self, *, coded: bool) -> tuple[Any, Any]:
        """The batch's capsules; with `coded`, codes as plain numbers instead of dictionaries."""
        from arrival_engine.gpu_kernels import arrow_device

        arrays = self._arrays
        columns = []
        for column in arrays.columns:
            texts = None if coded or column.texts is None else arrays.vocabularies[column.texts]
            columns.append(arrow_device.ExportedColumn(column, arrays.nulls.get(column.name, 0), texts))
        schema = arrow_device.coded_schema(arrays.schema) if coded else arrays.schema
        return arrow_device.capsules(schema, columns, self._delivery)


def _refuse(options: Mapping[str, Any]) -> None:
    if unknown := [name for name, value in options.items() if value is not None]:
        raise NotImplementedError(f"__arrow_c_device_array__ has no option {', '.join(unknown)}")
