"""Devices opened in the background: what the thread raises, what stops it, and that it is not begun for nothing."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.expand.backend import require_backend
from arrival_engine.engine.sealing import seal
from arrival_engine.gpu_kernels.opening import Background
from tests.support import gpu as support
from tests.support.gpu import without_device
from tests.support.on_stand_in import PACKAGES, on_path, outcome
from tests.support.stand_in_driver import no_linker_reason, stand_in_driver
from tests.support.world_files import write_world

__all__ = ["stand_in_driver"]  # a fixture

linker = pytest.mark.skipif(bool(no_linker_reason()), reason=no_linker_reason())


def test_a_background_gives_what_its_function_gives():
    gate = threading.Event()
    background = Background(lambda: gate.wait(60) and 7, "seven")
    gate.set()
    assert [background.result(), background.result()] == [7, 7]


def test_a_failure_is_raised_where_the_result_is_used():
    def fail():
        raise ArrivalError(Code.BACKEND_UNAVAILABLE, "it is not there", hint="none")

    background = Background(fail, "failing")
    for _ in range(2):
        with pytest.raises(ArrivalError, match="it is not there"):
            background.result()


def threads():
    return [thread.name for thread in threading.enumerate()]


@without_device
def test_nothing_runs_in_the_background_without_a_driver(tmp_path):
    with pytest.raises(ArrivalError):
        require_backend("cuda")
    require_backend("auto")
    write_world(support.shrunk_small_world(), tmp_path / "run")
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="auto"))
    assert "open CUDA devices" not in threads()


# --- With the stand-in driver ----------------------------------------------------------------------


def of_run(root, environment, *options):
    command = [sys.executable, "-W", "ignore", "-m", "arrival_engine", "run", str(root), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "run"
    write_world(support.shrunk_small_world(), folder)
    seal(folder)
    return folder


def with_cupy(environment):
    return on_path(environment, [PACKAGES])


_KERNELS = """
import json
from arrival_engine.gpu_kernels.launcher import kernel_functions
print(json.dumps(len(kernel_functions(0))))
"""


@pytest.fixture(scope="module")
def with_kernels(stand_in_driver):
    """Environments whose kernels are in the cache that all tests share, as those of the CPU are."""
    if reason := no_linker_reason():
        pytest.skip(reason)
    assert outcome(stand_in_driver.environment(), _KERNELS) == 3
    return lambda **options: with_cupy(stand_in_driver.environment(**options))


@pytest.mark.parametrize(
    ("failures", "code", "said"),
    [
        ({"cuInit": 999}, "BACKEND_UNAVAILABLE", "the CUDA driver does not start"),
        ({"cuLibraryLoadData": 209}, "BACKEND_UNAVAILABLE", "no kernel image is available"),
        ({"cuDevicePrimaryCtxRetain": 2}, "RESOURCES_INSUFFICIENT", "has no memory for its context"),
        ({"cuMemHostAlloc": 2}, "RESOURCES_INSUFFICIENT", "bytes of pinned memory"),
    ],
)
def test_a_driver_that_refuses_is_named_and_nothing_is_published(with_kernels, root, failures, code, said):
    done = of_run(root, with_kernels(failures=failures), "--backend", "cuda")
    assert done.returncode == 1
    assert code in done.stderr
    assert said in done.stderr
    assert [path for path in (root / "tmp").iterdir() if path.is_dir()] == []


def test_a_run_takes_its_devices_from_the_background(with_kernels, root):
    """Kernels compute nothing here, which the checks of the first batch must say."""
    environment = with_kernels(devices=2)
    done = of_run(root, environment, "--backend", "cuda", "--batch-arrivals", "60", "--threads", "4")
    assert done.returncode == 1
    assert "BUCKET_COUNT_MISMATCH" in done.stderr
    assert "batch 0: count row" in done.stderr


_INTERRUPTED = """
import os, signal, sys, threading, time
from arrival_engine.engine.process.interrupts import heard_interrupts
from arrival_engine.gpu_kernels.opening import begin_opening, take_opening
begin_opening()
threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    with heard_interrupts():
        take_opening().result()
        time.sleep(60)
except KeyboardInterrupt:
    # As the command line does.
    sys.exit(130)
"""


@linker
def test_an_interrupt_does_not_wait_for_the_opening(stand_in_driver, tmp_path):
    """The thread compiles kernels for some seconds when the signal comes."""
    environment = with_cupy(stand_in_driver.environment(ARRIVALS_CACHE_DIR=str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _INTERRUPTED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (130, "")
