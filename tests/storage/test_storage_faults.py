"""Faults of object stores, done to a real server: a manifest stands for a whole scenario, or is not there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.storage import open_store, published_parts, run_directory
from arrival_engine.engine.storage.carrier import Carrier
from arrival_engine.engine.storage.lock import LOCK_FOLDER, store_lock
from arrival_engine.engine.storage.manifest import MANIFEST, partition
from arrival_engine.engine.storage.publish import MARKER, Consignment, StorePublication
from tests.support.processes import At
from tests.support.refusals import CPU
from tests.support.s3_server import ENVIRONMENT, S3Server, cli, files_of, put_tree, run_killed, server
from tests.support.world_files import write_world
from tests.support.worlds import small_world

__all__ = ["server"]

WORLD = small_world()
IDENTITY = Identity(WORLD.manifest_fingerprint, WORLD.parameter_hash, WORLD.seed, WORLD.run_id)
HERE = partition(IDENTITY, WORLD.scenario_id)
OPTIONS = replace(CPU, batch_arrivals=500)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("storage") / "sealed"
    write_world(WORLD, run_root)
    seal(run_root)
    return run_root


@pytest.fixture(scope="module")
def local(sealed, tmp_path_factory):
    """The same world, run on this machine."""
    run_root = shutil.copytree(sealed, tmp_path_factory.mktemp("storage") / "local")
    run(run_root, OPTIONS)
    return run_root


@pytest.fixture
def url(server, sealed, request):
    """A sealed world in the store, at a place of its own."""
    found = server.url(request.node.name.replace("[", "-").replace("]", ""))
    put_tree(sealed, open_store(found))
    return found


def run_in_store(url, options=OPTIONS, reporter=None, scratch=None):
    with run_directory(url, reporter or Reporter(), scratch=scratch) as directory:
        return run(directory.root, options, reporter, shipping=directory.shipping).scenarios[0]


def in_partition(url):
    store = open_store(url)
    return {path.removeprefix(f"{HERE}/"): data for path, data in files_of(store).items() if path.startswith(HERE)}


def kept_for_later(url):
    """What runs have left behind below tmp/."""
    return [item.path for item in open_store(url).list("tmp")]


def assert_published(url, local):
    """What is published are the parts of the local run, and nothing of earlier attempts is left."""
    found = in_partition(url)
    manifest = json.loads(found.pop(MANIFEST))
    assert [part["name"] for part in manifest["parts"]] == sorted(found)
    assert found == {path.name: path.read_bytes() for path in (local / HERE).iterdir()}
    assert kept_for_later(url) == []


def read_in_store(url, name, form):
    """The rows of one object beside the manifest, or of the whole folder as a reader lists it."""
    store = open_store(url)
    key = store.key(f"{HERE}/{name}".rstrip("/"))
    return ds.dataset(key, filesystem=store.filesystem, format=form).to_table()


def part_in(url, index):
    """The path in the store of a published part."""
    (name,) = (name for name in in_partition(url) if name.startswith(f"part-{index:06d}-"))
    return f"{HERE}/{name}"


def sent(target, directory):
    consignment = Consignment(target)
    consignment.send_all(sorted(directory.iterdir()))
    return consignment.staged()


class TestTampering:
    @pytest.fixture
    def target(self, server, request):
        store = server.store(request.node.name.replace("[", "-").replace("]", ""))
        return StorePublication(Carrier(store, Reporter()), IDENTITY, WORLD.scenario_id)

    @pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: data[:-1] + b"?", lambda _: b""])
    def test_an_upload_that_is_not_what_was_sent_is_never_published(self, target, local, harm):
        staged, store = sent(target, local / HERE), target.carrier.store
        path = f"{staged.folder}/{staged.manifest.parts[1].name}"
        store.write_bytes(path, harm(store.read_bytes(path, 1 << 20)))
        with pytest.raises(ArrivalError, match=r"part-000001-\w{12}\.parquet has .* bytes with SHA-256") as caught:
            target.place(staged)
        assert caught.value.code is Code.IO_WRITE_FAILED
        target.tidy(staged)
        assert store.list() == []

    def test_a_part_that_is_lost_before_it_is_in_place_is_named(self, target, local):
        staged, store = sent(target, local / HERE), target.carrier.store
        store.delete(f"{staged.folder}/{staged.manifest.parts[2].name}")
        with pytest.raises(ArrivalError, match=r"part-000002-\w{12}\.parquet") as caught:
            target.place(staged)
        assert caught.value.code is Code.IO_WRITE_FAILED
        target.tidy(staged)
        assert store.list() == []

    def test_parts_sent_one_by_one_make_the_same_manifest(self, target, local):
        together, one_by_one = sent(target, local / HERE), Consignment(target)
        for path in sorted((local / HERE).iterdir(), reverse=True):
            one_by_one.send(path)
        assert one_by_one.staged().manifest == together.manifest

    def test_what_is_published_is_not_of_another_writer(self, target, local):
        staged, store = sent(target, local / HERE), target.carrier.store
        target.place(staged)
        path = f"{HERE}/{staged.manifest.parts[0].name}"
        store.write_bytes(path, store.read_bytes(path, 1 << 20)[:-1] + b"?")
        with pytest.raises(ArrivalError, match=r"part-000000-\w{12}\.parquet has .* bytes with SHA-256"):
            target.verify(staged.manifest)
        target.tidy(staged)
        assert store.list() == []


@pytest.fixture(scope="module")
def published(server, sealed):
    """A published world; tests that do harm to it make it good again."""
    url = server.url("published")
    put_tree(sealed, open_store(url))
    run_in_store(url)
    return url


class TestPublished:
    def test_a_damaged_manifest_is_no_publication(self, published):
        store, path = open_store(published), f"{HERE}/{MANIFEST}"
        manifest = store.read_bytes(path, 1 << 20)
        first = re.search(rb"part-000000-\w{12}", manifest)[0]
        for old, new in (
            (b'"scenario_id":"baseline_v1"', b'"scenario_id":"other"'),
            (b'"name":"part-000000-', b'"name":"../part-000000-'),
            (b'"name":"part-000001-', b'"name":"part-000000-'),
            (first, first[:-1] + (b"0" if first[-1:] != b"0" else b"1")),
            (first[-13:], b"-0123456789ab"),
            (b'"seed":42', b'"seed":43'),
            (b'"arrivals":3279', b'"arrivals":3280'),
            (b'"rows":31', b'"rows":32'),
            (b'{"arr', b"{arr"),
        ):
            assert old in manifest
            store.write_bytes(path, manifest.replace(old, new))
            with pytest.raises(ArrivalError) as caught:
                published_parts(published, WORLD.scenario_id)
            assert caught.value.code is Code.IO_WRITE_CONFLICT
            assert path in caught.value.message
        store.write_bytes(path, manifest)
        assert len(published_parts(published, WORLD.scenario_id)) == 3

    def test_a_changed_part_is_not_validated(self, published):
        store, path = open_store(published), part_in(published, 1)
        data = store.read_bytes(path, 1 << 20)
        store.write_bytes(path, data[:-1] + b"?")
        with (
            pytest.raises(ArrivalError, match="its manifest says") as caught,
            run_directory(published, Reporter()) as directory,
        ):
            directory.fetch_arrivals()
        assert caught.value.code is Code.IO_READ_FAILED
        store.write_bytes(path, data)

    def test_a_lost_part_is_noticed_and_replaced(self, published, local):
        open_store(published).delete(part_in(published, 1))
        with pytest.raises(ArrivalError, match=r"lists part-000001-\w{12}\.parquet, which is missing") as caught:
            run_in_store(published)
        assert caught.value.code is Code.IO_WRITE_CONFLICT
        assert run_in_store(published, replace(OPTIONS, replace=True)).published == "replaced"
        assert_published(published, local)

    def test_a_marker_beside_a_manifest_means_nothing(self, published, local):
        # What a run leaves that was killed between its manifest and the end.
        for name in (MARKER, "part--incomplete.parquet", "part-incomplete.arrow"):
            open_store(published).write_bytes(f"{HERE}/{name}", b"")
        assert run_in_store(published).published == "identical"
        assert_published(published, local)

    def test_files_without_a_manifest_are_nobodys_leftovers(self, url, local):
        store = open_store(url)
        for path in (local / HERE).iterdir():
            store.upload(path, f"{HERE}/{path.name}")
        before = in_partition(url)
        with pytest.raises(ArrivalError, match="files without a manifest") as caught:
            run_in_store(url)
        assert caught.value.code is Code.IO_WRITE_CONFLICT
        assert in_partition(url) == before
        assert run_in_store(url, replace(OPTIONS, replace=True)).published == "replaced"
        assert_published(url, local)


class TestKilled:
    @pytest.mark.slow
    def test_while_it_uploads_nothing_is_published_and_the_next_run_clears_up(self, url, local, tmp_path):
        run_killed(url, "upload", tmp_path)
        assert in_partition(url) == {}
        assert any(path.startswith(LOCK_FOLDER) for path in kept_for_later(url))
        # Whether any of its few parts had arrived is chance; of a long upload some will have.
        open_store(url).write_bytes("tmp/arrivals-baseline_v1-0123456789abcdef/part-000000.parquet", b"x")
        assert run_in_store(url).published == "published"
        assert_published(url, local)

    @pytest.mark.parametrize("standing", ["arrow", ""])
    def test_while_it_replaces_nothing_stands_and_the_next_run_publishes(self, url, local, tmp_path, standing):
        if standing:
            run_in_store(url, replace(OPTIONS, format=standing, batch_arrivals=400))
        run_killed(url, "put in place", tmp_path, "replace")
        left = in_partition(url)
        assert MARKER in left
        assert MANIFEST not in left
        # Nor does a reader get some parts for all who lists the folder, from whichever end.
        for form in {"parquet", standing} - {""}:
            first, *_, last = sorted(name for name in left if name.endswith(form))
            for name in (first, last):
                with pytest.raises(pa.ArrowInvalid):
                    read_in_store(url, name, form)
            with pytest.raises(pa.ArrowInvalid):
                read_in_store(url, "", form)
        with pytest.raises(ArrivalError, match="no arrivals"):
            published_parts(url, WORLD.scenario_id)
        assert run_in_store(url).published == "published"
        assert_published(url, local)


class TestInterrupted:
    @pytest.mark.parametrize("phase", ["upload", "put in place"])
    def test_a_run_takes_everything_back(self, url, tmp_path, phase):
        with pytest.raises(KeyboardInterrupt):
            run_in_store(url, reporter=At(phase, lambda: signal.raise_signal(signal.SIGINT)), scratch=tmp_path)
        assert in_partition(url) == {}
        assert kept_for_later(url) == []
        assert list(tmp_path.iterdir()) == []


class TestServerThatDies:
    def test_an_upload_that_breaks_off_is_a_named_failure(self, tmp_path, monkeypatch):
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        server = S3Server(tmp_path / "log")
        (tmp_path / "large").write_bytes(bytes(40 << 20))
        steps = []

        def stop_after_a_piece(size):
            steps.append(size)
            if len(steps) == 2:
                end = time.monotonic() + 120.0
                while "partNumber=1" not in server.requests()[-1]:
                    assert time.monotonic() < end, "no piece ever arrived"
                    time.sleep(0.01)
                server.stop()

        try:
            with pytest.raises(ArrivalError, match="cannot write s3://worlds/runs/large") as caught:
                server.store("runs").upload(InsidePath(tmp_path) / "large", "large", stop_after_a_piece)
        finally:
            server.stop()
        assert caught.value.code is Code.IO_WRITE_FAILED
        assert "did not answer" in caught.value.hint

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("phase", "codes"),
        [
            ("download", {Code.IO_READ_FAILED}),
            ("upload", {Code.IO_WRITE_FAILED}),
            # Copies parts and reads them back: the server is missed by whichever comes next.
            ("put in place", {Code.IO_WRITE_FAILED, Code.IO_READ_FAILED}),
        ],
        ids=["download", "upload", "put in place"],
    )
    def test_a_run_says_so_and_leaves_no_copy_behind(self, sealed, tmp_path, phase, codes, monkeypatch):
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        server = S3Server(tmp_path / "log")
        try:
            url, scratch = server.url("runs/world"), tmp_path / "scratch"
            put_tree(sealed, open_store(url))
            with pytest.raises(ArrivalError) as caught:
                run_in_store(url, reporter=At(phase, server.stop), scratch=scratch)
        finally:
            server.stop()
        assert caught.value.code in codes
        assert "s3://worlds/runs/world/" in caught.value.message
        assert "did not answer" in caught.value.hint
        assert list(scratch.iterdir()) == []


class TestAccess:
    def test_a_bucket_that_is_not_there_is_named(self, server):
        with pytest.raises(ArrivalError, match="there is no bucket nowhere") as caught:
            run_in_store(server.url("world", bucket="nowhere"))
        assert caught.value.code is Code.IO_READ_FAILED

    def test_a_place_without_a_world_is_named_and_left_alone(self, server):
        with pytest.raises(ArrivalError, match="has no run receipt") as caught:
            run_in_store(server.url("empty"))
        assert caught.value.code is Code.S0_GATE_MISSING_OR_INVALID
        assert server.store("empty").list() == []

    @pytest.mark.parametrize(
        ("denied", "code"),
        [("s3:GetObject", Code.IO_READ_FAILED), ("s3:PutObject", Code.IO_WRITE_FAILED)],
    )
    def test_what_may_not_be_done_is_named_without_secrets(self, server, sealed, denied, code):
        bucket = f"denied-{code.name.lower().replace('_', '-')}"
        server.make_bucket(bucket)
        url = server.url("world", bucket=bucket)
        put_tree(sealed, open_store(url))
        server.forbid(bucket, denied)
        with pytest.raises(ArrivalError, match="ACCESS_DENIED") as caught:
            run_in_store(url)
        assert caught.value.code is code
        assert "credentials" in caught.value.hint
        assert not any(secret in str(caught.value.to_dict()) for secret in ENVIRONMENT.values() if "made-up" in secret)

    def test_an_object_whose_name_leads_out_is_refused(self, server, url, tmp_path):
        prefix = str(open_store(url)).removeprefix("s3://")
        server.request("PUT", f"{prefix}/config/layer2/5B/../../../../evil", b"evil")
        with pytest.raises(ArrivalError, match=r"`\.\.`") as caught:
            run_in_store(url, scratch=tmp_path / "scratch")
        assert caught.value.code is Code.IO_READ_FAILED
        assert [path.name for path in tmp_path.iterdir()] == ["scratch"]

    def test_an_input_that_is_not_the_sealed_one_is_named_by_its_place_in_the_store(self, url, tmp_path):
        store = open_store(url)
        path = next(item.path for item in store.list("data/layer1/2B/s4_group_weights"))
        store.write_bytes(path, store.read_bytes(path, 1 << 20) + b"?")
        with pytest.raises(ArrivalError, match="s4_group_weights: sealed") as caught:
            run_in_store(url, scratch=tmp_path)
        assert caught.value.code is Code.S0_GATE_MISSING_OR_INVALID
        (report,) = [data for name, data in files_of(store).items() if "segment_state_runs" in name]
        for told in (caught.value.to_dict(), json.loads(report.splitlines()[-1])):
            assert str(store) in str(told)
            assert str(tmp_path) not in str(told)

    def test_external_roots_must_be_of_this_machine(self, url):
        store = open_store(url)
        receipt = json.loads(store.read_bytes("run_receipt.json", 1 << 20))
        store.write_bytes("run_receipt.json", json.dumps({**receipt, "external_roots": ["../policies"]}).encode())
        with pytest.raises(ArrivalError, match=r"'\.\./policies' is relative") as caught:
            run_in_store(url)
        assert caught.value.code is Code.S0_GATE_MISSING_OR_INVALID


class TestTwoAtOnce:
    def test_the_second_is_refused_and_told_who_holds_the_world(self, url, local):
        with store_lock(open_store(url)):
            held = kept_for_later(url)
            with pytest.raises(ArrivalError, match=f"process {os.getpid()} on") as caught:
                run_in_store(url)
            assert caught.value.code is Code.IO_WRITE_CONFLICT
            assert kept_for_later(url) == held
            assert in_partition(url) == {}
        assert run_in_store(url).published == "published"
        assert_published(url, local)

    def test_nobody_can_tell_of_a_process_elsewhere_whether_it_lives(self, url):
        store, path = open_store(url), f"{LOCK_FOLDER}/elsewhere.json"
        store.write_bytes(path, json.dumps({"pid": 1, "host": "elsewhere", "machine": "elsewhere"}).encode())
        with pytest.raises(ArrivalError, match="process 1 on elsewhere") as caught:
            run_in_store(url)
        assert store.url(path) in caught.value.hint
        store.delete(path)
        assert run_in_store(url).published == "published"

    def test_a_number_that_another_process_has_now_is_no_holder(self, url):
        store = open_store(url)
        with store_lock(store):
            (path,) = kept_for_later(url)
            ours = json.loads(store.read_bytes(path, 1 << 20))
        store.write_bytes(path, json.dumps({**ours, "process_started": ours["process_started"] - 1}).encode())
        with store_lock(store):
            assert len(kept_for_later(url)) == 1


def test_validation_names_a_store_that_fails_by_its_own_code(server):
    words = ("validate", server.url("nothing-there"), "--json", "--quiet")
    with cli(*words) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert json.loads(out)["code"] == str(Code.S5_S0_GATE_MISSING_OR_INVALID)
    assert "Traceback" not in err
