"""CUDA devices that kernels can use, or the reason why there are none.

Importing this module loads nothing of CUDA. `unusable_reason` asks the driver first and imports numba-cuda and CuPy
only if it answers.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from arrival_engine.gpu_kernels import probe
from arrival_engine.gpu_kernels.driver import cuda_state

__all__ = ["DeviceFacts", "devices", "missing_reason", "no_writer_reason", "unusable_reason"]

_EXTRAS = "extras: arrival-engine[cuda13] or [cuda12]"
# Turing, the oldest architecture that the toolkits of CUDA 12 and 13 both compile for.
LEAST_COMPUTE_CAPABILITY = (7, 5)
# Older ones can return unsorted keys, without an error, when device memory runs out (CuPy issue 9894).
LEAST_CUPY = (14, 2)
# numba-cuda calls numpy.row_stack when it is imported.
NUMPY_WITHOUT_ROW_STACK, LAST_WITH_ROW_STACK = (2, 5), (0, 30)
_CUPY_NAMES = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
# The version that `gpu_kernels.cudf_parquet` is written against.
LEAST_CUDF = (26, 10)
_CUDF_NAMES = ("pylibcudf-cu13", "pylibcudf-cu12", "pylibcudf")
_DISABLED = ("0", "", "false", "no", "off")


@dataclass(frozen=True)
class DeviceFacts:
    """One device, as the driver describes it."""

    ordinal: int
    name: str
    memory_bytes: int
    multiprocessors: int
    compute_capability: tuple[int, int]

    @property
    def label(self) -> str:
        """The device's name in messages."""
        return f"CUDA device {self.ordinal} ({self.name})"


def unusable_reason() -> str:
    """Why no CUDA device can be used; empty when one can. Never raises.

    Asks the driver, then what is installed, and only then loads numba-cuda and CuPy, which takes some seconds.
    """
    try:
        return missing_reason() or _device_problem()
    except Exception as failure:  # noqa: BLE001 - any exception of a driver or a broken package is the reason
        return probe.described(failure)


def missing_reason() -> str:
    """What a device needs and is not here, driver or package; empty if all is. Loads nothing."""
    return cuda_state().reason or _package_problem()


def no_writer_reason() -> str:
    """Why no device can write Parquet files; empty when one can. Never raises."""
    return unusable_reason() or _cudf_problem(_installed_version(_CUDF_NAMES), find_spec("pylibcudf") is not None)


def devices() -> tuple[DeviceFacts, ...]:
    """Every device that kernels can run on, with the ordinals that the driver, numba-cuda and CuPy share."""
    found = (DeviceFacts(ordinal, *device) for ordinal, device in enumerate(cuda_state().devices))
    return tuple(device for device in found if device.compute_capability >= LEAST_COMPUTE_CAPABILITY)


def _package_problem() -> str:
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0").lower() not in _DISABLED:
        return "NUMBA_ENABLE_CUDASIM is set, which replaces the device by a simulator"
    for package, name in (("numba_cuda", "numba-cuda"), ("cupy", "CuPy")):
        if find_spec(package) is None:
            return f"{name} is not installed ({_EXTRAS})"
    numpy, numba_cuda = (_installed_version((name,)) for name in ("numpy", "numba-cuda"))
    return _numpy_problem(numpy, numba_cuda) or _cupy_problem(_installed_version(_CUPY_NAMES))


def _numpy_problem(numpy: tuple[int, int] | None, numba_cuda: tuple[int, int] | None) -> str:
    if numpy is None or numba_cuda is None or numpy < NUMPY_WITHOUT_ROW_STACK or numba_cuda > LAST_WITH_ROW_STACK:
        return ""
    names = (f"{major}.{minor}" for major, minor in (numba_cuda, numpy))
    return "numba-cuda {} needs numpy.row_stack, which numpy {} does not have: pip install 'numpy<2.5'".format(*names)


def _cupy_problem(version: tuple[int, int] | None) -> str:
    if version is None or version >= LEAST_CUPY:
        return ""
    found, least = (".".join(map(str, parts)) for parts in (version, LEAST_CUPY))
    return f"CuPy {found} is older than {least}: it may sort wrongly when memory runs out ({_EXTRAS})"


def _cudf_problem(version: tuple[int, int] | None, importable: bool) -> str:
    if not importable:
        return f"cuDF, which writes on a device, is not installed ({_EXTRAS})"
    if version is None or version >= LEAST_CUDF:
        return ""
    found, least = (f"{major}.{minor:02}" for major, minor in (version, LEAST_CUDF))
    return f"cuDF {found} is older than {least}, the oldest that can write parts ({_EXTRAS})"


def _installed_version(names: tuple[str, ...]) -> tuple[int, int] | None:
    """Major and minor version of the package installed under one of these names; None if unknown."""
    for name in names:
        try:
            match = re.match(r"(\d+)\.(\d+)", metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
        if match:
            return int(match[1]), int(match[2])
    return None


def _device_problem() -> str:
    """What one device of each compute capability cannot do."""
    found = devices()
    if not found:
        least = ".".join(map(str, LEAST_COMPUTE_CAPABILITY))
        return f"no device has compute capability {least} or newer"
    driver = cuda_state().driver_version
    for device in {device.compute_capability: device for device in reversed(found)}.values():
        # Kernels on disk are not compiled again, so that whether they could be is not worth the seconds.
        problem = "" if _kernels_on_disk(device) else probe.compiler_problem(device.ordinal, driver)
        if problem := problem or probe.sort_problem(device.ordinal):
            return problem if len(found) == 1 else f"{device.label}: {problem}"
    return ""


def _kernels_on_disk(device: DeviceFacts) -> bool:
    from arrival_engine.gpu_kernels.machine_code import cuda_kernels_are_cached

    return cuda_kernels_are_cached(device.compute_capability)
