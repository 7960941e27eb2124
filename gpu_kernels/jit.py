"""Compilation of kernels and device functions, for a device and for numba's simulator.

Nothing is cached on disk: numba keys a cached kernel by its own file and would keep using an old law. Compiling all
kernels takes about two seconds per process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import cuda
from numba.core import config

from arrival_engine.gpu_kernels.shape import MAX_THREADS

__all__ = ["SIMULATED", "device", "kernel"]

SIMULATED = bool(config.ENABLE_CUDASIM)

F = TypeVar("F", bound=Callable[..., Any])


def device(function: F) -> F:
    """A function that kernels call, inlined on a device so that groups of arrays never pass through memory."""
    options = {} if SIMULATED else {"forceinline": True}
    return cuda.jit(device=True, **options)(function)  # type: ignore[no-any-return]


def kernel(function: Callable[..., None]) -> Any:
    """A kernel for blocks of at most MAX_THREADS threads."""
    options = {} if SIMULATED else {"launch_bounds": MAX_THREADS}
    return cuda.jit(**options)(function)
