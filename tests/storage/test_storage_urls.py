"""URLs of run directories, and the store's interface on a directory: what needs no server."""

from __future__ import annotations

import hashlib
import pickle
import socket
from pathlib import Path

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.storage import StoreUrl, is_url, open_store, parse_place
from arrival_engine.engine.storage.store import _filesystem
from tests.support.s3_server import free_port


class TestUrls:
    def test_a_url_names_bucket_prefix_and_options(self):
        place = parse_place("s3://bucket/runs/one/?region=eu-west-1&endpoint_override=[::1]:9000&scheme=http")
        assert place == StoreUrl(
            "s3",
            "bucket",
            "runs/one",
            (("region", "eu-west-1"), ("endpoint_override", "[::1]:9000"), ("scheme", "http")),
        )
        assert (str(place), place.name) == ("s3://bucket/runs/one", "one")
        assert parse_place(place.text) == place

    def test_names_are_taken_as_they_are(self):
        assert parse_place("gs://b/a%20b/c=d#e").prefix == "a%20b/c=d#e"

    @pytest.mark.parametrize("text", ["file:///srv/a%20b", "file://localhost/srv/a%20b", "/srv/a b"])
    def test_a_file_url_is_its_path(self, text):
        assert parse_place(text) == Path("/srv/a b")

    @pytest.mark.parametrize("text", ["runs/one", "./s3:/b", "C:one", "a:b//c"])
    def test_everything_else_is_a_path(self, text):
        assert not is_url(text)
        assert parse_place(text) == Path(text)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("ftp://host/x", "ftp://"),
            ("s3://", "no bucket"),
            ("s3:///x", "no bucket"),
            ("s3://b/../x", "`..`"),
            ("s3://b/a//x", "empty part"),
            ("s3://b/a\\x", "backslash"),
            ("s3://b/a\nx", "control character"),
            ("s3://b/x?scheme=ftp", "scheme"),
            ("s3://b/x?max_attempts=0", "max_attempts"),
            ("s3://b/x?region=a&region=b", "region"),
            ("s3://b/x?region", "NAME=VALUE"),
            ("gs://b/x?region=a", "not known"),
            ("file://host/x", "file URL"),
        ],
    )
    def test_a_url_that_makes_no_sense_is_refused(self, text, says):
        with pytest.raises(ArrivalError) as caught:
            parse_place(text)
        assert caught.value.code is Code.IO_READ_FAILED
        assert says in caught.value.message
        assert caught.value.hint

    @pytest.mark.parametrize("text", ["s3://AKIA:hush@b/x", "s3://b/x?secret_key=hush", "s3://b/x?scheme=hush"])
    def test_no_message_repeats_what_may_be_a_secret(self, text):
        with pytest.raises(ArrivalError) as caught:
            parse_place(text)
        assert "hush" not in str(caught.value.to_dict())


class TestStoreOnADirectory:
    @pytest.fixture
    def store(self, tmp_path):
        return open_store(tmp_path / "store")

    def test_what_is_written_is_found_read_copied_and_deleted(self, store, tmp_path):
        source = tmp_path / "source"
        source.write_bytes(b"abc" * 1000)
        sent = store.upload(source, "a/b/c")
        assert (sent.bytes, sent.sha256) == (3000, hashlib.sha256(source.read_bytes()).hexdigest())
        store.write_bytes("a/d", b"")
        store.copy("a/b/c", "e/f")
        assert [(item.path, item.bytes) for item in store.list()] == [("a/b/c", 3000), ("a/d", 0), ("e/f", 3000)]
        assert [item.path for item in store.list("a/b")] == ["a/b/c"]
        assert store.list("nowhere") == []
        assert store.stat("a/d").bytes == 0
        assert store.stat("a") is store.stat("a/x") is None
        assert store.download("e/f", InsidePath(tmp_path) / "x/y") == sent == store.sha256("e/f")
        assert (tmp_path / "x/y").read_bytes() == source.read_bytes()
        with store.open_input_file("a/b/c") as file:
            file.seek(2998)
            assert file.read() == b"bc"
        store.delete("a/d")
        store.delete("a/d")
        store.delete_folder("a")
        store.delete_folder("nowhere")
        assert [item.path for item in store.list()] == ["e/f"]

    def test_nothing_is_seen_of_a_file_that_is_not_finished(self, store, tmp_path):
        source = tmp_path / "source"
        source.write_bytes(b"1")

        def stop(_size):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.upload(source, "a", stop)
        assert store.list() == []

    @pytest.mark.parametrize("path", ["../x", "a/../x", "/x", "a//b", "a\\b", "."])
    def test_no_path_leads_out(self, store, path):
        for use in (store.stat, store.list, store.sha256, store.delete, lambda name: store.write_bytes(name, b"")):
            with pytest.raises(ArrivalError) as caught:
                use(path)
            assert caught.value.code is Code.IO_READ_FAILED

    def test_a_file_that_is_not_there_is_a_named_failure(self, store):
        with pytest.raises(ArrivalError, match="it is not there") as caught:
            store.read_bytes("x", 10)
        assert caught.value.code is Code.IO_READ_FAILED

    def test_a_file_larger_than_expected_is_refused(self, store):
        store.write_bytes("x", b"12345")
        assert store.read_bytes("x", 5) == b"12345"
        with pytest.raises(ArrivalError, match="larger than 4 bytes"):
            store.read_bytes("x", 4)

    def test_a_store_goes_to_another_process_as_it_is(self, store):
        for found in (store, open_store("s3://b/x?region=us-east-1&anonymous=true")):
            assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - our own bytes


