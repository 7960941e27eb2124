"""The CUDA backend on a device: every batch as the CPU backend and the plain-Python reference have it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.world.load import load_world
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.driver import cuda_state
from arrival_engine.gpu_kernels.shape import LaunchShape
from bench import gpu as gpu_bench
from tests.support import gpu as support
from tests.support.gpu import gpu, on_device
from tests.support.hidden import on_path
from tests.support.model import FAIL, Policy
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run")


@gpu
def test_a_device_is_described():
    state = cuda_state()
    assert state.reason == ""
    assert [found.name for found in device.devices()] == [found.name for found in state.devices]
    for found in device.devices():
        assert found.name
        assert found.memory_bytes > 1 << 28
        assert found.multiprocessors > 0


@gpu
@pytest.mark.parametrize(
    ("threads", "blocks", "batch_arrivals", "piece_arrivals"),
    [(1, 128, 10**6, None), (32, 128, 60, 25), (96, 200, 1, None), (256, 128, 10**6, 90), (256, 5000, 10**6, 1)],
)
def test_launch_shape_batches_and_pieces_change_nothing(small, threads, blocks, batch_arrivals, piece_arrivals):
    case = small.replanned(batch_arrivals)
    with on_device(case, shape=LaunchShape(threads, blocks), piece_arrivals=piece_arrivals) as expander:
        support.assert_equals_reference(case, support.assert_equals_cpu(case, expander.expand))


@gpu
def test_the_small_world(tmp_path):
    case = support.make_case(small_world(), tmp_path / "run", batch_arrivals=1500)
    with on_device(case) as expander:
        support.assert_equals_reference(case, support.assert_equals_cpu(case, expander.expand))


@gpu
def test_kept_columns_are_those_that_were_copied_out(small):
    case = small.replanned(100)
    with on_device(case, piece_arrivals=30) as expander:
        for batch in case.plan.batches:
            with expander.keeping(batch.segments) as (results, standing):
                assert (standing.kept.arrivals, standing.kept.first_row) == (batch.arrivals, batch.rows[0])
                for name, column in standing.kept.columns._asdict().items():
                    assert np.array_equal(column[: batch.arrivals].get(), getattr(results.columns, name)), name
            support.assert_same_results(expand_segments(case.work, batch.segments), results)


@gpu
def test_columns_come_to_pinned_memory(small):
    import cupy

    with on_device(small) as expander:
        columns = expander.expand(small.plan.batches[0].segments).columns
        kinds = {cupy.cuda.runtime.pointerGetAttributes(column.ctypes.data).type for column in columns}
    assert kinds == {1}  # cudaMemoryTypeHost


@gpu
def test_every_device_uses_memory_of_its_own(small):
    """RMM makes a pool on whichever device is current."""
    import cupy

    from arrival_engine.gpu_kernels.memory import CupyMemory, device_pool

    for found in device.devices():
        memory = CupyMemory(found.ordinal, device_pool(found.ordinal))
        with memory.entered():
            block = memory.upload(small.work.rows.arrivals)
            memory.wait()
            pointer = block.storage.data.ptr
        assert cupy.cuda.runtime.pointerGetAttributes(pointer).device == found.ordinal


@gpu
def test_the_driver_tells_what_kernels_take(small):
    from arrival_engine.gpu_kernels.figures import kernel_figures

    with on_device(small):
        figures = kernel_figures()
    assert [one.name for one in figures] == ["prepare_segments", "draw_keys", "settle"]
    for one in figures:
        assert one.local_bytes == 0
        assert 0 < one.registers <= 64
        assert 0 < one.occupancy_percent <= 100


@gpu
def test_a_device_that_runs_out_makes_the_pieces_smaller_once(tmp_path):
    """With CuPy's own error: its pool is given room for the tables and half of what the batch takes."""
    import cupy

    from arrival_engine.gpu_kernels.expand import Expander
    from arrival_engine.gpu_kernels.lane import DeviceLanes
    from arrival_engine.gpu_kernels.memory import CupyMemory, Pool
    from arrival_engine.gpu_kernels.sort import ARRIVAL_BYTES

    synthesise(tmp_path / "run", preset="demo", seed=42, scale=0.2)
    seal(tmp_path / "run")
    planned = plan(load_world(tmp_path / "run"), batch_arrivals=10**9)
    work, (batch,) = support.work_of(planned), planned.batches
    found = device.devices()[0]
    pool, notices = cupy.cuda.MemoryPool(), []
    memory = CupyMemory(found.ordinal, Pool("limited", pool.malloc, pool.free_bytes, pool.free_all_blocks))
    lanes = DeviceLanes(found.label, LaunchShape.of_device(found.multiprocessors), (memory,))
    expander = Expander(work, [lanes], notices.append, piece_arrivals=10**9)
    try:
        pool.set_limit(size=pool.used_bytes() + batch.arrivals * ARRIVAL_BYTES // 2)
        results = expander.expand(batch.segments)
        support.assert_same_results(expand_segments(work, batch.segments), results)
        assert [notice.code for notice in notices] == ["DEVICE_MEMORY"]
        expander.expand(batch.segments)
        assert len(notices) == 1
    finally:
        expander.close()


@gpu
@pytest.mark.parametrize("switch", ["missing_group_table", "no_site_in_zone"])
def test_the_first_forbidden_fallback_is_the_cpu_backends(tmp_path, switch):
    strict = replace(support.shrunk_small_world(), policy=Policy(**dict[str, Any]({switch: FAIL})))
    case = support.make_case(strict, tmp_path / "run")
    with on_device(case) as expander:
        refused = support.refusal(case, expander.expand)
    assert refused is not None
    assert refused == support.refusal(case, support.on_cpu(case))


@gpu
@pytest.mark.slow
def test_the_whole_demo_world_on_threads(tmp_path):
    synthesise(tmp_path / "run", preset="demo", seed=42)
    seal(tmp_path / "run")
    planned = plan(load_world(tmp_path / "run"), batch_arrivals=50_000)
    work = support.work_of(planned)
    with choose_backend("cuda").open(planned, Reporter()) as expand:
        for result in ordered(expand, planned.batches, 8, Cancellation()):
            expected = expand_segments(work, result.batch.segments)
            for name, column in result.columns._asdict().items():
                assert np.array_equal(column, getattr(expected.columns, name)), (result.batch.index, name)
            for name, total in result.row_totals._asdict().items():
                assert np.array_equal(total, getattr(expected.row_totals, name)), (result.batch.index, name)
            assert [result.digest.a, result.digest.b] == expected.totals.digest.tolist()


@gpu
def test_the_benchmark_counts_every_arrival(small):
    root = str(small.written.run_root)
    measured = gpu_bench.measure_world(root, repeats=2, shape=(256, None), piece_arrivals=100)
    assert measured["arrivals"] == small.plan.arrivals
    assert measured["pieces"] > 1
    assert all(len(repeats) == 2 for repeats in measured["step_ms"].values())
    assert measured["copy_bytes_per_second"] > 1e9
    assert len(measured["count_rows_seconds"]["uploaded"]) == 2
    assert len(measured["kernels"]) == 3


@gpu
@pytest.mark.slow
def test_files_are_the_same_bytes(tmp_path):
    parts = {}
    for backend in ("cpu", "cuda"):
        root = tmp_path / backend
        synthesise(root, preset="demo", seed=7, scale=0.2)
        seal(root)
        (scenario,) = run(root, RunOptions(backend=backend)).scenarios
        parts[backend] = {path.name: path.read_bytes() for path in sorted(scenario.path.glob("*.parquet"))}
    assert parts["cpu"]
    assert parts["cpu"] == parts["cuda"]


_EXPAND_ELSEWHERE = """
import pickle, sys
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.expand import open_devices
work, span = pickle.load(sys.stdin.buffer)
with open_devices(work, device.devices(), print) as expander:
    results = expander.expand(span)
with open(sys.argv[1], "wb") as file:
    pickle.dump(results, file)
"""


@gpu
@pytest.mark.parametrize("mutation", support.MUTATIONS, ids=str)
def test_a_wrong_constant_is_caught(small, mutation, tmp_path, monkeypatch):
    sources = support.mutated_sources(mutation, tmp_path / "sources")
    monkeypatch.setenv("PYTHONPATH", on_path(sources))
    span = small.plan.batches[0].segments
    command = [sys.executable, "-P", "-c", _EXPAND_ELSEWHERE, str(tmp_path / "results")]
    subprocess.run(command, input=pickle.dumps((small.work, span)), check=True)
    with (tmp_path / "results").open("rb") as file:
        found = pickle.load(file)  # noqa: S301 - written by the line above
    with pytest.raises(AssertionError):
        support.assert_same_results(expand_segments(small.work, span), found)
