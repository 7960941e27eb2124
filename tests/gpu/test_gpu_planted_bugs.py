"""Bugs planted in the kernels, and the proofs that find them (the table of docs/gpu.md)."""

from __future__ import annotations

from itertools import product

import pytest

from arrival_engine.contracts import ArrivalError
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.gpu_kernels.shape import LaunchShape
from arrival_engine.gpu_kernels.simulator import Simulator, SimulatorOptions
from tests.support import gpu as support
from tests.support.ptx.compile import compiled_elsewhere, compiled_from, skip_without_compiler
from tests.support.ptx.device import PretendedDevice, executable_kernels
from tests.support.ptx.inspection import violations
from tests.support.ptx.launch import ORDERS, ExecutableKernel
from tests.support.ptx.machine import Fault, UnknownPtxError
from tests.support.ptx.planted import BUGS, BY_CHANCE, DIFFERENT, EQUAL, ERROR, UNKNOWN, planted
from tests.support.ptx.worlds import microsecond_case

CAPABILITY = (9, 0)
SHAPES = (LaunchShape(33, 2), LaunchShape(96, 3), LaunchShape(256, 1))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="module")
def cases(small, tmp_path_factory):
    return small, microsecond_case(tmp_path_factory.mktemp("microseconds") / "run")


def verdict(kernels, cases):
    """The first finding over worlds, shapes and orders: a fault, a difference, or "equal" if there is none."""
    for case, shape, order in product(cases, SHAPES, ORDERS):
        try:
            support.assert_equals_cpu(case, PretendedDevice(kernels, shape, order).open(case.work).expand)
        except Fault as fault:
            return fault.kind
        except AssertionError:
            return DIFFERENT
    return EQUAL


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_the_executor_finds_a_planted_bug(bug, cases):
    skip_without_compiler()
    with planted(bug) as module:
        texts = {name: compiled_from(module, name, CAPABILITY).linked for name in bug.kernels}
    found = set().union(*(violations(text) for text in texts.values()))
    assert found == ({bug.inspection} if bug.inspection else set())
    try:
        kernels = {**executable_kernels(CAPABILITY), **{name: ExecutableKernel(text) for name, text in texts.items()}}
    except UnknownPtxError:
        assert bug.executor == UNKNOWN
        return
    assert verdict(kernels, cases) == bug.executor


LAW_CONSTANTS = [mutation for mutation in support.MUTATIONS if mutation.path.startswith("cpu_fallback")]


@pytest.mark.parametrize(
    "mutation",
    [LAW_CONSTANTS[0], *(pytest.param(mutation, marks=pytest.mark.slow) for mutation in LAW_CONSTANTS[1:])],
    ids=str,
)
def test_the_executor_finds_a_wrong_constant_of_the_law(mutation, small, tmp_path):
    skip_without_compiler()
    texts = compiled_elsewhere(support.mutated_sources(mutation, tmp_path), tmp_path, CAPABILITY)
    kernels = {name: ExecutableKernel(text) for name, text in texts.items()}
    assert verdict(kernels, (small,)) == DIFFERENT


@pytest.mark.slow
@pytest.mark.cuda_sim
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.simulator != BY_CHANCE], ids=str)
def test_what_the_simulator_makes_of_a_planted_bug(bug, small, tmp_path, monkeypatch):
    """The simulator as the suite runs it; many bugs give the right arrivals there."""
    # Uncompiled laws: compiling each changed one would take longer than running it.
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    case = small.replanned(60)
    with Simulator(support.mutated_sources(bug.mutation, tmp_path)) as process:
        try:
            process.open(case.work, SimulatorOptions(LaunchShape(32, 2)))
            found = EQUAL
            for batch in case.plan.batches:
                results, _ = process.expand(batch.segments)
                support.assert_same_results(expand_segments(case.work, batch.segments), results)
        except ArrivalError:
            found = ERROR
        except AssertionError:
            found = DIFFERENT
    assert found == bug.simulator
