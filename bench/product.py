"""The product's commands, each in a separate process, and what they report."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from arrival_engine.contracts import dataset
from bench.process import Finished, run_process


def arrivals(
    *words: object, environment: Mapping[str, str] | None = None, python: Path | str = sys.executable
) -> Finished:
    """Run one `arrivals` command with its result as JSON on standard output, progress on standard error.

    python: the interpreter of the environment whose version of the product runs.
    """
    return run_process([str(python), "-m", "arrival_engine", *map(str, words), "--json"], environment)


def run_job(
    run_root: Path,
    threads: int,
    environment: Mapping[str, str] | None = None,
    python: Path | str = sys.executable,
) -> dict[str, Any]:
    """One whole `arrivals run`, from seal check to publication, as raw figures."""
    # Removing a gigabyte of earlier arrivals would count as part of the run.
    _unpublish(run_root)
    words = ("run", run_root, "--backend", "cpu", "--threads", threads)
    finished = arrivals(*words, environment=environment, python=python)
    (scenario,) = json.loads(finished.stdout)["scenarios"]
    phases = phase_seconds(finished.stderr.splitlines())
    return {
        "wall_s": finished.wall_s,
        "cpu_s": finished.cpu_s,
        "peak_rss_bytes": scenario["peak_rss_bytes"],
        "arrivals": scenario["arrivals"],
        "bytes": scenario["bytes"],
        "parts": scenario["parts"],
        "digest": scenario["digest"],
        "phases": {**phases, "start and exit": finished.wall_s - sum(phases.values())},
        "thread_seconds": last_report(run_root)["thread_seconds"],
    }


def _unpublish(run_root: Path) -> None:
    from arrival_engine.engine.rundir.receipt import read_receipt

    for published in read_receipt(run_root).partitions("arrival_events_5B").values():
        published.remove()


def phase_seconds(lines: Iterable[str]) -> dict[str, float]:
    """Seconds of the outermost phases in the JSON progress of a command."""
    seconds: defaultdict[str, float] = defaultdict(float)
    depth = 0
    for line in lines:
        event = json.loads(line)
        if event["event"] == "phase":
            depth += 1 if event["state"] == "started" else -1
            if depth == 0:
                seconds[event["name"]] += event["seconds"]
    return dict(seconds)


def last_report(run_root: Path) -> dict[str, Any]:
    """The newest line of the run report about a run."""
    days = run_root / dataset("segment_state_runs").path.partition("utc_day=")[0]
    newest = max(days.glob("*/*.jsonl"))
    lines: list[dict[str, Any]] = [json.loads(line) for line in newest.read_text(encoding="utf-8").splitlines()]
    return next(line for line in reversed(lines) if line["state"] == "S4")


def paths_of(run_root: Path, dataset_id: str) -> list[Path]:
    """The files of a dataset of the world's one scenario, in order; the world has been run before."""
    from arrival_engine.engine.rundir.receipt import read_receipt

    files = read_receipt(run_root).files(dataset_id, scenario_id=last_report(run_root)["scenario_id"])
    return [path.outside for path in files]
