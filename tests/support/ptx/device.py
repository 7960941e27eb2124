"""The product's expander over a pretended device that executes PTX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from unittest import mock

import numpy as np
from numpy.typing import DTypeLike

from arrival_engine.contracts import Notice
from arrival_engine.cpu_fallback.tables import Work
from arrival_engine.gpu_kernels.expand import Expander
from arrival_engine.gpu_kernels.lane import DeviceLanes, Workspace
from arrival_engine.gpu_kernels.memory import Block
from arrival_engine.gpu_kernels.shape import LaunchShape
from tests.support.ptx.arena import Arena
from tests.support.ptx.compile import KERNELS, compiled
from tests.support.ptx.launch import ExecutableKernel
from tests.support.ptx.memory import ExecutedMemory

__all__ = ["Kernels", "PretendedDevice", "executable", "executable_kernels"]

Kernels = Mapping[str, ExecutableKernel]


def executable(name: str, capability: tuple[int, int], form: str = "linked") -> ExecutableKernel:
    """A kernel of the product, with no block counted as run; `form` names a field of CompiledKernel."""
    return ExecutableKernel(getattr(compiled(name, capability), form))


@cache
def executable_kernels(capability: tuple[int, int], form: str = "linked") -> Kernels:
    """All kernels of the product. Their counters of blocks are shared by everything that uses them."""
    return {name: executable(name, capability, form) for name in KERNELS}


class ExactWorkspace(Workspace):
    """Arrays of exactly the requested size, so that an access past the end is out of bounds."""

    def block(self, name: str, size: int, dtype: DTypeLike) -> Block:
        held = self._blocks.get(name)
        if held is not None and held.storage.size != max(size, 1):
            del self._blocks[name]
        if name not in self._blocks:
            self._blocks[name] = self._memory.empty(max(size, 1), np.dtype(dtype))
        return self._blocks[name]


_SHAPE = LaunchShape(64, 3)


@dataclass(frozen=True)
class PretendedDevice:
    """Kernels and how they are launched; `order` is as for `ExecutableKernel.launch`.

    arena_bytes: addresses that allocations take one after the other, never twice. capacity_bytes: the memory of each
    stream, if it has less.
    """

    kernels: Kernels
    shape: LaunchShape = _SHAPE
    order: str = "up"
    streams: int = 1
    arena_bytes: int = 1 << 25
    capacity_bytes: int | None = None

    def open(
        self, work: Work, piece_arrivals: int | None = None, on_notice: Callable[[Notice], None] = lambda _: None
    ) -> Expander:
        """An expander over fresh memory, with exact workspaces."""
        arena = Arena(self.arena_bytes)
        memories = tuple(
            ExecutedMemory(self.kernels, arena, self.order, self.capacity_bytes) for _ in range(self.streams)
        )
        with mock.patch("arrival_engine.gpu_kernels.lane.Workspace", ExactWorkspace):
            return Expander(work, [DeviceLanes("pretended device", self.shape, memories)], on_notice, piece_arrivals)
