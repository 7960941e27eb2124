"""DataFrames in, first rows out: what a notebook waits for, with the kernels on disk."""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.first_rows import EACH, HOURS, MERCHANTS
from bench.process import run_process
from bench.tabular import Table
from bench.timing import median, spread
from bench.workplace import Workplace

_STEPS = {
    "import": "import arrival_engine",
    "first": "expand_counts and the first rows, first call in a process",
    "second": "expand_counts and the first rows, second call",
    "to_pandas": "all rows as a pandas DataFrame",
}


def measure(workplace: Workplace) -> dict[str, Any]:
    """Seconds of each step in a process of its own per repeat, on fixed tables whatever world was asked for."""
    steps: dict[str, dict[str, list[float]]] = {name: {"wall_s": [], "cpu_s": []} for name in _STEPS}
    for number in range(workplace.repeats + 1):
        workplace.say(f"notebook: repeat {number} of {workplace.repeats}" if number else "notebook: warm up")
        found = json.loads(run_process([sys.executable, "-m", "bench.first_rows"]).stdout)
        # The very first turn filled the kernel cache, and read every file for the first time.
        if number:
            for name, seconds in found.items():
                for kind, value in seconds.items():
                    steps[name][kind].append(value)
    return {"count_rows": MERCHANTS * HOURS, "arrivals": MERCHANTS * HOURS * EACH, "steps": steps}


def tables(measured: dict[str, Any]) -> list[Table]:
    """Medians and extremes of each step."""
    header = (f"{measured['arrivals']:,} arrivals", "median", "all repeats", "processor time, median")
    rows = [
        (
            _STEPS[name],
            f"{median(seconds['wall_s']):.3g} s",
            spread(seconds["wall_s"]),
            f"{median(seconds['cpu_s']):.3g} s",
        )
        for name, seconds in measured["steps"].items()
    ]
    return [Table(header, rows)]
