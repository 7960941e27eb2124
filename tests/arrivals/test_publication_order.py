"""What is published is on the disk first: bytes, then names, then the directories that were made for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from arrival_engine.engine.sealing import seal
from tests.support.refusals import ROOT
from tests.support.world_files import write_world
from tests.support.worlds import small_world

# Every fsync by inode, every rename and new directory by path, in the order in which they succeed.
PROGRAM = """
import json, os, sys
steps = []
def noted(name, describe):
    real = getattr(os, name)
    def call(*given, **named):
        facts = describe(*given, **named)
        answer = real(*given, **named)
        steps.append([name, *facts])
        return answer
    setattr(os, name, call)
noted("fsync", lambda handle: [os.fstat(handle).st_ino])
def whole(name, folder=None):
    return os.path.abspath(name if folder is None else os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name))
noted("mkdir", lambda path, *_, dir_fd=None: [whole(path, dir_fd)])
for name in ("rename", "replace"):
    noted(name, lambda old, new, src_dir_fd=None, dst_dir_fd=None: [whole(old, src_dir_fd), whole(new, dst_dir_fd)])
from arrival_engine.engine.cli.main import main
assert main(sys.argv[1:]) == 0
print(json.dumps(steps))
"""


@pytest.fixture(scope="module")
def run_root(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("order") / "world"
    write_world(small_world(), run_root)
    seal(run_root)
    return run_root


@pytest.fixture(scope="module")
def steps(run_root):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "run", run_root, "--backend", "cpu", "--quiet", "--rng-events", "parquet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def published_files(run_root):
    """Arrivals, diagnostics, random-number events and logs."""
    places = [run_root / "data/layer2/5B" / name for name in ("arrival_events", "arrival_summary", "arrival_anomalies")]
    return [path for place in [*places, run_root / "logs"] for path in sorted(place.rglob("*")) if path.is_file()]


def synced(steps, path):
    """When the file or directory was seen to the disk."""
    inode = path.stat().st_ino
    return [at for at, step in enumerate(steps) if step == ["fsync", inode]]


def appearance(steps, path):
    """When the file came to its place, alone or within its directory, and the path that was renamed."""
    ((at, placed),) = [
        (at, Path(step[2]))
        for at, step in enumerate(steps)
        if step[0] in ("rename", "replace") and path.is_relative_to(step[2])
    ]
    return at, placed


def test_bytes_are_on_the_disk_before_their_names_and_names_before_the_end(run_root, steps):
    files = published_files(run_root)
    assert {path.suffix for path in files} == {".parquet", ".jsonl"}
    assert len(files) >= 8
    for path in files:
        at, placed = appearance(steps, path)
        for within in {path, placed}:
            assert min(synced(steps, within), default=at) < at, f"{within} was published before it was on the disk"
        assert max(synced(steps, placed.parent), default=-1) > at, f"the name {placed} was never seen to the disk"


def test_each_new_directory_on_the_way_is_seen_to_the_disk(run_root, steps):
    made = [(at, Path(step[1])) for at, step in enumerate(steps) if step[0] == "mkdir"]
    lasting = [(at, path) for at, path in made if path.is_dir() and path.relative_to(run_root).parts[0] != "reports"]
    assert len([path for _, path in lasting if path.parts[-1].startswith("seed=")]) >= 5
    for at, path in lasting:
        if path.parent != run_root / "tmp":
            assert max(synced(steps, path.parent), default=-1) > at, f"the new {path} was never seen to the disk"
