"""Forged records, policies and flags: each is found by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arrival_engine import ArrivalError, verify
from tests.support.forging import copied_run
from tests.support.validated import PASSED, place
from tests.validation.forgeries.conftest import Bases
from tests.validation.forgeries.forged_files import caught_by, failed_checks, pretences, tamperings
from tests.validation.forgeries.page_index import repaged
from tests.validation.forgeries.policies import loosened
from tests.validation.forgeries.registry import ALL, Pretence, Tampering, quick


def cases(entries: list[Any]) -> list[Any]:
    """Every forgery in every world that has it; all but one world of most are slow."""
    found = []
    for number, entry in enumerate(entries):
        worlds = getattr(entry, "worlds", ALL)
        for world in worlds:
            fast = world == quick(worlds, number) and not getattr(entry, "slow", False)
            marks = [] if fast else [pytest.mark.slow]
            found.append(pytest.param(entry, world, marks=marks, id=f"{entry.name}-{world}"))
    return found


@pytest.mark.parametrize(("entry", "world"), cases(tamperings()))
def test_forged_records_and_policies_are_found(entry: Tampering, world: str, bases: Bases, tmp_path: Path) -> None:
    assert caught_by(entry, copied_run(bases(world).run_root, tmp_path / "run"))


@pytest.mark.parametrize(("entry", "world"), cases(pretences()))
def test_a_flag_over_forged_arrivals_does_not_hold(entry: Pretence, world: str, bases: Bases, tmp_path: Path) -> None:
    run_root = copied_run(bases(world).run_root, tmp_path / "run")
    entry.act(run_root, bases(world))
    if entry.hashed:
        verify(run_root)
    with pytest.raises(ArrivalError) as caught:
        verify(run_root, arrivals=entry.hashed)
    assert entry.says in caught.value.message
    assert caught.value.hint


def test_statistics_that_are_loosened_before_the_seal_are_named(bases: Bases, tmp_path: Path) -> None:
    run_root = copied_run(bases("falling back").run_root, tmp_path / "run")
    loosened(run_root, ("p_value_min: 1e-9", "p_value_min: 1e-14"))
    assert failed_checks(run_root) == set()
    report = json.loads((place(run_root, PASSED) / "validation_report_5B.json").read_bytes())
    (difference,) = report["validation_policy"]["differences"]
    assert difference == {"key": "statistical_checks.p_value_min", "delivered": "1e-9", "found": "1e-14"}


@pytest.mark.slow
@pytest.mark.parametrize("world", ALL)
def test_a_run_in_many_small_pages_passes(world: str, bases: Bases, tmp_path: Path) -> None:
    run_root = copied_run(bases(world).run_root, tmp_path / "run")
    repaged(run_root)
    assert failed_checks(run_root) == set()


@pytest.mark.parametrize("world", ALL)
def test_a_copied_run_that_nothing_was_done_to_passes(world: str, bases: Bases, tmp_path: Path) -> None:
    run_root = copied_run(bases(world).run_root, tmp_path / "run")
    assert failed_checks(run_root) == set()
    assert verify(run_root, arrivals=True).arrivals_hashed
