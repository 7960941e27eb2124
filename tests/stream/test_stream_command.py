"""`arrivals stream`, and every way in which it can end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.stream import stream_to
from arrival_engine.engine.stream.arrivals import SLICE_ROWS
from arrival_engine.engine.stream.sink import Address, DescriptorSink, parse_output
from arrival_engine.engine.world.load import load_world
from tests.support import reference
from tests.support.streaming import GRID, sent, streamed, texts
from tests.support.world_disk import rfc3339
from tests.support.worlds import (
    BERLIN_GAP,
    BIG_ID,
    ODD_BUCKET,
    TWO_ZONES,
    small_world,
)


def command_line(*arguments):
    return [sys.executable, "-m", "arrival_engine", "stream", *map(str, arguments)]


ENVIRONMENT = {**os.environ, "COLUMNS": "100"}


def stream(*arguments, **options):
    return subprocess.run(command_line(*arguments), env=ENVIRONMENT, capture_output=True, check=False, **options)


@contextmanager
def streaming(*arguments):
    """A stream at work, killed at the end if it still is."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command_line(*arguments), env=ENVIRONMENT, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


class Listener:
    """Takes one connection and reads it to its end, or closes it after so many bytes."""

    def __init__(self, host="127.0.0.1", most_bytes=None):
        self._socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._most = most_bytes
        self.port = self._socket.getsockname()[1]
        self.data = b""
        self._thread = threading.Thread(target=self._listen)

    def _listen(self):
        connection, _ = self._socket.accept()
        with connection:
            while self._most is None or len(self.data) < self._most:
                data = connection.recv(65_536)
                if not data:
                    return
                self.data += data

    def __enter__(self):
        self._socket.settimeout(30)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(30)
        self._socket.close()


def read_some(process):
    """At least a megabyte of a stream."""
    data = b""
    while len(data) < 1 << 20:
        data += process.stdout.read(1 << 20)
    return data


def read_rest(process):
    """What comes until the stream ends, and what was said about it."""
    data = b"".join(iter(lambda: process.stdout.read(1 << 20), b""))
    return data, process.stderr.read().decode()


