"""Machine code on disk, loaded by the driver and launched with packed parameters, which the stand-in remembers."""

from __future__ import annotations

import pickle
import shutil

import pytest

from arrival_engine.cpu_fallback.segments import offset_bits
from arrival_engine.gpu_kernels.sort import cut
from tests.support import gpu as support
from tests.support.damaged_code import DAMAGES
from tests.support.on_stand_in import PACKAGES, outcome
from tests.support.stand_in_driver import no_linker_reason, stand_in_driver

__all__ = ["stand_in_driver"]  # a fixture

pytestmark = pytest.mark.skipif(bool(no_linker_reason()), reason=no_linker_reason())


# Groups of arrays of several lengths, launched by numba-cuda and by the launcher.
_BOTH = """
import json, sys
import numpy as np
from arrival_engine.gpu_kernels import kernels
from arrival_engine.gpu_kernels.arguments import DeviceArray, words
from arrival_engine.gpu_kernels.jit import cuda
from arrival_engine.gpu_kernels.launcher import DriverContext, Launcher, kernel_functions
from arrival_engine.gpu_kernels.layout import DRAW, KERNELS, SETTLE
from arrival_engine.gpu_kernels.machine_code import cuda_kernels_are_cached
from arrival_engine.gpu_kernels.shape import LaunchShape
from arrival_engine.gpu_kernels.toolchain import links_with_optimization
from tests.support.stand_in_driver import launches

random = np.random.default_rng(7)
lengths = iter(np.tile([3, 1, 0, 1000, 77], 400).tolist())

def filled(part):
    if isinstance(part, tuple):
        return type(part)(*map(filled, part)) if hasattr(part, "_fields") else tuple(map(filled, part))
    if isinstance(part, np.ndarray):
        return cuda.to_device(np.zeros(next(lengths), part.dtype))
    high = {np.bool_: 2, bool: 2, np.int64: 2**63 - 1, np.uint64: 2**64 - 1}[type(part)]
    return type(part)(random.integers(high, dtype=np.uint64, endpoint=high != 2))

def packed(part):
    if isinstance(part, tuple):
        return type(part)(*map(packed, part)) if hasattr(part, "_fields") else tuple(map(packed, part))
    return DeviceArray(part) if hasattr(part, "__cuda_array_interface__") else part

before = cuda_kernels_are_cached((9, 0))
functions, context, stream = kernel_functions(0), DriverContext(0), cuda.stream()
launcher = Launcher(functions, int(stream.handle))
differing, sizes, many = [], set(), {kernel.name: [filled(kernel.prototypes()) for _ in range(3)] for kernel in KERNELS}
for kernel in KERNELS:
    for turn, threads in enumerate((64, 256, 64, 33)):
        shape = LaunchShape(threads, 200 + turn % 2)
        arguments = many[kernel.name][turn % 3]
        if turn == 3:
            # One argument alone is another object.
            arguments = (*many[kernel.name][2][:-1], filled(kernel.prototypes())[-1])
        getattr(kernels, kernel.name)[shape.blocks, shape.threads, stream, kernel.shared_bytes(shape)](*arguments)
        wanted = launches()[-1]
        with context.entered():
            launcher.launch(kernel, shape, arguments if turn == 1 else packed(arguments))
        found = launches()[-1]
        sizes |= {len(value) for value in found.parameters}
        if found != wanted or found.stream == 0 or len(found.words) != len(words(arguments)):
            differing.append((kernel.name, turn, str(found), str(wanted)))
options = kernels.settle.targetoptions
json.dump({
    "before": before, "after": cuda_kernels_are_cached((9, 0)), "differing": differing, "sizes": sorted(sizes),
    "forms": [len(getattr(kernels, kernel.name).overloads) for kernel in KERNELS],
    "options": [options["launch_bounds"], options["lto"], links_with_optimization()],
    "capabilities": [cuda_kernels_are_cached(capability) for capability in ((8, 0), (9, 0), (12, 0))],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def cached(stand_in_driver, tmp_path_factory):
    """A cache with all kernels, and what the process that compiled them saw."""
    cache = tmp_path_factory.mktemp("compiled")
    return cache, outcome(stand_in_driver.environment(ARRIVALS_CACHE_DIR=str(cache)), _BOTH)


def test_every_parameter_is_that_of_numbas_own_launch(cached):
    _, found = cached
    assert found["differing"] == []
    assert found["sizes"] == [1, 8]
    # Both have launched one and the same form: the types that arguments are declared with are those of arrays.
    assert found["forms"] == [1, 1, 1]
    assert found["options"] == [256, True, True]


def test_compiled_kernels_are_on_disk_for_their_capability_alone(cached):
    cache, found = cached
    assert (found["before"], found["after"]) == (False, True)
    assert found["capabilities"] == [False, True, False]
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert {path.name.split(".")[1] for path in files} == {"sm_90"}
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 3


_AGAIN = """
import json, sys
from arrival_engine.gpu_kernels.figures import kernel_figures
from arrival_engine.gpu_kernels.launcher import kernel_functions
from arrival_engine.gpu_kernels.machine_code import cuda_kernels_are_cached
ready = cuda_kernels_are_cached((9, 0))
names = sorted(kernel_functions(0)) if ready else []
figures = kernel_figures() if ready else []
json.dump([ready, names, [one._asdict() for one in figures], "numba.cuda" in sys.modules], sys.stdout)
"""


def test_a_second_process_loads_them_without_the_compiler(cached, stand_in_driver):
    cache, _ = cached
    environment = stand_in_driver.environment(ARRIVALS_CACHE_DIR=str(cache))
    ready, names, figures, compiler = outcome(environment, _AGAIN)
    assert ready
    assert names == ["draw_keys", "prepare_segments", "settle"]
    assert [(one["registers"], one["local_bytes"], one["occupancy_percent"]) for one in figures] == [(32, 0, 100)] * 3
    assert not compiler


def other_setting(_):
    return {"NUMBA_CUDA_DEBUG_POLY": "1"}, ()


def other_numba_setting(_):
    return {"NUMBA_CUDA_DEBUGINFO": "1"}, ()


def other_version(package):
    def make(folder):
        (folder / f"{package.replace('-', '_')}-99.0.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.0\n"
        (folder / f"{package.replace('-', '_')}-99.0.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
        return {}, (folder,)

    return make


@pytest.mark.parametrize(
    "change",
    [
        other_setting,
        other_numba_setting,
        *map(other_version, ("numba-cuda", "cuda-bindings", "nvidia-nvvm", "nvidia-nvjitlink")),
    ],
)
def test_kernels_of_another_toolchain_are_not_taken(cached, stand_in_driver, tmp_path, change):
    cache, _ = cached
    changes, path = change(tmp_path)
    environment = stand_in_driver.environment(ARRIVALS_CACHE_DIR=str(cache)) | changes
    ready, *_ = outcome(environment, _AGAIN, path=path)
    assert not ready


_COMPILE = """
import hashlib, json, sys
from arrival_engine.gpu_kernels.launcher import DriverContext
from arrival_engine.gpu_kernels.layout import DRAW
from arrival_engine.gpu_kernels.machine_code import machine_code
context = DriverContext(0)
with context.entered():
    code = machine_code(DRAW, (9, 0), 0)
