"""Machine code loaded by the driver, and its launches with packed parameters.

The driver's binding is cuda-bindings, which numba-cuda itself launches by. Nothing here needs numba-cuda or CuPy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.gpu_kernels.arguments import Parameters
from arrival_engine.gpu_kernels.layout import KERNELS, Kernel
from arrival_engine.gpu_kernels.machine_code import MachineCode, machine_code
from arrival_engine.gpu_kernels.shape import LaunchShape

__all__ = ["DriverContext", "Launcher", "checked", "function_of", "kernel_functions"]


def checked(answer: tuple[Any, ...], doing: str) -> Any:
    """The value of a driver's answer. Raises MemoryError, or BACKEND_UNAVAILABLE with the driver's error."""
    from cuda.bindings import driver

    status, *values = answer
    if status == driver.CUresult.CUDA_SUCCESS:
        return values[0] if values else None
    if status == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        raise MemoryError(f"the driver has no memory for {doing}")
    _, text = driver.cuGetErrorString(status)
    said = text.decode("utf-8", "replace") if text else "it gives no reason"
    raise ArrivalError(
        Code.BACKEND_UNAVAILABLE,
        f"the CUDA driver failed at {doing}: {said} ({getattr(status, 'name', 'error')} {int(status)})",
        hint="use --backend cpu (the same arrivals, bit for bit), or see `arrivals doctor` and the system's log",
    )


class DriverContext:
    """The primary context of a device, which the CUDA runtime, and so CuPy, uses too."""

    def __init__(self, ordinal: int) -> None:
        from cuda.bindings import driver

        checked(driver.cuInit(0), "its start")
        self._driver, self.ordinal = driver, ordinal
        self.device = checked(driver.cuDeviceGet(ordinal), f"device {ordinal}")
        self._context = checked(driver.cuDevicePrimaryCtxRetain(self.device), f"the context of device {ordinal}")

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Of the device: major and minor number."""
        names = self._driver.CUdevice_attribute
        major, minor = (
            checked(self._driver.cuDeviceGetAttribute(name, self.device), "reading the compute capability")
            for name in (
                names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        return int(major), int(minor)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make the context the calling thread's."""
        checked(self._driver.cuCtxPushCurrent(self._context), "making a context current")
        try:
            yield
        finally:
            self._driver.cuCtxPopCurrent()

    def copy_in(self, address: int, host: NDArray[Any], stream: int) -> None:
        """Start copying a contiguous host array to device memory; it must not change until the stream has done so."""
        answer = self._driver.cuMemcpyHtoDAsync(address, host.ctypes.data, host.nbytes, stream)
        checked(answer, f"copying {host.nbytes} bytes to device {self.ordinal}")

    def copy_out(self, address: int, host: NDArray[Any], stream: int) -> None:
        """Start filling a contiguous host array from device memory."""
        answer = self._driver.cuMemcpyDtoHAsync(host.ctypes.data, address, host.nbytes, stream)
        checked(answer, f"copying {host.nbytes} bytes from device {self.ordinal}")


def function_of(code: MachineCode) -> Any:
    """The driver's handle of a kernel; its code stays loaded for the life of the process."""
    from cuda.bindings import driver

    library = checked(driver.cuLibraryLoadData(code.cubin, [], [], 0, [], [], 0), f"loading {code.entry}")
    return checked(driver.cuLibraryGetKernel(library, code.entry.encode()), f"looking up {code.entry}")


@functools.cache
def kernel_functions(ordinal: int) -> Mapping[str, Any]:
    """The driver's handles of all kernels for a device, by name, compiled where no machine code is on disk."""
    context = DriverContext(ordinal)
    with context.entered():
        codes = {kernel.name: machine_code(kernel, context.compute_capability, ordinal) for kernel in KERNELS}
        return {name: function_of(code) for name, code in codes.items()}


class Launcher:
    """Launches kernels on one stream; one thread at a time.

    functions: handles by the kernels' names. stream: the driver's handle. Arrays among the arguments are any objects
    with `__cuda_array_interface__`.
    """

    def __init__(self, functions: Mapping[str, Any], stream: int) -> None:
        from cuda.bindings import driver

        self._driver, self._functions = driver, functions
        self._stream = driver.CUstream(stream)
        self._parameters: dict[str, Parameters] = {}
        self._configs: dict[tuple[str, LaunchShape], Any] = {}

    def launch(self, kernel: Kernel, shape: LaunchShape, arguments: tuple[Any, ...]) -> None:
        """Queue a kernel. Raises as `checked`, and TypeError for arguments of other types than the kernel's."""
        config = self._configs.get((kernel.name, shape)) or self._config(kernel, shape)
        pointers = self._packing(kernel).pack(arguments)
        answer = self._driver.cuLaunchKernelEx(config, self._functions[kernel.name], pointers, 0)
        checked(answer, f"launching {kernel.name}")

    def _packing(self, kernel: Kernel) -> Parameters:
        if kernel.name not in self._parameters:
            self._parameters[kernel.name] = Parameters(kernel.prototypes())
        return self._parameters[kernel.name]

    def _config(self, kernel: Kernel, shape: LaunchShape) -> Any:
        config = self._driver.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = shape.blocks, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = shape.threads, 1, 1
        config.sharedMemBytes, config.hStream, config.numAttrs = kernel.shared_bytes(shape), self._stream, 0
        self._configs[kernel.name, shape] = config
        return config
