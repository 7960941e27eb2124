"""One writer at a time on a run directory in a store, which has no locks.

Every writer puts its own object into the lock's folder and only then looks for others. Two writers that start together
see each other, so at least one is refused, perhaps both. The object of a killed writer is recognised by its process,
if the next writer starts on the same machine.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code, compact_json
from arrival_engine.engine.process.machine import boot
from arrival_engine.engine.rundir.staging import FOLDER
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.storage.store import Store

LOCK_FOLDER = f"{FOLDER}/arrivals-lock"
_BYTES_MAX = 4096
_PROC = Path("/proc")


@contextmanager
def store_lock(store: Store) -> Iterator[None]:
    """Hold the run directory in `store`. Raises IO_WRITE_CONFLICT, naming the holder, if another process holds it."""
    ours = f"{LOCK_FOLDER}/{secrets.token_hex(8)}.json"
    store.write_bytes(ours, compact_json(_ourselves()))
    try:
        for other in store.list(LOCK_FOLDER):
            if other.path != ours:
                _pass(store, other.path)
        yield
    finally:
        # The failure that ended the work is reported; a lock that stays is recognised by its process.
        with suppress(ArrivalError):
            store.delete(ours)


def _pass(store: Store, path: str) -> None:
    try:
        holder = parse_json(store.read_bytes(path, _BYTES_MAX))
    except ArrivalError:
        if store.stat(path) is None:
            return
        raise
    except ValueError:
        holder = {}
    if isinstance(holder, dict) and _is_gone(holder):
        store.delete(path)
        return
    who = json.dumps(holder) if not isinstance(holder, dict) or "pid" not in holder else _described(holder)
    raise ArrivalError(
        Code.IO_WRITE_CONFLICT,
        f"another run is writing to {store}: {who}",
        hint=f"wait for it to end; if it was killed on another machine, delete {store.url(path)}",
        path=store.url(path),
    )


def _described(holder: Mapping[str, object]) -> str:
    return f"process {holder['pid']} on {holder.get('host')}, since {holder.get('since')}"


def _ourselves() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "process_started": _started(os.getpid()),
        "host": socket.gethostname(),
        "machine": _machine(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _is_gone(holder: Mapping[str, object]) -> bool:
    """Whether the holder ran here and has ended; False if unknown."""
    machine, pid = _machine(), holder.get("pid")
    if not machine or holder.get("machine") != machine or not isinstance(pid, int):
        return False
    return _started(pid) != holder.get("process_started")


def _machine() -> str:
    """The scope in which process numbers are unique: this boot of this machine and container; empty if unknown."""
    try:
        space = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return f"{started} {space}" if (started := boot()) else ""


def _started(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None if there is no such process or it is unknown.

    Process numbers are reused; together with the start they identify one process.
    """
    try:
        # The second field, the command's name, may hold anything; the state and the start come 1st and 20th after it.
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
