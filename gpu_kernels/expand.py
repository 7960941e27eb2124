"""Expansion of batches on CUDA devices, bit for bit as by `cpu_fallback.expand`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import Notice
from arrival_engine.cpu_fallback.segments import check_key_width, offset_bits
from arrival_engine.cpu_fallback.tables import (
    U64,
    BatchTotals,
    Columns,
    Results,
    RowTotals,
    Segments,
    Work,
    empty_batch_totals,
    empty_columns,
    empty_row_totals,
)
from arrival_engine.gpu_kernels.columns import Kept
from arrival_engine.gpu_kernels.device import DeviceFacts
from arrival_engine.gpu_kernels.lane import (
    STREAMS,
    DeviceLanes,
    Lane,
    compile_kernels,
    open_lanes,
    out_of_memory,
    output_of,
)
from arrival_engine.gpu_kernels.launch import run_piece
from arrival_engine.gpu_kernels.layout import AT_END, AT_START, FAILURE, FAILURE_CODES, LATEST, SUM_A, SUMS, Piece
from arrival_engine.gpu_kernels.load import CountFiles, RowSource, device_rows, uploaded_rows
from arrival_engine.gpu_kernels.memory import Block, CupyMemory, DeviceMemory, device_pool
from arrival_engine.gpu_kernels.shape import LaunchShape
from arrival_engine.gpu_kernels.sort import cut

__all__ = ["Expander", "OnDevice", "open_devices"]

OnNotice = Callable[[Notice], None]


class _Host(NamedTuple):
    """Host arrays of one batch, the targets of copies from the device."""

    columns: Columns
    row_totals: RowTotals
    sums: U64


class OnDevice(NamedTuple):
    """A batch's columns on a device, the stream that computed them, and the device's name in messages."""

    kept: Kept
    stream: Any
    label: str


class _Limit:
    """Most arrivals per piece, from the free memory; lowered once if a device still runs out."""

    def __init__(self, arrivals: int) -> None:
        self.arrivals = arrivals
        self._lowered = False
        self._lock = threading.Lock()

    def lower(self, tried: int, largest: int) -> bool:
        """Lower to a quarter of the largest piece under the limit tried; False if that limit was lowered before."""
        with self._lock:
            if self._lowered:
                # Another lane may have lowered it while this one was still trying the old limit.
                return tried > self.arrivals
            self.arrivals, self._lowered = max(min(largest, tried) // 4, 1), True
            return True


class Expander:
    """Expands spans of segments on devices; safe to call from many threads.

    A call takes a free lane, queues the whole span there and waits for that lane alone. Lanes overlap, and several
    devices share the work. Results do not depend on the lane.
    """

    def __init__(
        self,
        work: Work,
        devices: Sequence[DeviceLanes],
        on_notice: OnNotice,
        piece_arrivals: int | None = None,
        rows: RowSource = uploaded_rows,
    ) -> None:
        """Put the tables on every device, and the count rows by `rows`.

        Batches are sorted in pieces of at most `piece_arrivals`, by default as many as the devices have memory for.
        Raises RESOURCES_INSUFFICIENT if tables and count rows do not fit.
        """
        check_key_width(work.tables.grid, work.segments.arrival_start)
        self._segments = work.segments
        self._bits = offset_bits(work.tables.grid)
        self._on_notice = on_notice
        self._lanes: list[Lane] = []
        limits = []
        for device in devices:
            lanes, most_arrivals = open_lanes(device, work, rows)
            limits.append(most_arrivals)
            self._lanes += lanes
        self._limit = _Limit(piece_arrivals or min(limits))
        # A device's second lane comes after every device's first.
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in sorted(self._lanes, key=lambda lane: lane.device.memories.index(lane.memory)):
            self._free.put(lane)

    def compile(self) -> None:
        """Compile the kernels and load them on every device now, not in the first batch."""
        for lane in self._lanes:
            compile_kernels(lane)

    def close(self) -> None:
        """Free the memory of every device; nothing can be expanded afterwards."""
        memories = [lane.memory for lane in self._lanes]
        self._free = queue.SimpleQueue()
        self._lanes.clear()
        for memory in memories:
            with memory.entered():
                memory.release()

    def expand(self, span: tuple[int, int]) -> Results:
        """Expand segments span[0] to span[1] to their arrivals in output order.

        If `totals.failure[0]` is not 0, the row totals are not valid. If a device runs out of memory, pieces become
        smaller once, with a notice; the next time raises RESOURCES_INSUFFICIENT.
        """
        with self._lane() as lane:
            return self._expand_on(lane, span, keep=False)

    @contextmanager
    def keeping(self, span: tuple[int, int]) -> Iterator[tuple[Results, OnDevice]]:
        """As `expand`; within the block, the columns also stay on the device that computed them.

        One thread must enter and leave the block. It alone uses that device's stream meanwhile.
        """
        with self._lane() as lane:
            results = self._expand_on(lane, span, keep=True)
            columns = lane.workspace.blocks(results.columns, results.columns.row.size)
            kept = Kept(
                lane.memory.library,
                lane.lookups,
                Columns(*(block.storage for block in columns)),
                int(self._segments.row_start[span[0]]),
                results.columns.row.size,
            )
            yield results, OnDevice(kept, lane.memory.stream, lane.device.label)

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        lane = self._free.get()
        try:
            with lane.memory.entered():
                yield lane
        finally:
            self._free.put(lane)

    def _expand_on(self, lane: Lane, span: tuple[int, int], *, keep: bool) -> Results:
        segments = self._segments
        arrivals = int(segments.arrival_start[span[1]] - segments.arrival_start[span[0]])
        rows = int(segments.row_start[span[1]] - segments.row_start[span[0]])
        host = _host_arrays(lane.memory, arrivals, rows)
        while True:
            limit = self._limit.arrivals
            pieces = tuple(cut(segments, span, self._bits, limit))
            try:
                _queue_pieces(lane, pieces, host, keep=keep)
                lane.memory.wait()
                return _results(segments, span, host)
            except MemoryError as error:
                # The frames of the traceback hold device arrays.
                failure = error.with_traceback(None)
            self._make_room(lane, limit, _largest(pieces), failure)

    def _make_room(self, lane: Lane, limit: int, tried: int, failure: MemoryError) -> None:
        lane.memory.wait()
        lane.workspace.drop()
        lane.memory.release()
        what = f"{lane.device.label} has no memory for {tried} arrivals at once ({failure})"
        if not self._limit.lower(limit, tried):
            raise out_of_memory(what) from failure
        self._on_notice(
            Notice(
                "DEVICE_MEMORY",
                f"{what}; going on with pieces of {self._limit.arrivals}",
                {"device": lane.device.label, "tried_arrivals": tried, "arrivals": self._limit.arrivals},
            )
        )


def _host_arrays(memory: DeviceMemory, arrivals: int, rows: int) -> _Host:
    columns = Columns(*(memory.host_empty(arrivals, column.dtype) for column in empty_columns(0)))
    row_totals = RowTotals(*(memory.host_empty(rows, total.dtype) for total in empty_row_totals(0)))
    return _Host(columns, row_totals, memory.host_empty(SUMS, np.uint64))


def _largest(pieces: tuple[Piece, ...]) -> int:
    return max((int(piece.arrivals) for piece in pieces), default=0)


def _queue_pieces(lane: Lane, pieces: tuple[Piece, ...], host: _Host, *, keep: bool) -> None:
    """Queue all work from keys to copies on the lane's stream, without waiting.

    Pieces use the same device columns in turn; with `keep`, each piece uses its own part of them.
    """
    memory, space, largest = lane.memory, lane.workspace, _largest(pieces)
    sums = space.block("sums", SUMS, np.uint64)
    row_totals = space.blocks(host.row_totals, host.row_totals.virtual.size)
    for block in (sums, *row_totals):
        memory.clear(block)
    keys = space.block("keys", largest, np.uint64)
    columns = space.blocks(host.columns, host.columns.row.size if keep else largest)
    for piece in pieces:
        place = slice(int(piece.batch_position), int(piece.batch_position + piece.arrivals))
        used = [_part(block, place) for block in columns] if keep and len(pieces) > 1 else columns
        run_piece(lane.device.shape, memory, lane.resident, piece, keys, output_of(used, row_totals, sums))
        for block, column in zip(used, _arrays(host.columns), strict=True):
            memory.copy_out(block, column[place])
    for block, total in zip(row_totals, _arrays(host.row_totals), strict=True):
        memory.copy_out(block, total)
    memory.copy_out(sums, host.sums)


def _part(block: Block, place: slice) -> Block:
    return Block(block.storage[place], block.view[place])


def _arrays(group: Columns | RowTotals) -> list[NDArray[Any]]:
    return list(group)


def _results(segments: Segments, span: tuple[int, int], host: _Host) -> Results:
    totals: BatchTotals = empty_batch_totals()
    totals.digest[:] = host.sums[SUM_A : SUM_A + 2]
    totals.at_start[0] = host.sums[AT_START]
    totals.at_end[0] = host.sums[AT_END]
    totals.origin[:] = segments.row_start[span[0]], segments.arrival_start[span[0]]
    if host.sums[FAILURE]:
        position, code = divmod(int(LATEST - host.sums[FAILURE]), int(FAILURE_CODES))
        totals.failure[:] = code, host.columns.row[position]
    return Results(host.columns, host.row_totals, totals)


@contextmanager
def open_devices(
    work: Work,
    devices: Sequence[DeviceFacts],
    on_notice: OnNotice,
    shape: LaunchShape | None = None,
    piece_arrivals: int | None = None,
    files: CountFiles | None = None,
) -> Iterator[Expander]:
    """An expander over the given devices; `shape` replaces each device's own, `piece_arrivals` is as for Expander.

    With `files`, each device reads the count rows itself. Device memory is freed at the end. Raises
    RESOURCES_INSUFFICIENT if tables and count rows do not fit.
    """
    lanes = []
    for device in devices:
        pool = device_pool(device.ordinal)
        memories = tuple(CupyMemory(device.ordinal, pool) for _ in range(STREAMS))
        lanes.append(DeviceLanes(device.label, shape or LaunchShape.of_device(device.multiprocessors), memories))
    rows = uploaded_rows if files is None else device_rows(files, on_notice)
    expander = Expander(work, lanes, on_notice, piece_arrivals, rows)
    try:
        expander.compile()
        yield expander
    finally:
        expander.close()
