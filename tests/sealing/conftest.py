"""A world that can be sealed."""

import pytest

from tests.support.seal_world import make_world


@pytest.fixture
def run_root(tmp_path):
    return make_world(tmp_path / "world")
