"""Lanes: the streams of a device, the tables that they share, and the working space of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.tables import (
    I32,
    I64,
    Columns,
    RowTotals,
    Switches,
    Work,
    empty_columns,
    empty_row_totals,
)
from arrival_engine.gpu_kernels.columns import Lookups
from arrival_engine.gpu_kernels.launch import draw, prepare, settle
from arrival_engine.gpu_kernels.layout import SUMS, Output, Piece, Resident, Spans
from arrival_engine.gpu_kernels.load import RowSource, uploaded_rows
from arrival_engine.gpu_kernels.memory import Block, DeviceMemory, storages, uploaded, views
from arrival_engine.gpu_kernels.shape import LaunchShape
from arrival_engine.gpu_kernels.sort import ARRIVAL_BYTES

__all__ = ["STREAMS", "DeviceLanes", "Lane", "Workspace", "compile_kernels", "open_lanes", "out_of_memory", "output_of"]

# Two: one copies its columns out while the other's kernels run.
STREAMS = 2
# The share of free memory that batches plan with; the rest covers rounding, growth and the sort's counters.
USABLE_SHARE = 0.85


@dataclass(frozen=True)
class DeviceLanes:
    """The streams of one device, which share its tables, and how kernels are launched there.

    held_bytes: of device memory, in use or kept for later by the allocator; 0 where that is not known.
    """

    label: str
    shape: LaunchShape
    memories: tuple[DeviceMemory, ...]
    held_bytes: Callable[[], int] = lambda: 0


class Workspace:
    """Device arrays of one lane, kept from batch to batch and grown when a batch needs more."""

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory
        self._blocks: dict[str, Block] = {}

    def block(self, name: str, size: int, dtype: DTypeLike) -> Block:
        """The named array, of at least `size` elements; its content is lost when it grows."""
        if name not in self._blocks or self._blocks[name].storage.size < size:
            # Free the old array first: both together may not fit.
            self._blocks.pop(name, None)
            self._blocks[name] = self._memory.empty(size + size // 16 + 1, dtype)
        return self._blocks[name]

    def blocks(self, group: Columns | RowTotals, size: int) -> list[Block]:
        """An array of at least `size` elements for each field of a group, of the field's type."""
        kind = type(group).__name__
        return [self.block(f"{kind}.{name}", size, part.dtype) for name, part in group._asdict().items()]

    def drop(self) -> None:
        """Forget every array."""
        self._blocks.clear()


@dataclass(frozen=True)
class Lane:
    """One stream of a device with a workspace of its own; it expands one batch at a time."""

    device: DeviceLanes
    memory: DeviceMemory
    resident: Resident
    lookups: Lookups
    workspace: Workspace


def open_lanes(device: DeviceLanes, work: Work, rows: RowSource = uploaded_rows) -> tuple[list[Lane], int]:
    """Put tables and count rows on the device; return its lanes and the most arrivals that a piece should have."""
    memory = device.memories[0]
    try:
        with memory.entered():
            resident, lookups = _resident(memory, work, rows)
            if work.segments.arrivals_before.size:
                prepare(device.shape, memory, resident)
            memory.wait()
            usable = int(memory.free_bytes() * USABLE_SHARE)
    except MemoryError as failure:
        raise out_of_memory(f"{device.label} has no memory for the tables and count rows ({failure})") from failure
    lanes = [Lane(device, lane, resident, lookups, Workspace(lane)) for lane in device.memories]
    return lanes, usable // (ARRIVAL_BYTES * len(lanes))


def _resident(memory: DeviceMemory, work: Work, source: RowSource) -> tuple[Resident, Lookups]:
    segments = work.segments
    rows = source(memory, work.rows)
    spans = Spans(
        row_start=memory.upload(segments.row_start).view,
        arrivals_before=memory.upload(segments.arrivals_before).view,
        arrival_start=memory.upload(segments.arrival_start).view,
        row_arrivals=memory.upload(_running_total(work.rows.arrivals)).view,
        shift=memory.empty(segments.arrivals_before.size + 1, np.uint8).view,
        group_table=memory.empty(segments.arrivals_before.size + 1, np.int32).view,
    )
    coin, *flags = work.switches
    switches = Switches(np.uint64(coin), *map(bool, flags))
    tables = uploaded(memory, work.tables)
    return Resident(views(tables), views(rows), spans, switches), Lookups(storages(tables), storages(rows))


def _running_total(counts: I32) -> I64:
    """int64[n + 1]: element i is the sum of the first i counts."""
    total = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts, dtype=np.int64, out=total[1:])
    return total


def output_of(columns: list[Block], row_totals: list[Block], sums: Block) -> Output:
    """The output arrays of `settle`, from a workspace."""
    return Output(
        Columns(*(block.view for block in columns)), RowTotals(*(block.view for block in row_totals)), sums.view
    )


def compile_kernels(lane: Lane) -> None:
    """Load the kernels and the sort, compiled if need be, by launching them on no arrival."""
    nothing = Piece(*(np.int64(0),) * 6, np.uint64(0))
    space = lane.workspace
    with lane.memory.entered():
        sums = space.block("sums", SUMS, np.uint64)
        output = output_of(space.blocks(empty_columns(0), 1), space.blocks(empty_row_totals(0), 1), sums)
        keys = space.block("keys", 1, np.uint64)
        draw(lane.device.shape, lane.memory, lane.resident, nothing, keys.view)
        lane.memory.sort(keys, 1)
        settle(lane.device.shape, lane.memory, lane.resident, nothing, keys.view, output)
        lane.memory.wait()


def out_of_memory(what: str) -> ArrivalError:
    """The error for a device without room."""
    return ArrivalError(
        Code.RESOURCES_INSUFFICIENT,
        what,
        hint="lower --batch-arrivals, stop other programs that use the device, or use --backend cpu",
    )
