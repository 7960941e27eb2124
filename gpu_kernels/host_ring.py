"""Host memory for results: one block per batch in flight, given out again when the batch is released.

Page-locked memory is slow to make, some hundred milliseconds per gigabyte, and each allocation stops the driver for
other threads. So blocks are sized to the largest batch and made ahead, on a thread of their own.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["HostRing", "Lease", "block_bytes", "carved"]

# Of each array in a block: a cache line, and the widest access of copy engines.
_ALIGNMENT = 256

Part = tuple[DTypeLike, int]
Bytes = NDArray[np.uint8]


def block_bytes(parts: Sequence[Part]) -> int:
    """Bytes of a block for arrays of these types and sizes."""
    return sum(_padded(dtype, size) for dtype, size in parts)


def carved(block: Bytes, parts: Sequence[Part]) -> Iterator[NDArray[Any]]:
    """Arrays of these types and sizes, one after the other, in a block of at least `block_bytes(parts)`."""
    begin = 0
    for dtype, size in parts:
        nbytes = size * np.dtype(dtype).itemsize
        yield block[begin : begin + nbytes].view(dtype)
        begin += _padded(dtype, size)


def _padded(dtype: DTypeLike, size: int) -> int:
    return -(-size * np.dtype(dtype).itemsize // _ALIGNMENT) * _ALIGNMENT


class Lease(NamedTuple):
    """A block in use. `release` ends that, so that the block goes to another batch; later calls do nothing."""

    block: Bytes
    release: Callable[[], object]


def _lease(block: Bytes, give_back: Callable[[Bytes], None]) -> Lease:
    """A lease that also ends with the last array that lies in the block."""
    memory = (ctypes.c_uint8 * block.size).from_address(block.ctypes.data)
    release = weakref.finalize(memory, give_back, block)
    release.atexit = False
    return Lease(np.ctypeslib.as_array(memory), release)


class HostRing:
    """Blocks of host memory, safe to use from many threads.

    A batch takes a free block or, if there is none, makes one. It never waits, so results may be held as long as their
    reader likes. A block comes back when it is released, and at the latest with the last array that lies in it. So
    there are at most as many blocks as were in use at once, and those made ahead.
    """

    def __init__(self, allocate: Callable[[int], Bytes]) -> None:
        """`allocate` makes a block of a number of bytes; it may raise ArrivalError. Any thread calls it."""
        self._allocate = allocate
        self._free: list[Bytes] = []
        self._block_bytes = self._made = self._most = self._ahead = 0
        # Reentrant, because a lease may end at any allocation, also at one under this lock.
        self._changed = threading.Condition(threading.RLock())
        self._maker: threading.Thread | None = None
        self._closed = False

    def make_ahead(self, nbytes: int, most: int, ahead: int) -> None:
        """Make blocks of `nbytes` on a thread of its own: `ahead` at a time more than are in use, `most` altogether."""
        self._block_bytes, self._most, self._ahead = nbytes, most, ahead
        self._maker = threading.Thread(target=self._make, name="pinned memory", daemon=True)
        self._maker.start()

    def take(self, nbytes: int) -> Lease:
        """A block of at least `nbytes`."""
        with self._changed:
            self._changed.notify()
            at = next((at for at, block in enumerate(self._free) if block.size >= nbytes), None)
            if at is not None:
                return _lease(self._free.pop(at), self._give_back)
            self._made += 1
        return _lease(self._allocate(max(nbytes, self._block_bytes)), self._give_back)

    def close(self) -> None:
        """Free the free blocks; those in use are freed with their arrays."""
        with self._changed:
            self._closed = True
            self._free.clear()
            self._changed.notify()
        if self._maker:
            self._maker.join()

    @property
    def made(self) -> int:
        """Blocks made so far."""
        return self._made

    def _give_back(self, block: Bytes) -> None:
        with self._changed:
            if not self._closed:
                self._free.append(block)

    def _make(self) -> None:
        while self._wants_one():
            try:
                block = self._allocate(self._block_bytes)
            except Exception:  # noqa: BLE001 - a batch that then needs a block meets the same failure, and raises it
                return
            self._give_back(block)

    def _wants_one(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._made >= self._most or len(self._free) < self._ahead)
            if self._closed or self._made >= self._most:
                return False
            self._made += 1
            return True
