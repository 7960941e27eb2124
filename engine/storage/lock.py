"""One writer at a time on a run directory in a store, which has no locks.

Every writer puts its own object into the lock's folder and only then looks for others. Two writers that start together
see each other, so at least one is refused, perhaps both. The object of a killed writer is recognised by its process,
if the next writer starts on the same machine.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code, compact_json
from arrival_engine.contracts.safe_text import shell_word, visible
from arrival_engine.engine.process.machine import boot
from arrival_engine.engine.rundir.staging import FOLDER
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.storage.store import Object, Store

LOCK_FOLDER = f"{FOLDER}/arrivals-lock"
_BYTES_MAX = 4096
# Characters of a foreign word in a message.
_WORD_MAX = 100
_PROC = Path("/proc")


@contextmanager
def store_lock(store: Store) -> Iterator[None]:
    """Hold the run directory in `store`. Raises IO_WRITE_CONFLICT, naming the holder, if another process holds it."""
    ours = f"{LOCK_FOLDER}/{secrets.token_hex(8)}.json"
    store.write_bytes(ours, compact_json(_ourselves()))
    try:
        for other in store.list(LOCK_FOLDER):
            if other.path != ours:
                _pass(store, other)
        yield
    finally:
        # The failure that ended the work is reported; a lock that stays is recognised by its process.
        with suppress(ArrivalError):
            store.delete(ours)


def _pass(store: Store, other: Object) -> None:
    holder: object = None
    if other.bytes <= _BYTES_MAX:
        try:
            holder = parse_json(store.read_bytes(other.path, _BYTES_MAX))
        except ArrivalError:
            if store.stat(other.path) is None:
                return
            raise
        except ValueError:
            pass
    if isinstance(holder, dict) and _is_gone(holder):
        store.delete(other.path)
        return
    written = store.modified(other.path)
    since = f"; the store has its lock since {written.isoformat(timespec='seconds')}" if written else ""
    raise ArrivalError(
        Code.IO_WRITE_CONFLICT,
        f"another run is writing to {store}: {_described(holder)}{since}",
        hint=f"wait for it to end; if no such run is alive, delete its lock: {removal(store, other.path)}",
        path=store.url(other.path),
    )


def _described(holder: object) -> str:
    """The holder by its own words, which anybody may have written."""
    if not isinstance(holder, dict) or "pid" not in holder:
        return "a holder that does not say who it is"
    pid, host, since = (_word(holder.get(name)) for name in ("pid", "host", "since"))
    return f"process {pid} on {host}, since {since}"


def _word(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return "unknown"
    text = visible(str(value))
    return text if len(text) <= _WORD_MAX else f"{text[:_WORD_MAX]}..."


def _command(words: Sequence[str]) -> str:
    return " ".join(map(shell_word, words))


def removal(store: Store, path: str) -> str:
    """The command for a shell that deletes one object of a store."""
    place = store.place
    if isinstance(place, Path):
        return _command(["rm", "--", store.key(path)])
    if place.scheme == "gs":
        return _command(["gcloud", "storage", "rm", store.url(path)])
    options = dict(place.options)
    endpoint = options.get("endpoint_override")
    where = ["--endpoint-url", f"{options.get('scheme', 'https')}://{endpoint}"] if endpoint else []
    return _command(["aws", "s3", "rm", store.url(path), *where])


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
    machine, pid, started = _machine(), holder.get("pid"), holder.get("process_started")
    if not machine or holder.get("machine") != machine or not isinstance(pid, int) or not isinstance(started, int):
        return False
    return _started(pid) != started


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
