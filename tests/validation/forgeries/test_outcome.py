"""The committed outcome is that of the forgeries that there are, and right runs raise no alarm."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT
from tests.support.sound_runs import DRAWN, SEEDS, demo_verdict, drawn_verdicts
from tests.validation.forgeries.forged_arrivals import forged_arrivals
from tests.validation.forgeries.forged_files import pretences, tamperings
from tests.validation.forgeries.outcome import OUTCOME, SOUND, read, table
from tests.validation.forgeries.registry import ALL, KINDS


def test_the_table_has_every_forgery_found_in_every_world_that_has_it() -> None:
    expected = {(entry.kind, entry.name, world) for entry in forged_arrivals() for world in entry.worlds}
    expected |= {(entry.kind, entry.name, world) for entry in tamperings() for world in entry.worlds}
    expected |= {(10, entry.name, world) for entry in pretences() for world in ALL}
    outcome = read(OUTCOME)
    found = {(entry["kind"], entry["forgery"], world) for entry in outcome for world in entry["found_by"]}
    assert found == expected
    for entry in outcome:
        for checks in entry["found_by"].values():
            assert checks
            assert entry["kind"] > 7 or "law" in checks
    assert {entry["kind"] for entry in outcome} == set(KINDS)
    assert (ROOT / "docs/reference/forgeries.md").read_text("utf-8").endswith(f"\n\n{table()}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_demo_world_passes_without_a_warning(seed: int) -> None:
    found = demo_verdict(seed)
    assert (found["passed"], found["failed"], found["warned"]) == (True, [], [])
    assert found == read(SOUND)["demo"][seed - 1]


@pytest.mark.slow
def test_drawn_worlds_pass_without_a_warning() -> None:
    found = drawn_verdicts()
    assert len({entry["digest"] for entry in found}) == DRAWN
    for entry in found:
        assert (entry["passed"], entry["failed"], entry["warned"]) == (True, [], []), entry
