"""Validation of a whole run, phase by phase, beside the run that it judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arrival_engine.engine.process import human
from bench.process import BenchError
from bench.product import arrivals, phase_seconds, run_job
from bench.tabular import Table
from bench.timing import median, spread
from bench.workplace import Workplace, world_facts


def measure(workplace: Workplace) -> dict[str, Any]:
    """Runs and validations in turn, each in a process of its own."""
    root = workplace.world
    runs, validations = [], []
    _validated(root, workplace.threads)
    for number in range(workplace.repeats):
        runs.append(run_job(root, workplace.threads))
        validations.append(_validated(root, workplace.threads))
        spent, of_run = (human.duration(each[-1]["wall_s"]) for each in (validations, runs))
        workplace.say(f"validate: {number + 1} of {workplace.repeats}: {spent} after a run of {of_run}")
    return {"world": world_facts(root), "runs": runs, "validations": validations}


def _validated(run_root: Path, threads: int) -> dict[str, Any]:
    finished = arrivals("validate", run_root, "--threads", threads)
    result = json.loads(finished.stdout)
    if not result["passed"]:
        raise BenchError(f"{run_root.name} did not pass: {result['error_message']}")
    phases = phase_seconds(finished.stderr.splitlines())
    return {
        "wall_s": finished.wall_s,
        "cpu_s": finished.cpu_s,
        "peak_rss_bytes": result["peak_rss_bytes"],
        "arrivals": result["arrivals"],
        "phases": {**phases, "start and exit": finished.wall_s - sum(phases.values())},
    }


def tables(measured: dict[str, Any]) -> list[Table]:
    """The validation as a whole, and its phases."""
    runs, validations = measured["runs"], measured["validations"]
    wall = median(each["wall_s"] for each in validations)
    pairs = list(zip(validations, runs, strict=True))
    whole = [
        ("wall time, median", f"{wall:.2f} s"),
        ("wall time, all", spread(each["wall_s"] for each in validations)),
        ("processor time", f"{median(each['cpu_s'] for each in validations):.2f} s"),
        ("arrivals", human.rate(validations[0]["arrivals"] / wall, "arrivals")),
        ("peak resident memory", human.size(max(each["peak_rss_bytes"] for each in validations))),
        ("wall time : that of the run", f"{median(each['wall_s'] / run['wall_s'] for each, run in pairs):.2f}"),
        ("processor time : that of the run", f"{median(each['cpu_s'] / run['cpu_s'] for each, run in pairs):.2f}"),
    ]
    phases = [
        (name, median(each["phases"].get(name, 0.0) for each in validations)) for name in validations[0]["phases"]
    ]
    shares = [(name, f"{seconds:.3f} s", f"{seconds / wall:.1%}") for name, seconds in phases]
    return [Table(("one validation", "figure"), whole), Table(("phase", "wall time", "share"), shares)]
