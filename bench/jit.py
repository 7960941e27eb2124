"""Start-up with an empty kernel cache and with a full one; what the kernels take to compile; `arrivals --help`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.compiling import compile_for_run
from bench.process import in_process, run_process
from bench.product import run_job
from bench.tabular import Table
from bench.timing import median, spread
from bench.workplace import Workplace, world_facts

PRESET = "demo"


def measure(workplace: Workplace) -> dict[str, Any]:
    """Raw seconds from the start of a process, on the demo world whatever other world was asked for."""
    root = workplace.make_world("jit", PRESET, 1.0)
    help_command = [str(Path(sys.executable).with_name("arrivals")), "--help"]
    first_batch = [sys.executable, "-m", "bench.first_batch", str(root)]
    cold: dict[str, list[float]] = {"first_batch": [], "run": []}
    warm: dict[str, list[float]] = {"first_batch": [], "run": [], "help": [], "python": []}
    with tempfile.TemporaryDirectory(dir=workplace.scratch) as kept:
        for number in range(workplace.repeats + 1):
            workplace.say(f"jit: repeat {number} of {workplace.repeats}" if number else "jit: warm up")
            again = {"ARRIVALS_CACHE_DIR": kept}
            seconds = {"first_batch": _first_batch(first_batch, again), "run": _run(root, workplace, again)}
            seconds["help"] = run_process(help_command).wall_s
            seconds["python"] = run_process([sys.executable, "-c", "pass"]).wall_s
            # The very first turn filled the cache, and read every file for the first time.
            if number:
                for name, spent in seconds.items():
                    warm[name].append(spent)
                with tempfile.TemporaryDirectory(dir=workplace.scratch) as empty:
                    cold["first_batch"].append(_first_batch(first_batch, {"ARRIVALS_CACHE_DIR": empty}))
                with tempfile.TemporaryDirectory(dir=workplace.scratch) as empty:
                    cold["run"].append(_run(root, workplace, {"ARRIVALS_CACHE_DIR": empty}))
    with tempfile.TemporaryDirectory(dir=workplace.scratch) as empty:
        compiled = in_process(compile_for_run, {"ARRIVALS_CACHE_DIR": empty}, run_root=str(root))
    return {"world": world_facts(root), "cold": cold, "warm": warm, **compiled}


def _first_batch(command: list[str], environment: dict[str, str]) -> float:
    begin = time.clock_gettime(time.CLOCK_MONOTONIC)
    moment, _ = run_process(command, environment).stdout.split()
    return float(moment) - begin


def _run(root: Path, workplace: Workplace, environment: dict[str, str]) -> float:
    return float(run_job(root, workplace.threads, environment)["wall_s"])


def tables(measured: dict[str, Any]) -> list[Table]:
    """Medians and extremes of every start, and the seconds of each kernel."""
    named = {
        "first_batch": "first batch in memory",
        "run": "whole run, published",
        "help": "arrivals --help",
        "python": "Python itself, doing nothing",
    }
    rows = [
        (
            f"{named[name]}, {kind} kernels" if name in measured["cold"] else named[name],
            f"{median(seconds):.2f} s",
            spread(seconds),
        )
        for kind in ("warm", "cold")
        for name, seconds in measured[kind].items()
    ]
    starts = Table(("from the start of the process", "median", "all repeats"), rows)
    return [starts, *([_kernels(measured["kernels"])] if "kernels" in measured else [])]


def _kernels(seconds: dict[str, float]) -> Table:
    slowest = sorted(seconds.items(), key=lambda kernel: -kernel[1])
    lines = [*slowest, (f"all {len(seconds)}", sum(seconds.values()))]
    return Table(("kernel of a run, compiled once", "time"), [(name, f"{spent:.2f} s") for name, spent in lines])
