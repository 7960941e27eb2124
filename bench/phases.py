"""Seconds of each phase of a whole run, from the start of the process to its end."""

from __future__ import annotations

from typing import Any

from arrival_engine.engine.process import human
from bench.product import run_job
from bench.tabular import Table
from bench.timing import median, spread
from bench.workplace import Workplace, world_facts


def measure(workplace: Workplace) -> dict[str, Any]:
    """Whole runs, one after the other, each in a process of its own."""
    root = workplace.world
    runs = []
    for number in range(workplace.repeats):
        runs.append(run_job(root, workplace.threads))
        workplace.say(f"phases: run {number + 1} of {workplace.repeats}: {human.duration(runs[-1]['wall_s'])}")
    return {"world": world_facts(root), "runs": runs}


def tables(measured: dict[str, Any]) -> list[Table]:
    """The run as a whole, and its phases."""
    runs = measured["runs"]
    wall = median(run["wall_s"] for run in runs)
    arrivals = runs[0]["arrivals"]
    thread_seconds = {kind: median(run["thread_seconds"][kind] for run in runs) for kind in runs[0]["thread_seconds"]}
    whole = [
        ("wall time, median", f"{wall:.2f} s"),
        ("wall time, all runs", spread(run["wall_s"] for run in runs)),
        ("processor time", f"{median(run['cpu_s'] for run in runs):.2f} s"),
        ("arrivals", human.rate(arrivals / wall, "arrivals")),
        ("peak resident memory", human.size(max(run["peak_rss_bytes"] for run in runs))),
        ("published", f"{human.size(runs[0]['bytes'])}, {runs[0]['bytes'] / max(arrivals, 1):.2f} bytes per arrival"),
        *((f"thread seconds in {kind}", f"{spent:.2f} s") for kind, spent in thread_seconds.items()),
    ]
    phases = [(name, median(run["phases"][name] for run in runs)) for name in runs[0]["phases"]]
    shares = [(name, f"{seconds:.3f} s", f"{seconds / wall:.1%}") for name, seconds in phases]
    return [Table(("one run", "figure"), whole), Table(("phase", "wall time", "share"), shares)]
