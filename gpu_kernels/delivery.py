"""Where batches that stay on a device are delivered: a device, and the stream in whose order their memory is used.

An array that is freed can be used again at once by what is queued in that stream afterwards. So everything that a
delivery makes is made, read and freed in one order, without waiting for the device.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np

__all__ = ["CupyDelivery", "Delivery", "HostDelivery"]

# Device types of the Arrow C device data interface.
_ARROW_DEVICE_CPU = 1
_ARROW_DEVICE_CUDA = 2
# Streams by their numbers in the CUDA array interface, version 3, which has no 0.
LEGACY_DEFAULT_STREAM = 1
PER_THREAD_DEFAULT_STREAM = 2


class Delivery(Protocol):
    """One device and one of its streams."""

    library: Any  # numpy, or a module that has its functions for the delivered arrays
    stream: Any  # of the library
    stream_number: int | None  # as the CUDA array interface names the stream
    device_type: int  # as the Arrow C device data interface names it
    device_id: int

    def current(self) -> AbstractContextManager[None]:
        """Make device and stream the calling thread's."""

    def taking(self) -> AbstractContextManager[None]:
        """As `current`, for reading arrays of the stream that was current before: its later work waits for this."""

    def event(self) -> Any:
        """The stream's work up to here, as a ctypes `cudaEvent_t` that lives as long as the object; None on a host."""

    def address(self, array: Any) -> int:
        """The address of an array of the library."""


class HostDelivery:
    """Delivery of numpy arrays, in place of a device."""

    library: Any = np
    stream: Any = None
    stream_number: int | None = None
    device_type = _ARROW_DEVICE_CPU
    device_id = -1

    @contextmanager
    def current(self) -> Iterator[None]:
        """Nothing to enter."""
        yield

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Nothing to wait for: the host has one order."""
        yield

    def event(self) -> Any:
        """None: the work is done."""
        return None

    def address(self, array: Any) -> int:
        """The address of a numpy array."""
        return int(array.ctypes.data)


class _Event(ctypes.c_void_p):
    """A handle, and the CuPy event that destroys it."""

    owner: Any = None


class CupyDelivery:
    """Delivery to CuPy's current device and stream of the thread that makes this object.

    Raises ValueError for the per-thread default stream, which is another one in each thread.
    """

    def __init__(self) -> None:
        import cupy

        self.library = cupy
        self.stream = cupy.cuda.get_current_stream()
        self.stream_number: int | None = int(self.stream.ptr) or LEGACY_DEFAULT_STREAM
        if self.stream_number == PER_THREAD_DEFAULT_STREAM:
            raise ValueError(
                "batches on a device need a stream that threads can share, and the per-thread default stream is "
                "current: iterate `with cupy.cuda.Stream():`"
            )
        self.device_type = _ARROW_DEVICE_CUDA
        self.device_id = int(cupy.cuda.Device().id)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make device and stream CuPy's in this thread."""
        with self.library.cuda.Device(self.device_id), self.stream:
            yield

    @contextmanager
    def taking(self) -> Iterator[None]:
        """As `current`; the stream that was current before waits on the device for what was queued inside."""
        before = self.library.cuda.get_current_stream()
        with self.current():
            try:
                yield
            finally:
                before.wait_event(self._recorded())

    def event(self) -> Any:
        """An event recorded in the stream; its CUDA handle."""
        with self.current():
            recorded = self._recorded()
        handle = _Event(recorded.ptr)
        handle.owner = recorded
        return handle

    def address(self, array: Any) -> int:
        """The device address of a CuPy array."""
        return int(array.data.ptr)

    def _recorded(self) -> Any:
        event = self.library.cuda.Event(disable_timing=True)
        event.record(self.stream)
        return event
