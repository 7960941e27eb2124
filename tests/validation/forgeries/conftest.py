"""The runs that are forged, made once and shared by all workers of a test run."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support.forging import Base
from tests.validation.forgeries.worlds import run_of

Bases = Callable[[str], Base]


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Bases:
    """The run of a world, by name."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    @cache
    def base(name: str) -> Base:
        run_root = shared / "forged runs" / name
        run_root.parent.mkdir(exist_ok=True)
        with Path(shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not run_root.exists():
                run_of(name, run_root.with_name(f"{name} made")).rename(run_root)
        return Base(run_root)

    return base
