"""CUDA devices as the driver itself lists them, without numba-cuda or CuPy."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

__all__ = ["CudaDevice", "CudaState", "cuda_state"]

_CUDA_SUCCESS = 0
_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, cuda.h


class CudaDevice(NamedTuple):
    """One device as the driver describes it."""

    name: str
    memory_bytes: int
    compute_capability: tuple[int, int]


class CudaState(NamedTuple):
    """The devices that the driver shows, or in words why there are none."""

    devices: tuple[CudaDevice, ...]
    driver_version: str
    reason: str


def cuda_state() -> CudaState:
    """Ask the CUDA driver for its devices."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return CudaState((), "", "no CUDA driver: libcuda.so.1 is not on this machine")
    if status := driver.cuInit(0):
        return CudaState((), "", f"the CUDA driver does not start: {_cuda_error(driver, status)}")
    version = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    text = f"{version.value // 1000}.{version.value % 1000 // 10}"
    count = ctypes.c_int()
    if status := driver.cuDeviceGetCount(ctypes.byref(count)):
        return CudaState((), text, f"the CUDA driver lists no devices: {_cuda_error(driver, status)}")
    devices = tuple(_describe(driver, ordinal) for ordinal in range(count.value))
    reason = "" if devices else "the CUDA driver runs, but shows no device (CUDA_VISIBLE_DEVICES?)"
    return CudaState(devices, text, reason)


def _describe(driver: ctypes.CDLL, ordinal: int) -> CudaDevice:
    handle = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(handle), ordinal)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), handle)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    major, minor = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_MINOR, handle)
    return CudaDevice(name.value.decode("utf-8", "replace"), memory.value, (major.value, minor.value))


def _cuda_error(driver: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorString(status, ctypes.byref(text)) == _CUDA_SUCCESS and text.value:
        return f"{text.value.decode('utf-8', 'replace')} (error {status})"
    return f"error {status}"