class TestCommand:
    def test_it_streams_a_scenario_and_says_how_much(self, small):
        done = stream(small.run_root)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == sent(load_world(small.run_root))[0]
        said = done.stderr.decode()
        assert "streamed 3,279 arrivals in " in said
        assert "arrivals/s" in said
        assert said.rstrip().endswith(f"digest {reference.expand(small_world()).digest}")

    def test_every_option_at_once(self, small):
        start, end = rfc3339(GRID[BERLIN_GAP][0]), rfc3339(GRID[ODD_BUCKET][0])
        done = stream(
            *(small.run_root, "--scenario", "baseline_v1", "--from", start, "--to", end, "--limit", 9),
            *("--merchant", BIG_ID, "--merchant", TWO_ZONES, "--speed", "1000000x", "--format", "csv"),
            *("--columns", "ts_utc, merchant_id", "--ids", "number", "--accept-tz-cache", "--output", "-", "--quiet"),
        )
        assert (done.returncode, done.stderr) == (0, b"")
        world = load_world(small.run_root)
        expected = streamed(world, start, end, merchants=(BIG_ID, TWO_ZONES)).slice(0, 9)
        assert expected.num_rows == 9
        wanted = [f"{row['ts_utc']},{row['merchant_id']}" for row in texts(expected)]
        assert done.stdout.decode().splitlines() == ["ts_utc,merchant_id", *wanted]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--speed", "warp"), "not a speed"),
            (("--from", "2026-02-30T00:00:00Z"), "does not exist"),
            (("--to", "tomorrow"), "RFC 3339"),
            (("--from", "2026-03-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z"), "after the end"),
            (("--columns", "seed,,ts_utc"), "no column ''"),
            (("--columns", "amount"), "no column 'amount'; there are manifest_fingerprint"),
            (("--ids", "string", "--format", "arrow"), "jsonl alone"),
            (("--merchant", ""), "the merchant is empty"),
            (("--limit", "-1"), "limit"),
            (("--format", "xml"), "xml"),
            (("--output", "arrivals.jsonl"), "neither - (standard output) nor tcp://"),
            (("--output", "tcp://203.0.113.9:80"), "not a network client"),
            (("--output", "tcp://example.com:80"), "not a network client"),
            (("--output", "tcp://0.0.0.0:80"), "not a network client"),
            (("--output", "tcp://127.0.0.1"), "neither"),
            (("--output", "tcp://127.0.0.1:0"), "port"),
            (("--output", "tcp://127.0.0.1:65536"), "port"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_bad_usage_exits_2_and_says_why(self, capsys, tmp_path, arguments, said):
        assert main(["stream", str(tmp_path), *arguments]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert said in " ".join(shown.err.split())

    def test_a_merchant_without_arrivals_is_a_named_failure(self, small, capfd):
        assert main(["stream", str(small.run_root), "--merchant", "12", "--quiet"]) == 1
        assert "merchant 12 has no arrivals" in capfd.readouterr().err

    def test_a_full_disk_is_a_named_failure(self, small_plan):
        with Path("/dev/full").open("wb") as full, pytest.raises(ArrivalError, match="No space left") as caught:
            stream_to(small_plan.world, DescriptorSink(full.fileno()))
        assert caught.value.code is Code.IO_WRITE_FAILED

    def test_a_reader_that_has_had_enough_is_no_error(self, long_world):
        shell = " ".join(command_line(long_world, "--quiet")) + " | head -n 3; echo ${PIPESTATUS[0]}"
        done = subprocess.run(["bash", "-c", shell], env=ENVIRONMENT, capture_output=True, check=False, timeout=60)
        assert done.stderr == b""
        *found, code = done.stdout.splitlines(keepends=True)
        assert code == b"0\n"
        assert b"".join(found) == sent(load_world(long_world), limit=3)[0]

    def test_an_interrupted_stream_ends_with_a_whole_line(self, long_world):
        with streaming(long_world) as process:
            data = read_some(process)
            process.send_signal(signal.SIGINT)
            rest, said = read_rest(process)
            assert process.wait(20) == 130
        data += rest
        assert data.endswith(b"}\n")
        assert data.startswith(sent(load_world(long_world), limit=1000)[0])
        rows = data.count(b"\n")
        assert json.loads(data.splitlines()[-1])["seed"] == 42
        assert f"streamed {rows:,} arrivals" in said
        assert "torn" not in said
        assert said.splitlines()[-1] == "interrupted: the stream was cut short"

    def test_a_terminated_arrow_stream_ends_with_a_whole_message(self, long_world):
        with streaming(long_world, "--format", "arrow") as process:
            data = read_some(process)
            process.send_signal(signal.SIGTERM)
            rest, said = read_rest(process)
            assert process.wait(20) == 143
        data += rest
        table = pa.ipc.open_stream(data).read_all()
        assert table.num_rows % SLICE_ROWS == 0
        assert f"streamed {table.num_rows:,} arrivals" in said
        assert not data.endswith(b"\xff\xff\xff\xff\0\0\0\0"), "a reader could take it for complete"

    def test_an_interruption_needs_no_reader(self, long_world):
        """Memory does not grow while the reader waits."""
        with streaming(long_world, "--format", "arrow") as process:
            process.stdout.read(1)
            time.sleep(0.5)
            before = psutil.Process(process.pid).memory_info().rss
            time.sleep(0.5)
            grown = psutil.Process(process.pid).memory_info().rss - before
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert b"may be torn" in process.stderr.read()
        assert grown < 64 << 20

    @pytest.mark.parametrize(
        ("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("127.0.0.1", "localhost")]
    )
    def test_a_local_listener_gets_everything(self, small, host, written):
        try:
            listener = Listener(host)
        except OSError as reason:
            pytest.skip(f"this machine has no {host}: {reason}")
        with listener:
            arguments = ["stream", str(small.run_root), "--quiet", "--output", f"tcp://{written}:{listener.port}"]
            assert main(arguments) == 0
        assert listener.data == sent(load_world(small.run_root))[0]

    @pytest.mark.parametrize("most_bytes", [1, 200_000])
    def test_a_listener_that_goes_away_is_a_failure(self, long_world, capsys, most_bytes):
        with Listener(most_bytes=most_bytes) as listener:
            address = f"tcp://127.0.0.1:{listener.port}"
            assert main(["stream", str(long_world), "--quiet", "--output", address]) == 1
        said = capsys.readouterr().err
        assert "IO_WRITE_FAILED" in said
        assert f"{address} stopped taking arrivals" in said

    def test_a_listener_that_drops_the_last_bytes_is_a_failure(self, small, capsys):
        """All of it fits the system's buffers: only the end of the stream shows that the reader took none of it."""
        with Listener(most_bytes=1) as listener:
            address = f"tcp://127.0.0.1:{listener.port}"
            code = main(["stream", str(small.run_root), "--quiet", "--output", address])
        assert (code, "stopped taking arrivals" in capsys.readouterr().err) == (1, True)

    def test_nobody_listening_is_a_named_failure(self, small, capsys):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert main(["stream", str(small.run_root), "--quiet", "--output", f"tcp://127.0.0.1:{port}"]) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"nothing accepts connections at tcp://127.0.0.1:{port}" in said
        assert f"nc -l 127.0.0.1 {port}" in said

    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("-", None),
            ("tcp://127.0.0.1:9000", Address("127.0.0.1", 9000)),
            ("tcp://127.8.8.8:1", Address("127.8.8.8", 1)),
            ("tcp://[::1]:65535", Address("::1", 65535)),
            ("tcp://localhost:80", Address("127.0.0.1", 80)),
        ],
    )
    def test_outputs(self, text, address):
        assert parse_output(text) == address
        if address is not None and "localhost" not in text:
            assert str(address) == text
