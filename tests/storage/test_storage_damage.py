"""Published objects damaged later, their sizes unchanged: what a run compares, and what `--replace` mends."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.contracts.identity import Identity
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.storage import open_store, run_directory
from arrival_engine.engine.storage.carrier import Carrier
from arrival_engine.engine.storage.manifest import MANIFEST, partition
from arrival_engine.engine.storage.publish import StorePublication
from tests.support.refusals import CPU
from tests.support.s3_server import put_tree, server
from tests.support.world_files import write_world
from tests.support.worlds import small_world

__all__ = ["server"]

WORLD = small_world()
IDENTITY = Identity(WORLD.manifest_fingerprint, WORLD.parameter_hash, WORLD.seed, WORLD.run_id)
HERE = partition(IDENTITY, WORLD.scenario_id)
OPTIONS = replace(CPU, batch_arrivals=1500)
REPLACE = replace(OPTIONS, replace=True)
WITH_EVENTS = replace(OPTIONS, rng_events="parquet")
DIAGNOSTICS = ("s4_arrival_summary_5B", "s4_arrival_anomalies_5B", "arrival_sites_5B", "arrival_edges_5B")


def run_in_store(url, options=OPTIONS):
    with run_directory(url, Reporter()) as directory:
        return run(directory.root, options, shipping=directory.shipping).scenarios[0]


def words(url):
    """The command line of OPTIONS."""
    return ("run", url, "--backend", "cpu", "--batch-arrivals", str(OPTIONS.batch_arrivals))


def said(result):
    return result.published, result.compared


@pytest.fixture(scope="module")
def url(server, tmp_path_factory):
    """A published world; every test leaves it whole."""
    world = tmp_path_factory.mktemp("damage") / "world"
    write_world(WORLD, world)
    seal(world)
    found = server.url("damage")
    put_tree(world, open_store(found))
    assert said(run_in_store(found)) == ("published", None)
    return found


@pytest.fixture(scope="module")
def store(url):
    return open_store(url)


@pytest.fixture(scope="module")
def target(store):
    return StorePublication(Carrier(store, Reporter()), IDENTITY, WORLD.scenario_id)


@pytest.fixture(scope="module")
def whole(store):
    """What is published, before a test does harm."""
    return published(store)


def published(store):
    folders = [HERE, *(dataset(name).path.partition("/seed")[0] for name in DIAGNOSTICS)]
    return contents(store, *folders)


def contents(store, *folders):
    return {item.path: store.read_bytes(item.path, 1 << 20) for folder in folders for item in store.list(folder)}


def flipped(data):
    """The same number of bytes, 50 of them others."""
    middle = len(data) // 2 - 25
    return data[:middle] + bytes(byte ^ 255 for byte in data[middle : middle + 50]) + data[middle + 50 :]


class TestParts:
    def test_replace_mends_the_damage_that_a_plain_run_does_not_look_for(self, url, store, whole, capsys):
        path = max((path for path in whole if "/part-" in path), key=lambda path: len(whole[path]))
        store.write_bytes(path, flipped(whole[path]))
        assert main((*words(url), "--json", "--quiet")) == 0
        (scenario,) = json.loads(capsys.readouterr().out)["scenarios"]
        assert (scenario["published"], scenario["compared"]) == ("identical", "manifest")
        assert said(run_in_store(url, REPLACE)) == ("replaced", None)
        assert published(store) == whole

    def test_nothing_is_written_over_parts_that_are_whole(self, url, store, whole, server):
        asked = len(server.requests())
        assert said(run_in_store(url, REPLACE)) == ("identical", "bytes")
        writes = [line for line in server.requests()[asked:] if line.startswith(("PUT", "POST", "DELETE"))]
        assert not [line for line in writes if "/data/layer2/5B/arrival_events/" in line]
        assert store.list("tmp") == []
        assert published(store) == whole

    def test_replace_takes_other_parts_of_the_same_arrivals(self, url, store, whole):
        assert said(run_in_store(url, replace(CPU, replace=True))) == ("replaced", None)
        others = published(store)
        assert others != whole
        for path in others.keys() - whole.keys():
            store.delete(path)
        for path, data in whole.items():
            store.write_bytes(path, data)

    def test_replace_removes_what_the_manifest_does_not_list(self, url, store, whole, capsys):
        store.write_bytes(f"{HERE}/part-999999.parquet", b"PAR1")
        assert main(words(url)) == 0
        assert "--replace compares their bytes" in " ".join(capsys.readouterr().out.split())
        assert said(run_in_store(url, REPLACE)) == ("replaced", None)
        assert published(store) == whole


class TestManifest:
    @pytest.mark.parametrize(
        "lie",
        [
            {"sealed_inputs_digest": "0" * 64},
            {"engine_version": "9.9.9"},
            {"engine_version": "\ud800"},
            {"law_version": 77},
        ],
        ids=["seal", "version", "surrogate", "law"],
    )
    def test_one_that_lies_about_the_source_does_not_hold(self, target, store, whole, lie):
        expected, path = target.manifest(), f"{HERE}/{MANIFEST}"
        assert target.holds(expected)
        store.write_bytes(path, json.dumps({**json.loads(whole[path]), **lie}, separators=(",", ":")).encode())
        assert not target.holds(expected)
        store.write_bytes(path, whole[path])

    def test_hashes_that_lie_are_found_by_replace(self, url, store, whole):
        # Names without a token, as version 0.1.0 wrote them, are not tied to the hashes.
        document = json.loads(whole[f"{HERE}/{MANIFEST}"])
        for index, part in enumerate(document["parts"]):
            plain = f"part-{index:06d}.parquet"
            store.write_bytes(f"{HERE}/{plain}", whole[f"{HERE}/{part['name']}"])
            store.delete(f"{HERE}/{part['name']}")
            part.update(name=plain, sha256="0" * 64)
        store.write_bytes(f"{HERE}/{MANIFEST}", json.dumps(document).encode())
        assert said(run_in_store(url)) == ("identical", "manifest")
        with pytest.raises(ArrivalError, match="its manifest says") as caught, run_directory(url, Reporter()) as there:
            there.fetch_arrivals()
        assert caught.value.code is Code.IO_READ_FAILED
        assert said(run_in_store(url, REPLACE)) == ("replaced", None)
        assert published(store) == whole

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"a":1,"a":2}',
            b'{"arrivals":NaN}',
            lambda whole: whole.replace(b'"rows":', b'"rows":' + b"9" * 4299),
            # Each can be written in decimal; their sum is too long for Python.
            lambda whole: re.sub(rb'"rows":\d+', b'"rows":' + b"9" * 4300, whole),
            lambda whole: whole.replace(b'"bytes":', b'"bytes":' + b"9" * 30),
            lambda whole: whole.replace(b'"law_version":', b'"law_version":' + b"9" * 30),
            lambda whole: whole.replace(b'"scenario_id":"', b'"scenario_id":"\\u0000'),
            lambda whole: whole.replace(b'"arrival_digest":"', b'"arrival_digest":"' + b"9" * 4299),
        ],
        ids=[
            *("empty", "list", "not-utf-8", "deep", "twice", "nan", "int-of-5000-digits", "sum", "bytes", "law"),
            *("nul", "digest"),
        ],
    )
    def test_one_of_nonsense_is_refused_by_name_and_does_not_hold(self, target, store, whole, data):
        expected, path = target.manifest(), f"{HERE}/{MANIFEST}"
        store.write_bytes(path, data(whole[path]) if callable(data) else data)
        with pytest.raises(ArrivalError) as caught:
            target.refuse_certain_conflict("parquet", 1)
        assert caught.value.code is Code.IO_WRITE_CONFLICT
        assert not target.holds(expected)
        store.write_bytes(path, whole[path])

    def test_one_that_is_too_large_is_replaced_too(self, url, store, whole, monkeypatch):
        monkeypatch.setattr("arrival_engine.engine.storage.manifest.BYTES_MAX", 1 << 11)
        path = f"{HERE}/{MANIFEST}"
        store.write_bytes(path, whole[path] + b" " * 4096)
        with pytest.raises(ArrivalError, match="at most 2048") as caught:
            run_in_store(url)
        assert caught.value.code is Code.IO_WRITE_CONFLICT
        assert "--replace" in caught.value.hint
        assert said(run_in_store(url, REPLACE)) == ("replaced", None)
        assert published(store) == whole


def test_diagnostics_and_events_of_random_numbers_are_compared_by_their_bytes_in_any_case(url, store, whole):
    run_in_store(url, WITH_EVENTS)
    events = contents(store, "logs/layer2/5B/rng/events")
    others = events | {path: data for path, data in whole.items() if not path.startswith(HERE)}
    assert (len(events), len(others)) == (3, 3 + len(DIAGNOSTICS))
    for path, data in others.items():
        store.write_bytes(path, flipped(data))
    assert run_in_store(url, WITH_EVENTS).published == "identical"
    assert contents(store, "logs/layer2/5B/rng/events") == events
    assert published(store) == whole


@pytest.mark.slow
def test_diagnostics_are_compared_by_their_bytes_under_replace_too(url, store, whole):
    for path, data in whole.items():
        if not path.startswith(HERE):
            store.write_bytes(path, flipped(data))
    assert said(run_in_store(url, REPLACE)) == ("identical", "bytes")
    assert published(store) == whole
