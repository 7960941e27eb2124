"""Launches of the kernels on a memory's stream, in order."""

from __future__ import annotations

from arrival_engine.cpu_fallback.tables import U64
from arrival_engine.gpu_kernels.layout import DRAW, PREPARE, SETTLE, Output, Piece, Resident
from arrival_engine.gpu_kernels.memory import Block, DeviceMemory
from arrival_engine.gpu_kernels.ranges import marked
from arrival_engine.gpu_kernels.shape import LaunchShape


def prepare(shape: LaunchShape, memory: DeviceMemory, resident: Resident) -> None:
    """Fill the arrays of the resident spans that are derived from the tables."""
    memory.launch(PREPARE, shape, (resident,))


def draw(shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: U64) -> None:
    """Write the sort keys of a piece, in generation order."""
    memory.launch(DRAW, shape, (resident, piece, keys))


def settle(
    shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: U64, output: Output
) -> None:
    """Write the arrivals of a piece from its sorted keys."""
    memory.launch(SETTLE, shape, (resident, piece, keys, output))


def run_piece(
    shape: LaunchShape, memory: DeviceMemory, resident: Resident, piece: Piece, keys: Block, output: Output
) -> None:
    """Queue keys, sort and arrivals on the memory's stream, without waiting."""
    with marked("draw"):
        draw(shape, memory, resident, piece, keys.view)
    with marked("sort"):
        memory.sort(keys, int(piece.arrivals))
    with marked("settle"):
        settle(shape, memory, resident, piece, keys.view, output)
