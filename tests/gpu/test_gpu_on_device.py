"""Arrivals that stay on a device: every row as Arrow reads it from the exported batch, whose memory it is, refusals.

Numpy takes the place of device memory here, so that Arrow can read what is exported.
"""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine import DeviceBatch, expand
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.engine.expand.backend import finish_batch
from arrival_engine.engine.expand.device_layout import device_layout
from arrival_engine.engine.expand.on_device import Source, delivered
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.columns import arranged, null_counts, owned
from arrival_engine.gpu_kernels.delivery import HostDelivery
from arrival_engine.gpu_kernels.device_batch import BatchArrays, Vocabularies
from arrival_engine.gpu_kernels.shape import LaunchShape
from arrival_engine.gpu_kernels.simulator import Simulator, SimulatorOptions
from tests.support import gpu as support
from tests.support.gpu import without_device
from tests.support.model import CountRow
from tests.support.on_device import Lanes, assert_same_batch, batches_of, record_batches, with_output
from tests.support.ptx.device import PretendedDevice, executable_kernels
from tests.support.strategies import worlds as drawn_worlds
from tests.support.worlds import (
    ALONE_ONLINE,
    BERLIN,
    BERLIN_GAP,
    BIG_ID,
    ONE_SLOT,
    TWO_ZONES,
    UTC,
    VIRTUAL,
    small_world,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run", 100)


# --- Every row -------------------------------------------------------------------------------------


def assert_same_arrivals(case, **options):
    """Through Arrow's own import, which takes the structs over and releases them."""
    found = list(batches_of(case, **options))
    assert [batch.index for batch in found] == [batch.index for batch in case.plan.batches]
    for batch, wanted in zip(found, record_batches(case), strict=True):
        assert len(batch) == batch.num_rows == wanted.num_rows
        assert_same_batch(pa.record_batch(batch), wanted)
        assert pa.schema(batch).equals(wanted.schema)
    return found


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_every_row_is_the_cpu_backends(small, mirror, ahead):
    case = with_output(small, mirror_dual_clock=mirror)
    found = assert_same_arrivals(case, ahead=ahead)
    assert len(found) > 2
    digest = sum((batch.digest for batch in found), Digest())
    results = (expand_segments(case.work, batch.segments) for batch in case.plan.batches)
    wanted = (finish_batch(case.plan, *pair).digest for pair in zip(case.plan.batches, results, strict=True))
    assert digest == sum(wanted, Digest())


WORLDS = {
    "without-virtual": (
        CountRow(TWO_ZONES, BERLIN, "card_present", BERLIN_GAP, 30),
        CountRow(ONE_SLOT, UTC, "x", 0, 3),
    ),
    "without-physical": (CountRow(VIRTUAL, BERLIN, "card_present", BERLIN_GAP, 30),),
    "one-row": (CountRow(TWO_ZONES, BERLIN, "card_present", BERLIN_GAP, 1),),
    "no-channel": (CountRow(ALONE_ONLINE, UTC, None, 0, 9),),
    "some-channels": (CountRow(ALONE_ONLINE, UTC, None, 0, 9), CountRow(ALONE_ONLINE, UTC, "x", 0, 8)),
    "largest-ids": (CountRow(BIG_ID, BERLIN, "x", 0, 7), CountRow(ALONE_ONLINE, UTC, None, 1, 2)),
    "whole-bytes": (CountRow(VIRTUAL, BERLIN, "x", 0, 512), CountRow(TWO_ZONES, BERLIN, "x", 0, 512)),
}


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("name", WORLDS)
def test_worlds_at_the_edges(tmp_path, name, mirror):
    model = replace(small_world(counts=WORLDS[name]), seed=2**64 - 1)
    case = with_output(support.make_case(model, tmp_path / "run"), mirror_dual_clock=mirror)
    (batch,) = assert_same_arrivals(case)
    assert int(batch["seed"].values[0]) == 2**64 - 1
    if name == "largest-ids":
        assert int(batch["merchant_id"].values.max()) == ALONE_ONLINE > 2**63


def test_an_empty_world_has_no_batches(tmp_path):
    case = support.make_case(small_world(counts=(CountRow(TWO_ZONES, BERLIN, "x", 0, 0),)), tmp_path / "run")
    assert list(batches_of(case)) == []


@settings(max_examples=15, deadline=None)
@given(drawn_worlds(), st.sampled_from((1, 20, 10**6)))
def test_drawn_worlds(model, batch_arrivals):
    with support.temporary_case(model, batch_arrivals) as case:
        assert_same_arrivals(case)


@pytest.mark.cuda_sim
@pytest.mark.parametrize("piece_arrivals", [None, 30])
def test_arrays_of_the_kernels(small, piece_arrivals):
    """What the kernels leave in a lane, exported and read by Arrow."""
    layout, delivery = device_layout(small.plan.world, ""), HostDelivery()
    vocabularies = Vocabularies(delivery)
    with Simulator() as simulator:
        simulator.open(small.work, SimulatorOptions(piece_arrivals=piece_arrivals))
        for batch, wanted in zip(small.plan.batches, record_batches(small), strict=True):
            columns = simulator.arranged(batch.segments, layout)
            nulls = {name: wanted[name].null_count for name in wanted.schema.names}
            texts = {column.texts: vocabularies.of(column.texts) for column in columns if column.texts is not None}
            arrays = BatchArrays(layout.schema, columns, nulls, texts)
            assert_same_batch(pa.record_batch(DeviceBatch(batch.index, Digest(), arrays, delivery)), wanted)


@pytest.mark.parametrize("mirror", [False, True])
def test_nulls_are_counted_by_column(small, mirror):
    layout = device_layout(with_output(small, mirror_dual_clock=mirror).plan.world, "")
    counts = null_counts(layout, 10, 3, 2)
    assert set(counts) == {field.name for field in layout.schema if field.nullable}
    assert (counts["site_id"], counts["edge_id"], counts["channel_group"]) == (3, 7, 2)
    assert counts["tzid_settlement"] == (0 if mirror else 7)


@pytest.mark.parametrize("piece_arrivals", [None, 30])
def test_what_the_compiled_kernels_leave_on_a_device(small, piece_arrivals):
    """The whole way, from executed PTX to Arrow's import: two lanes in turn, and nothing copied but sums."""
    device = PretendedDevice(executable_kernels((9, 0)), LaunchShape(64, 4), streams=2)
    expander = device.open(small.work, piece_arrivals)
    source = Source(partial(expander.keeping, copied=()), HostDelivery())
    for batch, wanted in zip(delivered(small.plan, source, 1), record_batches(small), strict=True):
        assert_same_batch(pa.record_batch(batch), wanted)


# --- Whose memory it is ----------------------------------------------------------------------------


def test_a_batch_owns_its_arrays(small):
    """The lane of `batches_of` is poisoned as soon as a batch has left it."""
    first, *_ = batches = list(batches_of(small, Lanes(small)))
    del batches
    gc.collect()
    assert_same_batch(pa.record_batch(first), record_batches(small)[0])


@pytest.mark.parametrize("mirror", [False, True])
def test_no_column_is_a_view_of_the_lane(small, mirror):
    case = with_output(small, mirror_dual_clock=mirror)
    (batch, *_), lanes = case.plan.batches, Lanes(case)
    with lanes.keeping(batch.segments) as (_, kept_there):
        kept = kept_there.kept
        found = arranged(device_layout(case.plan.world, ""), owned(kept), 0, batch.arrivals)
        groups = (kept.columns, kept.lookups.tables, kept.lookups.rows)
        lane = [array for group in groups for _, array in support.arrays_of(group)]
        for column in found:
            for array in (column.values, column.valid):
                assert array is None or not any(np.shares_memory(array, other) for other in lane), column.name


def test_memory_is_freed_with_the_last_user(small):
    iterator = batches_of(small)
    batch = next(iterator)
    array = weakref.ref(batch["ts_utc"].values)
    imported = pa.record_batch(batch)
    column = imported["ts_utc"]
    del batch, imported
    gc.collect()
    assert array() is not None
    assert column[0].is_valid
    del column
    gc.collect()
    assert array() is None
    iterator.close()


def test_closing_frees_what_was_computed_ahead(small):
    made = []

    class Watching(HostDelivery):
        def event(self):
            raise AssertionError("nothing was exported")

    lanes = Lanes(small, lambda kept: made.append(weakref.ref(kept.columns.row)))
    iterator = batches_of(small, lanes, Watching())
    first = next(iterator)
    iterator.close()
    assert lanes.held == 0
    assert lanes.expanded < len(small.plan.batches)
    assert {thread.name for thread in threading.enumerate() if thread.name.startswith("arrivals")} == set()
    assert len(first) == small.plan.batches[0].arrivals
    with pytest.raises(StopIteration):
        next(iterator)


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_few_batches_are_in_flight(small, ahead):
    lanes = Lanes(small)
    for taken, _ in enumerate(batches_of(small, lanes, ahead=ahead), start=1):
        assert lanes.expanded <= taken + ahead - 1
        assert lanes.most_held <= min(ahead, 2)


def test_an_error_arrives_in_its_batchs_place(small):
    """Batches before it are whole, the lanes are free, and the memory error says what to lower."""
    lanes = Lanes(small, lambda kept: full(kept, small.plan.batches[2]))

    def full(kept, batch):
        if kept.first_row == batch.rows[0]:
            raise MemoryError("no room")

    iterator = batches_of(small, lanes)
    assert [next(iterator).index, next(iterator).index] == [0, 1]
    with pytest.raises(MemoryError):
        next(iterator)
    assert lanes.held == 0


def test_a_device_without_room_for_a_batch(small):
    class Full(HostDelivery):
        def taking(self):
            raise MemoryError("out of memory to allocate 800 bytes")

    with pytest.raises(ArrivalError, match="no memory for the columns of batch 0, ") as caught:
        next(batches_of(small, delivery=Full()))
    assert caught.value.code is Code.RESOURCES_INSUFFICIENT
    assert "batch_arrivals" in caught.value.hint


def test_a_forbidden_fallback_is_the_cpu_backends_error(tmp_path):
    model = small_world(policy=replace(small_world().policy, missing_group_table="fail"))
    case = support.make_case(model, tmp_path / "run", 50)
    wanted = support.refusal(case, support.on_cpu(case))
    with pytest.raises(ArrivalError) as caught:
        list(batches_of(case))
    assert wanted == caught.value.to_dict()


# --- Refusals --------------------------------------------------------------------------------------


def test_a_backend_without_a_device_is_refused(small):
    with pytest.raises(ValueError, match="on_device needs a CUDA device, and the backend asked for is cpu"):
        expand(small.plan, backend="cpu", on_device=True)
    # The default.
    with pytest.raises(ValueError, match="asked for is cpu"):
        expand(small.plan, on_device=True)
    unknown: Any = "gpu"
    with pytest.raises(ValueError, match="backend must be one of"):
        expand(small.plan, backend=unknown, on_device=True)


@without_device
@pytest.mark.parametrize("backend", ["cuda", "auto"])
def test_without_a_device_the_reason_is_named(small, backend):
    with pytest.raises(ArrivalError) as caught:
        expand(small.plan, backend=backend, on_device=True)
    assert caught.value.code is Code.BACKEND_UNAVAILABLE
    assert device.unusable_reason() in caught.value.message


def test_times_as_texts_are_refused(small):
    with pytest.raises(ArrivalError, match="rfc3339 times, which no device writes") as caught:
        next(batches_of(with_output(small, timestamp_encoding="rfc3339")))
    assert caught.value.code is Code.ROUTING_POLICY_INVALID
    assert "on_device" in caught.value.hint


def test_expansion_on_the_host_is_as_before(small):
    found = list(expand(small.plan, on_device=False))
    assert all(one.equals(other) for one, other in zip(found, record_batches(small), strict=True))
