"""A small world that has been run, for the benchmarks to work on."""

from __future__ import annotations

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise


@pytest.fixture(scope="session")
def run_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench") / "world"
    synthesise(root, preset="demo", seed=1, scale=0.05)
    seal(root)
    run(root, RunOptions(backend="cpu"))
    return root
