"""What is in a store comes from anywhere: names, sizes and locks that no run wrote, from a server that may lie."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace

import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.inside import inside
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.storage import Object, open_store, run_directory
from arrival_engine.engine.storage.carrier import Carrier
from arrival_engine.engine.storage.directory import Shipping
from arrival_engine.engine.storage.lock import LOCK_FOLDER, removal, store_lock
from arrival_engine.engine.storage.manifest import partition
from tests.support.hostile_s3 import lying
from tests.support.refusals import CPU
from tests.support.s3_server import put_tree, server
from tests.support.world_files import write_world
from tests.support.worlds import small_world

__all__ = ["server"]

WORLD = small_world()
IDENTITY = Identity(WORLD.manifest_fingerprint, WORLD.parameter_hash, WORLD.seed, WORLD.run_id)
HERE = partition(IDENTITY, WORLD.scenario_id)
OPTIONS = replace(CPU, batch_arrivals=500)


@pytest.fixture
def lies():
    with lying() as found:
        yield found


@pytest.fixture
def store(lies):
    return open_store(lies.url("w"))


@pytest.fixture
def carrier(store):
    return Carrier(store, Reporter())


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("hostile") / "sealed"
    write_world(WORLD, run_root)
    seal(run_root)
    return run_root


def refused(work, code=Code.IO_READ_FAILED):
    with pytest.raises(ArrivalError) as caught:
        work()
    assert caught.value.code is code
    text = caught.value.message + caught.value.hint
    assert text.isprintable(), text
    assert caught.value.hint
    return caught.value


class TestNames:
    @pytest.mark.parametrize(
        ("key", "says"),
        [
            (b"w/../../evil", "`..`"),
            (b"w/a//b", "empty part"),
            (b"w/./a", "`.`"),
            (b"w/a&#10;b", "control character"),
            (b"w/&#27;[31mPASS", "control character"),
            ("w/\x9b31m".encode(), "control character"),
            (b"w/a\\b", "backslash"),
            (b"w/a\xff\xfe", "not UTF-8"),
            (b"w/\xed\xa0\x80", "not UTF-8"),
            (b"w/" + b"a" * 300, "255 bytes"),
            (b"w/" + b"a" * 100_000, "255 bytes"),
            (b"w/" + b"/".join([b"a" * 200] * 9), "1024 altogether"),
            (b"w", "not below it"),
            (b"world/x", "not below it"),
            (b"other/place/evil", "not below it"),
            (b"/etc/passwd", "not below it"),
        ],
        ids=[
            *("climbs", "empty-part", "dot", "newline", "escape", "c1", "backslash", "bytes", "surrogate", "long"),
            *("very-long", "deep", "the-prefix", "another-prefix", "elsewhere", "absolute"),
        ],
    )
    def test_one_that_no_directory_can_have_is_refused(self, lies, store, key, says):
        lies.listed = [(key, "3")]
        error = refused(store.list)
        assert says in error.message
        assert "delete that object" in error.hint
        assert len(error.message) < 500

    @pytest.mark.parametrize("text", ["data/\ud800/x", "a\x00b", "a" * 256, "é" * 128, "/".join(["a" * 200] * 6)])
    def test_no_path_of_a_document_is_asked_for_that_cannot_be_one(self, lies, store, text):
        refused(lambda: store.stat(text))
        refused(lambda: store.read_bytes(text, 10))
        assert lies.sent == 0

    def test_folders_of_consoles_are_no_files(self, lies, store):
        lies.listed = [(b"w/", "0"), (b"w/a/", "0"), (b"w/a/b", "1")]
        assert [item.path for item in store.list()] == ["a/b"]

    @pytest.mark.parametrize("order", [1, -1])
    def test_two_that_cannot_both_be_files_are_named(self, carrier, tmp_path, order):
        files = [Object("data/index.json", 1), Object("data/index.json/child", 1)][::order]
        error = refused(lambda: carrier.download_all(files, inside(tmp_path)))
        assert "data/index.json and s3://hostile/w/data/index.json/child cannot both be files" in error.message
        assert list(tmp_path.iterdir()) == []


class TestSizes:
    @pytest.mark.parametrize("size", ["-1", "-9223372036854775808"])
    def test_one_below_nothing_is_refused(self, lies, store, size):
        lies.listed = [(b"w/a", size)]
        assert "no size" in refused(store.list).message

    @pytest.mark.parametrize("size", ["99999999999999999999", "9223372036854775807"])
    def test_more_than_the_disk_holds_is_refused_before_anything_is_read(self, lies, store, carrier, tmp_path, size):
        lies.objects["w/a"], lies.listed = b"abc", [(b"w/a", size)]
        error = refused(lambda: carrier.download_all(store.list(), inside(tmp_path)), Code.IO_WRITE_FAILED)
        assert "--scratch" in error.hint
        assert lies.sent == 0
        assert list(tmp_path.iterdir()) == []

    def test_an_object_that_grew_is_not_read_to_its_end(self, lies, carrier, tmp_path):
        lies.objects["w/a"] = bytes(40 << 20)
        for use in (
            lambda item: carrier.hash_all([item]),
            lambda item: carrier.download_all([item], inside(tmp_path)),
        ):
            lies.sent = 0
            assert "should have 3 bytes, but has more" in refused(lambda use=use: use(Object("a", 3))).message
            assert lies.sent < 20 << 20

    @pytest.mark.parametrize("size", [1000, 20_000])
    def test_an_object_that_shrank_gives_no_memory_of_this_process(self, lies, store, tmp_path, size):
        # Between the request for its size and the one for its bytes.
        lies.objects["w/a"], lies.told["w/a"] = b"abc", size
        for index in range(10):
            assert store.read_bytes("a", 1 << 20).rstrip(b"\0") == b"abc"
            store.download("a", inside(tmp_path) / str(index))
            assert (tmp_path / str(index)).read_bytes().rstrip(b"\0") == b"abc"

    def test_a_document_of_a_gibibyte_is_not_read(self, lies, store):
        lies.objects["w/run_receipt.json"], lies.told["w/run_receipt.json"] = b"{}", 1 << 30
        assert "larger than 16777216 bytes" in refused(lambda: store.read_bytes("run_receipt.json", 16 << 20)).message
        with pytest.raises(ArrivalError, match="larger than"), run_directory(lies.url("w"), Reporter()):
            pass
        assert lies.sent == 0


class TestLocks:
    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"", "does not say who"),
            (b"\xff\x00", "does not say who"),
            (b"[1]", "does not say who"),
            (b"{}", "does not say who"),
            (b"[" * 2000 + b"]" * 2000, "does not say who"),
            (b"[" * 900 + b"]" * 900, "does not say who"),
            (b'{"pid":NaN}', "does not say who"),
            (b" " * 5000, "does not say who"),
            (b'{"pid":[1],"host":{"a":"\\u001b"},"since":null}', "process unknown on unknown, since unknown"),
            (b'{"pid":true,"host":1.5,"since":[]}', "process unknown on unknown, since unknown"),
            (
                b'{"pid":"\\u001b[31m1","host":"a\\nall inputs PASS\\u202e","since":"\\u0000"}',
                r"process \x1b[31m1 on a\nall inputs PASS\u202e, since \x00",
            ),
            (b'{"pid":1,"host":"x","since":"\\ud800"}', "does not say who"),
            (b'{"pid":' + b"9" * 3000 + b',"host":"x","since":"2999-01-01"}', "99... on x, since 2999-01-01"),
            (b'{"pid":1,"host":"' + b"h" * 3000 + b'","since":""}', "hh..., since "),
        ],
        ids=[
            *("empty", "bytes", "list", "no-fields", "very-deep", "deep", "nan", "long", "types", "other-types"),
            *("escapes", "surrogate", "digits", "words"),
        ],
    )
    def test_a_forged_one_tells_its_words_and_how_to_delete_it(self, lies, store, data, says):
        path = f"{LOCK_FOLDER}/forged.json"
        store.write_bytes(path, data)

        def hold():
            with store_lock(store):
                pass

        error = refused(hold, Code.IO_WRITE_CONFLICT)
        assert says in error.message
        assert "the store has its lock since 2026-01-01T00:00:00+00:00" in error.message
        assert len(error.message) < 600
        command = shlex.split(error.hint.rpartition(": ")[2])
        assert command == ["aws", "s3", "rm", store.url(path), "--endpoint-url", f"http://127.0.0.1:{lies.port}"]
        # Ours is gone, the other stays until a person deletes it.
        assert [item.path for item in store.list(LOCK_FOLDER)] == [path]

    def test_one_of_a_gibibyte_is_not_read(self, lies, store):
        lies.listed = [(f"w/{LOCK_FOLDER}/big.json".encode(), str(1 << 30))]

        def hold():
            with store_lock(store):
                pass

        assert "does not say who" in refused(hold, Code.IO_WRITE_CONFLICT).message
        assert lies.sent == 0

    @pytest.mark.parametrize(
        ("place", "command"),
        [
            ("gs://b/a b", ["gcloud", "storage", "rm", f"gs://b/a b/{LOCK_FOLDER}/x.json"]),
            ("s3://b/$(id)", ["aws", "s3", "rm", f"s3://b/$(id)/{LOCK_FOLDER}/x.json"]),
            ("/srv/-a", ["rm", "--", f"/srv/-a/{LOCK_FOLDER}/x.json"]),
        ],
    )
    def test_the_command_is_quoted_for_the_shell(self, place, command):
        assert shlex.split(removal(open_store(place), f"{LOCK_FOLDER}/x.json")) == command

    def test_one_that_never_knew_its_start_is_not_taken_for_a_dead_one(self, store):
        with store_lock(store):
            (path,) = (item.path for item in store.list(LOCK_FOLDER))
            ours = json.loads(store.read_bytes(path, 1 << 20))
        store.write_bytes(path, json.dumps({**ours, "process_started": None, "pid": os.getpid()}).encode())
        with pytest.raises(ArrivalError, match=f"process {os.getpid()} on"), store_lock(store):
            pass


class Twice(Shipping):
    """Sends every part again under another number, as another program in the scratch directory might."""

    def take(self, path):
        again = path.with_name(path.name.replace("part-0", "part-9"))
        again.write_bytes(path.read_bytes())
        super().take(again)
        super().take(path)


class TestRuns:
    @pytest.fixture
    def url(self, server, sealed, request):
        found = server.url(request.node.name.partition("[")[0])
        put_tree(sealed, open_store(found))
        return found

    def test_a_file_with_a_child_is_named_and_the_run_goes_on_without_it(self, server, url, tmp_path):
        store = open_store(url)
        path = next(item.path for item in store.list() if item.path.endswith("index.json"))
        server.request("PUT", f"{store.key(path)}/child", b"x")

        def publish():
            with run_directory(url, Reporter(), scratch=tmp_path) as directory:
                return run(directory.root, OPTIONS, shipping=directory.shipping).scenarios[0].published

        assert f"{store.url(path)} and {store.url(path)}/child" in refused(publish).message
        assert list(tmp_path.iterdir()) == []
        store.delete(f"{path}/child")
        # Names of killed runs' folders that are objects block nothing either.
        server.request("PUT", store.key("tmp/arrivals-object"), b"x")
        server.request("PUT", store.key("tmp/arrivals-both"), b"x")
        server.request("PUT", store.key("tmp/arrivals-both/part"), b"x")
        assert publish() == "published"
        assert store.list("tmp") == []

    def test_an_index_fetches_no_arrivals(self, url, tmp_path):
        store = open_store(url)
        index = next(item.path for item in store.list("data/layer1/2B/validation") if item.path.endswith("index.json"))
        document = json.loads(store.read_bytes(index, 1 << 20))
        entries = document if isinstance(document, list) else document["files"]
        planted = [f"{HERE}/part-000000.parquet", "tmp/arrivals-x/part", "a" * 300, "data/\ud800", "../../evil"]
        entries += [{**entries[0], "path": path} for path in planted]
        store.write_bytes(index, json.dumps(document).encode())
        for path in planted[:2]:
            store.write_bytes(path, b"PAR1")
        with run_directory(url, Reporter(), scratch=tmp_path, writes=False) as directory:
            assert (directory.root / index).is_file()
            assert not (directory.root / HERE).exists()
            assert not (directory.root / "tmp").exists()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", [".arrivals-owner.json", "copy"])
    def test_a_run_directory_may_have_any_name(self, server, sealed, name):
        store = open_store(server.url(name))
        put_tree(sealed, store)
        with run_directory(store.place, Reporter(), writes=False) as directory:
            assert directory.root.name == name

    def test_parts_that_were_not_made_are_not_published(self, url, tmp_path):
        store = open_store(url)
        with run_directory(url, Reporter(), scratch=tmp_path) as directory:
            shipping = Twice(directory.copy)
            error = refused(lambda: run(directory.root, OPTIONS, shipping=shipping), Code.IO_WRITE_CONFLICT)
            assert "were made" in error.message
        assert [item for item in store.list(HERE) if "part-" in item.path] == []
