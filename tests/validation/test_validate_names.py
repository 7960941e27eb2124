"""Validation of the table of merchants' names, in worlds that were sealed with it, and texts in findings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.engine.sealing import seal
from tests.support import damage
from tests.support.damage import edit_rows
from tests.support.named import FORGERIES, IDS, NAMES, TEXTS, forge, names_path
from tests.support.validating import EVENTS, broken, edit_parts, validated

Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def copied(named_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(named_run, tmp_path / "world")


def resealed(run_root: Path) -> None:
    """The inputs sealed as they are now; the run and its parts still name the seal before."""
    for name in ("s0_gate_receipt", "sealed_inputs"):
        shutil.rmtree(run_root / "data" / "layer2" / "5B" / name)
    seal(run_root)


def test_a_sound_table_passes(copied: Path, capsys: Any) -> None:
    code, answer, findings = validated(copied, capsys)
    assert (code, answer["status"]) == (0, "PASS")
    finding = findings["merchant_names"]
    assert (finding["verdict"], finding["rows"], finding["violations"]) == ("PASS", len(TEXTS), 0)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_table_is_found_though_it_was_sealed(name: str, copied: Path, capsys: Any) -> None:
    forge(copied, name)
    resealed(copied)
    _, _, findings = validated(copied, capsys)
    finding = findings["merchant_names"]
    assert finding["verdict"] == "FAIL"
    assert finding["code"] == "5B.S5.S0_SEALED_INPUTS_INCONSISTENT"
    assert finding["violations"] > 0
    assert finding["examples"]
    assert broken(findings) <= {"merchant_names", "sealed_inputs", "files", "run_report"}


@pytest.mark.parametrize("name", ["swapped", "missing"])
def test_a_forged_table_is_found_under_its_old_seal(name: str, copied: Path, capsys: Any) -> None:
    forge(copied, name)
    _, _, findings = validated(copied, capsys)
    assert {"sealed_inputs", "merchant_names"} <= broken(findings)


def test_two_ids_of_one_text_are_found(copied: Path, capsys: Any) -> None:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted([*rows, {**rows[0], "merchant_id": 5}], key=lambda row: row["merchant_id"])

    edit_rows(copied, NAMES, change)
    _, _, findings = validated(copied, capsys)
    assert findings["merchant_names"]["examples"][0]["merchant_id"] == 5
    assert "is not the id of its text" in findings["merchant_names"]["examples"][0]["fault"]


def test_another_column_is_found(copied: Path, capsys: Any) -> None:
    damage.edit_table(copied, NAMES, lambda table: table.append_column("note", table["merchant"]))
    _, _, findings = validated(copied, capsys)
    assert findings["merchant_names"]["verdict"] == "FAIL"
    assert "note" in findings["merchant_names"]["message"]


def test_examples_name_merchants_by_text_too(copied: Path, capsys: Any) -> None:
    """One row less: the check of keys names the merchant that lacks it."""
    edit_parts(copied, lambda table: table.slice(1))
    _, _, findings = validated(copied, capsys)
    example = findings["primary_key"]["examples"][0]
    assert IDS[example["merchant"]] == example["merchant_id"]
    (issues,) = copied.rglob("validation_issue_table_5B.parquet") or [None]
    rows = {row["issue_code"]: row for row in pq.read_table(issues, partitioning=None).to_pylist()}
    told = json.loads(rows["5B.S5.S4_PK_VIOLATION"]["context"]["examples"][0])
    assert told["merchant"] == example["merchant"]


def test_a_merchant_without_arrivals_needs_no_text(copied: Path, capsys: Any) -> None:
    edit_rows(copied, NAMES, lambda rows: [row for row in rows if row["merchant"] != TEXTS[777]])
    resealed(copied)
    shutil.rmtree(copied / damage.dataset(EVENTS).relative(damage.tokens_of(copied)))
    run(copied, RunOptions(backend="cpu", threads=2, replace=True))
    _, _, findings = validated(copied, capsys)
    assert findings["merchant_names"]["verdict"] == "PASS"
    assert len(TEXTS) - 1 == findings["merchant_names"]["rows"]


@pytest.mark.parametrize("content", [b"", b"PAR1 is not a table PAR1"])
def test_a_damaged_table_is_named(content: bytes, copied: Path, capsys: Any) -> None:
    names_path(copied).write_bytes(content)
    code, answer, _ = validated(copied, capsys)
    assert code == 1
    assert answer["code"] == "5B.S5.IO_READ_FAILED"
    assert NAMES in answer["message"]
