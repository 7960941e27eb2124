"""Worlds and a cluster that the tests of clusters share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arrival_engine import run
from arrival_engine.engine.sealing import seal
from tests.support.cluster import OPTIONS, busy_counts, dask_cluster
from tests.support.model import CountRow
from tests.support.product import copy_without_outputs
from tests.support.world_files import write_world
from tests.support.worlds import (
    BIG_ID,
    CASABLANCA,
    NEW_YORK_GAP,
    small_world,
)


@pytest.fixture(scope="session")
def sealed(tmp_path_factory):
    """Three scenarios: everything that the law has, more of it, and one that --strict forbids while it is expanded."""
    run_root = tmp_path_factory.mktemp("cluster") / "sealed"
    no_groups = tuple(CountRow(BIG_ID, CASABLANCA, "mixed", bucket, 10) for bucket in (3, NEW_YORK_GAP))
    further = {"second": busy_counts(60), "no_groups": no_groups}
    world = small_world()
    scenarios = [replace(world, scenario_id=scenario_id, counts=counts) for scenario_id, counts in further.items()]
    write_world(world, run_root, split_files=4, shuffle_seed=2, further_scenarios=scenarios)
    seal(run_root)
    return run_root


@pytest.fixture
def run_root(sealed, tmp_path):
    return copy_without_outputs(sealed, tmp_path / "run")


@pytest.fixture(scope="session")
def local(sealed, tmp_path_factory):
    """What a run on this machine publishes."""
    run_root = copy_without_outputs(sealed, tmp_path_factory.mktemp("cluster") / "local")
    run(run_root, replace(OPTIONS, threads=2))
    return run_root


@pytest.fixture(scope="module")
def client():
    with dask_cluster(3) as client:
        yield client


@pytest.fixture(scope="session")
def busy(tmp_path_factory):
    """A million arrivals in shards that take some tenths of a second."""
    run_root = tmp_path_factory.mktemp("busy") / "sealed"
    write_world(small_world(counts=busy_counts(40_000, 8)), run_root)
    seal(run_root)
    return run_root
