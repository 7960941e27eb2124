"""A run in too little memory says so before it starts, and what to lower; with that lowered it fits."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from arrival_engine.engine.sealing import seal
from tests.support.processes import heavy_counts
from tests.support.refusals import ROOT, published
from tests.support.world_files import write_world
from tests.support.worlds import small_world

LIMIT = 3 << 30


@pytest.fixture
def world(tmp_path):
    """Twelve million arrivals, 240 thousand to a segment."""
    run_root = tmp_path / "world"
    write_world(small_world(counts=heavy_counts(40_000, 50)), run_root)
    seal(run_root)
    return run_root


def limited(limit, *words):
    """Exit code and answer of a command in so many bytes of address space."""
    finished = subprocess.run(
        [sys.executable, "-m", "arrival_engine", *map(str, words), "--json"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in finished.stderr
    return finished.returncode, json.loads(finished.stdout)


def run_limited(run_root, *options):
    return limited(LIMIT, "run", run_root, "--backend", "cpu", "--quiet", *options)


def test_too_large_batches_are_refused_before_work_starts_and_smaller_ones_fit(world):
    code, answer = run_limited(world, "--threads", "2", "--batch-arrivals", "6000000")
    assert code == 1
    assert answer["code"] == "ARRIVALS.RESOURCES_INSUFFICIENT"
    assert "--batch-arrivals" in answer["hint"]
    assert answer["context"]["limit_bytes"] == LIMIT
    assert not published(world).exists()
    code, answer = run_limited(world, "--threads", "1", "--batch-arrivals", "300000")
    assert (code, answer["scenarios"][0]["arrivals"]) == (0, 6 * 40_000 * 50)


@pytest.mark.parametrize("command", ["run", "validate", "report", "plan"])
@pytest.mark.parametrize("mebibytes", [100, 600, 1700])
def test_an_address_space_that_the_libraries_do_not_fit_in_is_refused_by_name(tmp_path, command, mebibytes):
    """In it LLVM and DuckDB abort, and a time zone table that cannot be mapped looks like a damaged file."""
    code, answer = limited(mebibytes << 20, command, tmp_path)
    assert (code, answer["code"]) == (1, "ARRIVALS.RESOURCES_INSUFFICIENT")
    assert "ulimit -v" in answer["message"]
    assert answer["context"]["limit_bytes"] == mebibytes << 20
