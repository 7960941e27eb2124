"""The machine: which one it is, and the cores and the memory that the process may use."""

from __future__ import annotations

import math
import os
import resource
import socket
from pathlib import Path

__all__ = ["available_cores", "boot", "memory_in_use_bytes", "memory_limit_bytes", "peak_rss_bytes"]

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_FIELDS = {"ulimit -v": "VmSize:", "ulimit -d": "VmData:"}
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot() -> str:
    """This machine since its last start, by host name and the kernel's number of the start; empty if unknown."""
    try:
        return f"{socket.gethostname()} {_BOOT_ID.read_text(encoding='ascii').strip()}"
    except OSError:
        return ""


def available_cores() -> int:
    """Cores in the affinity mask, limited by the control group's quota; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cpu_quota(_cgroup_directories("cpu"))
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def memory_limit_bytes() -> tuple[int, str]:
    """The memory limit and its source: 'machine', 'control group', 'ulimit -v' or 'ulimit -d'."""
    limits = [(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "machine")]
    if (group := _cgroup_memory_limit(_cgroup_directories("memory"))) is not None:
        limits.append((group, "control group"))
    for kind, option in ((resource.RLIMIT_AS, "ulimit -v"), (resource.RLIMIT_DATA, "ulimit -d")):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            limits.append((limit, option))
    return min(limits)


def memory_in_use_bytes(source: str) -> int:
    """What this process has now of the memory that a limit of `memory_limit_bytes` is about; 0 if unknown."""
    return _status_bytes(_FIELDS.get(source, "VmRSS:")) or 0


def peak_rss_bytes() -> int:
    """Peak resident memory of this process."""
    peak = _status_bytes("VmHWM:")
    if peak is not None:
        return peak
    # Linux counts ru_maxrss in KiB; it survives exec, so it can also be an earlier program's peak.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def _cgroup_directories(controller: str) -> list[Path]:
    """This process's control group directory and its ancestors; the tightest limit among them applies."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            base = _CGROUP_ROOT
        elif controller in controllers.split(","):
            base = _CGROUP_ROOT / controller
        else:
            continue
        own = base / path.lstrip("/")
        return [folder for folder in (own, *own.parents) if folder.is_relative_to(base)]
    return []


def _read_number(path: Path) -> list[int]:
    """The integers of a control file; empty if it is missing or says 'max'."""
    try:
        words = path.read_text(encoding="ascii").split()
    except OSError:
        return []
    return [int(word) for word in words] if all(word.lstrip("-").isdigit() for word in words) else []


def _cgroup_memory_limit(folders: list[Path]) -> int | None:
    limits = []
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += _read_number(folder / name)
    # Version 1 writes "no limit" as a number close to 2^63.
    real = [limit for limit in limits if 0 < limit < 1 << 60]
    return min(real, default=None)


def _cgroup_cpu_quota(folders: list[Path]) -> float | None:
    quotas = []
    for folder in folders:
        if len(pair := _read_number(folder / "cpu.max")) == 2:
            quotas.append(pair[0] / pair[1])
        quota, period = _read_number(folder / "cpu.cfs_quota_us"), _read_number(folder / "cpu.cfs_period_us")
        if quota and period and quota[0] > 0:
            quotas.append(quota[0] / period[0])
    return min(quotas, default=None)