# Philox's multiplier, right and wrong, as the low halves that instructions hold.
counts = [code.cubin.count(word.to_bytes(4, "little")) for word in (0xB1CE6E93, 0xB1CE6E92)]
json.dump([hashlib.sha256(code.cubin).hexdigest(), counts, "numba.cuda" in sys.modules], sys.stdout)
"""


def test_an_edited_law_is_never_answered_from_the_cache(stand_in_driver, tmp_path):
    """The law is edited in another file than the kernel's own."""
    mutation = support.MUTATIONS[0]
    same = support.Mutation(mutation.path, mutation.right, mutation.right)
    environment = stand_in_driver.environment(ARRIVALS_CACHE_DIR=str(tmp_path / "cache"))
    changes = {"right": same, "wrong": mutation}
    homes = [support.mutated_sources(change, tmp_path / name) for name, change in changes.items()]
    code, counts, compiled = outcome(environment, _COMPILE, path=[homes[0]])
    assert compiled
    assert counts[0] > 0 == counts[1]
    assert outcome(environment, _COMPILE, path=[homes[0]]) == [code, counts, False]
    code, counts, compiled = outcome(environment, _COMPILE, path=[homes[1]])
    assert compiled
    assert counts[0] == 0 < counts[1]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_code_is_compiled_anew_and_mended(cached, stand_in_driver, tmp_path, damage):
    shutil.copytree(cached[0], tmp_path / "cache")
    environment = stand_in_driver.environment(ARRIVALS_CACHE_DIR=str(tmp_path / "cache"))
    (path,) = (tmp_path / "cache").rglob("draw_keys.*.cubin")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    code, counts, compiled = outcome(environment, _COMPILE)
    assert compiled
    assert outcome(environment, _COMPILE) == [code, counts, False]


