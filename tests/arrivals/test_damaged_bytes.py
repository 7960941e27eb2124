"""Any byte of any input may be wrong: then a run is right, or refused by a name other than "unexpected"."""

from __future__ import annotations

import random
import shutil

import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.rundir.settings import POLICY_IDS
from arrival_engine.engine.sealing import seal
from tests.support.damage import write_policy
from tests.support.refusals import CPU
from tests.support.world_files import write_world
from tests.support.world_policies import packaged
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """The small world with every policy that the job reads in a file of its own."""
    run_root = tmp_path_factory.mktemp("bytes") / "pristine"
    write_world(small_world(), run_root)
    for policy_id in POLICY_IDS:
        write_policy(run_root, policy_id, packaged(policy_id).decode("utf-8"))
    return run_root


def spoiled(draws, data):
    """The bytes with one bit flipped, or a stretch of them cut out, put in twice with noise between, or zeroed."""
    at, size = draws.randrange(len(data)), draws.choice((1, 4, 32, 1000))
    kind = draws.choice(("flip", "cut", "insert", "zero"))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << draws.randrange(8)]) + data[at + 1 :]
    filling = {"cut": b"", "insert": draws.randbytes(size) + data[at : at + size], "zero": bytes(size)}[kind]
    return data[:at] + filling + data[at + size :]


def seal_and_run(run_root):
    """The error that came of it, or None."""
    try:
        seal(run_root)
        run(run_root, CPU)
    except ArrivalError as error:
        return error
    return None


@pytest.mark.parametrize("turns", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_run_is_right_or_refused_by_name(pristine, tmp_path, turns):
    draws, run_root = random.Random(turns), tmp_path / "world"
    files = sorted(path.relative_to(pristine) for path in pristine.rglob("*") if path.is_file())
    refusals = 0
    for _ in range(turns):
        shutil.rmtree(run_root, ignore_errors=True)
        shutil.copytree(pristine, run_root)
        path = draws.choice(files)
        (run_root / path).write_bytes(spoiled(draws, (pristine / path).read_bytes()))
        error = seal_and_run(run_root)
        if error is not None:
            refusals += 1
            assert error.code != Code.UNEXPECTED_INTERNAL_ERROR, f"{path}: {error}"
            assert error.hint
            assert not list(run_root.glob("data/layer2/5B/arrival_events/**/part-*"))
            assert not list(run_root.glob("tmp/arrivals-*"))
    assert refusals > turns // 3
