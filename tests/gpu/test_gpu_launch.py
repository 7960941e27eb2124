"""Launches of the kernels as a driver gets them: machine code from numba-cuda and nvJitLink, and every parameter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.stand_in_driver import no_linker_reason, stand_in_driver

__all__ = ["stand_in_driver"]  # a fixture

# Prints the launches of the three kernels, and the words of their arguments, counted here.
_LAUNCH = """
import json
import numpy as np
from numba import cuda
from arrival_engine.gpu_kernels import kernels
from arrival_engine.gpu_kernels.layout import Output, Piece, Resident
from tests.support.gpu import prototype
from tests.support.stand_in_driver import launches

def put(part, at=0):
    if isinstance(part, tuple):
        return type(part)(*(put(inner, at) for at, inner in enumerate(part)))
    return cuda.to_device(np.zeros(3 + at, part.dtype)) if isinstance(part, np.ndarray) else part

def words(part):
    if isinstance(part, tuple):
        return [word for inner in part for word in words(inner)]
    if not hasattr(part, "device_ctypes_pointer"):
        return [int(part)]
    pointer, itemsize = part.device_ctypes_pointer.value, part.dtype.itemsize
    return [0, 0, part.size, itemsize, pointer, part.size, itemsize]

resident, piece, output = put(prototype(Resident)), prototype(Piece), put(prototype(Output))
keys, stream = put(np.zeros(1, np.uint64)), cuda.stream()
found = []
for name, arguments in {
    "prepare_segments": (resident,),
    "draw_keys": (resident, piece, keys),
    "settle": (resident, piece, keys, output),
}.items():
    getattr(kernels, name)[200, 64, stream, 1024](*arguments)
    launch = launches()[-1]
    sizes = [len(value) for value in launch.parameters]
    found.append((name, launch.kernel, launch.grid, launch.block, launch.shared_bytes,
                  launch.stream == int(stream.handle), sizes, launch.words, words(arguments)))
print(json.dumps(found))
"""


@pytest.mark.skipif(bool(no_linker_reason()), reason=no_linker_reason())
@pytest.mark.parametrize(
    "capability",
    [pytest.param((7, 5), marks=pytest.mark.slow), (9, 0), pytest.param((12, 0), marks=pytest.mark.slow)],
    ids=str,
)
def test_kernels_are_launched_with_seven_words_per_array(stand_in_driver, capability):
    environment = stand_in_driver.environment(compute_capability=capability)
    command = [sys.executable, "-W", "ignore", "-c", _LAUNCH]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name, kernel, grid, block, shared_bytes, on_stream, sizes, words, wanted in found:
        assert name in kernel
        assert (grid, block, shared_bytes, on_stream) == ([200, 1, 1], [64, 1, 1], 1024, True)
        assert words == wanted
        assert set(sizes) <= {1, 4, 8}
    assert len(found) == 3
