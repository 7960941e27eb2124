"""Expansion of batches on CUDA devices, bit for bit as by `cpu_fallback.expand`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
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
from arrival_engine.gpu_kernels.host_ring import HostRing, block_bytes, carved
from arrival_engine.gpu_kernels.lane import (
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
from arrival_engine.gpu_kernels.memory import Block, DeviceMemory
from arrival_engine.gpu_kernels.opening import opened
from arrival_engine.gpu_kernels.ranges import marked
from arrival_engine.gpu_kernels.shape import LaunchShape
from arrival_engine.gpu_kernels.sort import cut

__all__ = ["COLUMNS", "Expander", "OnDevice", "Reserved", "expanding", "open_devices"]

OnNotice = Callable[[Notice], None]

COLUMNS: tuple[str, ...] = Columns._fields


class _Host(NamedTuple):
    """Host arrays of one batch, the targets of copies from the device; columns that are not copied are empty."""

    columns: Columns
    row_totals: RowTotals
    sums: U64


class Reserved(NamedTuple):
    """The batches to come, as spans of segments, and the columns that are copied to the host."""

    spans: Sequence[tuple[int, int]]
    copied: Collection[str] = COLUMNS


class OnDevice(NamedTuple):
    """A batch's columns on a device, the stream that computed them, and the device's name in messages.

    completed: gives the batch's columns on the host, with those copied that were not; call it while the device is held.
    """

    kept: Kept
    stream: Any
    label: str
    completed: Callable[[Columns], Columns]


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
        reserved: Reserved | None = None,
    ) -> None:
        """Put the tables on every device, and the count rows by `rows`.

        Batches are sorted in pieces of at most `piece_arrivals`, by default as many as the devices have memory for.
        With `reserved`, host memory for the results is made ahead. Raises RESOURCES_INSUFFICIENT if tables and count
        rows do not fit.
        """
        check_key_width(work.tables.grid, work.segments.arrival_start)
        self._segments = work.segments
        self._ring = HostRing(partial(_host_bytes, devices[0].memories[0]))
        if reserved and reserved.spans:
            largest = max(block_bytes(self._parts(span, reserved.copied)) for span in reserved.spans)
            streams = sum(len(device.memories) for device in devices)
            self._ring.make_ahead(largest, len(reserved.spans), streams)
        self._bits = offset_bits(work.tables.grid)
        self._on_notice = on_notice
        self._lanes: list[Lane] = []
        limits = []
        try:
            for device in devices:
                with marked("put tables on a device"):
                    lanes, most_arrivals = open_lanes(device, work, rows)
                limits.append(most_arrivals)
                self._lanes += lanes
        except BaseException:
            # Its thread would hold page-locked memory for the life of the process.
            self._ring.close()
            raise
        self._limit = _Limit(piece_arrivals or min(limits))
        # The most device memory that was seen, in bytes by the label of the device. Threads change it under the lock.
        self.peak_bytes: dict[str, int] = {}
        self._peak_lock = threading.Lock()
        # A device's second lane comes after every device's first.
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in sorted(self._lanes, key=lambda lane: lane.device.memories.index(lane.memory)):
            self._free.put(lane)

    def compile(self) -> None:
        """Compile the kernels and load them on every device now, not in the first batch."""
        for lane in self._lanes:
            compile_kernels(lane)

    def close(self) -> None:
        """Free the memory of every device; nothing can be expanded afterwards. Results stay valid."""
        self._ring.close()
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
        return self.leased(span)[0]

    def leased(self, span: tuple[int, int]) -> tuple[Results, Callable[[], None]]:
        """As `expand`; call the function when the results are no longer in use: their memory goes to another batch."""
        with self._lane() as lane, ExitStack() as leases:
            results = self._expand_on(lane, span, self._host(leases, span, COLUMNS), keep=False)
            return results, leases.pop_all().close

    @contextmanager
    def keeping(self, span: tuple[int, int], copied: Collection[str] = COLUMNS) -> Iterator[tuple[Results, OnDevice]]:
        """As `expand`; within the block, the columns also stay on the device that computed them.

        copied: names of the columns that are copied to the host; the others are empty in the results. Row totals and
        sums are always copied. One thread must enter and leave the block. It alone uses that device's stream meanwhile.
        """
        arrivals = self._arrivals(span)
        with self._lane() as lane, ExitStack() as leases:
            results = self._expand_on(lane, span, self._host(leases, span, copied), keep=True)
            columns = lane.workspace.blocks(results.columns, arrivals)
            kept = Kept(
                lane.memory.library,
                lane.lookups,
                Columns(*(block.storage for block in columns)),
                int(self._segments.row_start[span[0]]),
                arrivals,
            )
            completed = partial(_completed, lane.memory, columns, partial(self._host, leases, span))
            yield results, OnDevice(kept, lane.memory.stream, lane.device.label, completed)

    def _arrivals(self, span: tuple[int, int]) -> int:
        starts = self._segments.arrival_start
        return int(starts[span[1]] - starts[span[0]])

    def _parts(self, span: tuple[int, int], copied: Collection[str]) -> list[tuple[np.dtype[Any], int]]:
        """The host arrays of a batch: columns, row totals, sums."""
        arrivals, starts = self._arrivals(span), self._segments.row_start
        columns = empty_columns(0)._asdict().items()
        parts = [(column.dtype, arrivals if name in copied else 0) for name, column in columns]
        parts += [(total.dtype, int(starts[span[1]] - starts[span[0]])) for total in empty_row_totals(0)]
        return [*parts, (np.dtype(np.uint64), SUMS)]

    def _host(self, leases: ExitStack, span: tuple[int, int], copied: Collection[str]) -> _Host:
        parts = self._parts(span, copied)
        lease = self._ring.take(block_bytes(parts))
        leases.callback(lease.release)
        columns, row_totals = len(Columns._fields), len(RowTotals._fields)
        arrays: list[Any] = list(carved(lease.block, parts))
        return _Host(Columns(*arrays[:columns]), RowTotals(*arrays[columns : columns + row_totals]), arrays[-1])

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        lane = self._free.get()
        try:
            with lane.memory.entered():
                yield lane
        finally:
            self._free.put(lane)

    def _expand_on(self, lane: Lane, span: tuple[int, int], host: _Host, *, keep: bool) -> Results:
        segments, arrivals = self._segments, self._arrivals(span)
        while True:
            limit = self._limit.arrivals
            pieces = tuple(cut(segments, span, self._bits, limit))
            try:
                with marked("queue a batch"):
                    columns = _queue_pieces(lane, pieces, host, arrivals if keep else _largest(pieces))
                self._note_memory(lane.device)
                with marked("wait for the device"):
                    lane.memory.wait()
                return _results(segments, span, host, partial(_element, lane.memory, columns[COLUMNS.index("row")]))
            except MemoryError as error:
                # The frames of the traceback hold device arrays.
                failure = error.with_traceback(None)
            except BaseException:
                # Copies may still be under way to host memory that goes to another batch.
                with suppress(Exception):
                    lane.memory.wait()
                raise
            self._make_room(lane, limit, _largest(pieces), failure)

    def _note_memory(self, device: DeviceLanes) -> None:
        # An allocator keeps what the sort has used, so the end of a batch shows its peak.
        if held := device.held_bytes():
            with self._peak_lock:
                self.peak_bytes[device.label] = max(held, self.peak_bytes.get(device.label, 0))

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


def _host_bytes(memory: DeviceMemory, nbytes: int) -> NDArray[np.uint8]:
    return memory.host_empty(nbytes, np.uint8)


def _largest(pieces: tuple[Piece, ...]) -> int:
    return max((int(piece.arrivals) for piece in pieces), default=0)


def _completed(
    memory: DeviceMemory, blocks: list[Block], host: Callable[[Collection[str]], _Host], columns: Columns
) -> Columns:
    """The columns with the empty ones copied from the device; `host` gives memory for columns by name."""
    missing = [name for name, column in columns._asdict().items() if not column.size]
    room = host(missing).columns
    for name, block in zip(COLUMNS, blocks, strict=True):
        if name in missing:
            memory.copy_out(block, getattr(room, name))
    memory.wait()
    return columns._replace(**{name: getattr(room, name) for name in missing})


def _element(memory: DeviceMemory, block: Block, position: int) -> int:
    host = memory.host_empty(1, block.storage.dtype)
    memory.copy_out(_part(block, slice(position, position + 1)), host)
    memory.wait()
    return int(host[0])


def _queue_pieces(lane: Lane, pieces: tuple[Piece, ...], host: _Host, size: int) -> list[Block]:
    """Queue all work from keys to copies on the lane's stream, without waiting; give the blocks of the columns.

    size: their elements. Where they have room for all pieces, each piece uses its own part of them; else pieces use
    the same part in turn.
    """
    memory, space, largest = lane.memory, lane.workspace, _largest(pieces)
    sums = space.block("sums", SUMS, np.uint64)
    row_totals = space.blocks(host.row_totals, host.row_totals.virtual.size)
    for block in (sums, *row_totals):
        memory.clear(block)
    keys = space.block("keys", largest, np.uint64)
    columns = space.blocks(host.columns, size)
    for piece in pieces:
        place = slice(int(piece.batch_position), int(piece.batch_position + piece.arrivals))
        used = [_part(block, place) for block in columns] if size > largest else columns
        run_piece(lane.device.shape, memory, lane.resident, piece, keys, output_of(used, row_totals, sums))
        for block, column in zip(used, _arrays(host.columns), strict=True):
            if column.size:
                memory.copy_out(block, column[place])
    for block, total in zip(row_totals, _arrays(host.row_totals), strict=True):
        memory.copy_out(block, total)
    memory.copy_out(sums, host.sums)
    return columns


def _part(block: Block, place: slice) -> Block:
    return Block(block.storage[place], block.view[place])


def _arrays(group: Columns | RowTotals) -> list[NDArray[Any]]:
    return list(group)


def _results(segments: Segments, span: tuple[int, int], host: _Host, row_at: Callable[[int], int]) -> Results:
    """The host arrays as results; `row_at` looks up the row of an arrival on the device, if rows are not copied."""
    totals: BatchTotals = empty_batch_totals()
    totals.digest[:] = host.sums[SUM_A : SUM_A + 2]
    totals.at_start[0] = host.sums[AT_START]
    totals.at_end[0] = host.sums[AT_END]
    totals.origin[:] = segments.row_start[span[0]], segments.arrival_start[span[0]]
    if host.sums[FAILURE]:
        position, code = divmod(int(LATEST - host.sums[FAILURE]), int(FAILURE_CODES))
        totals.failure[:] = code, host.columns.row[position] if host.columns.row.size else row_at(position)
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
    """As `expanding` over devices that are opened now, `shape` in place of each device's own."""
    rows = uploaded_rows if files is None else device_rows(files, on_notice)
    with expanding(work, opened(devices, shape), on_notice, piece_arrivals, rows) as expander:
        yield expander


@contextmanager
def expanding(
    work: Work,
    devices: Sequence[DeviceLanes],
    on_notice: OnNotice,
    piece_arrivals: int | None = None,
    rows: RowSource = uploaded_rows,
    reserved: Reserved | None = None,
) -> Iterator[Expander]:
    """An expander, with its kernels loaded; the parameters are its own. Device memory is freed at the end.

    Raises RESOURCES_INSUFFICIENT if tables and count rows do not fit.
    """
    expander = Expander(work, devices, on_notice, piece_arrivals, rows, reserved)
    try:
        expander.compile()
        yield expander
    finally:
        expander.close()