class TestSilence:
    """Endpoints that nobody answers at."""

    @pytest.mark.parametrize(
        "url",
        [
            "s3://b/x?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1&max_attempts=1&anonymous=true",
            "gs://b/x?endpoint_override=127.0.0.1:{port}&scheme=http&retry_time_limit=1&anonymous=true",
        ],
    )
    def test_an_endpoint_that_is_not_there_is_named(self, url):
        with pytest.raises(ArrivalError) as caught:
            open_store(url.format(port=free_port())).write_bytes("a", b"1")
        assert caught.value.code is Code.IO_WRITE_FAILED
        assert "did not answer" in caught.value.hint

    def test_a_server_that_never_answers_is_given_up(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            where = f"127.0.0.1:{listener.getsockname()[1]}"
            store = open_store(
                f"s3://b/x?endpoint_override={where}&scheme=http&region=us-east-1&max_attempts=1&anonymous=true"
            )
            with pytest.raises(ArrivalError) as caught:
                store.stat("a")
        assert "did not answer" in caught.value.hint

    def test_what_the_client_says_is_cleaned_of_secrets(self, monkeypatch):
        # The client names the host it cannot reach; that this host is the secret is this test's invention.
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "127.0.0.1")
        store = open_store(
            f"s3://b/x?endpoint_override=127.0.0.1:{free_port()}&scheme=http&region=us-east-1&max_attempts=1"
            "&anonymous=true"
        )
        with pytest.raises(ArrivalError) as caught:
            store.stat("a")
        assert "127.0.0.1" not in str(caught.value.to_dict())
        assert "<AWS_SECRET_ACCESS_KEY>" in caught.value.message


@pytest.mark.parametrize("value", ["127.0.0.1:9000", "https://key:hush@host", "https://host/path", "ftp://host"])
def test_an_endpoint_of_the_environment_that_makes_no_sense_is_refused(monkeypatch, value):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", value)
    with pytest.raises(ArrivalError, match="AWS_ENDPOINT_URL") as caught:
        open_store("s3://bucket/world?region=us-east-1&connect_timeout=1.25").list()
    assert "hush" not in str(caught.value.to_dict())


def test_each_place_is_connected_to_once():
    first, again = (open_store("s3://b/x?region=us-east-1&anonymous=true") for _ in range(2))
    assert first.filesystem is again.filesystem
    assert _filesystem.cache_info().currsize >= 1


class TestCommands:
    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("stream", "s3://b/x"), "needs a local directory"),
            (("diff", "here", "s3://b/x"), "needs a local directory"),
            (("run", "ftp://b/x"), "ftp://"),
            (("run", "s3://b/x", "--resume"), "--resume"),
            (("run", "here", "--scratch", "there"), "--scratch"),
        ],
    )
    def test_what_cannot_be_done_on_a_url_is_bad_usage(self, words, says, capsys):
        assert main(words) == 2
        assert says in capsys.readouterr().err
