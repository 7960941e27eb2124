"""The writer's floor: the arrivals of a run, as Arrow tables in memory, written by pyarrow alone.

Same settings, row groups and threads: the files are written by the run's own `PartWriter`, which is pyarrow's Parquet
writer and a flush, and synced by its `DiskSync`. Written to memory, no disk takes part: that is what encoding costs.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from arrival_engine.engine.process import human
from bench.process import in_process
from bench.product import run_job
from bench.tabular import Table
from bench.timing import Timing, median, repeated
from bench.workplace import Workplace, world_facts

if TYPE_CHECKING:
    import pyarrow as pa

    from arrival_engine.cpu_fallback.digest import Digest
    from arrival_engine.engine.arrivals.parts import PartReceipt, PartWriter
    from arrival_engine.engine.expand.assemble import Assembler
    from arrival_engine.engine.expand.backend import BatchResult
    from arrival_engine.engine.expand.planning import Batch, Plan
    from arrival_engine.engine.run.disk import DiskSync

MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory
# A held arrival takes about 80 bytes; while it is made, and written to memory, it takes as much again.
_BYTES_AN_ARRIVAL = 80
_SHARE_OF_MEMORY = 0.5


class Held(NamedTuple):
    """One part, ready to be written."""

    number: int
    row_groups: list[pa.RecordBatch]
    digest: Digest


def measure(workplace: Workplace) -> dict[str, Any]:
    """Whole runs, then the same arrivals written from memory."""
    root = workplace.world
    runs = [run_job(root, workplace.threads) for _ in range(workplace.repeats)]
    workplace.say("floor: the same arrivals from memory")
    floor = in_process(
        write_from_memory,
        run_root=str(root),
        scratch=str(workplace.scratch),
        threads=workplace.threads,
        repeats=workplace.repeats,
    )
    return {"world": world_facts(root), "runs": runs, **floor}


def write_from_memory(run_root: str, scratch: str, threads: int, repeats: int) -> dict[str, Any]:
    """Seconds to write every part to disk and to memory, and of each column of one part."""
    from arrival_engine.engine.expand.assemble import Assembler
    from arrival_engine.engine.expand.backend import choose_backend
    from arrival_engine.engine.expand.planning import plan
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.run.disk import DiskSync
    from arrival_engine.engine.world.load import load_world

    batches = plan(load_world(run_root, threads=threads))
    assembler = Assembler(batches.world)
    folders = {"disk": Path(scratch), "memory": MEMORY}
    timings = {place: [Timing() for _ in range(repeats)] for place in folders}
    written = 0
    with choose_backend("cpu").open(batches, Reporter()) as expand_batch:
        groups = list(_groups(batches))
        for group in groups:
            held = _hold(group, expand_batch, assembler, threads)
            for place, folder in folders.items():
                with _folder(folder) as target, DiskSync() as disk:
                    _write(held, _writer(batches, assembler, target), threads, disk)
                for timing in timings[place]:
                    with _folder(folder) as target, timing.repeat(), DiskSync() as disk:
                        parts = _write(held, _writer(batches, assembler, target), threads, disk)
            written += sum(part.bytes for part in parts)
        columns = _column_costs(held[len(held) // 2], batches, assembler, repeats)
    return {
        "held_groups": len(groups),
        "bytes": written,
        **{place: [_total(timing) for timing in repeat] for place, repeat in timings.items()},
        "columns": columns,
    }


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
        return Held(batch.index, list(assembler.batches(result)), result.digest)

    return list(ordered(make, group, threads, Cancellation()))


def _writer(batches: Plan, assembler: Assembler, folder: Path) -> PartWriter:
    from arrival_engine.contracts.inside import InsidePath
    from arrival_engine.engine.arrivals.metadata import file_metadata
    from arrival_engine.engine.arrivals.parts import PartWriter

    world = batches.world
    return PartWriter(InsidePath(folder), assembler.schema, world.settings.output, "parquet", file_metadata(world))


def _write(held: list[Held], writer: PartWriter, threads: int, disk: DiskSync) -> list[PartReceipt]:
    """Every part on `threads` threads; on disk when this returns."""
    from arrival_engine.engine.process.threads import Cancellation, ordered

    def write(part: Held) -> PartReceipt:
        receipt = writer.write(part.number, iter(part.row_groups), part.digest)
        disk.sync(writer.directory / receipt.name, lambda: None)
        return receipt

    # Nothing has to wait for its turn here, so no thread is kept waiting for another's part.
    parts = list(ordered(write, held, threads, Cancellation(), ahead=len(held)))
    disk.wait()
    return parts


def _total(timing: Timing) -> dict[str, float]:
    """One repeat over all groups."""
    return {"wall_s": sum(timing.wall_s), "cpu_s": sum(timing.cpu_s)}


def _column_costs(part: Held, batches: Plan, assembler: Assembler, repeats: int) -> dict[str, Any]:
    """Each column of a part alone, one thread, to memory; an empty schema's cost is within the noise."""
    from dataclasses import replace

    import pyarrow as pa

    costs = {}
    with _folder(MEMORY) as target:
        writer = _writer(batches, assembler, target)
        for name in assembler.schema.names:
            alone = [group.select([name]) for group in part.row_groups]
            one = replace(writer, schema=pa.schema([assembler.schema.field(name)]))

            def write(one: PartWriter = one, alone: list[pa.RecordBatch] = alone) -> PartReceipt:
                return one.write(0, iter(alone), part.digest)

            costs[name] = {"values": part.digest.rows, "bytes": write().bytes, **repeated(write, repeats)}
    return costs


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=parent, prefix="arrivals-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def tables(measured: dict[str, Any]) -> list[Table]:
    """The floor and the run's ratio to it, and what each column costs."""
    runs = measured["runs"]
    wall = median(run["wall_s"] for run in runs)
    writing = median(run["phases"]["expand and write"] + run["phases"]["sync to disk"] for run in runs)
    disk, memory = (median(repeat["wall_s"] for repeat in measured[place]) for place in ("disk", "memory"))
    floor = [
        ("pyarrow alone, to disk, synced", f"{disk:.2f} s", "1"),
        ("pyarrow alone, to memory", f"{memory:.2f} s", f"{memory / disk:.2f}"),
        ("the run's expand, write and sync", f"{writing:.2f} s", f"{writing / disk:.2f}"),
        ("the whole run", f"{wall:.2f} s", f"{wall / disk:.2f}"),
    ]
    columns = [
        (
            name,
            f"{median(cost['cpu_s']) / cost['values'] * 1e9:.1f} ns",
            f"{cost['bytes'] / cost['values']:.2f}",
        )
        for name, cost in measured["columns"].items()
    ]
    return [
        Table((f"{human.size(measured['bytes'])} of Parquet", "wall time", "of the floor"), floor),
        Table(("column, one thread", "processor time a value", "bytes a value"), columns),
    ]
