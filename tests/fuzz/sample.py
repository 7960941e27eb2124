"""A run of the small world, validated. `python -m tests.fuzz.sample DIR` makes it, once per process or test session."""

from __future__ import annotations

import atexit
import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from arrival_engine.contracts import dataset
from tests.support.damage import tokens_of
from tests.support.paths import ROOT

SCENARIO = "baseline_v1"


_shared: list[Path] = []


def share(folder: Path) -> None:
    """Let the sample be in a folder that other processes share and somebody else removes."""
    _shared[:] = [folder]


@cache
def sample_run() -> Path:
    """The run directory; it is not to be changed."""
    if _shared:
        folder = _shared[0]
    else:
        folder = Path(tempfile.mkdtemp(prefix="arrivals-fuzz-sample-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    whole, growing = folder / "fuzz-sample", folder / "fuzz-sample-growing"
    with (folder / "fuzz-sample.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            # In another process: no thread of the run may be alive when a campaign forks.
            command = [sys.executable, "-m", "tests.fuzz.sample", str(growing)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            growing.rename(whole)
    return whole


def sample(dataset_id: str) -> Path:
    """A dataset's file or directory in the sample."""
    return dataset(dataset_id).locate(sample_run(), {**tokens_of(sample_run()), "scenario_id": SCENARIO})


def sample_bytes(dataset_id: str) -> bytes:
    """A dataset's file."""
    return sample(dataset_id).read_bytes()


def receipt_document() -> dict[str, Any]:
    """The run receipt of the sample."""
    document: dict[str, Any] = json.loads((sample_run() / "run_receipt.json").read_bytes())
    return document


def copy_of(folder: Path, *dataset_ids: str, trees: Sequence[str] = ()) -> Path:
    """A run directory in `folder` with the receipt, these datasets and these folders alone."""
    root = folder / "run"
    root.mkdir(parents=True)
    for tree in trees:
        shutil.copytree(sample_run() / tree, root / tree)
    shutil.copy(sample_run() / "run_receipt.json", root)
    for dataset_id in dataset_ids:
        source = sample(dataset_id)
        target = root / source.relative_to(sample_run())
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return root


def _make(run_root: Path) -> None:
    from arrival_engine.engine.validation.job import validate
    from tests.support.validating import proven_run
    from tests.support.worlds import small_world

    proven_run(run_root, small_world(), batch_arrivals=500)
    if not validate(run_root).passed:
        raise RuntimeError("the sample is not valid")


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
