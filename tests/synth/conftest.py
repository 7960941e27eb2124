"""The demo world, made once for the tests of synthesis."""

import pytest

from arrival_engine.engine.synth import synthesise
from tests.support.synthesised import Made


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    return Made(root, synthesise(root, preset="demo", seed=42))
