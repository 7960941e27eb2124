"""The compiler's output for the CUDA kernels, executed: the CPU backend's and the reference's arrivals, bit for bit.

`tests.support.ptx` executes the PTX, and stops at any access that is out of bounds, misaligned, of unwritten memory, or
a race. Workspaces have no spare elements here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.cpu_fallback.tables import Columns
from arrival_engine.engine.expand.backend import finish_batch
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.world.load import load_world
from arrival_engine.gpu_kernels.shape import LaunchShape
from tests.support import gpu as support
from tests.support.ptx.compile import CAPABILITIES
from tests.support.ptx.device import PretendedDevice, executable_kernels
from tests.support.ptx.launch import ORDERS
from tests.support.ptx.worlds import SHAPES, microsecond_case, refusing_worlds, without_group_weights
from tests.support.strategies import worlds as drawn_worlds
from tests.support.worlds import small_world

# What devices run, by two of NVIDIA's compilers: one up to compute capability 9.0, one from 10.0.
ON_DEVICES = ((9, 0), (12, 0))
# More architectures, from the oldest that the product runs on.
OTHERS = ((7, 5), (8, 6), (8, 9), (10, 0), (10, 3), (12, 1))
# The digest of the demo world of seed 42, as `arrivals demo` prints it.
DEMO = "1001705-8787e2f30c643c4991590c0fab10d15d"

each_device = pytest.mark.parametrize("capability", ON_DEVICES, ids=lambda cc: f"cc{cc[0]}{cc[1]}")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run")


def demo_plan(folder, scale, batch_arrivals):
    synthesise(folder, preset="demo", seed=42, scale=scale)
    seal(folder)
    return plan(load_world(folder), batch_arrivals)


def assert_batches_equal_cpu(planned, batches, expander):
    """Each batch as the CPU backend has it; gives the sum of their digests."""
    work, digest = support.work_of(planned), Digest()
    for batch in batches:
        results = expander.expand(batch.segments)
        support.assert_same_results(expand_segments(work, batch.segments), results)
        digest += finish_batch(planned, batch, results).digest
    return digest


@pytest.mark.parametrize(
    "capability",
    [*CAPABILITIES, *(pytest.param(capability, marks=pytest.mark.slow) for capability in OTHERS)],
    ids=lambda cc: f"cc{cc[0]}{cc[1]}",
)
@pytest.mark.parametrize("form", ["linked", "plain"])
def test_the_small_world(capability, form, tmp_path):
    """All of it: a segment of 3000 arrivals, every fallback, virtual and physical, gaps and folds."""
    case = support.make_case(small_world(), tmp_path / "run", batch_arrivals=1500)
    device = PretendedDevice(executable_kernels(capability, form), LaunchShape(256, 4))
    results = support.assert_equals_cpu(case, device.open(case.work).expand)
    support.assert_equals_reference(case, results)


@each_device
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("launches", SHAPES, ids=lambda launches: f"{launches.blocks}x{launches.threads}")
def test_launch_shape_order_batches_and_pieces_change_nothing(small, launches, order, capability):
    case = small.replanned(launches.batch_arrivals)
    device = PretendedDevice(executable_kernels(capability), launches.shape, order)
    results = support.assert_equals_cpu(case, device.open(case.work, launches.piece_arrivals).expand)
    support.assert_equals_reference(case, results)


def test_a_twentieth_of_the_demo_world(tmp_path):
    """In small batches, cut into pieces, by blocks that are no multiple of a warp."""
    planned = demo_plan(tmp_path / "run", scale=0.05, batch_arrivals=5000)
    for capability in ON_DEVICES:
        device = PretendedDevice(executable_kernels(capability), LaunchShape(83, 7), "random")
        expander = device.open(support.work_of(planned), piece_arrivals=1500)
        assert_batches_equal_cpu(planned, planned.batches, expander)


def test_the_demo_world_has_its_digest(tmp_path):
    planned = demo_plan(tmp_path / "run", scale=1.0, batch_arrivals=50_000)
    for capability in ON_DEVICES:
        device, digest = PretendedDevice(executable_kernels(capability), LaunchShape(256, 64)), Digest()
        for batch in planned.batches:
            # Each in memory of its own: an arena does not give out space twice.
            digest += assert_batches_equal_cpu(planned, [batch], device.open(support.work_of(planned)))
        assert str(digest) == DEMO


@given(
    model=drawn_worlds(),
    shape=st.builds(LaunchShape, st.sampled_from((1, 5, 32, 33, 96, 256)), st.integers(1, 4)),
    order=st.sampled_from(ORDERS),
    batch_arrivals=st.sampled_from((1, 40, 10**6)),
    piece_arrivals=st.sampled_from((None, 1, 17)),
)
@settings(max_examples=40)
def test_drawn_worlds(model, shape, order, batch_arrivals, piece_arrivals):
    with support.temporary_case(model, batch_arrivals) as case:
        for capability in ON_DEVICES:
            device = PretendedDevice(executable_kernels(capability), shape, order)
            results = support.assert_equals_cpu(case, device.open(case.work, piece_arrivals).expand)
        support.assert_equals_reference(case, results)


@given(model=drawn_worlds(refusals=True), piece_arrivals=st.sampled_from((None, 7)), order=st.sampled_from(ORDERS))
@settings(max_examples=25)
def test_drawn_worlds_that_may_be_refused(model, piece_arrivals, order):
    # A missing edge table is refused before any batch, on every backend.
    lenient = replace(model.policy, missing_edge_table="fallback")
    with support.temporary_case(replace(model, policy=lenient)) as case:
        expected = support.refusal(case, support.on_cpu(case))
        for capability in ON_DEVICES:
            device = PretendedDevice(executable_kernels(capability), LaunchShape(33, 2), order)
            assert support.refusal(case, device.open(case.work, piece_arrivals).expand) == expected


@each_device
@pytest.mark.parametrize("switch", refusing_worlds())
@pytest.mark.parametrize("piece_arrivals", [None, 20])
@pytest.mark.parametrize("order", ORDERS)
def test_the_first_forbidden_fallback_is_the_cpu_backends(tmp_path, switch, piece_arrivals, order, capability):
    """Several threads find one; whichever comes last, the earliest arrival counts."""
    case = support.make_case(refusing_worlds()[switch], tmp_path / "run")
    device = PretendedDevice(executable_kernels(capability), LaunchShape(32, 3), order)
    refused = support.refusal(case, device.open(case.work, piece_arrivals).expand)
    assert refused is not None
    assert refused == support.refusal(case, support.on_cpu(case))


@each_device
def test_arrivals_at_both_ends_of_a_bucket_are_counted(tmp_path, capability):
    case = microsecond_case(tmp_path / "run")
    device = PretendedDevice(executable_kernels(capability), LaunchShape(96, 2), "random")
    results = support.assert_equals_cpu(case, device.open(case.work).expand)
    support.assert_equals_reference(case, results)
    (batch,) = case.plan.batches
    totals = device.open(case.work).expand(batch.segments).totals
    assert totals.at_start[0] > 100
    assert totals.at_end[0] > 100


@each_device
def test_group_weights_that_the_policy_ignores(tmp_path, capability):
    case = support.make_case(without_group_weights(), tmp_path / "run")
    device = PretendedDevice(executable_kernels(capability), LaunchShape(64, 2), "down")
    support.assert_equals_reference(case, support.assert_equals_cpu(case, device.open(case.work).expand))


@each_device
def test_streams_share_tables_and_take_batches_in_turn(small, capability):
    case = small.replanned(30)
    device = PretendedDevice(executable_kernels(capability), LaunchShape(33, 2), streams=2)
    support.assert_equals_cpu(case, device.open(case.work).expand)


@each_device
@pytest.mark.parametrize("piece_arrivals", [None, 17])
def test_columns_that_stay_on_the_device(small, piece_arrivals, capability):
    """Each piece writes its own part of columns that have exactly the batch's arrivals."""
    device = PretendedDevice(executable_kernels(capability), LaunchShape(33, 3), "random")
    expander = device.open(small.work, piece_arrivals)
    for batch in small.replanned(100).plan.batches:
        expected = expand_segments(small.work, batch.segments)
        with expander.keeping(batch.segments, copied=()) as (results, on_device):
            assert {column.size for column in results.columns} == {0}
            kept: list[Any] = [column[: on_device.kept.arrivals] for column in on_device.kept.columns]
            support.assert_same_results(expected, results._replace(columns=Columns(*kept)))
            completed = results._replace(columns=on_device.completed(results.columns))
        support.assert_same_results(expected, completed)


def test_no_segments_are_no_arrivals(small):
    expand = PretendedDevice(executable_kernels((9, 0))).open(small.work).expand
    for at in (0, 3):
        support.assert_same_results(expand_segments(small.work, (at, at)), expand((at, at)))
