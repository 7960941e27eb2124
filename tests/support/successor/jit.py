"""`gpu_kernels.jit` for numba-cuda-mlir 0.6: what a switch of compilers takes, apart from `executed.array_words`.

Law functions reach kernels as dispatchers of numba for the CPU. numba-cuda compiles those itself. numba-cuda-mlir knows
nothing of numba, so they and the wide product, an intrinsic there, are registered here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core.registry import CPUDispatcher
from numba_cuda_mlir import cuda, extending, types
from numba_cuda_mlir.cuda import libdevice
from numba_cuda_mlir.mlir_lowering import MLIRLower
from numba_cuda_mlir.numba_cuda.core import ir
from numba_cuda_mlir.numba_cuda.typing.typeof import Purpose, typeof

from arrival_engine.cpu_fallback.wide import mul_hi, mul_wide
from arrival_engine.gpu_kernels.machine_code import MachineCode
from arrival_engine.gpu_kernels.shape import MAX_THREADS

__all__ = ["SIMULATED", "compiled", "cuda", "device", "kernel", "signature", "types"]

SIMULATED = False


def device(function: Callable[..., Any]) -> Any:
    """A function that kernels call, inlined."""
    return cuda.jit(device=True, inline="always")(function)


def kernel(function: Callable[..., None]) -> Any:
    """A kernel for blocks of at most MAX_THREADS threads."""
    return cuda.jit(launch_bounds=MAX_THREADS)(function)


def signature(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The types of a kernel's arguments."""
    return tuple(typeof(argument, Purpose.argument) for argument in arguments)


def compiled(function: Any, arguments: tuple[Any, ...], ordinal: int) -> MachineCode:
    """A kernel compiled for a device and arguments of these types."""
    with cuda.gpus[ordinal]:
        facts = function.compile(signature(arguments)).metadata
    return MachineCode(facts["func_name"], facts["cubin"])


@functools.cache
def _function_type(called: Callable[..., Any], source: Callable[..., Any]) -> Any:
    """The type of a function whose calls compile `source`, inlined."""
    registry = extending.typing_registry
    # Not strict: the function that chooses the source does not have the source's parameters.
    extending.overload(called, strict=False, inline="always", typing_registry=registry)(lambda *_: source)
    return dict(registry.globals)[called]


@extending.typeof_impl.register(CPUDispatcher)
def _type_of_law(dispatcher: CPUDispatcher, _: object) -> Any:
    return _function_type(dispatcher, dispatcher.py_func)


def _high(left: np.uint64, right: np.uint64) -> np.uint64:
    return np.uint64(libdevice.umul64hi(left, right))


def _high_and_low(left: np.uint64, right: np.uint64) -> tuple[np.uint64, np.uint64]:
    return np.uint64(libdevice.umul64hi(left, right)), left * right


_function_type(mul_hi, _high)
_function_type(mul_wide, _high_and_low)

_lower_global = MLIRLower.lower_global_assign


def _lower_wide_global(lowering: MLIRLower, target: Any, constant: Any) -> None:
    """Lower a global of 2^63 or more as a literal: version 0.6.0 gives only literals their 64th bit."""
    value = constant.value
    if isinstance(value, int | np.integer) and value >= 1 << 63:
        lowering.lower_const_assign(target, ir.Const(value, constant.loc))
    else:
        _lower_global(lowering, target, constant)


MLIRLower.lower_global_assign = _lower_wide_global
