"""Launching the kernels on a memory's stream, and in which order."""

from __future__ import annotations

from arrival_engine.cpu_fallback.tables import U64
from arrival_engine.gpu_kernels import kernels
from arrival_engine.gpu_kernels.layout import Output, Piece, Resident
from arrival_engine.gpu_kernels.memory import Block, DeviceMemory
from arrival_engine.gpu_kernels.shape import LaunchShape


def prepare(shape: LaunchShape, memory: DeviceMemory, resident: Resident) -> None:
    """Fill what the resident spans derive from the tables."""
    kernels.prepare_segments[shape.blocks, shape.threads, memory.stream](resident)


def _shared_bytes(shape: LaunchShape) -> int:
    return kernels.SHARED_BYTES_PER_THREAD * shape.threads


def draw(shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: U64) -> None:
    """Sort keys of a piece, in generation order."""
    kernels.draw_keys[shape.blocks, shape.threads, memory.stream, _shared_bytes(shape)](resident, piece, keys)


def settle(
    shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: U64, output: Output
) -> None:
    """Arrivals of a piece from its sorted keys."""
    kernels.settle[shape.blocks, shape.threads, memory.stream, _shared_bytes(shape)](resident, piece, keys, output)


def run_piece(
    shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: Block, output: Output
) -> None:
    """Keys, sort, arrivals: queued on the memory's stream, nothing waited for."""
    draw(shape, memory, resident, piece, keys.view)
    memory.sort(keys, int(piece.arrivals))
    settle(shape, memory, resident, piece, keys.view, output)
