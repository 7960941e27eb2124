"""`bench gpu`: the timeline's arithmetic, and the whole benchmark with the stand-ins for driver and CuPy."""

from __future__ import annotations

import json
import sys
import threading
import types
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any

import pytest

from arrival_engine.engine.sealing import seal
from arrival_engine.gpu_kernels import ranges
from arrival_engine.gpu_kernels.arguments import words
from arrival_engine.gpu_kernels.layout import KERNELS
from bench import __main__ as command
from bench import results
from bench.gpu_timeline import Step, Timeline
from tests.support import gpu as support
from tests.support.on_stand_in import PACKAGES, outcome
from tests.support.stand_in_driver import no_driver_reason, no_linker_reason, stand_in_driver
from tests.support.world_files import write_world

__all__ = ["stand_in_driver"]  # a fixture


def test_a_timeline_orders_and_adds_up():
    timeline = Timeline()
    for step in (Step("b", "stream", 2.0, 5.0), Step("a", "stream", 1.0, 2.0), Step("b", "stream", 7.0, 7.5)):
        timeline.add(step)
    found = timeline.as_json()
    assert [step["begin_s"] for step in found["steps"]] == [1.0, 2.0, 7.0]
    assert found["seconds"] == 7.5
    assert [(one["name"], one["count"], one["seconds"]) for one in found["totals"]] == [("a", 1, 1.0), ("b", 2, 3.5)]
    json.dumps(found)


def test_steps_of_threads_are_theirs_also_when_they_fail():
    timeline = Timeline()

    def work():
        with timeline.step("outer"), timeline.step("inner"):
            raise OSError("in the middle")

    def run():
        with pytest.raises(OSError, match="in the middle"):
            work()

    thread = threading.Thread(target=run, name="a worker")
    thread.start()
    thread.join()
    inner, outer = timeline.steps
    assert (inner.name, outer.name, inner.where, outer.where) == ("inner", "outer", "a worker", "a worker")
    assert 0 <= outer.begin_s <= inner.begin_s <= inner.end_s <= outer.end_s


@pytest.fixture
def fresh_ranges():
    ranges._annotate.cache_clear()
    yield
    ranges._annotate.cache_clear()


@pytest.mark.skipif(find_spec("nvtx") is not None, reason="nvtx is installed")
@pytest.mark.usefixtures("fresh_ranges")
def test_ranges_cost_nothing_where_nvtx_is_not_installed():
    with ranges.marked("one") as nothing, ranges.marked("other"):
        assert nothing is None
    assert ranges.marked("one") is ranges.marked("other")


@pytest.mark.usefixtures("fresh_ranges")
def test_ranges_have_names_where_it_is(monkeypatch):
    log = []

    @contextmanager
    def annotate(name, domain):
        log.append((name, domain))
        yield
        log.append(name)

    module: Any = types.ModuleType("nvtx")
    module.annotate, module.__spec__ = annotate, ModuleSpec("nvtx", None)
    monkeypatch.setitem(sys.modules, "nvtx", module)
    with ranges.marked("outer"), ranges.marked("inner"):
        pass
    assert log == [("outer", "arrival_engine"), ("inner", "arrival_engine"), "inner", "outer"]


# Copies of some KiB in place of 1 GiB; times of streams are what the stand-in says.
_BENCH = """
import sys
from bench import gpu
gpu.COPY_BYTES = 1 << 16
sys.exit(gpu.main([sys.argv[1], "--repeats", "2", "--host-threads", "3", "--batch-arrivals", "60", "--no-encoding"]))
"""


@pytest.mark.skipif(bool(no_linker_reason()), reason=no_linker_reason())
def test_the_benchmark_goes_through_every_step(stand_in_driver, tmp_path):
    write_world(support.shrunk_small_world(), tmp_path / "run")
    seal(tmp_path / "run")
    found = outcome(stand_in_driver.environment(devices=2), _BENCH, tmp_path / "run", path=[PACKAGES])
    measured = found["measured"]
    assert measured["device"]["name"] == "stand-in 0"
    assert measured["toolchain"]["link-time optimisation"] == "yes"
    assert [len(measured["step_ms"][step]) for step in ("draw", "sort", "settle")] == [2, 2, 2]
    assert [kernel["registers"] for kernel in measured["kernels"]] == [32, 32, 32]
    timeline = measured["timeline"]
    assert (timeline["threads"], timeline["batch_arrivals"], timeline["encode"]) == (3, 60, False)
    counts = {(one["where"], one["name"]): one["count"] for one in timeline["totals"]}
    names = {name for _, name in counts}
    assert names >= {
        "import packages of the host",
        "open devices",
        "read",
        "plan",
        "wait for the opening",
        "put tables on devices",
        "upload",
        "prepare_segments",
        "draw_keys",
        "sort",
        "settle",
        "copy out",
        "launch settle",
        "wait for the device",
        "allocate pinned memory",
        "expand",
    }
    streams = {where for where, name in counts if name == "settle"}
    assert len(streams) == 4
    assert all(where.startswith("CUDA device ") for where in streams)
    # One per batch, and one per stream while the kernels are loaded.
    batches = sum(count for (_, name), count in counts.items() if name == "expand")
    assert sum(count for (_, name), count in counts.items() if name == "settle") == batches + 4
    assert timeline["seconds"] > 0


@pytest.mark.slow
@pytest.mark.skipif(bool(no_driver_reason() or no_linker_reason()), reason=no_driver_reason() or no_linker_reason())
def test_launches_are_measured_beside_numbas_own(tmp_path, capsys):
    assert command.main(["launches", "--repeats", "1", "--out", str(tmp_path)]) == 0
    (result,) = results.newest(tmp_path)
    assert json.loads(capsys.readouterr().out) == result.measured
    assert {name: len(seconds) for name, seconds in result.measured["processor_seconds"].items()} == {
        "compile": 1,
        "load": 1,
        "probe": 1,
    }
    (launches,) = result.measured["launches"]
    assert list(launches) == [kernel.name for kernel in KERNELS]
    for kernel in KERNELS:
        assert launches[kernel.name]["parameters"] == len(words(kernel.prototypes()))
