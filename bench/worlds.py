"""Copies of a sealed world: its inputs alone, with an output policy of their own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from arrival_engine.contracts import dataset
from bench.process import BenchError

POLICY = "arrival_output_policy_5B"
# What seals, runs and validations write; a copy has none of it.
_MADE = (
    "s0_gate_receipt_5B",
    "sealed_inputs_5B",
    "arrival_events_5B",
    "s4_arrival_summary_5B",
    "s4_arrival_anomalies_5B",
    "arrival_sites_5B",
    "arrival_edges_5B",
    "validation_bundle_5B",
)
_MADE_FOLDERS = ("logs", "reports", "tmp")


def copy_inputs(run_root: Path, copy: Path) -> Path:
    """Copy a world without seal, outputs and logs."""
    left_out = {run_root / folder for folder in _MADE_FOLDERS}
    left_out |= {run_root / dataset(name).path.partition("{")[0].rpartition("/")[0] for name in _MADE}

    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder, name) in left_out]

    shutil.copytree(run_root, copy, ignore=ignored)
    return copy


def set_output_policy(run_root: Path, changes: Mapping[str, str]) -> None:
    """Give an unsealed world the packaged output policy with single scalars replaced."""
    path = dataset(POLICY).path
    text = files("arrival_engine.config").joinpath(*path.split("/")[1:]).read_text(encoding="utf-8")
    for key, value in changes.items():
        text, times = re.subn(rf"(?m)^(\s*{key}:\s*)[^\s#]+", rf"\g<1>{value}", text)
        if times != 1:
            raise BenchError(f"{POLICY} has {times} lines for {key}, not 1")
    target = run_root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
