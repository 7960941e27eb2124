"""A validated run that the tests of validation share."""

from __future__ import annotations

from pathlib import Path

import pytest

from arrival_engine.engine.validation.job import validate
from tests.support.validating import (
    proven_run,
)
from tests.support.worlds import small_world


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small world, validated."""
    run_root = tmp_path_factory.mktemp("sound") / "run"
    proven_run(run_root, small_world(), batch_arrivals=500)
    assert validate(run_root).passed
    return run_root
