"""The CUDA backend around its kernels. What needs a device is marked `gpu`, and skipped with the reason without one."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.segments import KEY_BITS, check_key_width, position_bits
from arrival_engine.cpu_fallback.tables import Grid, Segments
from arrival_engine.engine.expand.backend import choose_backend, parity_backend
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.shape import MAX_THREADS, LaunchShape
from arrival_engine.gpu_kernels.sort import cut
from bench import gpu as gpu_bench
from tests.support import gpu as support
from tests.support.gpu import without_device
from tests.support.paths import ROOT


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
    backend = choose_backend("auto", Amount(10**12, 1))
    assert (backend.name, backend.reason, backend.notices) == ("cpu", reason, ())


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
