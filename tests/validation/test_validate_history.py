"""The run report over several runs: what a failed or a repeated run leaves behind, and what that means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arrival_engine import RunOptions, run, validate
from arrival_engine.contracts import ArrivalError, Code
from tests.support.mutated_records import edit_run_lines
from tests.support.validating import broken, copied, edit_lines, report_path, validated

FAILED = {"status": "FAIL", "error_message": "it failed"}


def test_a_run_that_was_refused_changes_no_verdict(sound: Path, tmp_path: Path) -> None:
    root = copied(sound, tmp_path / "run")
    with pytest.raises(ArrivalError) as refused:
        run(root, RunOptions(backend="cpu", format="arrow"))
    assert refused.value.code is Code.IO_WRITE_CONFLICT
    assert validate(root).passed


def test_after_a_run_that_failed_while_it_wrote_another_one_makes_the_verdict_good(
    sound: Path, tmp_path: Path, capsys: Any
) -> None:
    root = copied(sound, tmp_path / "run")
    edit_run_lines(root, {**FAILED, "error_code": str(Code.IO_WRITE_FAILED)})
    code, _, findings = validated(root, capsys)
    assert (code, broken(findings)) == (1, {"run_report"})
    (example,) = findings["run_report"]["examples"]
    assert example["failed"] == str(Code.IO_WRITE_FAILED)
    assert "arrivals run RUN_ROOT" in example["cure"]
    run(root, RunOptions(backend="cpu", batch_arrivals=500))
    assert validate(root).passed


def test_a_failure_before_any_scenario_counts_and_one_of_another_scenario_does_not(
    sound: Path, tmp_path: Path, capsys: Any
) -> None:
    root = copied(sound, tmp_path / "run")
    failed = {**FAILED, "error_code": str(Code.UNEXPECTED_INTERNAL_ERROR)}
    edit_run_lines(root, {**failed, "scenario_id": "stress_v1"})
    assert validate(root).passed

    def without_scenario(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        line = next(line for line in lines if line["state"] == "S4")
        return [*lines, {name: value for name, value in {**line, **failed}.items() if name != "scenario_id"}]

    edit_lines(report_path(root), without_scenario)
    code, _, findings = validated(root, capsys)
    assert (code, broken(findings)) == (1, {"run_report"})


def test_parts_of_an_earlier_version_stand_after_a_run_of_a_later_one(sound: Path, tmp_path: Path) -> None:
    """A run that finds the same arrivals leaves the parts as they are, and says so in a line of its own."""
    root = copied(sound, tmp_path / "run")
    edit_run_lines(root, {"engine_version": "9.9.9", "published": "identical", "rng_events": "none"})
    assert validate(root).passed
