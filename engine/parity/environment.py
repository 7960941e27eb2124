"""The machine and the software that a parity check ran on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from arrival_engine.engine.process.machine import available_cores, memory_limit_bytes
from arrival_engine.gpu_kernels.driver import cuda_state

_PACKAGES = (
    "numba",
    "llvmlite",
    "numpy",
    "pyarrow",
    "tzdata",
    "numba-cuda",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "cudf-cu12",
    "cudf-cu13",
)


def describe() -> dict[str, object]:
    """Machine, load, devices and versions as JSON-safe data."""
    memory_bytes, memory_source = memory_limit_bytes()
    state = cuda_state()
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "load_average": round(os.getloadavg()[0], 2),
        "memory_bytes": memory_bytes,
        "memory_limit": memory_source,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": _versions(),
        "cuda_driver": state.driver_version or None,
        "cuda_devices": [
            {
                "name": device.name,
                "memory_bytes": device.memory_bytes,
                "compute_capability": ".".join(map(str, device.compute_capability)),
            }
            for device in state.devices
        ],
        "no_cuda_reason": state.reason or None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
