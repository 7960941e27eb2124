"""Memory that kernels work on, behind one small interface: a device's through CuPy, the simulator's through numpy.

Methods start work on the memory's own stream; only `wait` waits for its end. A device without room raises MemoryError
from `empty`, `upload`, `running_total` or `sort`. `release` frees memory that is no longer referenced.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from arrival_engine.contracts import ArrivalError, Code

Group = TypeVar("Group", bound=tuple[Any, ...])

# Unused memory that RMM's pool may hold, plenty for the sort's buffers. By default it holds all, so memory that cuDF
# used to read count rows would be missing from the free memory that batches are sized by.
_RMM_KEEPS_BYTES = 1 << 30


class Block(NamedTuple):
    """One array in device memory, as the memory's library holds it and as kernels take it."""

    storage: Any
    view: Any


class DeviceMemory(Protocol):
    """One stream of one device, and the memory used in its order."""

    name: str  # of the allocator
    library: Any  # numpy, or a module that has its functions for these arrays
    stream: Any  # for kernel launches

    def entered(self) -> AbstractContextManager[None]:
        """Make device, allocator and stream the calling thread's; make all other calls inside."""

    def free_bytes(self) -> int:
        """Bytes that can still be allocated."""

    def upload(self, host: NDArray[Any]) -> Block:
        """A copy of a host array; an empty one becomes one element, so that every block has an address."""

    def adopt(self, array: Any) -> Block:
        """A copy of an array that another library made in `on_default_stream`."""

    def on_default_stream(self) -> AbstractContextManager[None]:
        """For libraries that work in the device's default stream; leaving waits for their work."""

    def empty(self, size: int, dtype: DTypeLike) -> Block:
        """An uninitialised array."""

    def clear(self, block: Block) -> None:
        """Zero an array."""

    def running_total(self, counts: Block) -> Block:
        """int64[n + 1]: element i is the sum of the first i counts."""

    def sort(self, keys: Block, size: int) -> None:
        """Sort the first `size` keys ascending, in place."""

    def host_empty(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialised host array that `copy_out` fills without another copy."""

    def copy_out(self, block: Block, host: NDArray[Any]) -> None:
        """Start copying the first `host.size` elements to a host array."""

    def wait(self) -> None:
        """Block the calling thread until everything started here is done."""

    def release(self) -> None:
        """Return unreferenced memory to the device, and pinned memory to the host."""


def uploaded(memory: DeviceMemory, group: Group) -> Group:
    """A group of host arrays as a group of blocks."""
    return _mapped(group, np.ndarray, memory.upload)


def views(group: Group) -> Group:
    """A group of blocks as kernels take them."""
    return _mapped(group, Block, lambda block: block.view)


def storages(group: Group) -> Group:
    """A group of blocks as arrays of the memory's library."""
    return _mapped(group, Block, lambda block: block.storage)


def _mapped(group: Group, kind: type, function: Callable[[Any], Any]) -> Group:
    """The nested group with the function applied to every element of a kind."""

    def convert(part: Any) -> Any:
        return function(part) if isinstance(part, kind) else _mapped(part, kind, function)

    return type(group)(*map(convert, group))


class HostMemory:
    """The simulator's memory: numpy arrays, and a capacity that limits allocations as on a device."""

    name = "numpy"
    library: Any = np
    stream = 0

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._used = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Nothing to enter."""
        yield

    def free_bytes(self) -> int:
        """Capacity minus the bytes of live arrays."""
        return self._capacity - self._used

    def upload(self, host: NDArray[Any]) -> Block:
        """A copy of `host`."""
        block = self.empty(max(host.size, 1), host.dtype)
        block.storage[: host.size] = host
        return block

    def adopt(self, array: Any) -> Block:
        """A copy of `array`."""
        return self.upload(np.asarray(array))

    @contextmanager
    def on_default_stream(self) -> Iterator[None]:
        """Nothing to switch: the host has one order."""
        yield

    def empty(self, size: int, dtype: DTypeLike) -> Block:
        """An array of poisoned bytes, so that an element that a kernel leaves unwritten shows."""
        array = np.empty(size, dtype)
        self._take(array.nbytes)
        array.view(np.uint8).fill(0xA5)
        weakref.finalize(array, self._give, array.nbytes)
        return Block(array, array)

    def clear(self, block: Block) -> None:
        """Zero an array."""
        block.storage.fill(0)

    def running_total(self, counts: Block) -> Block:
        """int64[n + 1] sums."""
        total = self.empty(counts.storage.size + 1, np.int64)
        total.storage[0] = 0
        np.cumsum(counts.storage, dtype=np.int64, out=total.storage[1:])
        return total

    def sort(self, keys: Block, size: int) -> None:
        """Sort in place, with a second buffer meanwhile, as a radix sort needs."""
        nbytes = size * keys.storage.itemsize
        self._take(nbytes)
        keys.storage[:size].sort()
        self._give(nbytes)

    def host_empty(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        """A plain array."""
        return np.empty(size, dtype)

    def copy_out(self, block: Block, host: NDArray[Any]) -> None:
        """Copy at once."""
        host[...] = block.storage[: host.size]

    def wait(self) -> None:
        """Nothing to wait for."""

    def release(self) -> None:
        """Nothing to do: unreferenced arrays are already freed."""

    def _take(self, nbytes: int) -> None:
        if self._used + nbytes > self._capacity:
            raise MemoryError(f"{nbytes} bytes requested, {self._capacity - self._used} of {self._capacity} free")
        self._used += nbytes

    def _give(self, nbytes: int) -> None:
        self._used -= nbytes


class Pool(NamedTuple):
    """An allocator for CuPy; `spare` counts bytes that it holds for later."""

    name: str
    allocate: Callable[[int], Any]
    spare: Callable[[], int]
    release: Callable[[], None]


def device_pool(ordinal: int) -> Pool:
    """The allocator for one device: RMM's if rmm is installed, so that cuDF shares it, else a CuPy pool."""
    if find_spec("rmm") is None:
        import cupy

        pool = cupy.cuda.MemoryPool()
        return Pool("CuPy memory pool", pool.malloc, pool.free_bytes, pool.free_all_blocks)
    import cupy
    import rmm
    from rmm.allocators.cupy import rmm_cupy_allocator

    # RMM starts with plain cudaMalloc, which would synchronise the device; a pool that others chose stays. A new pool
    # takes its memory from the device that is current while it is made.
    if isinstance(rmm.mr.get_per_device_resource(ordinal), rmm.mr.CudaMemoryResource):
        with cupy.cuda.Device(ordinal):
            resource = rmm.mr.CudaAsyncMemoryResource(release_threshold=_RMM_KEEPS_BYTES)
        rmm.mr.set_per_device_resource(ordinal, resource)
    return Pool("RMM", rmm_cupy_allocator, lambda: 0, lambda: None)


class CupyMemory:
    """A device's memory: CuPy allocates, copies and sorts; numba's kernels see the same arrays.

    CuPy 14.2 sorts 64-bit keys with CUB's radix sort and does not wait for it. Older versions could return unsorted
    keys when memory ran out (CuPy issue 9894).
    """

    def __init__(self, ordinal: int, pool: Pool) -> None:
        import cupy
        from numba import cuda

        self._cupy, self._cuda = cupy, cuda
        self._ordinal, self._pool = ordinal, pool
        self.name, self.library = pool.name, cupy
        with cupy.cuda.Device(ordinal), cuda.gpus[ordinal]:
            self._cupy_stream = cupy.cuda.Stream(non_blocking=True)
            # Blocking: the waiting thread sleeps, and leaves its core to the Parquet writers.
            self._done = cupy.cuda.Event(block=True, disable_timing=True)
            self.stream = cuda.external_stream(self._cupy_stream.ptr)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this device current for CuPy and numba, and this stream and pool current for CuPy."""
        cuda = self._cupy.cuda
        with (
            cuda.Device(self._ordinal),
            self._cuda.gpus[self._ordinal],
            cuda.using_allocator(self._pool.allocate),
            self._cupy_stream,
        ):
            yield

    def free_bytes(self) -> int:
        """Free device memory and unused memory of the pool."""
        free, _ = self._cupy.cuda.Device(self._ordinal).mem_info
        return int(free) + self._pool.spare()

    def upload(self, host: NDArray[Any]) -> Block:
        """A device copy of `host`."""
        if host.size == 0:
            return self._block(self._cupy.zeros(1, host.dtype))
        return self._block(self._cupy.asarray(host))

    def adopt(self, array: Any) -> Block:
        """A device copy in this memory's own order and allocator."""
        return self._block(self._cupy.array(array, copy=True))

    @contextmanager
    def on_default_stream(self) -> Iterator[None]:
        """Make the default stream CuPy's too: cuDF mixes its own kernels there with CuPy's in CuPy's current stream.

        This memory's stream does not wait for the default stream by itself.
        """
        with self._cupy.cuda.Stream.null:
            yield
        self._cupy.cuda.runtime.deviceSynchronize()

    def empty(self, size: int, dtype: DTypeLike) -> Block:
        """An uninitialised array."""
        return self._block(self._cupy.empty(size, dtype))

    def clear(self, block: Block) -> None:
        """Zero an array in stream order."""
        block.storage.fill(0)

    def running_total(self, counts: Block) -> Block:
        """int64[n + 1] sums, computed on the device."""
        total = self._cupy.zeros(counts.storage.size + 1, np.int64)
        total[1:] = self._cupy.cumsum(counts.storage, dtype=np.int64)
        return self._block(total)

    def sort(self, keys: Block, size: int) -> None:
        """Radix sort in stream order."""
        keys.storage[:size].sort()

    def host_empty(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        """Pinned memory of CuPy's pool, returned there when the array is collected."""
        nbytes = size * np.dtype(dtype).itemsize
        if nbytes == 0:
            return np.empty(0, dtype)
        try:
            return np.ndarray(size, dtype, buffer=self._cupy.cuda.alloc_pinned_memory(nbytes))
        except (MemoryError, self._cupy.cuda.runtime.CUDARuntimeError) as failure:
            raise ArrivalError(
                Code.RESOURCES_INSUFFICIENT,
                f"the host cannot provide {nbytes} bytes of pinned memory: {failure}",
                hint="lower --threads or --batch-arrivals, or raise the limit on locked memory (ulimit -l)",
            ) from failure

    def copy_out(self, block: Block, host: NDArray[Any]) -> None:
        """Start the copy; `host` must be an array of `host_empty` or a part of one."""
        if host.size:
            block.storage[: host.size].get(out=host, blocking=False)

    def wait(self) -> None:
        """Sleep until the stream has done its work up to here."""
        self._done.record(self._cupy_stream)
        self._done.synchronize()

    def release(self) -> None:
        """Free the unreferenced memory of the pools."""
        self._pool.release()
        self._cupy.get_default_pinned_memory_pool().free_all_blocks()

    def _block(self, array: Any) -> Block:
        # Converting once per array is cheaper than once per launch; waiting for CuPy's stream would stop the host.
        return Block(array, self._cuda.as_cuda_array(array, sync=False))
