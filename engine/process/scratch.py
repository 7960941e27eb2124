"""Private folders of one process, removed at its end; after a killed process, by the next one that makes such a folder.

The owner of a folder holds a kernel lock on the file OWNER in it. The kernel releases the lock with the process, so a
process number that is used again means nothing. A folder stays if its owner may be alive: if it is locked, was made
on another machine or before a restart, belongs to another user, or has no such file.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.machine import boot

PREFIX = "arrivals"
OWNER = ".arrivals-owner.json"


class Leftovers(NamedTuple):
    """Folders that no living process of this machine owns: those of killed ones, and those of unknown owners."""

    dead: tuple[InsidePath, ...]
    unknown: tuple[InsidePath, ...]


def temporary_root() -> InsidePath:
    """The directory for temporary files."""
    return InsidePath(Path(tempfile.gettempdir()))


@contextmanager
def scratch_folder(
    parent: InsidePath | None = None, *, prefix: str = PREFIX, removed: Callable[[InsidePath], object] = lambda _: None
) -> Iterator[InsidePath]:
    """A new private folder below `parent`, by default the directory for temporary files; removed at the end.

    Those of killed processes there are removed first, and told to `removed`. Raises OSError if none can be made.
    """
    parent = parent or temporary_root()
    for path in clear(parent, prefix):
        removed(path)
    folder = parent.make_temporary(prefix)
    try:
        owner = _own(folder)
        try:
            yield folder
        finally:
            folder.discard()
            if owner is not None:
                owner.close()
    finally:
        folder.discard()


def leftovers(parent: InsidePath, prefix: str = PREFIX) -> Leftovers:
    """The folders below `parent` that were left behind, or may have been."""
    dead, unknown = [], []
    for path in _ours(parent, prefix):
        owner = _claim(path)
        if isinstance(owner, str):
            unknown += [path] if owner == _UNKNOWN else []
        else:
            owner.close()
            dead.append(path)
    return Leftovers(tuple(dead), tuple(unknown))


def clear(parent: InsidePath, prefix: str = PREFIX) -> list[InsidePath]:
    """Remove the folders of killed processes; return those that are gone."""
    gone = []
    for path in _ours(parent, prefix):
        owner = _claim(path)
        if isinstance(owner, str):
            continue
        with owner:
            _remove(path)
        if path.kind() is None:
            gone.append(path)
    return gone


_LIVE, _UNKNOWN = "live", "unknown"


def _ours(parent: InsidePath, prefix: str) -> list[InsidePath]:
    """Folders of this user; others cannot be judged, and must not be removed even by one who may."""
    found = []
    with suppress(OSError):
        for path in parent.glob(f"{prefix}-*"):
            with suppress(OSError):
                if path.kind() == "directory" and path.stat().st_uid == os.geteuid():
                    found.append(path)
    return found


def _own(folder: InsidePath) -> IO[str] | None:
    """The locked file of a new folder; None where it cannot be written, so that the folder has no known owner."""
    # Under another name until it is locked and written: no command may take it for that of a killed process.
    new = folder / f"{OWNER}.new"
    with suppress(OSError):
        file = new.open("x")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            json.dump({"pid": os.getpid(), "machine": boot()}, file)
            file.flush()
            new.rename(folder / OWNER)
        except OSError:
            file.close()
            raise
        return file
    return None


def _claim(folder: InsidePath) -> IO[str] | str:
    """The locked file of a dead owner, or whether the owner lives."""
    try:
        file = (folder / OWNER).open("r+")
    except OSError:
        return _UNKNOWN
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        machine = json.load(file)["machine"]
    except BlockingIOError:
        file.close()
        return _LIVE
    except (OSError, ValueError, LookupError, RecursionError, TypeError):
        file.close()
        return _UNKNOWN
    if not machine or machine != boot():
        file.close()
        return _UNKNOWN
    return file


def _remove(folder: InsidePath) -> None:
    """Remove a folder, its owner's file last: what is interrupted here is gone on with by the next."""
    for path in folder.iterdir():
        if path.name != OWNER:
            path.discard()
    folder.discard()
