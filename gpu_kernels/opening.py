"""Devices opened on a thread of its own, while the host reads and plans: packages, contexts, kernels, streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.gpu_kernels.device import DeviceFacts, devices, unusable_reason
from arrival_engine.gpu_kernels.lane import STREAMS, DeviceLanes, out_of_memory
from arrival_engine.gpu_kernels.probe import described
from arrival_engine.gpu_kernels.ranges import marked
from arrival_engine.gpu_kernels.shape import LaunchShape

__all__ = ["Background", "Opening", "begin_opening", "opened", "opened_all", "take_opening", "unavailable"]

T = TypeVar("T")


class Background(Generic[T]):
    """A function that runs on a thread of its own from now on; the end of the process does not wait for it."""

    def __init__(self, function: Callable[[], T], name: str) -> None:
        self._future: Future[T] = Future()
        threading.Thread(target=self._run, args=(function,), name=name, daemon=True).start()

    def result(self) -> T:
        """What the function gives, once it is there; or what it raises."""
        return self._future.result()

    def _run(self, function: Callable[[], T]) -> None:
        try:
            self._future.set_result(function())
        except BaseException as failure:  # noqa: BLE001 - raised again where the result is used
            self._future.set_exception(failure)


Opening = Background[list[DeviceLanes]]


class _Pending:
    """The opening that was begun and that no backend has taken yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opening: Opening | None = None

    def begin(self) -> None:
        """Begin to open all devices unless that was begun."""
        with self._lock:
            self._opening = self._opening or Background(opened_all, "open CUDA devices")

    def take(self) -> Opening:
        """The opening that was begun, or a new one: each has streams of its own, for one backend alone."""
        self.begin()
        with self._lock:
            taken, self._opening = self._opening, None
        return taken or Background(opened_all, "open CUDA devices")


_pending = _Pending()


def begin_opening() -> None:
    """Open all devices in the background, for the backend that is opened next."""
    _pending.begin()


def take_opening() -> Opening:
    """The devices that `begin_opening` opens; `result` raises what `opened` raises, and BACKEND_UNAVAILABLE."""
    return _pending.take()


def opened_all() -> list[DeviceLanes]:
    """All devices of the machine; raises as `opened`, and BACKEND_UNAVAILABLE where there is none."""
    if reason := unusable_reason():
        raise unavailable(reason)
    return opened(devices())


def unavailable(reason: str) -> ArrivalError:
    """The error for a machine without a device that can be used."""
    return ArrivalError(
        Code.BACKEND_UNAVAILABLE,
        f"the CUDA backend cannot be used here: {reason}",
        hint="use --backend cpu (the same arrivals, bit for bit), or see `arrivals doctor`",
    )


def opened(found: Sequence[DeviceFacts], shape: LaunchShape | None = None) -> list[DeviceLanes]:
    """Devices with their kernels loaded, ready for tables; `shape` replaces each device's own.

    Raises BACKEND_UNAVAILABLE if the driver refuses or a kernel must be compiled and cannot be, and
    RESOURCES_INSUFFICIENT if a device has no room for its context and streams.
    """
    return [_opened_one(device, shape or LaunchShape.of_device(device.multiprocessors)) for device in found]


def _opened_one(device: DeviceFacts, shape: LaunchShape) -> DeviceLanes:
    from arrival_engine.gpu_kernels.launcher import kernel_functions
    from arrival_engine.gpu_kernels.memory import CupyMemory, device_pool

    try:
        with marked("load kernels"):
            kernel_functions(device.ordinal)
        pool = device_pool(device.ordinal)
        memories = tuple(CupyMemory(device.ordinal, pool) for _ in range(STREAMS))
    except ArrivalError:
        raise
    except MemoryError as failure:
        raise out_of_memory(f"{device.label} has no memory for its context and streams ({failure})") from failure
    except Exception as failure:
        # Of the driver, numba-cuda or CuPy, whose exceptions have nothing in common.
        raise unavailable(f"{device.label}: {described(failure)}") from failure
    return DeviceLanes(device.label, shape, memories, pool.held)
