"""Launches of one kernel: its grid, its faults, and the blocks of PTX that ran."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.gpu_kernels.arguments import Parameters, words
from tests.support.ptx.arena import Arena
from tests.support.ptx.machine import CONTEXT_TYPE, SHARED_WINDOW, ByteState, Fault, FaultKind
from tests.support.ptx.native import NativeThread
from tests.support.ptx.parse import Block, parse
from tests.support.ptx.scheduler import run_block
from tests.support.ptx.translate import translated

__all__ = ["ORDERS", "ExecutableKernel", "Grid", "packed"]

# Orders of blocks, and of the threads between two barriers.
ORDERS = ("up", "down", "random")
# Blocks of PTX that a thread may run between two barriers: far more than any loop of the kernels.
_FUEL = 10**7
_POISON = 0xA5


class Grid(NamedTuple):
    """Blocks, threads per block, and bytes of shared memory per block."""

    blocks: int
    threads: int
    shared_bytes: int = 0


def packed(parameters: Parameters, arguments: tuple[Any, ...]) -> NDArray[np.uint64]:
    """One word per parameter, read through the pointers that the product packs for the driver."""
    count = sum(len(words(argument)) for argument in arguments)
    pointers = (ctypes.POINTER(ctypes.c_uint64) * count).from_address(parameters.pack(arguments))
    return np.array([pointer[0] for pointer in pointers], np.uint64)


class _Shared:
    """Shared memory of one block and its shadows."""

    def __init__(self, size: int) -> None:
        room = max(size, 1)
        self.size = size
        self.bytes, self.states = np.zeros(room, np.uint8), np.zeros(room, np.uint8)
        self.writers, self.readers = np.zeros(room, np.uint64), np.zeros(room, np.uint64)

    def clear(self) -> None:
        self.bytes.fill(_POISON)
        self.states.fill(ByteState.ALLOCATED)


class ExecutableKernel:
    """A kernel of PTX, compiled for this machine.

    `optimise` is as for NativeThread. Raises UnknownPtxError for PTX that is not known.
    """

    def __init__(self, text: str, optimise: int = 0) -> None:
        self.ptx = parse(text)
        translation = translated(self.ptx)
        self._native = NativeThread(translation.text, optimise)
        self._saved_words = translation.saved_words
        self._coverage = np.zeros(len(self.ptx.blocks), np.uint64)
        self._intervals = np.zeros(1, np.uint64)

    def launch(self, grid: Grid, parameters: NDArray[np.uint64], arena: Arena, order: str = "up") -> None:
        """Run all blocks one after the other; raises Fault.

        parameters: one word each, of which the kernel gets as many low bytes as it declares. order: one of ORDERS.
        """
        limit = self.ptx.most_threads
        if limit is not None and grid.threads > limit:
            raise ValueError(f"{grid.threads} threads per block; the kernel is compiled for at most {limit}")
        arena.launches += 1
        laid_out, shared = self._laid_out(parameters), _Shared(grid.shared_bytes)
        context = self._context(grid, laid_out, shared, arena)
        saved = np.zeros((grid.threads, self._saved_words), np.uint64)
        resumes = np.zeros(grid.threads, np.int32)
        random = np.random.default_rng(arena.launches)
        for block in _ordered(grid.blocks, order, random):
            shared.clear()
            context["ctaid"] = block
            context["global_tag"] = arena.launches << 32
            threads = _ordered(grid.threads, order, random)
            code = run_block(self._native.address, context, saved, resumes, threads, self._intervals)
            if code:
                raise self._fault(FaultKind(-code), context[0], arena)

    def _laid_out(self, parameters: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The parameters side by side, as a kernel loads them."""
        declared = self.ptx.parameters
        if parameters.size != len(declared):
            raise ValueError(f"{parameters.size} parameters; the kernel takes {len(declared)}")
        room = np.zeros(max((parameter.offset + parameter.size for parameter in declared), default=1), np.uint8)
        for parameter, word in zip(declared, parameters, strict=True):
            if parameter.size > word.itemsize:
                raise ValueError(f"{parameter.name} has {parameter.size} bytes, more than a word")
            room[parameter.offset : parameter.offset + parameter.size] = word.view((np.uint8, 8))[: parameter.size]
        return room

    def _context(self, grid: Grid, parameters: NDArray[np.uint8], shared: _Shared, arena: Arena) -> NDArray[np.void]:
        context = np.zeros(1, CONTEXT_TYPE)
        words = {
            "parameters": parameters.ctypes.data,
            "ntid": grid.threads,
            "nctaid": grid.blocks,
            "dynamic_shared": grid.shared_bytes,
            "global_base": arena.base,
            "global_size": arena.size,
            "global_states": arena.states.ctypes.data,
            "global_writers": arena.writers.ctypes.data,
            "global_readers": arena.readers.ctypes.data,
            "shared_base": shared.bytes.ctypes.data,
            "shared_size": shared.size,
            "shared_states": shared.states.ctypes.data,
            "shared_writers": shared.writers.ctypes.data,
            "shared_readers": shared.readers.ctypes.data,
            "coverage": self._coverage.ctypes.data,
            "fuel": _FUEL,
        }
        for name, word in words.items():
            context[name] = word
        return context

    def _fault(self, kind: FaultKind, context: np.void, arena: Arena) -> Fault:
        line = int(context["fault_line"])
        text = self.ptx.lines[line - 1].strip()
        place = f"block {context['ctaid']} thread {context['tid']}, PTX line {line} `{text}`"
        if kind > FaultKind.RACE:
            return Fault(kind, place)
        address = int(context["fault_address"])
        if ".shared" in text:
            return Fault(kind, f"{place}: shared byte {address - SHARED_WINDOW} of {context['shared_size']}")
        return Fault(kind, f"{place}: {arena.describe(address)}")

    def coverage(self) -> list[tuple[Block, int]]:
        """Every block of PTX that has instructions, with the number of times that a thread entered it."""
        pairs = zip(self.ptx.blocks, self._coverage, strict=True)
        return [(block, int(times)) for block, times in pairs if block.instructions]


def _ordered(count: int, order: str, random: np.random.Generator) -> NDArray[np.int32]:
    if order not in ORDERS:
        raise ValueError(f"an order is one of {ORDERS}, not {order!r}")
    if order == "random":
        return random.permutation(count).astype(np.int32)
    numbers = np.arange(count, dtype=np.int32)
    return numbers if order == "up" else numbers[::-1].copy()
