"""The table of merchants' names among the sealed inputs: there where a world has one, and held to its bytes."""

from __future__ import annotations

import json
import shutil

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import seal, verify_seal
from tests.support.importing import imported, small_tables
from tests.support.named import NAMES, forge, names_path
from tests.support.world_disk import sha256


def inventory(run_root):
    (path,) = run_root.rglob("sealed_inputs_5B.json")
    return {row["artifact_id"]: row for row in json.loads(path.read_bytes())}


@pytest.fixture
def sealed(named_run, tmp_path):
    return shutil.copytree(named_run, tmp_path / "world")


def test_a_world_of_texts_seals_its_names(named_run):
    row = inventory(named_run)[NAMES]
    assert row["sha256_hex"] == sha256(names_path(named_run).read_bytes())
    assert (row["status"], row["read_scope"], row["owner_segment"]) == ("OPTIONAL", "ROW_LEVEL", "5B")
    assert row["partition_keys"] == ["manifest_fingerprint"]


def test_a_world_of_numbers_has_no_row(tmp_path):
    root = tmp_path / "world"
    imported(small_tables(), root)
    seal(root)
    assert NAMES not in inventory(root)


@pytest.mark.parametrize("name", ["changed", "missing"])
def test_a_change_after_the_seal_is_found(name, sealed):
    forge(sealed, name)
    with pytest.raises(ArrivalError, match=NAMES) as caught:
        verify_seal(read_receipt(sealed))
    assert caught.value.code == Code.S0_GATE_MISSING_OR_INVALID


def test_names_that_are_gone_are_found(sealed):
    names_path(sealed).unlink()
    with pytest.raises(ArrivalError, match=f"{NAMES}: sealed .*, now absent") as caught:
        verify_seal(read_receipt(sealed))
    assert caught.value.code == Code.S0_GATE_MISSING_OR_INVALID


def test_names_that_were_added_are_found(named_run, tmp_path):
    root = tmp_path / "world"
    imported(small_tables(), root)
    seal(root)
    names_path(root).parent.mkdir(parents=True)
    shutil.copyfile(names_path(named_run), names_path(root))
    with pytest.raises(ArrivalError, match=f"no row for {NAMES}") as caught:
        verify_seal(read_receipt(root))
    assert caught.value.code == Code.S0_GATE_MISSING_OR_INVALID
