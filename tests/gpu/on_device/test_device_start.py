"""What a process needs until it expands on a device: kernels from the disk, pinned memory made ahead."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.machine_code import cuda_kernels_are_cached
from tests.support import gpu as support
from tests.support.gpu import gpu, on_device


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run", 60)


_AGAIN = """
import pickle, sys
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.expand import open_devices
work, span = pickle.load(sys.stdin.buffer)
with open_devices(work, device.devices(), print) as expander:
    results = expander.expand(span)
with open(sys.argv[1], "wb") as file:
    pickle.dump((results, "numba.cuda" in sys.modules), file)
"""


@gpu
def test_a_second_process_expands_without_the_compiler(small, tmp_path):
    with on_device(small) as expander:
        expander.expand(small.plan.batches[0].segments)
    assert all(cuda_kernels_are_cached(found.compute_capability) for found in device.devices())
    span = small.plan.batches[-1].segments
    command = [sys.executable, "-P", "-c", _AGAIN, str(tmp_path / "results")]
    subprocess.run(command, input=pickle.dumps((small.work, span)), check=True)
    with (tmp_path / "results").open("rb") as file:
        results, compiler = pickle.load(file)  # noqa: S301 - written by the line above
    # RMM, which comes with cuDF, may load it.
    assert not compiler or find_spec("rmm")
    support.assert_same_results(expand_segments(small.work, span), results)


@gpu
def test_released_batches_lend_their_memory_to_others(small):
    backend, places = choose_backend("cuda"), set()
    with backend.open(small.plan, Reporter()) as expand:
        for batch in 5 * small.plan.batches:
            result = expand(batch)
            places.add(result.columns.row.ctypes.data)
            expected = expand_segments(small.work, batch.segments).columns
            for name, column in result.columns._asdict().items():
                assert np.array_equal(column, getattr(expected, name)), name
            result.release()
    assert len(places) <= 2 * len(device.devices()) + 1
    assert all(taken > 0 for taken in backend.peak_device_bytes.values())
    assert backend.peak_device_bytes.keys() == {found.label for found in device.devices()}
