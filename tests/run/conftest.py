"""Worlds that the tests of runs share."""

from __future__ import annotations

import pytest

from arrival_engine.engine.sealing import seal
from tests.support.processes import heavy_counts
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="session")
def heavy(tmp_path_factory):
    """Some seconds of work: nine million arrivals, sealed; tests run it but never let it end published."""
    run_root = tmp_path_factory.mktemp("robust") / "heavy"
    write_world(small_world(counts=heavy_counts(50_000, 30)), run_root)
    seal(run_root)
    return run_root


@pytest.fixture
def light(tmp_path):
    """A tenth of a second of work: 120 thousand arrivals, sealed."""
    run_root = tmp_path / "light"
    write_world(small_world(counts=heavy_counts(2_000, 10)), run_root)
    seal(run_root)
    return run_root
