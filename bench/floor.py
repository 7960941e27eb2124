"""The run against its floors: the same arrivals written from memory by one writer alone, and their bytes by none.

The floor of the table is pyarrow's Parquet writer. What the engine's own writer and the disk take alone says how much
of a run can still be gained there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arrival_engine.engine.process import human
from bench.from_memory import write_arrivals, write_plain_bytes
from bench.process import in_process
from bench.product import paths_of, run_job
from bench.tabular import Table
from bench.timing import median
from bench.workplace import Workplace, world_facts

# By name in the result: a title, and the name of the size.
_ALONE = {
    "disk": ("pyarrow alone, to disk, synced", "bytes"),
    "memory": ("pyarrow alone, to memory", "bytes"),
    "own_disk": ("the engine's writer alone, to disk, synced", "own_bytes"),
    "own_memory": ("the engine's writer alone, to memory", "own_bytes"),
    "plain_disk": ("the run's bytes alone, to disk, synced", "plain_bytes"),
}


def measure(workplace: Workplace) -> dict[str, Any]:
    """Whole runs, then the same arrivals written from memory."""
    root = workplace.world
    runs = [run_job(root, workplace.threads) for _ in range(workplace.repeats)]
    work: dict[str, Any] = {
        "scratch": str(workplace.scratch),
        "threads": workplace.threads,
        "repeats": workplace.repeats,
    }
    workplace.say("floor: the bytes of the run from memory")
    files = [str(path) for path in paths_of(root, "arrival_events_5B")]
    plain = in_process(write_plain_bytes, files=files, **work)
    workplace.say("floor: the same arrivals from memory")
    return {
        "world": world_facts(root),
        "threads": workplace.threads,
        "runs": runs,
        **in_process(write_arrivals, run_root=str(root), **work),
        **plain,
    }


def tables(measured: dict[str, Any]) -> list[Table]:
    """The floors and the run's ratio to pyarrow's, where the run's threads spend their time, and what columns cost."""
    threads = [_threads(measured["runs"], measured["threads"])] if "threads" in measured else []
    return [_floors(measured), *threads, _columns(measured)]


def _floors(measured: dict[str, Any]) -> Table:
    runs = measured["runs"]
    arrivals, size = runs[0]["arrivals"], runs[0]["bytes"]
    writing = median(run["phases"]["expand and write"] + run["phases"]["sync to disk"] for run in runs)
    lines = [
        (title, median(repeat["wall_s"] for repeat in measured[name]), measured[written])
        for name, (title, written) in _ALONE.items()
        if name in measured
    ]
    lines.append(("the run's expand, write and sync", writing, size))
    lines.append(("the whole run", median(run["wall_s"] for run in runs), size))
    floor = lines[0][1]
    rows = [
        (title, f"{spent:.2f} s", f"{spent / floor:.2f}", f"{written / max(arrivals, 1):.2f}")
        for title, spent, written in lines
    ]
    return Table((f"{human.count(arrivals)} arrivals", "wall time", "of the floor", "bytes per arrival"), rows)


def _threads(runs: Sequence[dict[str, Any]], threads: int) -> Table:
    """Thread time by kind of work; what is left of all threads' time is spent elsewhere, or waiting."""
    arrivals = max(runs[0]["arrivals"], 1)
    kinds = {kind: median(run["thread_seconds"][kind] for run in runs) for kind in runs[0]["thread_seconds"]}
    whole = threads * median(run["wall_s"] for run in runs)
    left = {
        "all kinds": sum(kinds.values()),
        "start, reading, reports, exit and waiting": whole - sum(kinds.values()),
        f"{threads} threads for the time of the run": whole,
    }
    rows = [
        (name, f"{spent:.2f} s", f"{spent / arrivals * 1e9:.1f} ns", f"{spent / whole:.0%}")
        for name, spent in {**dict(sorted(kinds.items())), **left}.items()
    ]
    return Table(("threads of the whole run", "thread time", "per arrival", "share"), rows)


def _columns(measured: dict[str, Any]) -> Table:
    """Where both writers were measured, each figure of pyarrow's beside that of the engine's writer."""
    rows = []
    for name, cost in measured["columns"].items():
        kinds = [kind for kind in ("", "own_") if f"{kind}cpu_s" in cost]
        times = [_nanoseconds(cost[f"{kind}cpu_s"], cost["values"]) for kind in kinds]
        rows.append((name, *times, *(f"{cost[f'{kind}bytes'] / cost['values']:.2f}" for kind in kinds)))
    for name, seconds in measured.get("own_rest_cpu_s", {}).items():
        rows.append((name, "", _nanoseconds(seconds, cost["values"]), "", ""))
    writers = ("pyarrow", "the engine")[: len(kinds)]
    header = [f"{writer}, {figure}" for figure in ("time per value", "bytes per value") for writer in writers]
    return Table(("column, one thread", *header), rows)


def _nanoseconds(seconds: Sequence[float], values: int) -> str:
    return f"{median(seconds) / values * 1e9:.1f} ns"
