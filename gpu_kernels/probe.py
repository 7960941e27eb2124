"""Whether kernels can be compiled and loaded here, found by compiling and loading one of two lines.

It loads numba-cuda and CuPy. Warnings that these raise while they are imported are no reasons, whatever a host program
makes of warnings.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from arrival_engine.contracts.safe_text import visible

__all__ = ["compiler_problem", "described", "sort_problem"]

# `warnings.catch_warnings` is not safe on several threads, and a probe is made once per process.
_lock = threading.Lock()
_MOST_TEXT = 400


def compiler_problem(ordinal: int, driver: str) -> str:
    """Why numba-cuda cannot compile and load kernels for a device; empty if it can. Never raises.

    ordinal: the device, as the driver counts. driver: the CUDA version of the driver, as "13.0".
    """
    return _quiet("numba-cuda cannot be used", _compiler_problem, ordinal, driver)


def sort_problem(ordinal: int) -> str:
    """Why CuPy cannot sort keys on a device; empty if it can. Never raises."""
    return _quiet("CuPy cannot use the device", _sort_problem, ordinal)


def described(failure: Exception) -> str:
    """An exception in one line; those of libraries have several, and control characters."""
    text = "; ".join(filter(None, (line.strip(" \0") for line in str(failure).splitlines())))
    return visible(f"{type(failure).__name__}: {text}"[:_MOST_TEXT])


def _quiet(otherwise: str, find: Callable[..., str], *arguments: object) -> str:
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return find(*arguments)
        except Exception as failure:  # noqa: BLE001 - any exception of a driver or a broken package is the reason
            return f"{otherwise}: {described(failure)}"


@cache
def _compiler_problem(ordinal: int, driver: str) -> str:
    from arrival_engine.gpu_kernels import jit

    if "numba_cuda" not in Path(jit.cuda.__file__).parts:
        return (
            "numba.cuda is that of numba, not numba-cuda's, whose .pth file Python did not read: "
            "install numba-cuda into site-packages, without --target and PYTHONPATH"
        )
    toolkit = f"cu{driver.partition('.')[0]}"
    if problem := _library_problem(toolkit):
        return problem
    if not jit.cuda.is_available():
        return f"numba-cuda cannot use the driver: {jit.cuda.cuda_error() or 'it gives no reason'}"
    try:
        with jit.cuda.gpus[ordinal]:
            jit.cuda.jit(_one).compile((jit.types.uint64[::1],))
    except Exception as failure:  # noqa: BLE001 - as above
        if "OUTDATED_LIBRARY" in str(failure):
            return _mismatch(toolkit)
        return f"numba-cuda cannot compile a kernel for the device: {described(failure)}"
    return ""


def _one(values: np.ndarray) -> None:
    values[0] = 1


def _library_problem(toolkit: str) -> str:
    """The libraries that numba-cuda compiles with. Without nvJitLink it would compile other code than that proven."""
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    for name, library in (("NVVM", "nvvm"), ("nvJitLink", "nvJitLink"), ("NVRTC", "nvrtc")):
        try:
            load_nvidia_dynamic_lib(library)
        except DynamicLibNotFoundError:
            return f"{name}, which numba-cuda compiles with, is not found: pip install 'numba-cuda[{toolkit}]'"
    return ""


def _mismatch(toolkit: str) -> str:
    nvvm = "nvidia-nvvm" if toolkit == "cu13" else f"nvidia-cuda-nvcc-{toolkit}"
    linker = "nvidia-nvjitlink" if toolkit == "cu13" else f"nvidia-nvjitlink-{toolkit}"
    return (
        f"nvJitLink {_linker_version()} is older than NVVM {_wheel_version(nvvm)}and cannot link its code: "
        f"pip install --upgrade {nvvm} {linker}"
    )


def _linker_version() -> str:
    from cuda.bindings import nvjitlink

    return ".".join(map(str, nvjitlink.version()))


def _wheel_version(package: str) -> str:
    try:
        return f"{metadata.version(package)} "
    except metadata.PackageNotFoundError:
        return ""


@cache
def _sort_problem(ordinal: int) -> str:
    import cupy

    with cupy.cuda.Device(ordinal):
        keys = cupy.asarray(np.array([3, 1, 2], np.uint64))
        keys.sort()
        return "" if keys.get().tolist() == [1, 2, 3] else "CuPy does not sort keys on the device"
