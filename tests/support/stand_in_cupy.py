"""CuPy's streams, events and devices as far as deliveries use them, over numpy arrays that know an address.

What a stream is told is kept in `log`, in order. CuPy 14.2 has the same names, parameters and refusals.
"""

from __future__ import annotations

import itertools
import sys
import threading
import types
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import numpy as np

LANE, OTHER = 0xABC0, 0xABD0  # handles of streams
LEGACY, PER_THREAD = 0, 2


class Array(np.ndarray):
    """A numpy array with CuPy's pointer."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])


def as_array(values: Any) -> Array:
    return np.asarray(values).view(Array)


class Cuda:
    """`cupy.cuda`."""

    def __init__(self, device: int) -> None:
        self.log: list[tuple[Any, ...]] = []
        log, handles, current = self.log, itertools.count(0xE000), threading.local()

        class Event:
            def __init__(self, *, disable_timing: bool = False) -> None:
                assert disable_timing, "an event that times is slower, and nothing reads its time"
                self.ptr = next(handles)

            def record(self, stream: Any) -> None:
                log.append(("record", self.ptr, stream.ptr))

        class Stream:
            null: Any = None

            def __init__(self, ptr: int) -> None:
                self.ptr = ptr

            def __enter__(self) -> Any:
                current.streams = [*getattr(current, "streams", [Stream.null]), self]
                return self

            def __exit__(self, *_: object) -> None:
                current.streams.pop()

            def wait_event(self, event: Event) -> None:
                log.append(("wait", event.ptr, self.ptr))

        class Device:
            def __init__(self, ordinal: int = device) -> None:
                self.id = ordinal

            def __enter__(self) -> Any:
                assert self.id == device
                return self

            def __exit__(self, *_: object) -> None:
                """Nothing to leave."""

        Stream.null = Stream(LEGACY)
        self.Event, self.Stream, self.Device = Event, Stream, Device
        self.get_current_stream = lambda: getattr(current, "streams", [Stream.null])[-1]


def install(monkeypatch: Any, device: int = 1) -> Any:
    """Put the stand-in where `import cupy` looks."""
    library: Any = types.ModuleType("cupy")
    library.__spec__ = ModuleSpec("cupy", None)
    library.cuda = Cuda(device)

    def through_numpy(name: str) -> Any:
        function = getattr(np, name)
        return lambda *arguments, **options: as_array(function(*arguments, **options))

    for name in ("array", "asarray", "zeros", "full", "where", "packbits", "bincount", "count_nonzero"):
        setattr(library, name, through_numpy(name))
    monkeypatch.setitem(sys.modules, "cupy", library)
    return library
