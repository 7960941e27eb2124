"""Export of device columns through the Arrow C device data interface, without copying them.

Arrow itself makes the structs. A consumer may call their release callbacks from any thread, and while an exception is
being raised. A callback in Python fails then; Arrow's own do not. Arrow takes the addresses of values unseen. It reads
only the offsets of texts. So it gets texts of the host, and the exported struct is then pointed to those on the device.
The fields that name the device are set last.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from arrival_engine.gpu_kernels.columns import DeviceColumn
from arrival_engine.gpu_kernels.delivery import Delivery

__all__ = ["ExportedColumn", "Vocabulary", "capsules", "coded_schema", "uploaded_vocabulary"]

# Buffers are padded to this many bytes, as Arrow recommends. Consumers read bitmaps by whole words.
_PADDING_BYTES = 64
_PADDING_BITS = 8 * _PADDING_BYTES


class _ArrowArray(ctypes.Structure):
    """`struct ArrowArray`."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
    ("dictionary", ctypes.POINTER(_ArrowArray)),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


class _ArrowDeviceArray(ctypes.Structure):
    """`struct ArrowDeviceArray`."""

    _fields_ = (
        ("array", _ArrowArray),
        ("device_id", ctypes.c_int64),
        ("device_type", ctypes.c_int32),
        ("sync_event", ctypes.c_void_p),
        ("reserved", ctypes.c_int64 * 3),
    )


_DEVICE_ARRAY = b"arrow_device_array"
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


class Vocabulary(NamedTuple):
    """The texts of coded columns, as Arrow has them: on the host, and their offsets and bytes on the device."""

    texts: pa.StringArray
    offsets: Any  # int32[n + 1]
    characters: Any  # uint8


class ExportedColumn(NamedTuple):
    """A column, how many of its elements are null, and the vocabulary of its codes if it is to have one."""

    column: DeviceColumn
    nulls: int
    vocabulary: Vocabulary | None


def uploaded_vocabulary(library: Any, texts: Sequence[str]) -> Vocabulary:
    """Texts as arrays of a library, in its current stream."""
    strings = pa.array(texts, pa.string())
    _, offsets, characters = strings.buffers()
    # At least one byte, so that it has an address.
    held = np.frombuffer(characters or b"", np.uint8)
    stored = held if held.size else np.zeros(1, np.uint8)
    return Vocabulary(strings, library.array(np.frombuffer(offsets, np.int32)), library.array(stored))


def coded_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with plain codes in place of dictionaries."""
    fields = [
        field.with_type(field.type.index_type) if pa.types.is_dictionary(field.type) else field for field in schema
    ]
    return pa.schema(fields)


def capsules(schema: pa.Schema, columns: Sequence[ExportedColumn], delivery: Delivery) -> tuple[Any, Any]:
    """The columns as capsules `arrow_schema` and `arrow_device_array`; consumers wait for the delivery's stream.

    The consumer owns what is in them. The columns live until it has released the array.
    """
    library = delivery.library
    with delivery.current():
        stored = [_stored(library, field.type, one) for field, one in zip(schema, columns, strict=True)]
        lender = _Lender(delivery, delivery.event())
    arrays = [
        lender.array(field.type, one, *buffers) for field, one, buffers in zip(schema, columns, stored, strict=True)
    ]
    exported_schema, exported = pa.RecordBatch.from_arrays(arrays, schema=schema).__arrow_c_device_array__()
    struct = _ArrowDeviceArray.from_address(_capsule_pointer(exported, _DEVICE_ARRAY))
    for index, one in enumerate(columns):
        if one.vocabulary is not None:
            buffers = struct.array.children[index].contents.dictionary.contents.buffers
            buffers[1] = delivery.address(one.vocabulary.offsets)
            buffers[2] = delivery.address(one.vocabulary.characters)
    struct.device_id, struct.device_type = delivery.device_id, delivery.device_type
    struct.sync_event = None if lender.event is None else ctypes.addressof(lender.event)
    struct.reserved = (ctypes.c_int64 * 3)()
    return exported_schema, exported


def _stored(library: Any, kind: pa.DataType, one: ExportedColumn) -> tuple[Any, Any]:
    """Validity and values as Arrow stores them: flags are bits."""
    valid = _bitmap(library, one.column.valid) if one.nulls else None
    return valid, _bitmap(library, one.column.values) if pa.types.is_boolean(kind) else one.column.values


def _bitmap(library: Any, flags: Any) -> Any:
    bits = library.zeros(-(-int(flags.size) // _PADDING_BITS) * _PADDING_BYTES, np.uint8)
    packed = library.packbits(flags, bitorder="little")
    bits[: packed.size] = packed
    return bits


class _Lender:
    """Makes Arrow arrays over memory of a delivery. Each of their buffers keeps that memory and the event alive."""

    def __init__(self, delivery: Delivery, event: Any) -> None:
        self._delivery, self.event = delivery, event

    def array(self, kind: pa.DataType, one: ExportedColumn, valid: Any, values: Any) -> pa.Array:
        buffers = [None if valid is None else self._buffer(valid), self._buffer(values)]
        rows = int(one.column.values.size)
        if one.vocabulary is None:
            return pa.Array.from_buffers(kind, rows, buffers, one.nulls)
        texts = self._texts(one.vocabulary)
        return pa.DictionaryArray.from_buffers(kind, rows, buffers, texts, one.nulls)

    def _buffer(self, array: Any) -> pa.Buffer:
        return pa.foreign_buffer(self._delivery.address(array), array.nbytes, (array, self.event))

    def _texts(self, vocabulary: Vocabulary) -> pa.StringArray:
        """The texts on the host; the first buffer keeps those on the device alive."""
        _, offsets, characters = vocabulary.texts.buffers()
        lent = pa.foreign_buffer(offsets.address, offsets.size, (vocabulary, self.event))
        return pa.Array.from_buffers(pa.string(), len(vocabulary.texts), [None, lent, characters], 0)
