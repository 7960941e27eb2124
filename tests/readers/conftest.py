"""One published world for all tests of readers."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.engine.run.scenario import ScenarioResult
from tests.support import reader_worlds


class Published(NamedTuple):
    """A run directory, its scenario, and the rows that it published, in the contract's columns."""

    root: object
    scenario: ScenarioResult
    rows: pa.Table


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("readers") / "run"
    scenario = reader_worlds.published(root)
    return Published(root, scenario, pq.read_table(scenario.path, partitioning=None))
