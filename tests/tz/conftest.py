"""The exact tables of every zone."""

import pytest

from arrival_engine.engine.tz.pinned import pinned_zones


@pytest.fixture(scope="session")
def exact():
    return pinned_zones()
