"""Commands under the limits of a process, and on a run directory that can only be read."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from arrival_engine.engine.run.job import run
from arrival_engine.engine.run.options import RunOptions
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.job import validate
from tests.support.world_files import write_world
from tests.support.worlds import TWO_ZONES, small_world

# prctl's operation, and the right of root to write where no permission is given.
DROP_FROM_BOUNDING_SET, OVERRIDE_PERMISSIONS = 24, 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A validated run of many small parts."""
    root = tmp_path_factory.mktemp("limits") / "world"
    write_world(small_world(), root)
    seal(root)
    run(root, RunOptions(backend="cpu", batch_arrivals=30))
    validate(root)
    return root


def command(*words, limits=(), plain_user=False):
    def bound():
        for kind, value in limits:
            resource.setrlimit(kind, (value, value))
        if (
            plain_user
            and os.geteuid() == 0
            and ctypes.CDLL(None).prctl(DROP_FROM_BOUNDING_SET, OVERRIDE_PERMISSIONS, 0, 0, 0)
        ):
            raise OSError("root keeps its right to write everywhere")

    program = [sys.executable, "-m", "arrival_engine", *map(str, words)]
    return subprocess.run(program, preexec_fn=bound, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("files", [8, 16, 20])
def test_too_few_open_files_damage_no_file(finished, files, tmp_path):
    limits = [(resource.RLIMIT_NOFILE, files)]
    done = command("report", finished, "--out", tmp_path / "page.html", "--json", "--quiet", limits=limits)
    told = json.loads(done.stdout)
    assert (done.returncode, told["code"]) == (1, "ARRIVALS.RESOURCES_INSUFFICIENT")
    assert "Too many open files" in told["message"]
    assert "ulimit -n" in told["hint"]


@pytest.mark.parametrize("largest", [0, 1000, 20_000])
@pytest.mark.parametrize("line", ["run {root} --replace --batch-arrivals 4000", "seal {root}", "run {root} --replace"])
def test_the_largest_size_of_a_file_is_no_full_disk(finished, largest, line, tmp_path):
    root = shutil.copytree(finished, tmp_path / "world")
    if line.startswith("seal"):
        for name in ("s0_gate_receipt", "sealed_inputs"):
            shutil.rmtree(root / "data" / "layer2" / "5B" / name)
    done = command(*line.format(root=root).split(), "--json", "--quiet", limits=[(resource.RLIMIT_FSIZE, largest)])
    if done.returncode:
        # Standard output is a pipe, which has no size.
        told = json.loads(done.stdout)
        assert told["code"] == "5B.S4.IO_WRITE_FAILED"
        assert "File too large" in told["message"]
        assert "ulimit -f" in told["hint"]
    else:
        assert largest == 20_000


COMMANDS = (
    "import {root} --counts none.csv --sites none.csv",
    "seal {root}",
    "run {root}",
    "validate {root}",
    "report {root}",
)


@pytest.mark.parametrize("line", COMMANDS)
@pytest.mark.parametrize(
    ("kind", "option", "least"),
    [(resource.RLIMIT_AS, "ulimit -v", 5 * 2**29), (resource.RLIMIT_DATA, "ulimit -d", 3 * 2**28)],
    ids=["address space", "data"],
)
def test_too_little_memory_for_the_libraries_is_named_before_one_aborts(finished, line, kind, option, least):
    done = command(*line.format(root=finished).split(), "--json", "--quiet", limits=[(kind, least - 4096)])
    told = json.loads(done.stdout)
    assert (done.returncode, told["code"]) == (1, "ARRIVALS.RESOURCES_INSUFFICIENT")
    assert told["message"].startswith(f"`{option}` leaves this process")
    assert f"raise `{option}`" in told["hint"]


@pytest.mark.parametrize("line", ["run {root} --replace", "validate {root}", "report {root} --out {out}/page.html"])
def test_the_least_data_that_is_not_refused_is_enough(finished, line, tmp_path):
    root = shutil.copytree(finished, tmp_path / "world")
    words = line.format(root=root, out=tmp_path).split()
    done = command(*words, "--json", "--quiet", limits=[(resource.RLIMIT_DATA, 3 * 2**28)])
    assert done.returncode == 0, done.stdout


@pytest.fixture
def readable(finished, tmp_path):
    """A run directory in which nothing may be written."""
    root = shutil.copytree(finished, tmp_path / "world")
    shutil.rmtree(root / "tmp", ignore_errors=True)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield root
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.parametrize(
    "line",
    [
        "plan {root}",
        "explain {root} --merchant {merchant} --seq 1",
        "diff {root} {root}",
        "verify {root}",
        "report {root} --out {out}/page.html --figures {out}/figures",
        "stream {root} --limit 1",
        "doctor",
    ],
)
def test_a_command_that_publishes_nothing_needs_no_right_to_write(readable, line, tmp_path):
    before = sorted(readable.rglob("*"))
    words = line.format(root=readable, merchant=TWO_ZONES, out=tmp_path).split()
    done = command(*words, plain_user=True)
    assert done.returncode == 0, done.stderr
    assert sorted(readable.rglob("*")) == before
    if line.startswith("plan"):
        assert f"{readable} cannot be written, so the sample is written to " in done.stderr
        place = done.stderr.partition("so the sample is written to ")[2].splitlines()[0]
        assert not Path(place).exists()


@pytest.mark.parametrize("line", ["run {root} --replace", "report {root}", "seal {root}", "tz build {root} --replace"])
def test_a_command_that_publishes_names_the_permission(readable, line):
    done = command(*line.format(root=readable).split(), "--json", "--quiet", plain_user=True)
    told = json.loads(done.stdout)
    assert (done.returncode, told["code"]) == (1, "5B.S4.IO_WRITE_FAILED")
    assert "Permission denied" in told["message"]
    assert "permission" in told["hint"]
