"""What a CUDA device cannot be used for is found before work and named, by every command in the same words.

Each case is a process with a stand-in for the driver, in which numba-cuda compiles and loads as it does on a device.
Warnings are errors there: none is a reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arrival_engine.engine.expand import choosing
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.gpu_kernels import device
from tests.support.cuda_installations import installation
from tests.support.gpu import shrunk_small_world
from tests.support.stand_in_driver import compiled, no_linker_reason, stand_in_driver
from tests.support.world_files import write_world

__all__ = ["stand_in_driver"]  # a fixture

needs_linker = pytest.mark.skipif(bool(no_linker_reason()), reason=no_linker_reason())

# What is said of devices: by itself, by the doctor, by `--backend cuda`, and by `auto` for much work.
_ASK = """
import json, sys
from arrival_engine.contracts import ArrivalError
from arrival_engine.gpu_kernels.device import unusable_reason
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.engine.process.doctor import doctor

few = choose_backend("auto", Amount(10**6, 2))
assert "numba.cuda" not in sys.modules
reason = unusable_reason()
try:
    cuda = choose_backend("cuda").reason
except ArrivalError as error:
    cuda = error.message
many = choose_backend("auto", Amount(10**12, 2))
facts = {fact.name: fact.value for fact in doctor().facts}
print(json.dumps(dict(
    reason=reason, cuda=cuda, doctor=facts["CUDA backend"], few=(few.name, few.reason),
    auto=(many.name, many.reason, [(notice.code, notice.message) for notice in many.notices]),
)))
"""


@pytest.fixture
def asked(tmp_path):
    def ask(environment, *options):
        command = [sys.executable, "-W", "error", *options, "-c", _ASK]
        # With kernels on disk, none need be compiled, and what compiles them is not looked at.
        changed = {**environment, "ARRIVALS_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(command, env=changed, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


def assert_refused(found, reason, *, shown=True):
    """By every command, and with a notice of `auto` if the driver shows a device."""
    assert reason in found["reason"]
    assert found["doctor"] == f"cannot be used: {found['reason']}"
    assert found["cuda"] == f"the CUDA backend cannot be used here: {found['reason']}"
    message = f"the CPU expands the arrivals, because no CUDA device can be used: {found['reason']}"
    assert found["auto"] == ["cpu", found["reason"], [["DEVICE_LEFT_OUT", message]] if shown else []]


def test_a_driver_that_does_not_start(asked, stand_in_driver):
    environment = stand_in_driver.environment(failures={"cuInit": 803})
    reason = (
        "the CUDA driver does not start: system has unsupported display driver / cuda driver combination (error 803)"
    )
    assert_refused(asked(environment), reason, shown=False)


def test_a_device_that_is_too_old(asked, stand_in_driver, tmp_path):
    environment = stand_in_driver.environment(compute_capability=(7, 0), **installation(tmp_path / "packages"))
    assert_refused(asked(environment), "no device has compute capability 7.5 or newer")


def test_an_installation_without_cupy(asked, stand_in_driver):
    if not device._installed_version(("cupy-cuda13x", "cupy-cuda12x", "cupy")):
        assert_refused(asked(stand_in_driver.environment()), "CuPy is not installed")


@needs_linker
@pytest.mark.parametrize(
    ("library", "name", "driver"),
    [("nvvm", "NVVM", (12, 9)), ("nvJitLink", "nvJitLink", (13, 0)), ("nvrtc", "NVRTC", (13, 0))],
)
def test_a_library_that_is_missing(asked, stand_in_driver, tmp_path, library, name, driver):
    packages = installation(tmp_path / "packages", {library: None})
    found = asked(stand_in_driver.environment(driver_version=driver, **packages))
    advice = f"pip install 'numba-cuda[cu{driver[0]}]'"
    assert_refused(found, f"{name}, which numba-cuda compiles with, is not found: {advice}")


@needs_linker
def test_a_linker_that_is_older_than_the_compiler(asked, stand_in_driver, tmp_path):
    older = compiled(Path(__file__).parents[1] / "support" / "stand_in_linker.c", "libnvJitLink.so.13", tmp_path)
    packages = installation(tmp_path / "packages", {"nvJitLink": older})
    found = asked(stand_in_driver.environment(**packages))
    assert_refused(found, "nvJitLink 13.0 is older than NVVM ")
    assert found["reason"].endswith("cannot link its code: pip install --upgrade nvidia-nvvm nvidia-nvjitlink")


@needs_linker
def test_a_driver_that_does_not_take_the_code(asked, stand_in_driver, tmp_path):
    packages = installation(tmp_path / "packages")
    found = asked(stand_in_driver.environment(failures={"cuLibraryLoadData": 209}, **packages))
    assert_refused(found, "numba-cuda cannot compile a kernel for the device: CUDAError: CUDA_ERROR_NO_BINARY_FOR_GPU")


@needs_linker
def test_a_numba_cuda_that_numba_does_not_find(asked, stand_in_driver, tmp_path):
    """As where it is installed with `pip install --target` and found by PYTHONPATH: no .pth file is read."""
    packages = installation(tmp_path / "packages")["PYTHONPATH"]
    paths = os.pathsep.join([packages, *(path for path in sys.path if path.endswith("site-packages"))])
    found = asked(stand_in_driver.environment(PYTHONPATH=paths), "-S")
    assert_refused(found, "numba.cuda is that of numba, not numba-cuda's")


@needs_linker
@pytest.mark.parametrize(
    ("sort", "reason"),
    [
        ("pass", "CuPy does not sort keys on the device"),
        ("raise ImportError('libnvrtc.so.13')", "CuPy cannot use the device: ImportError: libnvrtc.so.13"),
    ],
)
def test_a_cupy_that_cannot_be_used(asked, stand_in_driver, tmp_path, sort, reason):
    packages = installation(tmp_path / "packages", sort=sort)
    assert_refused(asked(stand_in_driver.environment(**packages)), reason)


@needs_linker
def test_a_device_is_taken_for_much_work_alone(asked, stand_in_driver, tmp_path):
    found = asked(stand_in_driver.environment(devices=2, **installation(tmp_path / "packages")))
    devices = "CUDA device 0 (stand-in 0), CUDA device 1 (stand-in 1)"
    assert (found["reason"], found["doctor"]) == ("", "can be used")
    assert found["cuda"] == f"{devices}: asked for"
    assert found["auto"][0] == "cuda"
    assert found["auto"][1].startswith(f"{devices}: 1,000,000,000,000 arrivals take 2 cores about")
    assert found["few"][0] == "cpu"
    assert "1,000,000 arrivals take 2 cores about" in found["few"][1]


# --- A run -------------------------------------------------------------------------------------------

# The command line, on a machine with so slow a CPU that any device would be worth its start.
_RUN = """
import sys
from arrival_engine.__main__ import main
from arrival_engine.engine.expand import choosing
choosing.CPU_ARRIVALS_PER_CORE_SECOND = 1
sys.argv[0] = "arrivals"
sys.exit(main())
"""


@needs_linker
def test_a_run_takes_the_cpu_where_no_kernel_compiles_and_says_so(stand_in_driver, tmp_path):
    root = write_world(shrunk_small_world(), tmp_path / "run").run_root
    # No test compiles kernels for this capability, so that they are not on disk.
    packages = installation(tmp_path / "packages", {"nvvm": None})
    environment = stand_in_driver.environment(compute_capability=(8, 6), **packages)

    def arrivals(*words):
        command = [sys.executable, "-c", _RUN, *words, "--json"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert arrivals("seal", str(root)).returncode == 0
    refused = arrivals("run", str(root), "--backend", "cuda")
    reason = "NVVM, which numba-cuda compiles with, is not found"
    assert refused.returncode == 1
    assert f"the CUDA backend cannot be used here: {reason}" in refused.stdout
    done = arrivals("run", str(root))
    assert done.returncode == 0, done.stderr
    (scenario,) = json.loads(done.stdout)["scenarios"]
    assert scenario["backend"] == "cpu"
    assert reason in scenario["backend_reason"]
    assert [notice["code"] for notice in scenario["notices"]] == ["DEVICE_LEFT_OUT"]
    assert reason in done.stderr
    (path,) = root.rglob("segment_state_runs.jsonl")
    failed, passed = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert failed["error_code"] == "ARRIVALS.BACKEND_UNAVAILABLE"
    assert (passed["backend"], passed["notices"]) == ("cpu", ["DEVICE_LEFT_OUT"])
    assert reason in passed["backend_reason"]


# --- Versions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numpy", "numba_cuda", "fits"),
    [
        ((2, 4), (0, 30), True),
        ((2, 5), (0, 30), False),
        ((3, 0), (0, 30), False),
        ((2, 5), (0, 29), False),
        ((2, 5), (0, 31), True),
        (None, (0, 30), True),
    ],
)
def test_a_numpy_without_row_stack_is_refused(numpy, numba_cuda, fits):
    found = device._numpy_problem(numpy, numba_cuda)
    if fits:
        assert found == ""
    else:
        named = f"numba-cuda 0.{numba_cuda[1]} needs numpy.row_stack, which numpy {numpy[0]}.{numpy[1]} does not have"
        assert found == f"{named}: pip install 'numpy<2.5'"


# --- The choice --------------------------------------------------------------------------------------


def test_the_estimate_weighs_the_start_of_a_device():
    reference = 116_000_000
    assert Amount(reference, 16).too_few(), "16 cores are done before a device has started"
    assert Amount(0, 1).too_few()
    assert not Amount(reference, 2).too_few()
    cached, cold = (Amount(reference, 2).device_s(cached=cached) for cached in (True, False))
    assert cold - cached == pytest.approx(choosing.COMPILED_KERNELS_S - choosing.CACHED_KERNELS_S)
    assert cached < Amount(reference, 2).cpu_s < cold, "so the cache decides"
