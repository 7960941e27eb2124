"""CUDA devices as the driver itself lists them, without numba-cuda or CuPy."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

__all__ = ["CudaDevice", "CudaState", "cuda_state", "no_driver_reason"]

_CUDA_SUCCESS = 0
# CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, _COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h
_MULTIPROCESSORS, _COMPUTE_MAJOR, _COMPUTE_MINOR = 16, 75, 76


class CudaDevice(NamedTuple):
    """One device as the driver describes it."""

    name: str
    memory_bytes: int
    multiprocessors: int
    compute_capability: tuple[int, int]


class CudaState(NamedTuple):
    """The devices that the driver shows, or in words why there are none."""

    devices: tuple[CudaDevice, ...]
    driver_version: str
    reason: str


def no_driver_reason() -> str:
    """Why there is no CUDA driver; empty if there is one, whether or not it starts."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA driver: libcuda.so.1 is not on this machine"
    return ""


def cuda_state() -> CudaState:
    """Ask the CUDA driver for its devices."""
    if reason := no_driver_reason():
        return CudaState((), "", reason)
    driver = ctypes.CDLL("libcuda.so.1")
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

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), number, handle)
        return value.value

    return CudaDevice(
        name.value.decode("utf-8", "replace"),
        memory.value,
        attribute(_MULTIPROCESSORS),
        (attribute(_COMPUTE_MAJOR), attribute(_COMPUTE_MINOR)),
    )


def _cuda_error(driver: ctypes.CDLL, status: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorString(status, ctypes.byref(text)) == _CUDA_SUCCESS and text.value:
        return f"{text.value.decode('utf-8', 'replace')} (error {status})"
    return f"error {status}"