# --- The driver refuses ----------------------------------------------------------------------------

_REFUSED = """
import json, sys
from arrival_engine.contracts import ArrivalError
from arrival_engine.gpu_kernels.arguments import DeviceArray
from arrival_engine.gpu_kernels.launcher import DriverContext, Launcher, kernel_functions
from arrival_engine.gpu_kernels.layout import KERNELS
from arrival_engine.gpu_kernels.pinned import pinned_bytes
from arrival_engine.gpu_kernels.shape import LaunchShape

def work():
    context = DriverContext(0)
    pinned_bytes(context, 100)
    with context.entered():
        kernel = KERNELS[0]
        Launcher(kernel_functions(0), 0).launch(kernel, LaunchShape(32, 1), kernel.prototypes())

try:
    work()
    json.dump(None, sys.stdout)
except ArrivalError as error:
    json.dump([error.code.name, error.message], sys.stdout)
except MemoryError as error:
    json.dump(["MemoryError", str(error)], sys.stdout)
"""


@pytest.mark.parametrize(
    ("failures", "code", "said"),
    [
        ({}, None, None),
        ({"cuLaunchKernelEx": 801}, "BACKEND_UNAVAILABLE", "launching prepare_segments: operation not supported"),
        ({"cuLaunchKernelEx": 719}, "BACKEND_UNAVAILABLE", "CUDA_ERROR_LAUNCH_FAILED 719"),
        ({"cuLaunchKernelEx": 2}, "MemoryError", "no memory for launching prepare_segments"),
        ({"cuLibraryLoadData": 209}, "BACKEND_UNAVAILABLE", "no kernel image is available"),
        ({"cuDevicePrimaryCtxRetain": 2}, "MemoryError", "no memory for the context of device 0"),
        ({"cuMemHostAlloc": 2}, "RESOURCES_INSUFFICIENT", "cannot provide 100 bytes of pinned memory"),
        ({"cuMemHostAlloc": 304}, "RESOURCES_INSUFFICIENT", "cannot provide 100 bytes of pinned memory"),
    ],
)
def test_what_the_driver_refuses_is_told(cached, stand_in_driver, failures, code, said):
    cache, _ = cached
    environment = stand_in_driver.environment(ARRIVALS_CACHE_DIR=str(cache), failures=failures)
    found = outcome(environment, _REFUSED)
    if code is None:
        assert found is None
        return
    assert found[0] == code
    assert said in found[1]


# --- Memory of a device ----------------------------------------------------------------------------

_MEMORY = """
import json, sys
import numpy as np
from arrival_engine.gpu_kernels.memory import CupyMemory, device_pool
memory, found = CupyMemory(1, device_pool(1)), []
with memory.entered():
    arrays = (np.arange(1000), np.arange(7, dtype=np.uint8)[::2], np.array([True, False]), np.empty(0))
    for host in arrays:
        block = memory.upload(host)
        out = memory.host_empty(host.size, host.dtype)
        memory.copy_out(block, out)
        part = memory.host_empty(max(host.size - 1, 0), host.dtype)
        memory.copy_out(type(block)(block.storage[1:], block.view[1:]), part)
        memory.wait()
        found.append([out.tolist() == host.tolist(), part.tolist() == host[1:].tolist(), block.view.words[2:4]])
json.dump(found, sys.stdout)
"""


def test_arrays_go_to_a_device_and_back(stand_in_driver):
    found = outcome(stand_in_driver.environment(devices=2), _MEMORY, path=[PACKAGES])
    assert found == [[True, True, [1000, 8]], [True, True, [4, 1]], [True, True, [2, 1]], [True, True, [1, 8]]]


