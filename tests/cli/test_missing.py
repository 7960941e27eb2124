"""Commands on a machine without an optional package, hidden from the interpreter of a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from arrival_engine.engine.sealing import seal
from tests.support.hidden import without
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("missing") / "world"
    write_world(small_world(), root)
    seal(root)
    return root


def refused(folder, hidden, *words):
    """The failure of a command that finds no package `hidden`, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "arrival_engine", *map(str, words), "--json", "--quiet"],
        env=without(folder, *hidden),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    return json.loads(done.stdout)


def contents(root):
    return sorted(root.rglob("*"))


@pytest.mark.parametrize(
    ("hidden", "words", "extra"),
    [
        ("distributed", ("run", "--scheduler", "local"), "arrival-engine[dask]"),
        ("matplotlib", ("report",), "arrival-engine[report]"),
        ("jinja2", ("report",), "arrival-engine[report]"),
    ],
)
def test_a_command_without_its_optional_package_says_what_to_install(world, tmp_path, hidden, words, extra):
    before = contents(world)
    command, *options = words
    failure = refused(tmp_path, [hidden], command, world, *options)
    assert failure["code"] == "ARRIVALS.DEPENDENCY_MISSING"
    assert hidden in failure["message"]
    assert extra in failure["hint"]
    assert contents(world) == before


def test_parity_and_the_demo_need_no_extra(world, tmp_path):
    """The page of `parity` is filled by the standard library."""
    environment = without(tmp_path, "matplotlib", "jinja2", "distributed")
    for words in (["parity", world, "--sample-batches", "1"], ["demo", tmp_path / "demo"]):
        command = [sys.executable, "-m", "arrival_engine", *map(str, words), "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_numba_cuda_there_is_no_simulator(world, tmp_path):
    failure = refused(tmp_path, ["numba_cuda"], "parity", world, "--right", "cudasim")
    assert failure["code"] == "ARRIVALS.BACKEND_UNAVAILABLE"
    assert "numba-cuda" in failure["message"]
