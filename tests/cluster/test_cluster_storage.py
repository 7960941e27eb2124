"""A run directory in an object store, expanded by a cluster: what is published is what a local run makes."""

from __future__ import annotations

import json
import shutil

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.storage import open_store, published_parts
from tests.support.refusals import command, published
from tests.support.s3_server import cli, files_of, put_tree, server
from tests.support.world_files import write_world
from tests.support.worlds import small_world

__all__ = ["server"]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("cluster-storage") / "sealed"
    write_world(small_world(), run_root, split_files=3)
    seal(run_root)
    return run_root


def test_parts_in_the_store_have_the_bytes_of_a_local_run(server, sealed, tmp_path):
    url = server.url("clustered")
    store = open_store(url)
    put_tree(sealed, store)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ["--scheduler", "local", "--workers", "2", "--batch-arrivals", "100", "--backend", "cpu"]
    with cli("run", url, *words, "--scratch", str(scratch)) as process:
        said = process.communicate()[1]
    assert process.returncode == 0, said
    assert list(scratch.iterdir()) == []
    here = shutil.copytree(sealed, tmp_path / "here")
    run(here, RunOptions(backend="cpu", batch_arrivals=100))
    expected = {path.name: path.read_bytes() for path in published(here).iterdir()}
    names = [name.removeprefix(f"{store}/") for name in published_parts(url, "baseline_v1")]
    assert {name.rpartition("/")[2]: store.read_bytes(name, 1 << 30) for name in names} == expected


def test_a_plan_of_a_url_changes_nothing_there(server, sealed, capsys):
    url = server.url("planned")
    store = open_store(url)
    put_tree(sealed, store)
    before = files_of(store)
    assert main(["plan", url, "--batch-arrivals", "100", "--backend", "cpu", "--json"]) == 0
    (scenario,) = json.loads(capsys.readouterr().out)["scenarios"]
    assert (scenario["arrivals"], scenario["calibration"]["arrivals"]) == (3279, 3279)
    assert files_of(store) == before


def test_workers_elsewhere_need_a_directory_that_they_share():
    done = command("run", "s3://bucket/world", "--scheduler", "tcp://127.0.0.1:8786")
    assert done.returncode == 2
    assert "--scratch" in done.stderr