# --- A whole expander ------------------------------------------------------------------------------

# Kernels compute nothing here, so results are what the columns' memory happened to hold; what is launched is checked.
_EXPANDER = """
import json, pickle, sys
from arrival_engine.contracts import ArrivalError
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.expand import Reserved, expanding
from arrival_engine.gpu_kernels.opening import begin_opening, take_opening
from tests.support.stand_in_driver import launches
with open(sys.argv[1], "rb") as file:
    work, spans = pickle.load(file)
begin_opening()
opened = take_opening().result()
streams = [[memory.stream.ptr for memory in device.memories] for device in opened]
with expanding(work, opened, print, piece_arrivals=100, reserved=Reserved(spans)) as expander:
    begin = len(launches())
    shapes, addresses = [], set()
    for _ in range(3):
        for span in spans:
            results, release = expander.leased(span)
            shapes.append([[str(array.dtype), array.size] for group in results for array in group])
            addresses.add(results.columns.row.ctypes.data)
            release()
    with expander.keeping(spans[0], ("row",)) as (kept, on_device):
        sizes = [column.size for column in kept.columns]
        completed = [column.size for column in on_device.completed(kept.columns)]
    made = launches()[begin:]
    blocks, peaks = expander._ring.made, expander.peak_bytes
json.dump({
    "reason": device.unusable_reason(), "labels": [device.label for device in opened], "streams": streams,
    "launches": [
        [one.kernel, one.device, one.stream, one.grid[0], one.block[0], one.shared_bytes] for one in made
    ],
    "peaks": peaks, "shapes": shapes, "blocks": blocks, "places": len(addresses), "kept": [sizes, completed],
    "compiler": "numba.cuda" in sys.modules,
}, sys.stdout)
"""


def test_devices_are_opened_in_the_background_and_batches_launched(cached, stand_in_driver, tmp_path):
    cache, _ = cached
    case = support.make_case(support.shrunk_small_world(), tmp_path / "run", batch_arrivals=150)
    spans = [batch.segments for batch in case.plan.batches]
    with (tmp_path / "work").open("wb") as file:
        pickle.dump((case.work, spans), file)
    environment = stand_in_driver.environment(devices=2, ARRIVALS_CACHE_DIR=str(cache))
    found = outcome(environment, _EXPANDER, tmp_path / "work", path=[PACKAGES])
    assert found["reason"] == ""
    assert found["labels"] == ["CUDA device 0 (stand-in 0)", "CUDA device 1 (stand-in 1)"]
    assert not found["compiler"]
    # Pieces of each batch, on the four streams in turn, each on its own device.
    kernels = [name.split("kernels")[-1] for name, *_ in found["launches"]]
    assert ["draw_keys" in name for name in kernels] == [at % 2 == 0 for at in range(len(kernels))]
    assert ["settle" in name for name in kernels] == [at % 2 == 1 for at in range(len(kernels))]
    segments, bits = case.work.segments, offset_bits(case.work.tables.grid)
    pieces = [len(list(cut(segments, span, bits, 100))) for span in [*spans * 3, spans[0]]]
    assert max(pieces) > 1
    assert len(kernels) == 2 * sum(pieces)
    devices = {stream: device for device, streams in enumerate(found["streams"]) for stream in streams}
    assert len(devices) == 4
    assert {(device, stream) for _, device, stream, *_ in found["launches"]} == {
        (device, stream) for stream, device in devices.items()
    }
    assert {tuple(launch[3:6]) for launch in found["launches"]} == {(32 * 132, 256, 16 * 256)}
    wanted = [support.on_cpu(case)(span) for span in spans]
    shapes = [[[str(array.dtype), array.size] for group in results for array in group] for results in wanted]
    assert found["shapes"] == 3 * shapes
    assert sorted(found["peaks"]) == found["labels"]
    assert min(found["peaks"].values()) > support.device_bytes(case.work)
    # Released blocks are lent again: at most one per stream and one in use were made.
    assert found["blocks"] <= 5
    assert found["places"] <= found["blocks"]
    arrivals = case.plan.batches[0].arrivals
    assert found["kept"] == [[arrivals, *[0] * 8], [arrivals] * 9]
