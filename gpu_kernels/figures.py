"""Facts about the compiled kernels, from the driver."""

from __future__ import annotations

from typing import NamedTuple

from numba import cuda

from arrival_engine.gpu_kernels import kernels
from arrival_engine.gpu_kernels.shape import MAX_THREADS

__all__ = ["Figures", "kernel_figures"]

# Bytes of shared memory per thread that each kernel is launched with.
_KERNELS = {
    "prepare_segments": 0,
    "draw_keys": kernels.SHARED_BYTES_PER_THREAD,
    "settle": kernels.SHARED_BYTES_PER_THREAD,
}


class Figures(NamedTuple):
    """Registers and local memory per thread; percentage of a multiprocessor's threads that full blocks fill."""

    name: str
    registers: int
    local_bytes: int
    occupancy_percent: int


def kernel_figures() -> tuple[Figures, ...]:
    """Figures of each kernel on the calling thread's device; raises numba-cuda's error if it is not compiled."""
    return tuple(_figures(name, shared * MAX_THREADS) for name, shared in _KERNELS.items())


def _figures(name: str, shared_bytes: int) -> Figures:
    device = cuda.get_current_device()
    # A kernel compiled for several devices or types has several forms: the largest counts.
    forms = getattr(kernels, name).overloads.values()
    form = max(forms, key=lambda form: form.regs_per_thread)
    blocks = form.max_cooperative_grid_blocks(MAX_THREADS, shared_bytes) // device.MULTIPROCESSOR_COUNT
    return Figures(
        name,
        int(form.regs_per_thread),
        int(form.local_mem_per_thread),
        100 * blocks * MAX_THREADS // int(device.MAX_THREADS_PER_MULTIPROCESSOR),
    )
