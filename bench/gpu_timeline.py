"""One expansion of a world on its devices, from a cold start, step by step: on the host's threads and on the streams.

Each step has a name, where it ran, and its begin and end in seconds since the timeline began. Steps of threads are by
the host's clock. Steps of streams are by CUDA events, counted from one event whose time the host's clock took.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from arrival_engine.engine.expand.backend import BatchResult
    from arrival_engine.engine.expand.planning import Batch, Plan
    from arrival_engine.gpu_kernels.lane import DeviceLanes
    from arrival_engine.gpu_kernels.layout import Kernel
    from arrival_engine.gpu_kernels.memory import Block, DeviceMemory
    from arrival_engine.gpu_kernels.shape import LaunchShape


class Step(NamedTuple):
    """One step; where: a thread's name, or a device and one of its streams."""

    name: str
    where: str
    begin_s: float
    end_s: float


@dataclass
class Timeline:
    """Steps so far; safe to use from many threads."""

    steps: list[Step] = field(default_factory=list)
    zero: float = field(default_factory=time.perf_counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Seconds since the timeline began."""
        return time.perf_counter() - self.zero

    def add(self, step: Step) -> None:
        """Enter a step that is over."""
        with self._lock:
            self.steps.append(step)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what it encloses, on the calling thread."""
        begin = self.now()
        try:
            yield
        finally:
            self.add(Step(name, threading.current_thread().name, begin, self.now()))

    def as_json(self) -> dict[str, Any]:
        """All steps in order of their beginnings; and for each name and place, how many and how long altogether."""
        with self._lock:
            steps = sorted(self.steps, key=lambda step: (step.begin_s, step.where, step.name))
        sums: dict[tuple[str, str], list[float]] = {}
        for step in steps:
            sums.setdefault((step.where, step.name), []).append(step.end_s - step.begin_s)
        totals = [
            {"where": where, "name": name, "count": len(spent), "seconds": sum(spent)}
            for (where, name), spent in sums.items()
        ]
        return {
            "seconds": max((step.end_s for step in steps), default=0.0),
            "totals": totals,
            "steps": [step._asdict() for step in steps],
        }


class StreamClock:
    """CUDA events of one device as seconds of a timeline."""

    def __init__(self, memory: DeviceMemory, timeline: Timeline) -> None:
        import cupy

        self._cuda, self._timeline = cupy.cuda, timeline
        with memory.entered():
            self._zero = self.event(memory.stream)
            self._zero.synchronize()
        self._zero_s = timeline.now()
        self._open: list[tuple[str, str, Any, Any]] = []

    def event(self, stream: Any) -> Any:
        """An event that times, recorded in a stream."""
        event = self._cuda.Event()
        event.record(stream)
        return event

    def note(self, name: str, where: str, begin: Any, end: Any) -> None:
        """Keep two events until `settle`."""
        self._open.append((name, where, begin, end))

    def settle(self) -> None:
        """Enter every pair of events into the timeline; the streams must have reached them."""
        for name, where, *events in self._open:
            begin, end = (self._zero_s + self._cuda.get_elapsed_time(self._zero, event) / 1000 for event in events)
            self._timeline.add(Step(name, where, begin, end))
        self._open.clear()


class TimedMemory:
    """A memory whose work is timed where it runs: copies, launches and sorts on its stream, waits on the thread."""

    def __init__(self, memory: DeviceMemory, where: str, clock: StreamClock, timeline: Timeline) -> None:
        self._memory, self._where, self._clock, self._timeline = memory, where, clock, timeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def upload(self, host: NDArray[Any]) -> Block:
        """As the memory's."""
        with self._on_stream("upload"):
            return self._memory.upload(host)

    def clear(self, block: Block) -> None:
        """As the memory's."""
        with self._on_stream("clear"):
            self._memory.clear(block)

    def launch(self, kernel: Kernel, shape: LaunchShape, arguments: tuple[Any, ...]) -> None:
        """As the memory's; the host's part is a step of the thread."""
        with self._on_stream(kernel.name), self._timeline.step(f"launch {kernel.name}"):
            self._memory.launch(kernel, shape, arguments)

    def sort(self, keys: Block, size: int) -> None:
        """As the memory's; the host's part is a step of the thread."""
        with self._on_stream("sort"), self._timeline.step("launch sort"):
            self._memory.sort(keys, size)

    def copy_out(self, block: Block, host: NDArray[Any]) -> None:
        """As the memory's."""
        with self._on_stream("copy out"):
            self._memory.copy_out(block, host)

    def host_empty(self, size: int, dtype: Any) -> NDArray[Any]:
        """As the memory's."""
        with self._timeline.step("allocate pinned memory"):
            return self._memory.host_empty(size, dtype)

    def wait(self) -> None:
        """As the memory's."""
        with self._timeline.step("wait for the device"):
            self._memory.wait()

    @contextmanager
    def _on_stream(self, name: str) -> Iterator[None]:
        begin = self._clock.event(self._memory.stream)
        yield
        self._clock.note(name, self._where, begin, self._clock.event(self._memory.stream))


def timed_lanes(lanes: list[DeviceLanes], timeline: Timeline) -> tuple[list[DeviceLanes], list[StreamClock]]:
    """Devices with every memory timed, and the clock of each."""
    clocks = [StreamClock(device.memories[0], timeline) for device in lanes]
    timed = []
    for device, clock in zip(lanes, clocks, strict=True):
        memories = tuple(
            cast("DeviceMemory", TimedMemory(memory, f"{device.label}, stream {at}", clock, timeline))
            for at, memory in enumerate(device.memories)
        )
        timed.append(replace(device, memories=memories))
    return timed, clocks


@dataclass(frozen=True)
class Course:
    """How a world is expanded: threads of the host, arrivals per batch, and whether batches are checked and encoded."""

    threads: int
    batch_arrivals: int
    encode: bool = True


def record(run_root: str, course: Course) -> Timeline:
    """Expand a world on all devices; nothing is written. Raises BACKEND_UNAVAILABLE where there is none."""
    timeline = Timeline()
    with timeline.step("import packages of the host"):
        from arrival_engine.engine.expand.planning import plan
        from arrival_engine.engine.world.load import load_world
        from arrival_engine.gpu_kernels.opening import Background, opened_all
    opening = Background(partial(_timed, timeline, "open devices", opened_all), "open CUDA devices")
    with timeline.step("read"):
        world = load_world(run_root, threads=course.threads)
    with timeline.step("plan"):
        planned = plan(world, course.batch_arrivals)
    with timeline.step("wait for the opening"):
        lanes = opening.result()
    _expand(planned, lanes, course, timeline)
    return timeline


def _timed(timeline: Timeline, name: str, function: Callable[[], list[DeviceLanes]]) -> list[DeviceLanes]:
    with timeline.step(name):
        return function()


def _expand(planned: Plan, lanes: list[DeviceLanes], course: Course, timeline: Timeline) -> None:
    from arrival_engine.cpu_fallback.tables import Work
    from arrival_engine.engine.expand.backend import lend_batch
    from arrival_engine.engine.process.threads import Cancellation, ordered
    from arrival_engine.gpu_kernels.expand import Reserved, expanding

    work = Work(planned.world.tables, planned.world.rows, planned.segments, planned.switches)
    finish = _encoder(planned, timeline) if course.encode else _nothing
    timed, clocks = timed_lanes(lanes, timeline)
    reserved = Reserved([batch.segments for batch in planned.batches])
    with ExitStack() as stack:
        with timeline.step("put tables on devices"):
            expander = stack.enter_context(expanding(work, timed, lambda _: None, reserved=reserved))

        def make(batch: Batch) -> None:
            with timeline.step("expand"):
                result = lend_batch(planned, batch, expander.leased(batch.segments))
            try:
                finish(result)
            finally:
                result.release()

        for _ in stack.enter_context(closing(ordered(make, planned.batches, course.threads, Cancellation()))):
            pass
        for clock in clocks:
            clock.settle()


def _nothing(result: BatchResult) -> None:
    """Leave a batch as it is."""


def _encoder(planned: Plan, timeline: Timeline) -> Callable[[BatchResult], None]:
    """Checks a batch and makes the bytes of its part file, as a run does."""
    from arrival_engine.contracts.inside import InsidePath
    from arrival_engine.engine.expand.assemble import Assembler
    from arrival_engine.engine.expand.batch_checks import check_batch
    from arrival_engine.engine.pages.parts import ParquetParts
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.world.load import sealed

    root = sealed(planned.world).receipt.run_root.outside
    parts = ParquetParts(InsidePath(root), planned.world, Assembler(planned.world))
    with timeline.step("load the part writer's kernels"):
        parts.load_kernels(Reporter())

    def encode(result: BatchResult) -> None:
        with timeline.step("check"):
            check_batch(planned, result)
        with timeline.step("encode"):
            for _ in parts.pieces(result):
                pass

    return encode
