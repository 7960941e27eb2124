"""Runs in the contract's form of rows, times as texts and clocks in every row, beside runs in the default form."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from bench.comparison import runs_in_turn, side_by_side
from bench.product import arrivals, run_job
from bench.tabular import Table
from bench.workplace import Workplace, world_facts
from bench.worlds import copy_inputs, set_output_policy

DEFAULT, CONTRACT = "default form", "contract's form"
# Of the output policy; what is not named here is as packaged.
FORMS: dict[str, dict[str, str]] = {
    DEFAULT: {},
    CONTRACT: {"timestamp_encoding": "rfc3339", "physical_dual_clock": '"mirror"', "compression": "zstd"},
}


def measure(workplace: Workplace) -> dict[str, Any]:
    """Whole runs of one world under either policy, in turn, each in a process of its own."""
    roots: dict[str, Path] = {}
    for name, policy in FORMS.items():
        roots[name] = copy_inputs(workplace.world, workplace.scratch / f"contract-{len(roots)}")
        set_output_policy(roots[name], policy)
        arrivals("seal", roots[name])
    jobs = {name: partial(run_job, root, workplace.threads) for name, root in roots.items()}
    runs = runs_in_turn("contract", jobs, workplace)
    world = world_facts(roots[DEFAULT])
    for root in roots.values():
        shutil.rmtree(root)
    return {"world": world, "threads": workplace.threads, "policies": FORMS, "runs": runs}


def tables(measured: dict[str, Any]) -> list[Table]:
    """Figures of both forms."""
    runs = measured["runs"]
    return [side_by_side({name: runs[name] for name in (CONTRACT, DEFAULT)}, "contract's by default")]
