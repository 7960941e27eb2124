"""Facts about the compiled kernels, from the driver."""

from __future__ import annotations

from typing import NamedTuple

from arrival_engine.gpu_kernels.launcher import DriverContext, checked, kernel_functions
from arrival_engine.gpu_kernels.layout import KERNELS, Kernel
from arrival_engine.gpu_kernels.shape import MAX_THREADS, LaunchShape

__all__ = ["Figures", "kernel_figures"]


class Figures(NamedTuple):
    """Registers and local memory per thread; percentage of a multiprocessor's threads that full blocks fill."""

    name: str
    registers: int
    local_bytes: int
    occupancy_percent: int


def kernel_figures(ordinal: int = 0) -> tuple[Figures, ...]:
    """Figures of each kernel on a device; raises as `launcher.kernel_functions`."""
    context = DriverContext(ordinal)
    with context.entered():
        return tuple(_figures(context, kernel) for kernel in KERNELS)


def _figures(context: DriverContext, kernel: Kernel) -> Figures:
    from cuda.bindings import driver

    function, device = kernel_functions(context.ordinal)[kernel.name], context.device

    def of_kernel(name: driver.CUfunction_attribute) -> int:
        return int(checked(driver.cuKernelGetAttribute(name, function, device), f"reading about {kernel.name}"))

    shared_bytes = kernel.shared_bytes(LaunchShape(MAX_THREADS, 1))
    handle = checked(driver.cuKernelGetFunction(function), f"looking up {kernel.name}")
    answer = driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(handle, MAX_THREADS, shared_bytes)
    blocks = checked(answer, f"reading about {kernel.name}")
    most = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR
    threads = checked(driver.cuDeviceGetAttribute(most, device), "reading about the device")
    names = driver.CUfunction_attribute
    return Figures(
        kernel.name,
        of_kernel(names.CU_FUNC_ATTRIBUTE_NUM_REGS),
        of_kernel(names.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES),
        100 * int(blocks) * MAX_THREADS // int(threads),
    )
