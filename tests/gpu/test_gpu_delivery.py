"""How batches on a device reach other libraries: stream order with a stand-in for CuPy, frames with one for cuDF.

`on_device/test_device_batches.py` uses the real ones.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref
from contextlib import contextmanager

import pyarrow as pa
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.gpu_kernels.columns import Lookups
from arrival_engine.gpu_kernels.delivery import CupyDelivery
from arrival_engine.gpu_kernels.layout import SUMS
from tests.support import gpu as support
from tests.support import stand_in_cupy, stand_in_frames
from tests.support.on_device import Lanes, as_frame, batches_of, record_batches
from tests.support.on_stand_in import PACKAGES, outcome
from tests.support.stand_in_driver import no_linker_reason, stand_in_driver

__all__ = ["stand_in_driver"]  # a fixture


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run", 100)


@pytest.fixture
def cupy(monkeypatch):
    return stand_in_cupy.install(monkeypatch)


class CupyLanes(Lanes):
    """Lanes whose arrays are the stand-in's, and whose stream is current in the thread that holds them."""

    def __init__(self, case, cupy, spoil=None):
        super().__init__(case, spoil)
        self._cupy = cupy

    @contextmanager
    def keeping(self, span):
        with super().keeping(span) as (results, on_device), self._cupy.cuda.Stream(stand_in_cupy.LANE):
            kept = on_device.kept
            tables, rows, columns = map(arrays_of_library, (kept.lookups.tables, kept.lookups.rows, kept.columns))
            yield (
                results,
                on_device._replace(
                    kept=type(kept)(self._cupy, Lookups(tables, rows), columns, kept.first_row, kept.arrivals)
                ),
            )
            self._cupy.cuda.log.append(("leave", stand_in_cupy.LANE))


def arrays_of_library(group):
    parts = (arrays_of_library(part) if isinstance(part, tuple) else stand_in_cupy.as_array(part) for part in group)
    return type(group)(*parts)


# --- Streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [stand_in_cupy.LEGACY, stand_in_cupy.OTHER])
def test_a_lane_waits_on_the_device_for_what_was_read_from_it(small, cupy, stream):
    """Before it is left: the next batch overwrites its columns."""
    with cupy.cuda.Stream(stream):
        delivery = CupyDelivery()
    batches = list(batches_of(small, CupyLanes(small, cupy), delivery, ahead=1))
    log = cupy.cuda.log
    assert len(log) == 3 * len(batches)
    for record, wait, leave in zip(log[0::3], log[1::3], log[2::3], strict=True):
        assert record == ("record", record[1], stream)
        assert wait == ("wait", record[1], stand_in_cupy.LANE)
        assert leave == ("leave", stand_in_cupy.LANE)
    assert {batch.device_id for batch in batches} == {1}
    assert {batch.stream.ptr for batch in batches} == {stream}
    # 0 is no stream in the CUDA array interface: the default one is 1.
    assert batches[0]["ts_utc"].__cuda_array_interface__["stream"] == (stream or 1)


def test_a_lane_waits_also_when_a_batch_fails(cupy):
    delivery = CupyDelivery()

    def fail():
        with cupy.cuda.Stream(stand_in_cupy.LANE), delivery.taking():
            assert cupy.cuda.get_current_stream().ptr == stand_in_cupy.LEGACY
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    (recorded, event, stream), waited = cupy.cuda.log
    assert (recorded, stream) == ("record", stand_in_cupy.LEGACY)
    assert waited == ("wait", event, stand_in_cupy.LANE)


def test_an_export_records_an_event_that_lives_until_it_is_released(small, cupy):
    with cupy.cuda.Stream(stand_in_cupy.OTHER):
        delivery = CupyDelivery()
    batch = next(batches_of(small, CupyLanes(small, cupy), delivery))
    cupy.cuda.log.clear()
    schema, array = batch.__arrow_c_device_array__()
    ((what, handle, stream),) = cupy.cuda.log
    assert (what, stream) == ("record", stand_in_cupy.OTHER)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer(array, b"arrow_device_array")
    device_id, device_type, event = (ctypes.c_int64 * 3).from_address(pointer + 80)
    assert (device_id, device_type & 0xFFFFFFFF) == (1, 2)
    (event_of_export,) = [one for one in gc.get_objects() if isinstance(one, cupy.cuda.Event) and one.ptr == handle]
    alive = weakref.ref(event_of_export)
    del event_of_export, batch
    gc.collect()
    assert alive() is not None
    assert ctypes.c_int64.from_address(event).value == handle
    del array, schema
    gc.collect()
    assert alive() is None


