"""The flag of the validation bundle in a store: gone before anything that it vouches for changes, or is found bad."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from arrival_engine import run
from arrival_engine.contracts import Code
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.storage import open_store, run_directory
from arrival_engine.engine.storage.manifest import MANIFEST
from tests.storage.test_storage_faults import HERE, IDENTITY, OPTIONS, WORLD, part_in
from tests.support.s3_server import files_of, put_tree, server
from tests.support.world_files import write_world

__all__ = ["server"]

FLAG = dataset("validation_passed_flag_5B").relative(IDENTITY.tokens())
FAILED = dataset("validation_failed_bundle_5B").relative(IDENTITY.tokens()).rstrip("/")


@pytest.fixture(scope="module")
def files(server, tmp_path_factory):
    """Every object of a run that was made and validated in a store."""
    run_root, url = tmp_path_factory.mktemp("storage") / "sealed", server.url("passed")
    write_world(WORLD, run_root)
    seal(run_root)
    put_tree(run_root, open_store(url))
    run_in_store(url, OPTIONS)
    assert main(("validate", url, "--quiet")) == 0
    found = files_of(open_store(url))
    assert FLAG in found
    return found


@pytest.fixture
def url(server, files, request):
    """The same at a place of its own."""
    found = server.url(request.node.name.replace("[", "-").replace("]", ""))
    store = open_store(found)
    for path, data in files.items():
        store.write_bytes(path, data)
    return found


def run_in_store(url, options):
    with run_directory(url, Reporter()) as directory:
        return run(directory.root, options, shipping=directory.shipping).scenarios[0]


def validate(url, capsys):
    capsys.readouterr()
    code = main(("validate", url, "--quiet", "--json"))
    return code, json.loads(capsys.readouterr().out)


def has_flag(url):
    return open_store(url).stat(FLAG) is not None


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[:-1] + b"?",
        None,
        pytest.param(lambda data: data[:-1], marks=pytest.mark.slow),
        pytest.param(lambda data: data + b"?", marks=pytest.mark.slow),
    ],
)
def test_parts_that_differ_from_their_manifest_revoke_the_flag(harm, url, capsys):
    store, path = open_store(url), part_in(url, 1)
    if harm is None:
        store.delete(path)
    else:
        store.write_bytes(path, harm(store.read_bytes(path, 1 << 20)))
    code, answer = validate(url, capsys)
    assert (code, answer["code"]) == (1, str(Code.S5_IO_READ_FAILED))
    assert not has_flag(url)


def test_a_damaged_manifest_revokes_the_flag(url, capsys):
    store = open_store(url)
    manifest = store.read_bytes(f"{HERE}/{MANIFEST}", 1 << 20)
    store.write_bytes(f"{HERE}/{MANIFEST}", manifest[:-1])
    assert validate(url, capsys)[0] == 1
    assert not has_flag(url)


def test_a_validation_that_does_not_pass_revokes_the_flag_and_brings_its_bundle(url, capsys):
    store = open_store(url)
    (path,) = (item.path for item in store.list("reports"))
    lines = [json.loads(line) for line in store.read_bytes(path, 1 << 20).splitlines()]
    lines = [{**line, "n_arrivals_virtual": 1} if line["state"] == "S4" else line for line in lines]
    store.write_bytes(path, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    code, answer = validate(url, capsys)
    assert (code, answer["passed"]) == (1, False)
    assert not has_flag(url)
    assert [item.path for item in store.list(FAILED)]


def test_a_store_that_another_run_holds_leaves_the_flag(url, capsys):
    with run_directory(url, Reporter()):
        code, answer = validate(url, capsys)
    assert (code, answer["code"]) == (1, str(Code.S5_IO_WRITE_CONFLICT))
    assert has_flag(url)


def test_a_run_that_replaces_arrivals_deletes_the_flag_before_the_manifest(server, url):
    assert run_in_store(url, replace(OPTIONS, format="arrow", replace=True)).published == "replaced"
    assert not has_flag(url)
    prefix = open_store(url).key()
    deleted = [words[1].removeprefix(f"/{prefix}/") for words in map(str.split, server.requests()) if "DELETE" in words]
    assert deleted.index(FLAG) < deleted.index(f"{HERE}/{MANIFEST}")


def test_a_run_that_changes_nothing_leaves_the_flag(url):
    assert run_in_store(url, replace(OPTIONS, replace=True)).published == "identical"
    assert has_flag(url)


def test_a_run_that_adds_event_records_deletes_the_flag(url):
    assert run_in_store(url, replace(OPTIONS, rng_events="jsonl")).published == "identical"
    assert not has_flag(url)
