"""What compiles kernels for devices: its parts and settings, as far as they decide machine code.

Importing this module loads nothing of CUDA.
"""

from __future__ import annotations

import functools
import hashlib
import os
from importlib import metadata
from pathlib import Path

__all__ = ["links_with_optimization", "toolchain_facts", "toolchain_fingerprint"]

# Packages whose versions decide machine code, by the names of either CUDA version.
_PACKAGES = ("numba-cuda", "cuda-core", "cuda-bindings")
# The two libraries that make it, by their names for `cuda.pathfinder`, and the wheels that hold them. Elsewhere they
# belong to a toolkit, which has no version that Python could look up.
_LIBRARIES = {
    "nvvm": ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12"),
    "nvJitLink": ("nvidia-nvjitlink", "nvidia-nvjitlink-cu12"),
}
# Settings of numba-cuda that change code, beside those of numba, which `cpu_fallback.jit` has in its fingerprint. They
# are attributes of numba's configuration only once numba-cuda is imported, so they are taken from where it takes them.
_SETTINGS = ("NUMBA_CUDA_DEBUG_POLY", "NUMBA_CUDA_DEBUG_POLY_USE_TYPED_CONST", "NUMBA_CUDA_ENABLE_NRT")
_LEAST_LINKER = (12, 3)


@functools.cache
def links_with_optimization() -> bool:
    """Whether nvJitLink is there, so that kernels are optimised when they are linked; else the driver links them."""
    try:
        from cuda.bindings import nvjitlink

        return tuple(nvjitlink.version()) >= _LEAST_LINKER
    except Exception:  # noqa: BLE001 - what is missing is told by exceptions of several packages
        return False


@functools.cache
def toolchain_facts() -> tuple[tuple[str, str], ...]:
    """Name and version of each part, and the settings that are not as usual."""
    facts = [(name, _version(name) or "missing") for name in _PACKAGES]
    facts += [(name, _library(name, wheels)) for name, wheels in _LIBRARIES.items()]
    facts.append(("link-time optimisation", "yes" if links_with_optimization() else "no"))
    return (*facts, *((name, os.environ[name]) for name in _SETTINGS if os.environ.get(name)))


@functools.cache
def toolchain_fingerprint() -> str:
    """16 hex digits that change with any of the facts."""
    text = "\0".join("\0".join(fact) for fact in toolchain_facts())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _library(name: str, wheels: tuple[str, ...]) -> str:
    for wheel in wheels:
        if version := _version(wheel):
            return f"{wheel} {version}"
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        path = Path(str(load_nvidia_dynamic_lib(name).abs_path)).resolve()
        facts = path.stat()
    except Exception:  # noqa: BLE001 - a library that cannot be found or loaded is missing
        return "missing"
    return f"{path} of {facts.st_size} bytes and time {facts.st_mtime_ns}"
