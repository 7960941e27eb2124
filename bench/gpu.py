"""Expansion on CUDA devices: a timeline from a cold start, and the kernels alone beside the bytes that must move.

    python -m bench gpu RUN_ROOT [--repeats 20] [--threads 256] [--blocks N] [--piece-arrivals N]

Prints one JSON object. `timeline`: one expansion on all devices, step by step, with its batches checked and encoded on
the host's threads. The rest is of the first device, columns left there, by CUDA events: every repeat of every step; the
measured copy bandwidth, and the floor, which is the time to read each input and write each output once; the transfer of
count rows by either reader; registers and occupancy of the kernels. Without a device, the exit code is 1. Nothing is
estimated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.expand.planning import DEFAULT_BATCH_ARRIVALS
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.gpu_kernels import device
from bench.gpu_timeline import Course, record

if TYPE_CHECKING:
    from arrival_engine.contracts import Notice
    from arrival_engine.cpu_fallback.tables import Work
    from arrival_engine.engine.expand.planning import Plan
    from arrival_engine.gpu_kernels.lane import Lane
    from arrival_engine.gpu_kernels.layout import Output, Piece
    from arrival_engine.gpu_kernels.memory import Block

STEPS = ("draw", "sort", "settle")
_LOADS = 5
COPY_BYTES = 1 << 30
WARM_UP = 3


class NoDeviceError(Exception):
    """There is no device to measure; the message says why."""


class Stopwatch:
    """Milliseconds between CUDA events on one lane's stream."""

    def __init__(self, lane: Lane) -> None:
        import cupy

        self._cuda, self._lane = cupy.cuda, lane
        self._events: list[Any] = []

    def mark(self) -> None:
        """Record an event on the current stream."""
        event = self._cuda.Event()
        event.record(self._cuda.get_current_stream())
        self._events.append(event)

    def gaps(self) -> list[float]:
        """Milliseconds between neighbouring marks, once the device has reached the last one; then starts again."""
        self._lane.memory.wait()
        events, self._events = self._events, []
        return [float(self._cuda.get_elapsed_time(*pair)) for pair in pairwise(events)]


def measure_world(run_root: str, repeats: int, shape: tuple[int, int | None], piece_arrivals: int) -> dict[str, Any]:
    """Raw milliseconds of every repeat on the first device. Raises NoDeviceError."""
    if reason := device.unusable_reason():
        raise NoDeviceError(reason)
    from arrival_engine.cpu_fallback.segments import offset_bits
    from arrival_engine.cpu_fallback.tables import Work
    from arrival_engine.engine.expand.planning import plan
    from arrival_engine.engine.world.load import load_world
    from arrival_engine.gpu_kernels.figures import kernel_figures
    from arrival_engine.gpu_kernels.lane import DeviceLanes, compile_kernels, open_lanes
    from arrival_engine.gpu_kernels.memory import CupyMemory, device_pool
    from arrival_engine.gpu_kernels.shape import LaunchShape
    from arrival_engine.gpu_kernels.sort import cut
    from arrival_engine.gpu_kernels.toolchain import toolchain_facts

    planned = plan(load_world(run_root))
    work = Work(planned.world.tables, planned.world.rows, planned.segments, planned.switches)
    (found, *_) = device.devices()
    threads, blocks = shape
    launch_shape = LaunchShape(threads, blocks or LaunchShape.of_device(found.multiprocessors).blocks)
    memory = CupyMemory(found.ordinal, device_pool(found.ordinal))
    (lane,), most = open_lanes(DeviceLanes(found.label, launch_shape, (memory,)), work)
    compile_kernels(lane)
    span = 0, work.segments.arrivals_before.size
    pieces = tuple(cut(work.segments, span, offset_bits(work.tables.grid), min(piece_arrivals, most)))
    with memory.entered():
        steps = _time_steps(lane, work, pieces, repeats)
        copy_ms = _time_copy(lane, repeats)
        readers = _time_readers(lane, planned, min(repeats, _LOADS))
        kernels = [figures._asdict() for figures in kernel_figures()]
    floor_bytes = _floor_bytes(work)
    bandwidth = 2 * COPY_BYTES / (statistics.median(copy_ms) / 1000)
    total_ms = statistics.median(map(sum, zip(*steps.values(), strict=True)))
    floor_ms = floor_bytes / bandwidth * 1000
    return {
        "device": found.__dict__ | {"label": found.label},
        "arrivals": planned.arrivals,
        "count_rows": int(work.rows.arrivals.size),
        "segments": span[1],
        "pieces": len(pieces),
        "launch_shape": launch_shape.__dict__,
        "allocator": memory.name,
        "toolchain": dict(toolchain_facts()),
        "kernels": kernels,
        "count_rows_seconds": readers,
        "step_ms": steps,
        "copy_ms": copy_ms,
        "copy_bytes_per_second": bandwidth,
        "floor_bytes": floor_bytes,
        "floor_ms": floor_ms,
        "expansion_ms": total_ms,
        "of_floor": total_ms / floor_ms,
        "arrivals_per_second": planned.arrivals / (total_ms / 1000),
    }


