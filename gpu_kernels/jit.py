"""Compilation of kernels and device functions, for a device and for numba's simulator: the one door to `numba.cuda`.

`gpu_kernels.machine_code` keeps on disk what is compiled here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import cuda, types
from numba.core import config

from arrival_engine.gpu_kernels.machine_code import MachineCode, cuda_kernels_are_cached
from arrival_engine.gpu_kernels.shape import MAX_THREADS
from arrival_engine.gpu_kernels.toolchain import links_with_optimization

__all__ = ["SIMULATED", "compiled", "cuda", "cuda_kernels_are_cached", "device", "kernel", "types"]

SIMULATED = bool(config.ENABLE_CUDASIM)

F = TypeVar("F", bound=Callable[..., Any])


def device(function: F) -> F:
    """A function that kernels call, inlined on a device so that groups of arrays never pass through memory."""
    options = {} if SIMULATED else {"forceinline": True}
    return cuda.jit(function, device=True, **options)  # type: ignore[no-any-return]


def kernel(function: Callable[..., None]) -> Any:
    """A kernel for blocks of at most MAX_THREADS threads, optimised when it is linked if nvJitLink is there."""
    # As one call: `cuda.jit(lto=...)(function)` would drop the option.
    options = {} if SIMULATED else {"launch_bounds": MAX_THREADS, "lto": links_with_optimization()}
    return cuda.jit(function, **options)


def compiled(function: Any, arguments: tuple[Any, ...], ordinal: int) -> MachineCode:
    """A kernel compiled for a device and arguments of these types. Raises numba-cuda's errors."""
    from numba.cuda.typing.typeof import Purpose, typeof

    signature = tuple(typeof(argument, Purpose.argument) for argument in arguments)
    with cuda.gpus[ordinal]:
        form = function.compile(signature)
        return MachineCode(str(form.entry_name), bytes(form.library.get_cubin().code))
