"""An imported world that the tests of importing share."""

from __future__ import annotations

import pytest

from tests.support.importing import (
    imported,
    small_tables,
)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The small tables as a world, sealed."""
    root = tmp_path_factory.mktemp("import") / "world"
    result = imported(small_tables(), root)
    return root, result
