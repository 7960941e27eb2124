"""The CUDA backend around its kernels. What needs a device is marked `gpu`, and skipped with the reason without one."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.cpu_fallback.segments import KEY_BITS, check_key_width, position_bits
from arrival_engine.cpu_fallback.tables import Grid, Segments
from arrival_engine.engine.expand.backend import choose_backend, parity_backend
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.world.load import load_world
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.shape import MAX_THREADS, LaunchShape
from arrival_engine.gpu_kernels.sort import cut
from bench import gpu as gpu_bench
from tests.support import gpu as support
from tests.support.gpu import gpu, without_device
from tests.support.model import FAIL, Policy
from tests.support.paths import ROOT
from tests.support.strategies import worlds as drawn_worlds
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run")


# --- Launch shapes, pieces, keys -------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "blocks"), [(0, 1), (MAX_THREADS + 1, 1), (32, 0)])
def test_impossible_launch_shapes_are_refused(threads, blocks):
    with pytest.raises(ValueError, match="not"):
        LaunchShape(threads, blocks)


def test_devices_get_full_blocks_and_enough_of_them():
    assert [LaunchShape.of_device(count) for count in (1, 132)] == [LaunchShape(256, 128), LaunchShape(256, 4224)]


def segments_of(sizes):
    starts = np.append(0, np.cumsum(np.array(sizes, np.int64))).astype(np.int64)
    return Segments(np.arange(len(sizes) + 1, dtype=np.int64), np.zeros(len(sizes), np.int64), starts)


segment_sizes = st.lists(st.one_of(st.integers(1, 9), st.sampled_from((1, 2, 3, 255, 256, 257, 5000))), min_size=1)


@given(sizes=segment_sizes, most=st.sampled_from((1, 7, 300, 10**9)), bits=st.integers(0, 45), data=st.data())
def test_pieces_cover_their_span_in_order(sizes, most, bits, data):
    first = data.draw(st.integers(0, len(sizes)))
    span = first, data.draw(st.integers(first, len(sizes)))
    segments = segments_of(sizes)
    pieces = list(cut(segments, span, bits, most))
    bounds = [span[0], *(int(piece.last_segment) for piece in pieces)]
    assert bounds[-1] == span[1]
    assert all(low < high for low, high in pairwise(bounds))
    for piece, low, high in zip(pieces, bounds[:-1], bounds[1:], strict=True):
        assert piece.first_segment == low
        assert piece.arrivals == sum(sizes[low:high])
        assert piece.first_arrival == sum(sizes[:low])
        assert piece.batch_position == sum(sizes[span[0] : low])
        assert piece.batch_row == span[0]
        assert piece.arrivals <= most or high - low == 1


@given(sizes=segment_sizes, bits=st.integers(0, 63))
def test_keys_order_by_segment_then_offset_then_position(sizes, bits):
    """The least and greatest key of every segment, by the formula of `gpu_kernels.kernels`."""
    segments = segments_of(sizes)
    for piece in cut(segments, (0, len(sizes)), bits, 10**9):
        sizes_here = sizes[int(piece.first_segment) : int(piece.last_segment)]
        if bits + position_bits(max(sizes_here)) > KEY_BITS:
            with pytest.raises(ArrivalError, match="more than can be ordered"):
                check_key_width(grid_of_bits(bits), segments.arrival_start)
            continue
        before, last = 0, -1
        for size in sizes_here:
            shift = position_bits(size)
            first_key = 2 * before << bits
            assert last < first_key
            last = first_key + ((((1 << bits) - 1) << shift) | (size - 1))
            before += size
        assert last < 1 << KEY_BITS


def grid_of_bits(bits):
    return support.prototype(Grid)._replace(duration_us=np.array([1 << bits], np.uint64))


# --- Without a device ------------------------------------------------------------------------------


def test_nothing_of_cuda_is_loaded_before_it_is_asked_for():
    script = (
        "import sys, arrival_engine.engine.expand.backend\n"
        "from arrival_engine.gpu_kernels import device, load, simulator\n"
        "arrival_engine.engine.expand.backend.choose_backend('cpu')\n"
        "print([name for name in ('numba.cuda', 'cupy', 'cudf', 'rmm') if name in sys.modules])"
    )
    done = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    assert done.strip() == "[]"


@without_device
def test_cuda_without_a_device_says_why():
    reason = device.unusable_reason()
    assert reason
    with pytest.raises(ArrivalError) as caught:
        choose_backend("cuda")
    assert caught.value.code is Code.BACKEND_UNAVAILABLE
    assert reason in caught.value.message
    assert "--backend cpu" in caught.value.hint
    backend = choose_backend("auto")
    assert (backend.name, backend.reason) == ("cpu", reason)


def test_the_simulator_is_no_device(monkeypatch):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert "simulator" in device._package_problem()


@pytest.mark.parametrize(
    ("version", "fits"), [((13, 6), False), ((14, 1), False), (device.LEAST_CUPY, True), ((15, 0), True), (None, True)]
)
def test_a_cupy_that_may_sort_wrongly_is_refused(version, fits):
    assert device._cupy_problem(version).startswith(
        "" if fits else f"CuPy {version[0]}.{version[1]} is older than 14.2"
    )
    assert bool(device._cupy_problem(version)) == (not fits)


@without_device
def test_the_benchmark_measures_nothing_without_a_device(capsys):
    assert gpu_bench.main(["somewhere"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing measured" in err
    assert device.unusable_reason() in err


def test_sides_of_a_parity_check():
    assert [parity_backend(name).name for name in ("cpu", "cudasim")] == ["cpu", "cudasim"]
    with pytest.raises(ValueError, match="cpu, cuda, cudasim"):
        parity_backend("auto")  # type: ignore[arg-type]


# --- On a device -----------------------------------------------------------------------------------


def on_device(case, devices=None, **options):
    """Context manager of a function from span to results."""
    from arrival_engine.gpu_kernels.expand import open_devices

    return open_devices(case.work, devices or device.devices(), lambda _: None, **options)


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
@given(model=drawn_worlds(), batch_arrivals=st.sampled_from((1, 40, 10**6)))
@settings(max_examples=40)
def test_drawn_worlds(model, batch_arrivals):
    with support.temporary_case(model, batch_arrivals) as case, on_device(case) as expander:
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
    monkeypatch.setenv("PYTHONPATH", str(sources))
    span = small.plan.batches[0].segments
    command = [sys.executable, "-P", "-c", _EXPAND_ELSEWHERE, str(tmp_path / "results")]
    subprocess.run(command, input=pickle.dumps((small.work, span)), check=True)
    with (tmp_path / "results").open("rb") as file:
        found = pickle.load(file)  # noqa: S301 - written by the line above
    with pytest.raises(AssertionError):
        support.assert_same_results(expand_segments(small.work, span), found)
