"""Arrivals that are in memory already, written by one writer alone: pyarrow's, the engine's own, or none.

All use the run's row groups, its threads and its `DiskSync`. Written to memory, no disk takes part: that is what
encoding costs. Plain bytes have no encoding: that is what the disk costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.timing import Timing
from bench.writers import MEMORY, Held, Item, Writer, own_writer, plain_writer, pyarrow_writer, temporary

if TYPE_CHECKING:
    from arrival_engine.contracts.inside import InsidePath
    from arrival_engine.engine.expand.assemble import Assembler
    from arrival_engine.engine.expand.backend import BatchResult
    from arrival_engine.engine.expand.planning import Batch, Plan

# A held arrival takes about 95 bytes, as codes and as Arrow. What is being made or written to memory comes on top.
_BYTES_AN_ARRIVAL = 95
_SHARE_OF_MEMORY = 0.5
# By prefix of the names in the result.
_WRITERS = {"": pyarrow_writer, "own_": own_writer}


def write_arrivals(run_root: str, scratch: str, threads: int, repeats: int) -> dict[str, Any]:
    """Seconds and bytes of both Parquet writers for every part, to disk and to memory; and what each column costs."""
    from arrival_engine.engine.expand.assemble import Assembler
    from arrival_engine.engine.expand.backend import choose_backend
    from arrival_engine.engine.expand.planning import plan
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.world.load import load_world
    from bench.column_costs import column_costs

    batches = plan(load_world(run_root, threads=threads))
    assembler = Assembler(batches.world)
    folders = {"disk": Path(scratch), "memory": MEMORY}
    writers = {name: writer(batches.world, assembler) for name, writer in _WRITERS.items()}
    sizes = dict.fromkeys(writers, 0)
    timings = {f"{name}{place}": [Timing() for _ in range(repeats)] for name in writers for place in folders}
    with choose_backend("cpu").open(batches, Reporter()) as expand_batch:
        groups = list(_groups(batches))
        for group in groups:
            held = _hold(group, expand_batch, assembler, threads)
            for name, writer in writers.items():
                for place, folder in folders.items():
                    size = _timed(held, writer, folder, threads, timings[f"{name}{place}"])
                sizes[name] += size
        costs = column_costs(held[len(held) // 2], batches.world, assembler, repeats)
    return {
        "held_groups": len(groups),
        **{f"{name}bytes": size for name, size in sizes.items()},
        **{name: [_total(timing) for timing in repeat] for name, repeat in timings.items()},
        **costs,
    }


def write_plain_bytes(files: list[str], scratch: str, threads: int, repeats: int) -> dict[str, Any]:
    """Seconds to write the bytes of existing files to new ones: what the disk takes, without any encoding."""
    held = [(Path(path).name, Path(path).read_bytes()) for path in files]
    timings = [Timing() for _ in range(repeats)]
    size = _timed(held, plain_writer, Path(scratch), threads, timings)
    return {"plain_bytes": size, "plain_disk": [_total(timing) for timing in timings]}


def _groups(batches: Plan) -> Iterator[list[Batch]]:
    """As many batches at once as memory holds: all of them if possible."""
    import psutil

    room = int(psutil.virtual_memory().available * _SHARE_OF_MEMORY) // _BYTES_AN_ARRIVAL
    group: list[Batch] = []
    for batch in batches.batches:
        if group and sum(other.arrivals for other in group) + batch.arrivals > room:
            yield group
            group = []
        group.append(batch)
    yield group


def _hold(
    group: list[Batch], expand_batch: Callable[[Batch], BatchResult], assembler: Assembler, threads: int
) -> list[Held]:
    from arrival_engine.engine.process.threads import Cancellation, ordered

    def make(batch: Batch) -> Held:
        result = expand_batch(batch)
        return Held(result, list(assembler.batches(result)))

    return list(ordered(make, group, threads, Cancellation()))


def _timed(items: Sequence[Item], writer: Writer[Item], parent: Path, threads: int, timings: Sequence[Timing]) -> int:
    """Add one write of all items to each timing, after an unmeasured one; gives the size of the files in bytes."""
    with temporary(parent) as folder:
        _write(items, writer(folder), threads)
        size = sum(path.stat().st_size for path in folder.iterdir())
    for timing in timings:
        with temporary(parent) as folder, timing.repeat():
            _write(items, writer(folder), threads)
    return size


def _write(items: Sequence[Item], write: Callable[[Item], InsidePath], threads: int) -> None:
    """Every item on `threads` threads; on disk when this returns."""
    from arrival_engine.engine.process.threads import Cancellation, ordered
    from arrival_engine.engine.run.disk import DiskSync

    with DiskSync() as disk:

        def each(item: Item) -> None:
            disk.sync(write(item), lambda: None)

        # Nothing has to wait for its turn here, so no thread is kept waiting for another's part.
        for _ in ordered(each, items, threads, Cancellation(), ahead=len(items)):
            pass
        disk.wait()


def _total(timing: Timing) -> dict[str, float]:
    """One repeat over all groups."""
    return {"wall_s": sum(timing.wall_s), "cpu_s": sum(timing.cpu_s)}
