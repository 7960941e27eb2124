"""The answer to numba-cuda-mlir's question for a device, which it asks the driver even to compile for another one."""

from __future__ import annotations

from numba_cuda_mlir import tools

__all__ = ["answer_for_device"]


def answer_for_device(capability: tuple[int, int]) -> None:
    """Pretend that the device has this compute capability."""
    tools._cached_cc = capability
