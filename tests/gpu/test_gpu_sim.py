"""The CUDA kernels themselves, in numba's simulator: the CPU backend's and the reference's arrivals, bit for bit.

The executor of PTX (test_gpu_executed.py) has the same worlds and is faster, so that most of these are slow tests.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.engine.expand.backend import parity_backend
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.world.load import load_world
from arrival_engine.gpu_kernels.shape import LaunchShape
from arrival_engine.gpu_kernels.simulator import Simulator, SimulatorOptions
from arrival_engine.gpu_kernels.sort import ARRIVAL_BYTES
from tests.support import gpu as support
from tests.support.model import FAIL, CountRow, Policy
from tests.support.strategies import worlds as drawn_worlds
from tests.support.worlds import BERLIN, TWO_ZONES, small_world

pytestmark = pytest.mark.cuda_sim


@pytest.fixture(scope="module")
def simulator():
    with Simulator() as process:
        yield process


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run")


def expander(simulator, case, **options):
    """Function from span to results; notices are lost."""
    simulator.open(case.work, SimulatorOptions(**options))
    return lambda span: simulator.expand(span)[0]


# --- Parity ----------------------------------------------------------------------------------------


def test_the_small_world_through_the_backend(tmp_path):
    """All of it: a segment of 3000 arrivals, every fallback, virtual and physical, gaps and folds."""
    case = support.make_case(small_world(), tmp_path / "run", batch_arrivals=1500)
    with parity_backend("cudasim").open(case.plan, Reporter()) as expand:
        results = [expand(batch) for batch in case.plan.batches]
    assert [result.batch for result in results] == list(case.plan.batches)
    support.assert_equals_reference(case, results)


@pytest.mark.parametrize(
    ("threads", "blocks", "batch_arrivals", "piece_arrivals"),
    [
        (1, 3, 60, 25),
        (256, 2, 10**6, 90),
        *(
            pytest.param(*shape, marks=pytest.mark.slow)
            for shape in (
                (1, 1, 10**6, None),
                (32, 1, 1, None),
                (32, 3, 10**6, 4),
                (96, 2, 100, 64),
                (256, 1, 10**6, None),
            )
        ),
    ],
)
def test_launch_shape_batches_and_pieces_change_nothing(
    simulator, small, threads, blocks, batch_arrivals, piece_arrivals
):
    case = small.replanned(batch_arrivals)
    expand = expander(simulator, case, shape=LaunchShape(threads, blocks), piece_arrivals=piece_arrivals)
    results = support.assert_equals_cpu(case, expand)
    support.assert_equals_reference(case, results)


def test_a_slice_of_the_demo_world(simulator, tmp_path):
    synthesise(tmp_path / "run", preset="demo", seed=42, scale=0.05)
    seal(tmp_path / "run")
    planned = plan(load_world(tmp_path / "run"), batch_arrivals=150)
    work = support.work_of(planned)
    simulator.open(work)
    for index in (0, len(planned.batches) // 2, -1):
        batch = planned.batches[index]
        results, _ = simulator.expand(batch.segments)
        support.assert_same_results(expand_segments(work, batch.segments), results)


@given(
    model=drawn_worlds(),
    threads=st.sampled_from((1, 5, 32, 33)),
    blocks=st.integers(1, 3),
    batch_arrivals=st.sampled_from((1, 40, 10**6)),
    piece_arrivals=st.sampled_from((None, 1, 17)),
)
@settings(max_examples=6)
def test_drawn_worlds(simulator, model, threads, blocks, batch_arrivals, piece_arrivals):
    with support.temporary_case(model, batch_arrivals) as case:
        expand = expander(simulator, case, shape=LaunchShape(threads, blocks), piece_arrivals=piece_arrivals)
        support.assert_equals_reference(case, support.assert_equals_cpu(case, expand))


@given(model=drawn_worlds(refusals=True), piece_arrivals=st.sampled_from((None, 7)))
@settings(max_examples=4)
def test_drawn_worlds_that_may_be_refused(simulator, model, piece_arrivals):
    # What is refused before any batch is no backend's matter.
    lenient = replace(model.policy, missing_edge_table="fallback")
    with support.temporary_case(replace(model, policy=lenient)) as case:
        simulated = support.refusal(case, expander(simulator, case, piece_arrivals=piece_arrivals))
        assert simulated == support.refusal(case, support.on_cpu(case))


@pytest.mark.parametrize("switch", ["missing_group_table", "no_site_in_zone"])
@pytest.mark.parametrize("piece_arrivals", [pytest.param(None, marks=pytest.mark.slow), 20])
def test_the_first_forbidden_fallback_is_the_cpu_backends(simulator, tmp_path, switch, piece_arrivals):
    model = support.shrunk_small_world()
    strict = small_world(counts=model.counts, policy=Policy(**dict[str, Any]({switch: FAIL})))
    case = support.make_case(strict, tmp_path / "run")
    expand = expander(simulator, case, shape=LaunchShape(32, 3), piece_arrivals=piece_arrivals)
    refused = support.refusal(case, expand)
    assert refused is not None
    assert refused == support.refusal(case, support.on_cpu(case))


def test_several_devices_give_the_same(simulator, small):
    case = small.replanned(50)
    support.assert_equals_cpu(case, expander(simulator, case, devices=3))


def test_no_segments_are_no_arrivals(simulator, small):
    expand = expander(simulator, small)
    for at in (0, 3):
        support.assert_same_results(expand_segments(small.work, (at, at)), expand((at, at)))


@pytest.mark.parametrize("piece_arrivals", [pytest.param(None, marks=pytest.mark.slow), 20])
@pytest.mark.parametrize("copied", [(), ("row", "ts_us", "is_virtual"), ("settlement",)])
def test_columns_that_are_not_copied_stay_on_the_device(simulator, small, copied, piece_arrivals):
    simulator.open(small.work, SimulatorOptions(piece_arrivals=piece_arrivals))
    for batch in small.replanned(100).plan.batches:
        expected = expand_segments(small.work, batch.segments)
        some, completed = simulator.kept(batch.segments, copied)
        support.assert_same_results(expected, completed)
        columns = {name: column[: None if name in copied else 0] for name, column in expected.columns._asdict().items()}
        support.assert_same_results(expected._replace(columns=type(expected.columns)(**columns)), some)


@pytest.mark.parametrize("piece_arrivals", [None, 20])
def test_the_row_of_a_forbidden_fallback_is_known_without_a_copy_of_rows(simulator, tmp_path, piece_arrivals):
    model = support.shrunk_small_world()
    case = support.make_case(small_world(counts=model.counts, policy=Policy(no_site_in_zone=FAIL)), tmp_path / "run")
    simulator.open(case.work, SimulatorOptions(piece_arrivals=piece_arrivals))
    (batch,) = case.plan.batches
    results, _ = simulator.kept(batch.segments, ())
    expected = expand_segments(case.work, batch.segments)
    assert results.totals.failure.tolist() == expected.totals.failure.tolist()
    assert expected.totals.failure[0] != 0


# --- Memory ----------------------------------------------------------------------------------------


def test_a_device_without_room_makes_the_pieces_smaller_once(simulator, small):
    capacity = support.device_bytes(small.work) + 120 * ARRIVAL_BYTES
    simulator.open(small.work, SimulatorOptions(capacity_bytes=capacity, piece_arrivals=10**6))
    (batch,) = small.plan.batches
    results, notices = simulator.expand(batch.segments)
    support.assert_same_results(expand_segments(small.work, batch.segments), results)
    assert [notice.code for notice in notices] == ["DEVICE_MEMORY"]
    assert notices[0].context["tried_arrivals"] == batch.arrivals
    assert notices[0].context["arrivals"] == batch.arrivals // 4
    again, silent = simulator.expand(batch.segments)
    support.assert_same_results(results, again)
    assert silent == ()


def test_a_device_that_stays_without_room_says_what_to_lower(simulator, small):
    capacity = support.device_bytes(small.work) + 20 * ARRIVAL_BYTES
    simulator.open(small.work, SimulatorOptions(capacity_bytes=capacity, piece_arrivals=10**6))
    with pytest.raises(ArrivalError, match="simulated device 0 has no memory for") as caught:
        simulator.expand(small.plan.batches[0].segments)
    assert "--batch-arrivals" in caught.value.hint


def test_a_segment_too_large_for_the_device_is_refused(simulator, tmp_path):
    """It cannot be cut, so smaller pieces are of no use."""
    model = small_world(counts=(CountRow(TWO_ZONES, BERLIN, "mixed", 0, 90),))
    case = support.make_case(model, tmp_path / "run")
    capacity = support.device_bytes(case.work) + 50 * ARRIVAL_BYTES
    simulator.open(case.work, SimulatorOptions(capacity_bytes=capacity))
    with pytest.raises(ArrivalError, match="has no memory for 90 arrivals at once"):
        simulator.expand((0, 1))


def test_tables_that_do_not_fit_are_refused_at_once(simulator, small):
    with pytest.raises(ArrivalError, match="no memory for the tables"):
        simulator.open(small.work, SimulatorOptions(capacity_bytes=1000))


def test_free_memory_decides_the_size_of_pieces(simulator, small):
    capacity = support.device_bytes(small.work) + 150 * ARRIVAL_BYTES
    case = small.replanned(10**6)
    support.assert_equals_cpu(case, expander(simulator, case, capacity_bytes=capacity))
    results, notices = simulator.expand(case.plan.batches[0].segments)
    assert notices == ()
    assert results.columns.row.size > 150


# --- The process -----------------------------------------------------------------------------------


def test_a_dead_process_is_an_error(small):
    with Simulator() as process:
        process._process.kill()
        with pytest.raises(ArrivalError, match="ended with status"):
            process.open(small.work)


def test_a_failure_inside_is_told_with_its_traceback(simulator, small):
    simulator.open(small.work)
    with pytest.raises(ArrivalError, match="IndexError"):
        simulator.expand((0, 10**9))


# --- A wrong constant ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mutation",
    [
        support.MUTATIONS[0],
        *(pytest.param(mutation, marks=pytest.mark.slow) for mutation in support.MUTATIONS[1:]),
    ],
    ids=str,
)
def test_a_wrong_constant_is_caught(small, mutation, tmp_path, monkeypatch):
    # Uncompiled laws: compiling each wrong one would take longer than all other tests.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    case = small.replanned(30)
    span = next(batch.segments for batch in case.plan.batches if batch.arrivals > 20)
    with Simulator(support.mutated_sources(mutation, tmp_path)) as process:
        process.open(case.work)
        results, _ = process.expand(span)
    with pytest.raises(AssertionError):
        support.assert_same_results(expand_segments(case.work, span), results)


def test_the_unmutated_copy_is_not_caught(small, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    same = support.Mutation("cpu_fallback/philox.py", "ROUNDS = 10", "ROUNDS = 10")
    with Simulator(support.mutated_sources(same, tmp_path)) as process:
        process.open(small.work)
        results, _ = process.expand((0, 5))
    support.assert_same_results(expand_segments(small.work, (0, 5)), results)
