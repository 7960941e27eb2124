"""Plans that the tests of streams share."""

from __future__ import annotations

import pytest

from arrival_engine import run
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from tests.support.model import CountRow
from tests.support.product import planned, write_sealed
from tests.support.streaming import GRID
from tests.support.worlds import (
    BERLIN,
    NEW_YORK,
    ODD_BUCKET,
    ONE_SECOND_BUCKET,
    PARIS,
    TWO_ZONES,
    VIRTUAL,
    small_world,
)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The world that touches every feature of the law, written and sealed."""
    return write_sealed(small_world(), tmp_path_factory.mktemp("stream") / "small")


@pytest.fixture(scope="session")
def small_plan(small):
    return planned(small.run_root)


@pytest.fixture(scope="session")
def tied_plan(tmp_path_factory):
    """A second with so many arrivals that many share their microsecond, within a merchant and across merchants."""
    rows = [
        CountRow(merchant, zone, channel, bucket, 15_000)
        for bucket in (ONE_SECOND_BUCKET, ODD_BUCKET)
        for merchant, zone in ((TWO_ZONES, BERLIN), (VIRTUAL, PARIS), (TWO_ZONES, NEW_YORK))
        for channel in ("card_present", "card_not_present")
    ]
    written = write_sealed(small_world(counts=tuple(rows)), tmp_path_factory.mktemp("stream") / "tied")
    return planned(written.run_root)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A slice of the demo world, expanded and published."""
    run_root = tmp_path_factory.mktemp("stream") / "demo"
    synthesise(run_root, preset="demo", seed=7, scale=0.1)
    seal(run_root)
    return run_root, run(run_root).scenarios[0]


@pytest.fixture(scope="session")
def long_world(tmp_path_factory):
    """Ten million arrivals, some gigabytes of text."""
    rows = [
        CountRow(TWO_ZONES, zone, channel, bucket, 50_000)
        for zone in (BERLIN, NEW_YORK)
        for channel in ("card_present", "mixed")
        for bucket in range(len(GRID))
    ]
    return write_sealed(small_world(counts=tuple(rows)), tmp_path_factory.mktemp("stream") / "long").run_root
