"""The structs and descriptions by which columns on a device are handed to other libraries, and what they own."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import weakref
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest

from arrival_engine.contracts import arrow_schema
from arrival_engine.gpu_kernels.arrow_device import _bitmap
from arrival_engine.gpu_kernels.delivery import HostDelivery
from tests.support import gpu as support
from tests.support.on_device import batches_of
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run", 100)


# --- The structs -----------------------------------------------------------------------------------

_POINTER = ctypes.pythonapi.PyCapsule_GetPointer
_POINTER.restype, _POINTER.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def words(address, count):
    return list((ctypes.c_int64 * count).from_address(address))


def exported(batch):
    schema, array = batch.__arrow_c_device_array__()
    return schema, array, _POINTER(array, b"arrow_device_array")


class Lent(HostDelivery):
    """Numpy arrays said to be on CUDA device 3, with an event."""

    device_type, device_id, stream_number = 2, 3, 1

    def event(self):
        return ctypes.c_void_p(0xC0DA)


def test_the_exported_struct_names_device_and_event(small):
    """Offsets of `struct ArrowDeviceArray` as the specification has it: 80 bytes of ArrowArray, then the device."""
    batch = next(batches_of(small, delivery=Lent()))
    schema, array, address = exported(batch)
    assert pa.Schema._import_from_c_capsule(schema).equals(arrow_schema("arrival_events_5B"))
    length, nulls, offset, buffers, children, *_ = words(address, 10)
    assert (length, nulls, offset, buffers, children) == (batch.num_rows, 0, 0, 1, 21)
    device_id, device_type, event, *reserved = words(address + 80, 6)
    assert (device_id, device_type & 0xFFFFFFFF, reserved) == (3, 2, [0, 0, 0])
    assert words(event, 1) == [0xC0DA]
    for place, column in zip(words(words(address, 7)[6], 21), batch.columns.values(), strict=True):
        length, nulls, offset, buffers, children, buffer_pointers, _, dictionary, _, _ = words(place, 10)
        assert (length, nulls, offset, buffers, children) == (batch.num_rows, column.null_count, 0, 2, 0)
        validity, values = words(buffer_pointers, 2)
        assert (validity == 0) == (column.null_count == 0)
        if column.name != "is_virtual":
            assert values == column.values.ctypes.data
        assert (dictionary == 0) == (column.texts is None)
        if dictionary:
            length, nulls, _, buffers, _, text_pointers = words(dictionary, 6)
            assert (length, nulls, buffers) == (len(column.texts), 0, 3)
            vocabulary = batch._arrays.vocabularies[column.texts]
            assert words(text_pointers, 3) == [
                0,
                vocabulary.offsets.ctypes.data,
                vocabulary.characters.ctypes.data,
            ]
    del array


def release(address):
    """What a consumer in C does."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(words(address, 9)[8])
    function(address)


def test_a_consumer_may_move_children_and_release_them_late(small):
    """A moved child lives on after its parent, and what is not moved is freed with the parent."""
    batch = next(batches_of(small, delivery=Lent()))
    kept, dropped = "tzid_primary", "ts_utc"
    arrays = {name: weakref.ref(batch[name].values) for name in (kept, dropped)}
    vocabulary = weakref.ref(batch._arrays.vocabularies[batch[kept].texts].characters)
    names = list(batch.columns)
    schema, array, address = exported(batch)
    moved = ctypes.create_string_buffer(128)
    ctypes.memmove(moved, address, 128)
    ctypes.c_int64.from_address(address + 64).value = 0  # moved: the source is marked as released
    del array, schema, batch
    gc.collect()
    child_place = words(words(ctypes.addressof(moved), 7)[6], 21)[names.index(kept)]
    child = ctypes.create_string_buffer(80)
    ctypes.memmove(child, child_place, 80)
    ctypes.c_int64.from_address(child_place + 64).value = 0
    release(ctypes.addressof(moved))
    assert words(ctypes.addressof(moved), 9)[8] == 0
    gc.collect()
    assert arrays[dropped]() is None
    assert arrays[kept]() is not None
    assert vocabulary() is not None
    release(ctypes.addressof(child))
    gc.collect()
    assert arrays[kept]() is None
    assert vocabulary() is None


def test_unused_capsules_free_the_batch_also_while_an_exception_is_raised(small):
    batch = next(batches_of(small))
    array = weakref.ref(batch["ts_utc"].values)

    def exports(exporting):
        yield exporting.__arrow_c_device_array__()
        raise KeyError("the consumer failed")

    for _ in range(3):
        # `list` drops what it has while the exception is on its way.
        with pytest.raises(KeyError, match="the consumer failed"):
            list(exports(batch))
    del batch
    gc.collect()
    assert array() is None


def test_exports_are_independent(small):
    batch = next(batches_of(small))
    once, again = pa.record_batch(batch), pa.record_batch(batch)
    del batch
    gc.collect()
    assert once.equals(again)


