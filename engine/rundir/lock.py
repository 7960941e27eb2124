"""The lock of a run directory, and the removal of an earlier run's leftovers."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.rundir.staging import FOLDER
from arrival_engine.engine.rundir.strict_json import parse_json

STAGING = "arrivals"
_CLEARED = "cleared"


@contextmanager
def run_lock(run_root: InsidePath) -> Iterator[None]:
    """Hold the run directory for arrivals; if another process has it, refuse at once and name the holder.

    The kernel releases the lock when its holder ends for any reason, so a leftover lock file blocks no other run.
    Raises IO_WRITE_CONFLICT.
    """
    path = run_root / FOLDER / "arrivals.lock"
    with writing("run lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        with writing("run lock", path):
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
            file.truncate(0)
            json.dump(_ourselves(), file)
            file.flush()
        yield


def clear_leftovers(run_root: InsidePath) -> list[str]:
    """Remove the staging directories of killed runs; return their names.

    The caller must hold the lock: no other run is in progress, so everything staged is abandoned.
    """
    folder = run_root / FOLDER
    leftovers = folder.glob(f"{STAGING}-*")
    for path in leftovers:
        # A worker of a killed client may still be writing; after a rename, it cannot find the directory.
        with suppress(OSError):
            path.rename(path.with_name(f"{_CLEARED}-{path.name}"))
    for path in folder.glob(f"{_CLEARED}-*"):
        path.discard()
    return sorted(path.name for path in leftovers if path.kind() is None)


def _ourselves() -> dict[str, object]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _holder(text: str) -> str:
    try:
        facts = parse_json(text.encode())
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except (ValueError, KeyError, TypeError):
        return "its process has not yet written who it is"
