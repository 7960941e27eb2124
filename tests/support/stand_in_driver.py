"""A CUDA driver that computes nothing and remembers every launch: its library, environments with it, and what it saw.

It is `stand_in_driver.c` beside this file. A process started with `StandInDriver.environment` finds it as libcuda.so.1:
numba-cuda compiles, links and launches there as it does on a device. In that process, `launches()` gives the launches
with every parameter.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")
MOST_PARAMETERS, REMEMBERED = 640, 64  # as in the C file


def _compiler() -> str | None:
    names = filter(None, (os.environ.get("CC"), "cc", "gcc", "clang"))
    return next((found for name in names if (found := shutil.which(name))), None)


def no_driver_reason() -> str:
    """Why the stand-in cannot be built here; empty if it can."""
    if sys.platform != "linux":
        return "the stand-in for the CUDA driver needs Linux"
    return "" if _compiler() else "no C compiler, to build the stand-in for the CUDA driver: install gcc, or set CC"


def no_linker_reason() -> str:
    """Why numba-cuda cannot compile for the stand-in; empty if it can."""
    for package in ("nvidia-nvvm", "nvidia-nvjitlink"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            return f"{package} is not installed: pip install {package}"
    return ""


@dataclass(frozen=True)
class StandInDriver:
    """The library, in a folder of its own."""

    folder: Path

    def environment(
        self,
        *,
        devices: int = 1,
        compute_capability: tuple[int, int] = (9, 0),
        driver_version: tuple[int, int] = (13, 0),
        failures: Mapping[str, int] | None = None,
        **changes: str,
    ) -> dict[str, str]:
        """The environment of a process that finds this driver.

        failures: functions of the driver that fail, without the suffix of a version, with their error.
        """
        paths = [str(self.folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        kept = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
        return {
            **kept,
            "LD_LIBRARY_PATH": os.pathsep.join(paths),
            "STAND_IN_DEVICES": str(devices),
            "STAND_IN_COMPUTE_CAPABILITY": ".".join(map(str, compute_capability)),
            "STAND_IN_DRIVER_VERSION": ".".join(map(str, driver_version)),
            "STAND_IN_FAILURES": ",".join(f"{name}={error}" for name, error in (failures or {}).items()),
            **changes,
        }


def build(parent: Path) -> StandInDriver:
    """The driver in a folder of `parent`, built unless it is there. Processes may do so at the same time."""
    return StandInDriver(compiled(SOURCE, "libcuda.so.1", parent).parent)


def compiled(source: Path, name: str, parent: Path) -> Path:
    """A C file as the shared library `name`, alone in a folder of `parent`."""
    fingerprint = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    library = parent / f"{source.stem}-{fingerprint}" / name
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as work:
            made = Path(work) / name
            flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-misleading-indentation"]
            command = [_compiler(), *flags, "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"]
            subprocess.run(command, check=True)
            made.replace(library)
    return library


@pytest.fixture(scope="session")
def stand_in_driver(tmp_path_factory):
    """The driver, built once for all workers; tests without a C compiler are skipped. Import it into a test module."""
    if reason := no_driver_reason():
        pytest.skip(reason)
    base = tmp_path_factory.getbasetemp()
    return build(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


# --- In the process that has the driver ------------------------------------------------------------------------------


class _Launch(ctypes.Structure):
    """`struct launch` of the C file."""

    _fields_ = (
        ("kernel", ctypes.c_char_p),
        ("stream", ctypes.c_void_p),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint32),
        ("device", ctypes.c_int32),
        ("parameter_count", ctypes.c_uint32),
        ("sizes", ctypes.c_uint32 * MOST_PARAMETERS),
        ("values", (ctypes.c_ubyte * 8) * MOST_PARAMETERS),
    )


@dataclass(frozen=True)
class Launch:
    """One launch; parameters as their bytes, in the sizes that the machine code gives them.

    kernel: the mangled name. stream: 0 is the default stream.
    """

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared_bytes: int
    stream: int
    device: int
    parameters: tuple[bytes, ...]

    @property
    def words(self) -> tuple[int, ...]:
        """The parameters as unsigned integers."""
        return tuple(int.from_bytes(value, sys.byteorder) for value in self.parameters)


def launches() -> list[Launch]:
    """The last launches of this process, oldest first, at most REMEMBERED."""
    driver = ctypes.CDLL("libcuda.so.1")
    driver.stand_in_launched.restype = ctypes.c_uint64
    driver.stand_in_launch.restype = ctypes.POINTER(_Launch)
    driver.stand_in_launch.argtypes = [ctypes.c_uint64]
    count = driver.stand_in_launched()
    return [_read(driver.stand_in_launch(index).contents) for index in range(max(0, count - REMEMBERED), count)]


def _read(launch: _Launch) -> Launch:
    return Launch(
        launch.kernel.decode(),
        tuple(launch.grid),
        tuple(launch.block),
        launch.shared_bytes,
        launch.stream or 0,
        launch.device,
        tuple(bytes(launch.values[at])[: launch.sizes[at]] for at in range(launch.parameter_count)),
    )