def test_many_exports_leave_nothing(small):
    batch = next(batches_of(small))
    before = pa.total_allocated_bytes()
    array = batch["ts_utc"].values
    references = sys.getrefcount(array)
    for _ in range(200):
        pa.record_batch(batch)
        batch.__arrow_c_device_array__()
    gc.collect()
    left = sys.getrefcount(array)
    assert left == references
    assert pa.total_allocated_bytes() == before


def test_a_requested_schema_is_not_followed_and_options_are_refused(small):
    batch = next(batches_of(small))
    wanted = pa.schema([pa.field("ts_utc", pa.int64())]).__arrow_c_schema__()
    schema, _ = batch.__arrow_c_device_array__(wanted, later=None)
    assert pa.Schema._import_from_c_capsule(schema).equals(batch.schema)
    with pytest.raises(NotImplementedError, match="no option later"):
        batch.__arrow_c_device_array__(later=1)


@pytest.mark.parametrize("size", [1, 7, 8, 511, 512, 513])
def test_bitmaps_are_whole_blocks_of_64_bytes(size):
    """Consumers read whole words of them."""
    flags = np.arange(size) % 3 == 0
    bits = _bitmap(np, flags)
    assert bits.size == 64 * -(-size // 512)
    found = np.unpackbits(bits, bitorder="little")
    assert np.array_equal(found[:size], flags)
    assert not found[size:].any()


UNREADABLE = """
import ctypes, sys
from dataclasses import replace
import numpy as np, pyarrow as pa
from arrival_engine.contracts import arrow_schema
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.gpu_kernels.columns import DeviceColumn
from arrival_engine.gpu_kernels.delivery import HostDelivery
from arrival_engine.gpu_kernels.device_batch import BatchArrays, DeviceBatch, Vocabularies

C = ctypes.CDLL(None)
C.mmap.restype = ctypes.c_void_p
C.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
NO_ACCESS, PRIVATE_ANONYMOUS = 0, 0x22
PLACE = C.mmap(None, 1 << 20, NO_ACCESS, PRIVATE_ANONYMOUS, -1, 0)

class Elsewhere(HostDelivery):
    "Every array is said to lie where the host cannot read."
    device_type, device_id = 2, 0
    def address(self, array):
        return PLACE

rows, texts = 1000, ("a", "bc")
columns, nulls = [], {}
schema = arrow_schema("arrival_events_5B")
for field in schema:
    kind, coded = field.type, pa.types.is_dictionary(field.type)
    dtype = np.int32 if coded else np.int64 if pa.types.is_timestamp(kind) else kind.to_pandas_dtype()
    valid = np.arange(rows) % 2 == 0 if field.nullable else None
    columns.append(DeviceColumn(field.name, np.zeros(rows, dtype), valid, texts if coded else None))
    nulls[field.name] = rows // 2 if field.nullable else 0
vocabularies = Vocabularies(Elsewhere())
batch = DeviceBatch(0, Digest(), BatchArrays(schema, columns, nulls, {texts: vocabularies.of(texts)}), Elsewhere())
for _ in range(3):
    schema, array = batch.__arrow_c_device_array__()
    del schema, array
print("nothing was read")
if sys.argv[1:]:
    pa.record_batch(pa.RecordBatch._import_from_c_device_capsule(*batch.__arrow_c_device_array__()))
    ctypes.string_at(PLACE, 1)
"""


def unreadable(*arguments):
    return subprocess.run(
        [sys.executable, "-c", UNREADABLE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_an_export_reads_no_device_memory():
    """Memory that the host must not touch: a read would end the process."""
    done = unreadable()
    assert (done.returncode, done.stdout) == (0, "nothing was read\n"), done.stderr
    assert unreadable("then read").returncode != 0


# --- The CUDA array interface ----------------------------------------------------------------------


def test_columns_describe_themselves(small):
    batch = next(batches_of(small, delivery=Lent()))
    for name, column in batch.columns.items():
        found = column.__cuda_array_interface__
        assert found["shape"] == (batch.num_rows,)
        assert found["typestr"] == column.values.dtype.str
        assert (found["version"], found["strides"], found["stream"]) == (3, None, 1)
        assert found["data"] == (column.values.ctypes.data, False)
        if column.null_count:
            mask = found["mask"].__cuda_array_interface__
            assert (mask["typestr"], mask["data"][0]) == ("|b1", column.valid.ctypes.data)
            assert "mask" not in mask
        else:
            assert found["mask"] is None
        assert name == column.name
        assert name in repr(column)
    assert repr(batch) == f"<DeviceBatch 0: {batch.num_rows} arrivals on device 3>"
    assert batch.stream is None


def test_columns_without_nulls_are_taken_by_dlpack(small):
    """The capsule is made in the batch's stream, which the consumer's is then ordered after."""
    entered = []

    class Watched(HostDelivery):
        @contextmanager
        def current(self):
            entered.append(True)
            yield

    batch = next(batches_of(small, delivery=Watched()))
    for name, column in batch.columns.items():
        entered.clear()
        if column.null_count:
            with pytest.raises(BufferError, match=f"{name} has nulls"):
                np.from_dlpack(column)
        else:
            taken = np.from_dlpack(column)
            assert entered == [True]
            assert np.shares_memory(taken, column.values)
            assert np.array_equal(taken, column.values)
