"""numba-cuda-mlir, the successor of numba-cuda, compiles the same kernels, and they expand the same arrivals.

Its PTX is executed as numba-cuda's is in `test_gpu_executed`. What stands in its way is listed, and noticed when it is
gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from importlib import metadata
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.world.load import load_world
from arrival_engine.gpu_kernels.shape import MAX_THREADS, LaunchShape
from tests.support import gpu as support
from tests.support.ptx.device import PretendedDevice
from tests.support.ptx.inspection import violations
from tests.support.ptx.launch import ORDERS
from tests.support.ptx.worlds import SHAPES, microsecond_case, refusing_worlds
from tests.support.stand_in_driver import stand_in_driver
from tests.support.strategies import worlds as drawn_worlds
from tests.support.successor.executed import compiled, executables, missing, with_five_words
from tests.support.worlds import small_world

__all__ = ["stand_in_driver"]

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

# By two of NVIDIA's compilers: one up to compute capability 9.0, one from 10.0.
CAPABILITIES = ((9, 0), (12, 0))
DEFECTS = (
    "compiling asks for a device",
    "a global of 2^63 or more does not compile",
    "the atomic maximum of unsigned words is signed",
    "a dispatcher of numba for the CPU has no type",
    "dynamic shared memory is a static variable",
    "a choice between variables goes through local memory",
)


each_device = pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda cc: f"cc{cc[0]}{cc[1]}")


@pytest.fixture(scope="module")
def ptx(tmp_path_factory):
    """Function from a compute capability to the kernels' PTX by name."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return cache(lambda capability: compiled(capability, shared))


@pytest.fixture(scope="module")
def device(ptx):
    """Function from a compute capability, a launch shape and an order to a device with the kernels."""
    kernels = cache(lambda capability: executables(ptx(capability)))
    with with_five_words():
        yield lambda capability, shape, order="up": PretendedDevice(kernels(capability), shape, order)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run")


def in_own_process(module, environment):
    """What a module of `tests.support.successor` prints."""
    command = [sys.executable, "-P", "-m", f"tests.support.successor.{module}"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


# --- The same arrivals ------------------------------------------------------------------------------------------------


@each_device
def test_the_small_world(device, capability, tmp_path):
    case = support.make_case(small_world(), tmp_path / "run", batch_arrivals=1500)
    expander = device(capability, LaunchShape(256, 4)).open(case.work)
    support.assert_equals_reference(case, support.assert_equals_cpu(case, expander.expand))


@each_device
@pytest.mark.parametrize(("launches", "order"), list(zip(SHAPES, cycle(ORDERS), strict=False)))
def test_launch_shape_order_batches_and_pieces_change_nothing(device, capability, small, launches, order):
    case = small.replanned(launches.batch_arrivals)
    expander = device(capability, launches.shape, order).open(case.work, launches.piece_arrivals)
    support.assert_equals_cpu(case, expander.expand)


def test_a_twentieth_of_the_demo_world(device, tmp_path):
    synthesise(tmp_path / "run", preset="demo", seed=42, scale=0.05)
    seal(tmp_path / "run")
    planned = plan(load_world(tmp_path / "run"), batch_arrivals=20_000)
    case = support.Case(None, None, planned)
    for capability in CAPABILITIES:
        support.assert_equals_cpu(case, device(capability, LaunchShape(256, 4)).open(case.work).expand)


@given(
    model=drawn_worlds(),
    shape=st.builds(LaunchShape, st.sampled_from((1, 32, 33, 256)), st.integers(1, 4)),
    order=st.sampled_from(ORDERS),
    piece_arrivals=st.sampled_from((None, 1, 17)),
)
@settings(max_examples=15)
def test_drawn_worlds(device, model, shape, order, piece_arrivals):
    with support.temporary_case(model) as case:
        for capability in CAPABILITIES:
            expander = device(capability, shape, order).open(case.work, piece_arrivals)
            support.assert_equals_cpu(case, expander.expand)


@each_device
@pytest.mark.parametrize("switch", refusing_worlds())
@pytest.mark.parametrize("order", ORDERS)
def test_the_first_forbidden_fallback_is_the_cpu_backends(device, capability, tmp_path, switch, order):
    case = support.make_case(refusing_worlds()[switch], tmp_path / "run")
    refused = support.refusal(case, device(capability, LaunchShape(32, 3), order).open(case.work).expand)
    assert refused is not None
    assert refused == support.refusal(case, support.on_cpu(case))


@each_device
def test_arrivals_at_both_ends_of_a_bucket_are_counted(device, capability, tmp_path):
    case = microsecond_case(tmp_path / "run")
    expander = device(capability, LaunchShape(96, 2), "random").open(case.work)
    support.assert_equals_reference(case, support.assert_equals_cpu(case, expander.expand))


# --- The machine code and its launch ----------------------------------------------------------------------------------


@each_device
@pytest.mark.parametrize(
    ("name", "found"), [("prepare_segments", set()), ("draw_keys", {"local memory"}), ("settle", {"local memory"})]
)
def test_integers_only_and_from_10_0_on_in_registers_only(ptx, capability, name, found):
    text = ptx(capability)[name]
    assert f".target sm_{capability[0]}{capability[1]}" in text
    assert f".maxntid {MAX_THREADS}" in text
    assert text.count(".entry ") == 1
    assert ".func " not in text, "a function was not inlined"
    assert violations(text) == (found if capability < (10, 0) else set())


@each_device
@pytest.mark.parametrize(("name", "products"), [("draw_keys", 10 + 1), ("settle", 2 * 10 + 3)])
def test_wide_products_are_one_instruction(ptx, capability, name, products):
    assert ptx(capability)[name].count("mul.hi.u64") == products


def test_launches_pass_five_words_per_array(stand_in_driver, tmp_path):
    """Its own launches, and the product's, which differ from numba-cuda's in nothing else."""
    found = in_own_process("launching", stand_in_driver.environment(ARRIVALS_CACHE_DIR=str(tmp_path)))
    assert list(found) == ["launch_by_successor", "launch_by_product"]
    for number, launch in enumerate(found.values(), 1):
        assert launch["launches"] == number
        assert launch["shape"] == [130, 96, 96 * 16]
        assert len(launch["wanted"]) > 200
        assert launch["words"] == launch["wanted"]


# --- What stands in its way -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def defects():
    # No device is visible, so that the question for one shows also where there is one.
    return in_own_process("defects", {**os.environ, "CUDA_VISIBLE_DEVICES": ""})


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_still_there(defects, defect):
    """If not: `tests.support.successor` and docs/gpu.md need what goes round it no longer."""
    assert defects[defect], f"numba-cuda-mlir {metadata.version('numba-cuda-mlir')} has it no more: {defect}"


def test_every_defect_is_among_these(defects):
    assert tuple(defects) == DEFECTS