def _time_steps(lane: Lane, work: Work, pieces: tuple[Piece, ...], repeats: int) -> dict[str, list[float]]:
    """The whole world, piece by piece: milliseconds of each step, one sum per repeat."""
    import numpy as np

    from arrival_engine.cpu_fallback.tables import empty_columns, empty_row_totals
    from arrival_engine.gpu_kernels.lane import output_of
    from arrival_engine.gpu_kernels.layout import SUMS

    space, largest = lane.workspace, max(int(piece.arrivals) for piece in pieces)
    keys = space.block("keys", largest, np.uint64)
    output = output_of(
        space.blocks(empty_columns(0), largest),
        space.blocks(empty_row_totals(0), work.rows.arrivals.size),
        space.block("sums", SUMS, np.uint64),
    )
    watch = Stopwatch(lane)
    sums: dict[str, list[float]] = {step: [] for step in STEPS}
    for repeat in range(-WARM_UP, repeats):
        for piece in pieces:
            _run(lane, piece, keys, output, watch.mark)
        gaps = watch.gaps()
        if repeat >= 0:
            # Each piece makes four marks; the fourth gap is the wait for the next piece's first.
            for place, step in enumerate(STEPS):
                sums[step].append(sum(gaps[place :: len(STEPS) + 1]))
    return sums


def _run(lane: Lane, piece: Piece, keys: Block, output: Output, mark: Callable[[], None]) -> None:
    from arrival_engine.gpu_kernels.launch import draw, settle

    shape, memory = lane.device.shape, lane.memory
    mark()
    draw(shape, memory, lane.resident, piece, keys.view)
    mark()
    memory.sort(keys, int(piece.arrivals))
    mark()
    settle(shape, memory, lane.resident, piece, keys.view, output)
    mark()


def _time_copy(lane: Lane, repeats: int) -> list[float]:
    """Milliseconds of a large copy within the device."""
    import numpy as np

    source, target = (lane.memory.empty(COPY_BYTES // 8, np.uint64).storage for _ in range(2))
    source.fill(0x5A5A5A5A5A5A5A5A)
    watch = Stopwatch(lane)
    for _ in range(WARM_UP + repeats):
        watch.mark()
        target[...] = source
        watch.mark()
    return watch.gaps()[2 * WARM_UP :: 2]


def _time_readers(lane: Lane, planned: Plan, repeats: int) -> dict[str, list[float] | str]:
    """Seconds until the count rows are on the device: uploaded, and read there by cuDF; or why that was not measured.

    The first of cuDF's contains its import.
    """
    from arrival_engine.engine.expand.backend import count_files
    from arrival_engine.gpu_kernels.load import device_rows, reader, uploaded_rows

    notices: list[Notice] = []
    sources = {"uploaded": uploaded_rows, "read by cuDF": device_rows(count_files(planned.world), notices.append)}
    found: dict[str, list[float] | str] = {}
    for name, source in sources.items():
        if name != "uploaded" and reader()[0] != "cuDF":
            found[name] = reader()[1]
            continue
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            rows = source(lane.memory, planned.world.rows)
            lane.memory.wait()
            seconds.append(time.perf_counter() - began)
            del rows
        found[name] = notices[0].message if notices else seconds
    return found


def _floor_bytes(work: Work) -> int:
    """Columns and row totals written once, count rows and segments read once; look-up tables stay in the cache."""
    from arrival_engine.cpu_fallback.tables import empty_columns, empty_row_totals

    rows, arrivals = work.rows.arrivals.size, int(work.segments.arrival_start[-1])
    written = arrivals * sum(column.itemsize for column in empty_columns(0))
    written += rows * sum(total.itemsize for total in empty_row_totals(0))
    read = rows * (work.rows.entity.itemsize + work.rows.bucket.itemsize + 8)
    return written + read + sum(array.nbytes for array in work.segments)


def _nothing(reason: str) -> int:
    print(f"bench gpu: nothing measured, no usable CUDA device: {reason}", file=sys.stderr)
    return 1


def main(words: list[str]) -> int:
    """Run one command line and give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench gpu", description=__doc__.splitlines()[0])
    parser.add_argument("run_root", type=Path, help="a sealed run directory")
    parser.add_argument("--repeats", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=256, help="per block; default: %(default)s")
    parser.add_argument("--blocks", type=int, help="per grid; default: 32 per multiprocessor")
    parser.add_argument("--piece-arrivals", type=int, default=32_000_000, help="sorted at once; default: %(default)s")
    parser.add_argument("--host-threads", type=int, default=available_cores(), help="default: %(default)s")
    parser.add_argument("--batch-arrivals", type=int, default=DEFAULT_BATCH_ARRIVALS, help="default: %(default)s")
    parser.add_argument("--no-encoding", action="store_true", help="neither check nor encode batches")
    options = parser.parse_args(words)
    course = Course(options.host_threads, options.batch_arrivals, encode=not options.no_encoding)
    if reason := device.missing_reason():
        return _nothing(reason)
    try:
        # First, while nothing is loaded that a run would have to load.
        timeline = record(str(options.run_root), course).as_json()
        measured = measure_world(
            str(options.run_root), options.repeats, (options.threads, options.blocks), options.piece_arrivals
        )
    except NoDeviceError as reason:
        return _nothing(str(reason))
    except ArrivalError as error:
        if error.code is not Code.BACKEND_UNAVAILABLE:
            raise
        return _nothing(error.message)
    from bench import environment

    command = f"python -m bench gpu RUN_ROOT {' '.join(words[1:])}".strip()
    measured |= {"timeline": {**asdict(course), **timeline}}
    result = {"name": "gpu", "command": command, "environment": environment.describe(), "measured": measured}
    print(json.dumps(result, indent=1))
    return 0
