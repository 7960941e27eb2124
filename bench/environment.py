"""The machine, versions and commit of a measurement."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from arrival_engine.engine.process.machine import available_cores, memory_limit_bytes
from arrival_engine.gpu_kernels.driver import cuda_state

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("numba", "llvmlite", "numpy", "pyarrow", "duckdb", "polars", "tpchgen-cli", "datafusion")


def processor() -> str:
    """The processor's name, as the system gives it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def commit(root: Path = ROOT) -> str:
    """The commit of a checkout, marked if the tree differs from it; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.check_output(command, cwd=root, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def versions() -> dict[str, str]:
    """Versions of the installed packages that decide speed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """Date, commit, machine, its load, and versions, as JSON data; call it before measuring."""
    memory, limit = memory_limit_bytes()
    state = cuda_state()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "processor": processor(),
        "cores": available_cores(),
        "load_average": os.getloadavg()[0],
        "memory_bytes": memory,
        "memory_limit": limit,
        "cuda": [device._asdict() for device in state.devices] or state.reason,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions(),
    }


def machine_tag(environment: dict[str, Any]) -> str:
    """The machine's name in file names: processor and cores."""
    words = re.sub(r"\(r\)|\(tm\)|\bcpu\b|@.*", " ", environment["processor"].lower())
    return "-".join([*re.findall(r"[a-z0-9]+", words), f"{environment['cores']}c"])
