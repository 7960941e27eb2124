"""The global memory of a pretended device: numpy arrays in one arena whose every byte has a state."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.support.ptx.machine import ByteState, Fault, FaultKind

__all__ = ["Arena"]

# Allocations lie as far apart and are aligned as cudaMalloc's, so an access just past one hits no other.
_ALIGNMENT = 256
_POISON = 0xA5
_PAGE = 4096


class _Allocation(NamedTuple):
    start: int
    nbytes: int
    what: str


class Arena:
    """The global memory of one pretended device.

    Space is not given out again while the arena lives, so an access to freed memory is found. `readers` and `writers`
    are the shadows that `machine.CONTEXT` describes; `launches` numbers the launches for their tags.
    """

    def __init__(self, size: int) -> None:
        self._raw = np.zeros(size + _PAGE, np.uint8)
        self.base = -(-self._raw.ctypes.data // _PAGE) * _PAGE
        self.size = size
        self.states = np.zeros(size, np.uint8)
        self.writers = np.zeros(size, np.uint64)
        self.readers = np.zeros(size, np.uint64)
        self.launches = 0
        self._end = _ALIGNMENT
        self._allocations: list[_Allocation] = []

    def allocate(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        """A poisoned array; its bytes count as unallocated again once it is collected."""
        dtype = np.dtype(dtype)
        nbytes = size * dtype.itemsize
        start = self._end
        if start + nbytes + _ALIGNMENT > self.size:
            raise MemoryError(f"{nbytes} bytes requested, {self.size - start} of the arena free")
        self._end = -(-(start + nbytes + _ALIGNMENT) // _ALIGNMENT) * _ALIGNMENT
        buffer = (ctypes.c_uint8 * max(nbytes, 1)).from_address(self.base + start)
        ctypes.memset(self.base + start, _POISON, nbytes)
        self.states[start : start + nbytes] = ByteState.ALLOCATED
        self._allocations.append(_Allocation(start, nbytes, f"{dtype}[{size}]"))
        weakref.finalize(buffer, self._free, start, nbytes)
        return np.frombuffer(memoryview(buffer), dtype, size)

    def _free(self, start: int, nbytes: int) -> None:
        self.states[start : start + nbytes] = ByteState.UNALLOCATED

    def _states_of(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        start = array.ctypes.data - self.base
        return self.states[start : start + array.nbytes]

    def initialise(self, array: NDArray[Any]) -> None:
        """Record that the host wrote a contiguous array."""
        self._states_of(array)[:] = ByteState.INITIALISED

    def check_initialised(self, array: NDArray[Any], what: str) -> None:
        """Raise a Fault if the host would read an element that was not written."""
        unwritten = self._states_of(array) != ByteState.INITIALISED
        if unwritten.any():
            element = int(np.argmax(unwritten)) // array.itemsize
            raise Fault(FaultKind.UNINITIALISED, f"{what} of element {element} of {array.dtype}[{array.size}]")

    def describe(self, address: int) -> str:
        """Where an address is: the allocation that begins before it, and the distance."""
        offset = address - self.base
        if not 0 <= offset < self.size:
            return f"address {address:#x}, outside the memory of the device"
        before = [allocation for allocation in self._allocations if allocation.start <= offset]
        if not before:
            return f"address {address:#x}, before every allocation"
        start, nbytes, what = before[-1]
        return f"byte {offset - start} of an allocation of {nbytes} bytes, {what}"
