"""A real server of the S3 protocol, moto's, in a process of its own, and what tests do with it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from arrival_engine.engine.storage import Store, open_store
from tests.support.refusals import ROOT

BUCKET = "worlds"
# Made up; the server takes any, and no other process gets to see them.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "made-up-key-id", "AWS_SECRET_ACCESS_KEY": "made-up-secret"}
# So that no client looks for credentials or a region elsewhere.
ENVIRONMENT = {**CREDENTIALS, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
# The AWS client tries again after each failure, with growing pauses; tests of failures need not wait for that.
_OPTIONS = "scheme=http&region=us-east-1&max_attempts=1"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class S3Server:
    """moto's server on a free loopback port, with one bucket."""

    def __init__(self, log: Path) -> None:
        self.port, self._log = free_port(), log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.s3_app", str(self.port)],
                stdout=sink,
                stderr=sink,
                env={**os.environ, **ENVIRONMENT},
            )
        self._wait()
        self.make_bucket(BUCKET)

    def _wait(self) -> None:
        end = time.monotonic() + 120.0
        while True:
            with suppress(OSError):
                self.request("GET", "moto-api/")
                return
            assert self.process.poll() is None, "the S3 server ended at once"
            assert time.monotonic() < end, "the S3 server never answered"
            time.sleep(0.02)

    def url(self, prefix: str, bucket: str = BUCKET) -> str:
        return f"s3://{bucket}/{prefix}?endpoint_override=127.0.0.1:{self.port}&{_OPTIONS}"

    def store(self, prefix: str) -> Store:
        return open_store(self.url(prefix))

    def request(self, method: str, path: str, data: bytes | None = None) -> None:
        """One unsigned request, which moto takes, its path as it is."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60.0)) as connection:
            connection.request(method, f"/{path}", data)
            answer = connection.getresponse()
            answer.read()
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.reason}"

    def make_bucket(self, name: str) -> None:
        self.request("PUT", name)

    def forbid(self, bucket: str, action: str) -> None:
        """Deny everybody an action on the objects of a bucket."""
        statement = {"Effect": "Deny", "Principal": "*", "Action": [action], "Resource": [f"arn:aws:s3:::{bucket}/*"]}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.request("PUT", f"{bucket}?policy", json.dumps(policy).encode())

    def requests(self) -> list[str]:
        """Every request so far: method, a space, path and query."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.split('"')[1].removesuffix(" HTTP/1.1") for line in lines if '"' in line]

    def stop(self) -> None:
        """End it at once, as a machine that loses power does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(folder: Path) -> Iterator[S3Server]:
    """A server, and credentials for it in this process's environment; both gone afterwards."""
    found = S3Server(folder / "log")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield found
    found.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("s3")) as found:
        yield found


def put_tree(root: Path, store: Store) -> None:
    """Upload a run directory, but for what commands keep below its tmp/, by the shortest way that the server takes."""
    endpoint = dict(store.place.options)["endpoint_override"]
    with closing(http.client.HTTPConnection(endpoint, timeout=60.0)) as connection:
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            if path.is_file() and relative.parts[0] != "tmp":
                connection.request("PUT", quote(f"/{store.key(relative.as_posix())}"), path.read_bytes())
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, relative


def files_of(store: Store) -> dict[str, bytes]:
    return {item.path: store.read_bytes(item.path, 1 << 30) for item in store.list()}


def cli(*words: str, **options: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own, with credentials for the server."""
    return subprocess.Popen(
        [sys.executable, "-m", "arrival_engine", *words],
        env={**os.environ, **ENVIRONMENT},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# Runs in a process that kills itself at the first step of a phase.
_KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from arrival_engine import run
from arrival_engine.engine.storage import run_directory
from tests.support.processes import At
from tests.support.refusals import CPU
url, phase, scratch, more = sys.argv[1:]
reporter = At(phase, lambda: os.kill(os.getpid(), signal.SIGKILL))
with run_directory(url, reporter, scratch=Path(scratch)) as directory:
    options = replace(CPU, batch_arrivals=500, replace=more == "replace")
    run(directory.root, options, reporter, shipping=directory.shipping)
"""


def run_killed(url: str, phase: str, scratch: Path, more: str = "") -> None:
    """A run of a world in a store, killed at the first step of a phase; `more` "replace" replaces arrivals."""
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, url, phase, str(scratch), more],
        env={**os.environ, **ENVIRONMENT},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
