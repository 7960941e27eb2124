"""The failures of the error reference that no other test meets: guards against defects, a bundle without a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.batch_checks import check_batch
from arrival_engine import RunOptions, run
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.findings import Book
from arrival_engine.engine.validation.job import validate
from arrival_engine.engine.world.load import load_world
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("errors") / "run"
    write_world(small_world(), root)
    seal(root)
    return root


@pytest.fixture
def batch(run_root: Path):
    """A plan and its one batch, which passes, ready to be spoilt in place."""
    planned = plan(load_world(run_root))
    with choose_backend("cpu").open(planned, Reporter()) as expand:
        result = expand(planned.batches[0])
    check_batch(planned, result)
    return planned, result


def test_a_batch_outside_its_bucket(batch) -> None:
    planned, result = batch
    result.columns.ts_us[0] -= 86_400_000_000
    with pytest.raises(ArrivalError) as caught:
        check_batch(planned, result)
    assert caught.value.code is Code.TS_OUTSIDE_BUCKET_WINDOW


def test_a_batch_with_another_number_of_arrivals(batch) -> None:
    planned, result = batch
    result.columns.row[0] = result.columns.row[-1]
    with pytest.raises(ArrivalError) as caught:
        check_batch(planned, result)
    assert caught.value.code is Code.BUCKET_COUNT_MISMATCH


def test_a_bundle_that_cannot_be_written(run_root: Path) -> None:
    run(run_root, RunOptions(backend="cpu"))
    identity = read_receipt(run_root).identity
    folder = dataset("validation_bundle_5B").locate(run_root, identity.tokens())
    # A file where the folder above the bundle must be: not even the superuser can make a folder there.
    for place in (folder.parent, folder.parent.with_name("validation_failed")):
        place.write_text("in the way")
    with pytest.raises(ArrivalError) as caught:
        validate(run_root)
    assert caught.value.code is Code.S5_IO_WRITE_FAILED


def test_a_check_that_nobody_knows() -> None:
    with pytest.raises(ArrivalError) as caught:
        Book().prevented(["no such check"], "a defect")
    assert caught.value.code is Code.S5_UNEXPECTED_INTERNAL_ERROR
