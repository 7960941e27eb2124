"""CuPy on the stand-in driver, as far as `gpu_kernels.memory` and the benchmark use it: device memory is the host's.

A process finds it if this folder is on its path. CuPy 14.2 has the same names, parameters and results.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda.bindings import driver

_current = threading.local()


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """An array in memory of the current allocator."""

    @property
    def __cuda_array_interface__(self):
        facts = {name: self.__array_interface__[name] for name in ("shape", "typestr", "data")}
        return {**facts, "strides": None, "version": 3}

    @property
    def data(self):
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])

    def get(self, out=None, blocking=True):  # noqa: ARG002 - everything has happened when a call returns
        found = np.array(self) if out is None else out
        found[...] = self
        return found.view(np.ndarray)


def _fresh(size, dtype):
    allocate = getattr(_current, "allocate", None) or MemoryPool().malloc
    nbytes = int(size) * np.dtype(dtype).itemsize
    memory = allocate(nbytes)
    return np.ndarray(size, dtype, buffer=memory).view(ndarray)


def empty(size, dtype):
    return _fresh(size, dtype)


def zeros(size, dtype):
    made = _fresh(size, dtype)
    made.fill(0)
    return made


def asarray(host):
    made = _fresh(host.size, host.dtype)
    made[...] = host
    return made


def array(host, copy=True):
    assert copy
    return asarray(host)


class MemoryPool:
    """Memory of the host; nothing is kept for later, and what was given out counts as held."""

    def __init__(self):
        self._given = 0

    def malloc(self, nbytes):
        self._given += nbytes
        return (ctypes.c_uint8 * max(nbytes, 1))()

    def free_bytes(self):
        return 0

    def total_bytes(self):
        return self._given

    def free_all_blocks(self):
        return None


class Device:
    def __init__(self, ordinal=0):
        self.id = ordinal

    @property
    def mem_info(self):
        return 70 << 30, 80 << 30

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Stream:
    null: Any = None

    def __init__(self, *, non_blocking=False):
        _, handle = driver.cuStreamCreate(int(non_blocking))
        self.ptr = int(handle)

    def __enter__(self):
        _current.streams = [*getattr(_current, "streams", []), self]
        return self

    def __exit__(self, *_):
        _current.streams.pop()


class Event:
    def __init__(self, block=False, disable_timing=False):
        self.block, self.timed = block, not disable_timing
        self.recorded = False

    def record(self, stream=None):
        self.recorded = stream is not None

    def synchronize(self):
        assert self.recorded


@contextlib.contextmanager
def using_allocator(allocate):
    before = getattr(_current, "allocate", None)
    _current.allocate = allocate
    try:
        yield
    finally:
        _current.allocate = before


Stream.null = Stream()
cuda = SimpleNamespace(
    Device=Device,
    Stream=Stream,
    Event=Event,
    MemoryPool=MemoryPool,
    using_allocator=using_allocator,
    get_current_stream=lambda: (getattr(_current, "streams", None) or [Stream.null])[-1],
    get_elapsed_time=lambda start, end: 1.0 if start.timed and end.timed else None,
    runtime=SimpleNamespace(deviceSynchronize=lambda: None),
)
