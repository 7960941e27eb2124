"""Batches that stay on a device: their rows, streams and structs, and cuDF's frames of them."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pyarrow as pa
import pytest

from arrival_engine import expand
from tests.support import gpu as support
from tests.support.gpu import cudf, gpu
from tests.support.on_device import as_frame, assert_same_batch, record_batches
from tests.support.worlds import small_world


def on_host(batch):
    """A batch copied to the host, as a record batch of the contract's schema."""
    import cupy

    arrays = []
    for field, column in zip(batch.schema, batch.columns.values(), strict=True):
        values = cupy.asnumpy(column.values)
        nulls = None if column.valid is None else ~cupy.asnumpy(column.valid)
        if column.texts is not None:
            values = np.where(values < len(column.texts), values, 0)
            codes = pa.array(values, pa.int32(), mask=nulls)
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(column.texts)))
        elif pa.types.is_timestamp(field.type):
            arrays.append(pa.array(values, pa.int64(), mask=nulls).cast(field.type))
        else:
            arrays.append(pa.array(values, field.type, mask=nulls))
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Every feature, in some batches."""
    return support.make_case(small_world(), tmp_path_factory.mktemp("device") / "run", 500)


@gpu
def test_batches_on_a_device_have_the_same_rows(world):
    kept = list(expand(world.plan, backend="cuda", on_device=True))
    for batch, wanted in zip(kept, record_batches(world), strict=True):
        assert_same_batch(on_host(batch), wanted)


@gpu
def test_batches_of_a_stream_of_the_callers(world):
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        batches = list(expand(world.plan, backend="auto", on_device=True, threads=1))
        totals = [int(batch["arrival_seq"].values.sum()) for batch in batches]
    assert {batch.stream.ptr for batch in batches} == {stream.ptr}
    wanted = [int(np.asarray(batch["arrival_seq"]).sum()) for batch in record_batches(world)]
    assert totals == wanted


@gpu
def test_arrays_are_taken_by_the_cuda_array_interface(world):
    import cupy

    batch = next(expand(world.plan, backend="cuda", on_device=True))
    array = cupy.asarray(batch["ts_utc"])
    assert array.data.ptr == batch["ts_utc"].values.data.ptr
    del batch
    gc.collect()
    assert cupy.asnumpy(array).tolist() == np.asarray(record_batches(world)[0]["ts_utc"].view(pa.int64())).tolist()


@gpu
def test_an_export_points_to_the_device(world):
    import cupy

    batch = next(expand(world.plan, backend="cuda", on_device=True))
    schema, array = batch.__arrow_c_device_array__()
    assert pa.Schema._import_from_c_capsule(schema).equals(batch.schema)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer(array, b"arrow_device_array")
    device_id, device_type, event = (ctypes.c_int64 * 3).from_address(pointer + 80)
    assert (device_id, device_type & 0xFFFFFFFF) == (batch.device_id, 2)
    cupy.cuda.runtime.eventSynchronize(ctypes.c_int64.from_address(event).value)
    places = (ctypes.c_int64 * 21).from_address((ctypes.c_int64 * 10).from_address(pointer)[6])
    for place in places:
        (_, _, _, buffers, _, pointers) = (ctypes.c_int64 * 6).from_address(place)
        for buffer in (ctypes.c_int64 * buffers).from_address(pointers):
            assert buffer == 0 or cupy.cuda.runtime.pointerGetAttributes(buffer).device == batch.device_id
    del schema, array


@cudf
def test_cudf_takes_a_batch(world):
    import cudf as frames

    for batch, wanted in zip(expand(world.plan, backend="cuda", on_device=True), record_batches(world), strict=True):
        frame = batch.to_cudf()
        assert isinstance(frame, frames.DataFrame)
        del batch
        table = frame.to_arrow(preserve_index=False).combine_chunks()
        for name, expected in zip(wanted.schema.names, as_frame(wanted), strict=True):
            assert table[name].combine_chunks().cast(expected.type).equals(expected), name
