"""`arrivals diff` of worlds whose merchant ids are texts."""

from __future__ import annotations

import shutil

import pytest

from arrival_engine import diff
from arrival_engine.engine.cli.main import main
from tests.support.named import IDS, names_path
from tests.support.validating import edit_parts


@pytest.fixture
def other(named_run, tmp_path):
    """The same run with its first arrival gone."""
    root = shutil.copytree(named_run, tmp_path / "other")
    edit_parts(root, lambda table: table.slice(1))
    return root


def test_a_difference_names_the_text(named_run, other, capsys):
    (found,) = diff(named_run, other).scenarios
    row = found.first[0]
    assert IDS[row.merchant] == row.merchant_id
    main(["diff", str(named_run), str(other)])
    assert f"merchant {row.merchant!r} ({row.merchant_id}), arrival 1: only in A" in capsys.readouterr().out


def test_either_side_may_have_the_names(named_run, other):
    names_path(other).unlink()
    (found,) = diff(other, named_run).scenarios
    assert found.first[0].merchant in IDS


def test_names_that_cannot_be_read_are_left_out(named_run, other):
    names_path(other).write_bytes(b"PAR1 not a table PAR1")
    parts = next(named_run.rglob("scenario_id=*/part-*.parquet")).parent
    (found,) = diff(other, parts).scenarios
    assert found.first[0].merchant is None
