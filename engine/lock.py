"""One run at a time on a run directory."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from contracts import ArrivalError, Code
from engine.staging import FOLDER, writing


@contextmanager
def run_lock(run_root: Path) -> Iterator[None]:
    """Hold the run directory for arrivals; refuse at once, naming the holder, if another process has it.

    The kernel drops the lock when its holder ends, however it ends, so a lock file left behind blocks nobody.
    Raises IO_WRITE_CONFLICT.
    """
    path = run_root / FOLDER / "arrivals.lock"
    with writing("the run lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ArrivalError(
                Code.IO_WRITE_CONFLICT,
                f"another run is writing to {run_root}: {_holder(file.read())}",
                hint="wait for it to end, or stop it",
                path=str(path),
            ) from None
        with writing("the run lock", path):
            file.truncate(0)
            json.dump(_ourselves(), file)
            file.flush()
        yield


def _ourselves() -> dict[str, object]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _holder(text: str) -> str:
    try:
        facts = json.loads(text)
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except (ValueError, KeyError, TypeError):
        return "its process has not said who it is yet"
