"""Staging below RUN_ROOT/tmp and publication by rename, so that readers never see a partial file."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from arrival_engine.contracts import ArrivalError
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.process.scratch import scratch_folder, temporary_root

FOLDER = "tmp"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def make_folder(folder: InsidePath) -> None:
    """Make a directory and its parents, and flush the entry of each new one to the disk; it may exist already."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.parent.sync()


@contextmanager
def owned_staging(run_root: InsidePath, name: str) -> Iterator[InsidePath]:
    """As `staging`, with a file beside the caller's that names the owner; removes those of killed processes first."""
    parent = run_root / FOLDER
    with ExitStack() as stack:
        with writing("staging directory", parent):
            parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(scratch_folder(parent, prefix=name))
        yield folder


@contextmanager
def staging(run_root: InsidePath, name: str) -> Iterator[InsidePath]:
    """A new directory below RUN_ROOT/tmp, removed at the end with everything not published from it.

    For callers that clear up after killed processes themselves, under a lock.
    """
    parent = run_root / FOLDER
    with writing("staging directory", parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent.make_temporary(name)
    try:
        yield folder
    finally:
        folder.discard()


@contextmanager
def scratch(run_root: InsidePath, name: str) -> Iterator[InsidePath]:
    """A new directory for files that are never published, removed at the end.

    It is below RUN_ROOT/tmp, on the disk of a run, or below the directory for temporary files if the run directory is
    only to be read. Raises IO_WRITE_FAILED.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(owned_staging(run_root, name))
        except ArrivalError as failure:
            if not isinstance(failure.__cause__, OSError) or failure.__cause__.errno not in _READ_ONLY:
                raise
            with writing("temporary directory", temporary_root(), hint="set TMPDIR to a writable folder"):
                folder = stack.enter_context(scratch_folder())
        yield folder


@contextmanager
def exclusive(run_root: InsidePath, name: str) -> Iterator[None]:
    """Hold the run directory's lock `name`, so that one process or thread at a time runs the block."""
    path = run_root / FOLDER / f"{name}.lock"
    with ExitStack() as stack:
        with writing("lock file", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(path.open("ab"))
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_file(path: InsidePath, data: bytes) -> InsidePath:
    """Write `data` to a new file and flush it to the disk."""
    return write_pieces(path, (data,))


def write_pieces(path: InsidePath, pieces: Iterable[bytes]) -> InsidePath:
    """Write `pieces` to a new file and flush it to the disk."""
    with writing("file", path):
        _write(path, pieces)
    return path


def _write(path: InsidePath, pieces: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def replace_file(what: str, path: InsidePath, data: bytes) -> None:
    """Put `data` at `path` by rename, over an earlier file; readers see either the old or the new bytes.

    For pages beside the datasets, which have no staging directory. Raises IO_WRITE_FAILED naming `what`.
    """
    with writing(what, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.{os.getpid()}")
        staged.unlink(missing_ok=True)
        try:
            _write(staged, (data,))
            staged.rename(path)
        finally:
            staged.unlink(missing_ok=True)
        path.parent.sync()


def publish_files(moves: Sequence[tuple[InsidePath, InsidePath]]) -> None:
    """Rename each (staged, final) pair into place, in order; on failure, remove those already in place.

    Final paths must be free or hold leftovers that may be removed. Raises IO_WRITE_FAILED.
    """
    with ExitStack() as undo:
        for staged, final in moves:
            with writing("file", final):
                make_folder(final.parent)
                staged.rename(final)
                undo.callback(_remove, final)
                final.parent.sync()
        undo.pop_all()


def _remove(path: InsidePath) -> None:
    # The caller reports the failure that made this necessary.
    with suppress(OSError):
        path.unlink()


def publish_folder(staged: InsidePath, final: InsidePath) -> None:
    """Put a staged directory in place; what is there moves to `staged` in the same step. Raises IO_WRITE_FAILED."""
    with writing("directory", final):
        staged.sync()
        make_folder(final.parent)
        if final.kind() is not None:
            # In one step: a process that is killed leaves either the old directory or the new one in place.
            staged.exchange(final)
        else:
            staged.rename(final)
        final.parent.sync()
