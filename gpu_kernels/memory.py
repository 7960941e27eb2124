"""Memory that kernels work on, behind one small interface: a device's through CuPy, the simulator's through numpy.

Methods start work on the memory's own stream; only `wait` waits for its end. A device without room raises MemoryError
from `empty`, `upload` or `sort`. `release` frees memory that is no longer referenced.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from arrival_engine.gpu_kernels.arguments import DeviceArray
from arrival_engine.gpu_kernels.layout import Kernel
from arrival_engine.gpu_kernels.shape import LaunchShape

if TYPE_CHECKING:
    from arrival_engine.gpu_kernels.launcher import Launcher

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
    stream: Any  # what other libraries take as the stream

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

    def launch(self, kernel: Kernel, shape: LaunchShape, arguments: tuple[Any, ...]) -> None:
        """Queue a kernel; `arguments` are its parameters, arrays being the views of blocks of this memory."""

    def sort(self, keys: Block, size: int) -> None:
        """Sort the first `size` keys ascending, in place."""

    def host_empty(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialised host array that `copy_out` fills without another copy, from any thread."""

    def copy_out(self, block: Block, host: NDArray[Any]) -> None:
        """Start copying the first `host.size` elements to a host array."""

    def wait(self) -> None:
        """Block the calling thread until everything started here is done."""

    def release(self) -> None:
        """Return unreferenced memory to the device."""


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

    def launch(self, kernel: Kernel, shape: LaunchShape, arguments: tuple[Any, ...]) -> None:
        """Run the kernel in numba's simulator, at once."""
        from arrival_engine.gpu_kernels import kernels

        function = getattr(kernels, kernel.name)
        function[shape.blocks, shape.threads, self.stream, kernel.shared_bytes(shape)](*arguments)

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
    """An allocator for CuPy; `spare` counts bytes that it holds for later, `held` also those in use."""

    name: str
    allocate: Callable[[int], Any]
    spare: Callable[[], int]
    release: Callable[[], None]
    held: Callable[[], int] = lambda: 0


def device_pool(ordinal: int) -> Pool:
    """The allocator for one device: RMM's if rmm is installed, so that cuDF shares it, else a CuPy pool."""
    if find_spec("rmm") is None:
        import cupy

        pool = cupy.cuda.MemoryPool()
        return Pool("CuPy memory pool", pool.malloc, pool.free_bytes, pool.free_all_blocks, pool.total_bytes)
    import cupy
    import rmm
    from rmm.allocators.cupy import rmm_cupy_allocator

    # RMM starts with plain cudaMalloc, which would synchronise the device; a pool that others chose stays. A new pool
    # takes its memory from the device that is current while it is made.
    if isinstance(rmm.mr.get_per_device_resource(ordinal), rmm.mr.CudaMemoryResource):
        with cupy.cuda.Device(ordinal):
            resource = rmm.mr.CudaAsyncMemoryResource(release_threshold=_RMM_KEEPS_BYTES)
        rmm.mr.set_per_device_resource(ordinal, resource)
    device = cupy.cuda.Device(ordinal)
    free_before, _ = device.mem_info
    # RMM does not tell. Another program's memory counts too, if it takes some meanwhile.
    return Pool("RMM", rmm_cupy_allocator, lambda: 0, lambda: None, lambda: max(free_before - device.mem_info[0], 0))


class CupyMemory:
    """A device's memory: CuPy allocates, copies and sorts; the driver launches the kernels on the same arrays.

    CuPy 14.2 sorts 64-bit keys with CUB's radix sort and does not wait for it. Older versions could return unsorted
    keys when memory ran out (CuPy issue 9894).
    """

    def __init__(self, ordinal: int, pool: Pool) -> None:
        import cupy

        from arrival_engine.gpu_kernels.launcher import DriverContext

        self._cupy, self._ordinal, self._pool = cupy, ordinal, pool
        self.name, self.library = pool.name, cupy
        self._context = DriverContext(ordinal)
        with self._context.entered(), cupy.cuda.Device(ordinal):
            self.stream = cupy.cuda.Stream(non_blocking=True)
            # Blocking: the waiting thread sleeps, and leaves its core to the Parquet writers.
            self._done = cupy.cuda.Event(block=True, disable_timing=True)
        self._launcher: Launcher | None = None

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this device current for the driver and CuPy, and this stream and pool current for CuPy."""
        cuda = self._cupy.cuda
        with (
            self._context.entered(),
            cuda.Device(self._ordinal),
            cuda.using_allocator(self._pool.allocate),
            self.stream,
        ):
            yield

    def free_bytes(self) -> int:
        """Free device memory and unused memory of the pool."""
        free, _ = self._cupy.cuda.Device(self._ordinal).mem_info
        return int(free) + self._pool.spare()

    def upload(self, host: NDArray[Any]) -> Block:
        """A device copy of `host`, which may change when this returns.

        CuPy would copy through page-locked memory of the same size, and keep that.
        """
        if host.size == 0:
            return _device_block(self._cupy.zeros(1, host.dtype))
        array, host = self._cupy.empty(host.size, host.dtype), np.ascontiguousarray(host)
        self._context.copy_in(array.data.ptr, host, self.stream.ptr)
        self.wait()
        return _device_block(array)

    def adopt(self, array: Any) -> Block:
        """A device copy in this memory's own order and allocator."""
        return _device_block(self._cupy.array(array, copy=True))

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
        return _device_block(self._cupy.empty(size, dtype))

    def clear(self, block: Block) -> None:
        """Zero an array in stream order."""
        block.storage.fill(0)

    def launch(self, kernel: Kernel, shape: LaunchShape, arguments: tuple[Any, ...]) -> None:
        """Launch the compiled kernel in stream order."""
        if self._launcher is None:
            from arrival_engine.gpu_kernels.launcher import Launcher, kernel_functions

            self._launcher = Launcher(kernel_functions(self._ordinal), self.stream.ptr)
        self._launcher.launch(kernel, shape, arguments)

    def sort(self, keys: Block, size: int) -> None:
        """Radix sort in stream order."""
        keys.storage[:size].sort()

    def host_empty(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        """Page-locked memory of the driver, freed with the last array that lies in it."""
        from arrival_engine.gpu_kernels.pinned import pinned_bytes

        nbytes = size * np.dtype(dtype).itemsize
        return pinned_bytes(self._context, nbytes).view(dtype) if nbytes else np.empty(0, dtype)

    def copy_out(self, block: Block, host: NDArray[Any]) -> None:
        """Start the copy; `host` must be an array of `host_empty` or a part of one."""
        if host.size:
            self._context.copy_out(block.storage.data.ptr, host, self.stream.ptr)

    def wait(self) -> None:
        """Sleep until the stream has done its work up to here."""
        self._done.record(self.stream)
        self._done.synchronize()

    def release(self) -> None:
        """Free the unreferenced memory of the pool."""
        self._pool.release()


def _device_block(array: Any) -> Block:
    return Block(array, DeviceArray(array))
