"""One sample for all processes of a test session."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.sample import share


@pytest.fixture(scope="session", autouse=True)
def _one_sample(tmp_path_factory):
    own = tmp_path_factory.getbasetemp()
    # The folders of pytest-xdist's workers are beside each other.
    share(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)
