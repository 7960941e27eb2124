"""Launches of the kernels on a memory's stream, in order."""

from __future__ import annotations

from arrival_engine.cpu_fallback.tables import U64
from arrival_engine.gpu_kernels import kernels
from arrival_engine.gpu_kernels.layout import Output, Piece, Resident
from arrival_engine.gpu_kernels.memory import Block, DeviceMemory
from arrival_engine.gpu_kernels.shape import LaunchShape


def prepare(shape: LaunchShape, memory: DeviceMemory, resident: Resident) -> None:
    """Fill the arrays of the resident spans that are derived from the tables."""
    kernels.prepare_segments[shape.blocks, shape.threads, memory.stream](resident)


def _shared_bytes(shape: LaunchShape) -> int:
    return kernels.SHARED_BYTES_PER_THREAD * shape.threads


def draw(shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: U64) -> None:
    """Write the sort keys of a piece, in generation order."""
    kernels.draw_keys[shape.blocks, shape.threads, memory.stream, _shared_bytes(shape)](resident, piece, keys)


def settle(
    shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: U64, output: Output
) -> None:
    """Write the arrivals of a piece from its sorted keys."""
    kernels.settle[shape.blocks, shape.threads, memory.stream, _shared_bytes(shape)](resident, piece, keys, output)


def run_piece(
    shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: Block, output: Output
) -> None:
    """Queue keys, sort and arrivals on the memory's stream, without waiting."""
    draw(shape, memory, resident, piece, keys.view)
    memory.sort(keys, int(piece.arrivals))
    settle(shape, memory, resident, piece, keys.view, output)