def test_a_stream_that_differs_by_thread_is_refused(cupy):
    with (
        cupy.cuda.Stream(stand_in_cupy.PER_THREAD),
        pytest.raises(ValueError, match=r"with cupy.cuda.Stream\(\):"),
    ):
        CupyDelivery()


_EXPAND = """
import json, sys
import cupy, numpy
from arrival_engine import ArrivalError, expand, load_world, plan
from arrival_engine.gpu_kernels.launcher import DriverContext
from tests.support.stand_in_driver import launches

copied, copy_out = [], DriverContext.copy_out
DriverContext.copy_out = lambda self, address, host, stream: copied.append(host.size) or copy_out(
    self, address, host, stream
)
cupy.bincount = numpy.bincount
planned = plan(load_world(sys.argv[1]), 60)
batches = expand(planned, backend="cuda", on_device=True, threads=1)
copied.clear()  # what the probe of the device has read
try:
    next(batches)
except ArrivalError as error:
    print(json.dumps({
        "code": error.code, "message": error.message, "batch": error.context["batch"], "copied": copied,
        "rows": planned.batches[0].rows[1], "devices": sorted({one.device for one in launches()}),
        "kernels": len(launches()),
    }))
"""


@pytest.mark.skipif(bool(no_linker_reason()), reason=no_linker_reason())
def test_only_totals_are_copied_to_the_host(small, stand_in_driver):
    """The whole way over drivers' calls. Kernels compute nothing here, which the check on the device says."""
    environment = stand_in_driver.environment(devices=2)
    found = outcome(environment, _EXPAND, small.written.run_root, path=[PACKAGES])
    assert found["code"] == Code.BUCKET_COUNT_MISMATCH
    assert found["message"].startswith("batch 0: count row ")
    # Three totals per count row, and the sums.
    assert found["copied"] == [*3 * [found["rows"]], SUMS]
    # One device, the current one, though there are two.
    assert found["devices"] == [0]
    assert found["kernels"] >= 3


# --- cuDF ------------------------------------------------------------------------------------------


def test_a_frame_has_the_rows_without_a_copy(small, cupy, monkeypatch):
    stand_in_frames.install(monkeypatch)
    batches = list(batches_of(small, CupyLanes(small, cupy), CupyDelivery()))
    cupy.cuda.log.clear()
    for batch, wanted in zip(batches, record_batches(small), strict=True):
        frame = batch.to_cudf()
        found = pa.RecordBatch.from_pydict(frame.arrays)
        for name, expected in zip(wanted.schema.names, as_frame(wanted), strict=True):
            column = found[name]
            assert pa.types.is_dictionary(column.type) == pa.types.is_dictionary(wanted[name].type), name
            assert column.cast(expected.type).equals(expected), name
        values = frame.arrays["ts_utc"].buffers()[1]
        assert values.address == batch["ts_utc"].values.data.ptr
    # One event per frame, which it waited for.
    assert stand_in_frames.waited_for == [handle for _, handle, _ in cupy.cuda.log]
    assert len(stand_in_frames.waited_for) == len(batches)


def test_a_frame_outlives_its_batch(small, cupy, monkeypatch):
    stand_in_frames.install(monkeypatch)
    frame = next(batches_of(small, CupyLanes(small, cupy), CupyDelivery())).to_cudf()
    gc.collect()
    wanted = as_frame(record_batches(small)[0])
    assert frame.arrays["site_id"].equals(wanted["site_id"])


def test_a_frame_of_another_stream_is_refused(small, cupy, monkeypatch):
    stand_in_frames.install(monkeypatch)
    with cupy.cuda.Stream(stand_in_cupy.OTHER):
        delivery = CupyDelivery()
    with pytest.raises(ValueError, match="cuDF works in the default stream"):
        next(batches_of(small, CupyLanes(small, cupy), delivery)).to_cudf()


@pytest.mark.parametrize("missing", ["cudf", "pylibcudf"])
def test_without_cudf_it_says_what_to_install(small, monkeypatch, missing):
    stand_in_frames.install(monkeypatch)
    monkeypatch.setitem(sys.modules, missing, None)
    batch = next(batches_of(small))
    with pytest.raises(ArrivalError, match=f"needs {missing}, which this installation lacks") as caught:
        batch.to_cudf()
    assert caught.value.code is Code.DEPENDENCY_MISSING
    assert "arrival-engine[cuda13]" in caught.value.hint
