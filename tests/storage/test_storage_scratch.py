"""Working copies of killed runs: removed by the next run, told by the doctor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arrival_engine import run
from arrival_engine.contracts.inside import inside
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.scratch import leftovers
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.storage import open_store, published_parts, run_directory
from tests.support.refusals import CPU
from tests.support.s3_server import put_tree, run_killed, server
from tests.support.world_files import write_world
from tests.support.worlds import small_world

__all__ = ["server"]

WORLD = small_world()


class Heard(Reporter):
    """Keeps the messages."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def message(self, text):
        self.messages.append(text)


@pytest.fixture(scope="module")
def url(server, tmp_path_factory):
    world = tmp_path_factory.mktemp("scratch") / "world"
    write_world(WORLD, world)
    seal(world)
    found = server.url("scratch")
    put_tree(world, open_store(found))
    return found


def test_the_next_run_removes_the_copies_of_killed_runs(url, tmp_path):
    for phase in ("download", "put in place"):
        run_killed(url, phase, tmp_path / "elsewhere")
        for path in (tmp_path / "elsewhere").iterdir():
            path.rename(tmp_path / path.name)
        (tmp_path / "elsewhere").rmdir()
    left = sorted(tmp_path.iterdir())
    assert len(left) == 2
    assert any(path.is_file() for folder in left for path in folder.rglob("*.parquet"))
    assert [path.outside for path in leftovers(inside(tmp_path)).dead] == left
    reporter = Heard()
    with run_directory(url, reporter, scratch=tmp_path) as directory:
        assert len(list(tmp_path.iterdir())) == 1
        run(directory.root, replace(CPU, replace=True), reporter, shipping=directory.shipping)
    assert list(tmp_path.iterdir()) == []
    told = [text for text in reporter.messages if "killed command" in text]
    assert told == [f"removed {path}, which a killed command had left behind" for path in left]


def test_a_reader_of_the_manifest_removes_them_too(url, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with run_directory(url, Reporter()) as directory:
        run(directory.root, replace(CPU, replace=True), shipping=directory.shipping)
    run_killed(url, "download", tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert published_parts(url, WORLD.scenario_id)
    assert list(tmp_path.iterdir()) == []
