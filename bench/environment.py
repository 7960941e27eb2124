"""What a measurement was made on, so that a figure never stands without its machine."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from engine.machine import available_cores, cuda_state, memory_limit_bytes

PACKAGES = ("numba", "llvmlite", "numpy", "pyarrow")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def commit() -> str:
    """The commit measured, marked where the tree differs from it; empty outside a repository."""
    try:
        return subprocess.check_output(["git", "describe", "--always", "--dirty"], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def describe() -> dict[str, object]:
    memory, limit = memory_limit_bytes()
    state = cuda_state()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "processor": processor(),
        "cores": available_cores(),
        "memory_bytes": memory,
        "memory_limit": limit,
        "cuda": [device._asdict() for device in state.devices] or state.reason,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }
