"""Device memory whose kernels are executed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from arrival_engine.gpu_kernels.arguments import DeviceArray, Parameters
from arrival_engine.gpu_kernels.layout import Kernel
from arrival_engine.gpu_kernels.memory import Block
from arrival_engine.gpu_kernels.shape import LaunchShape
from tests.support.ptx.arena import Arena
from tests.support.ptx.launch import ExecutableKernel, Grid, packed

__all__ = ["ExecutedMemory"]


class ExecutedMemory:
    """One stream of a pretended device, as `gpu_kernels.memory.DeviceMemory` describes it.

    Launches pack parameters as the product does for the driver, execute PTX and raise Fault. Sorting and copying to
    the host fault on elements that were not written. Memories of one device share an arena. `order` is as for
    `ExecutableKernel.launch`.
    """

    name = "executor"
    library: Any = np
    stream = 0

    def __init__(
        self,
        kernels: Mapping[str, ExecutableKernel],
        arena: Arena,
        order: str = "up",
        capacity_bytes: int | None = None,
    ) -> None:
        self.arena = arena
        self._kernels, self._order = kernels, order
        self._parameters: dict[str, Parameters] = {}
        self._capacity = arena.size if capacity_bytes is None else capacity_bytes
        self._used = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        yield

    @contextmanager
    def on_default_stream(self) -> Iterator[None]:
        yield

    def free_bytes(self) -> int:
        return self._capacity - self._used

    def empty(self, size: int, dtype: DTypeLike) -> Block:
        nbytes = size * np.dtype(dtype).itemsize
        self._take(nbytes)
        array = self.arena.allocate(size, dtype)
        weakref.finalize(array, self._give, nbytes)
        return Block(array, DeviceArray(array))

    def upload(self, host: NDArray[Any]) -> Block:
        block = self.empty(max(host.size, 1), host.dtype)
        block.storage[: host.size] = host
        self.arena.initialise(block.storage[: host.size])
        return block

    def adopt(self, array: Any) -> Block:
        return self.upload(np.asarray(array))

    def clear(self, block: Block) -> None:
        block.storage.fill(0)
        self.arena.initialise(block.storage)

    def launch(self, kernel: Kernel, shape: LaunchShape, arguments: tuple[Any, ...]) -> None:
        grid = Grid(shape.blocks, shape.threads, kernel.shared_bytes(shape))
        if kernel.name not in self._parameters:
            self._parameters[kernel.name] = Parameters(kernel.prototypes())
        parameters = packed(self._parameters[kernel.name], arguments)
        self._kernels[kernel.name].launch(grid, parameters, self.arena, self._order)

    def sort(self, keys: Block, size: int) -> None:
        nbytes = size * keys.storage.itemsize
        self._take(nbytes)
        self.arena.check_initialised(keys.storage[:size], "sort")
        keys.storage[:size].sort()
        self._give(nbytes)

    def host_empty(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        return np.empty(size, dtype)

    def copy_out(self, block: Block, host: NDArray[Any]) -> None:
        self.arena.check_initialised(block.storage[: host.size], "copy to the host")
        host[...] = block.storage[: host.size]

    def wait(self) -> None:
        pass

    def release(self) -> None:
        pass

    def _take(self, nbytes: int) -> None:
        if self._used + nbytes > self._capacity:
            raise MemoryError(f"{nbytes} bytes requested, {self.free_bytes()} of {self._capacity} free")
        self._used += nbytes

    def _give(self, nbytes: int) -> None:
        self._used -= nbytes
