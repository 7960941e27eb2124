"""Whole runs of this version and of another one, in turn, on the same world."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from bench.comparison import runs_in_turn, side_by_side
from bench.environment import PACKAGES, commit
from bench.process import BenchError, run_process
from bench.product import arrivals, run_job
from bench.tabular import Table
from bench.workplace import Workplace, world_facts
from bench.worlds import copy_inputs

OURS, OTHER = "this version", "the other"
_FACTS = f"""
import json, platform
from importlib import metadata
from pathlib import Path
import arrival_engine.engine
found = {{}}
for name in {PACKAGES!r}:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
facts = {{"version": metadata.version("arrival-engine"), "python": platform.python_version(), "packages": found}}
print(json.dumps([facts, str(Path(arrival_engine.engine.__file__).resolve().parent)]))
"""


def measure(workplace: Workplace) -> dict[str, Any]:
    """Runs of both versions, each with the world in a folder of its own, sealed by itself.

    The other version makes the world, because an older one may not read what this one writes.
    """
    choice = workplace.choice
    if choice.other is None:
        raise BenchError("no other version is named; --other takes the Python of its environment")
    pythons = {OURS: Path(sys.executable), OTHER: choice.other}
    versions = {name: facts_of(python) for name, python in pythons.items()}
    made = choice.world or workplace.make_world("against", choice.preset, choice.scale, choice.other)
    jobs = {}
    roots = {name: workplace.scratch / f"against-{number}" for number, name in enumerate(pythons)}
    for name, root in roots.items():
        arrivals("seal", copy_inputs(made, root), python=pythons[name])
        jobs[name] = partial(run_job, root, workplace.threads, python=pythons[name])
    runs = runs_in_turn("against", jobs, workplace)
    world = world_facts(roots[OURS])
    for root in roots.values():
        shutil.rmtree(root)
    return {"world": world, "threads": workplace.threads, "versions": versions, "runs": runs}


def facts_of(python: Path) -> dict[str, Any]:
    """Version, commit and packages of the product in an environment. Raises BenchError if it has none."""
    finished = run_process([str(python), "-c", _FACTS])
    facts, folder = json.loads(finished.stdout)
    return {"commit": commit(Path(folder)), **facts}


def tables(measured: dict[str, Any]) -> list[Table]:
    """Figures of both versions."""
    return [
        side_by_side({_named(name, measured): runs for name, runs in measured["runs"].items()}, "this by the other")
    ]


def _named(name: str, measured: dict[str, Any]) -> str:
    facts = measured["versions"][name]
    return f"{name}, {facts['version']}" + (f" at {facts['commit']}" if facts["commit"] else "")
