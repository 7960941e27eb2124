"""A planned and an expanded world that the tests of parity share."""

from __future__ import annotations

import pytest

from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.world.load import load_world
from tests.support.parity import BATCH_ARRIVALS, result_of, sealed


@pytest.fixture(scope="session")
def run_root(tmp_path_factory):
    return sealed(tmp_path_factory.mktemp("parity") / "run")


@pytest.fixture(scope="session")
def planned(run_root):
    return plan(load_world(run_root), BATCH_ARRIVALS)


@pytest.fixture(scope="session")
def expanded(planned):
    """Every batch by the CPU backend."""
    return [result_of(planned, batch) for batch in planned.batches]
