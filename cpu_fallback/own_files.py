"""Folders and files that only this user and root can have filled or exchanged.

Machine code is run as it lies in a file, so what counts is who can write the file, and each folder on the way to it.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from arrival_engine.contracts.safe_text import shell_word

__all__ = ["ForeignFileError", "own_folder", "read_own", "write_own"]

_ROOT_USER = 0
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_LINKS_MAX = 40  # as Linux follows
_ELSEWHERE = "set ARRIVALS_CACHE_DIR to a folder that only you can write"


class ForeignFileError(PermissionError):
    """Another user can write a file or a folder, or exchange it. `reason` names it; `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(errno.EPERM, reason)
        self.reason, self.remedy = reason, remedy


def own_folder(base: Path, *names: str) -> Path:
    """The folder `base`/names, an absolute path. Each level that is missing is made for this user alone.

    Others may write neither into `base` nor below it, nor exchange a folder on the way. A sticky folder such as /tmp
    may be `base`: others can add names there, but not replace one. Raises ForeignFileError where this does not hold,
    and OSError where a folder cannot be made.
    """
    for folder, facts in _way(base.parent):
        # A user's own group often has one member, and then its right to write adds no other user.
        mode = facts.st_mode & ~stat.S_IWGRP if facts.st_gid == os.getegid() else facts.st_mode
        _refuse_writers(folder, facts, mode, f"chmod go-w {shell_word(str(folder))}")
    _refuse_others(base, facts := _made(base))
    if stat.S_ISLNK(facts.st_mode):
        raise ForeignFileError(f"{base} is a symbolic link", "set ARRIVALS_CACHE_DIR to the folder itself")
    _refuse_writers(base, facts, facts.st_mode, f"chmod go-w {shell_word(str(base))}")
    folder = base
    for name in names:
        folder = folder / name
        _made(folder)
        _refuse_loose(folder)
    return folder


def read_own(path: Path) -> bytes:
    """The content of a regular file that only this user or root can write, in such a folder.

    Raises ForeignFileError for any other, and OSError where it cannot be read.
    """
    _refuse_loose(path.parent)
    # Opening a pipe without a writer would block.
    with open(path, "rb", opener=_without_links) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ForeignFileError(f"{path} is not a file", f"rm -r {shell_word(str(path))}")
        _refuse_others(path, facts)
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ForeignFileError(f"{_writers(facts.st_mode)} can write {path}", f"rm {shell_word(str(path))}")
        return file.read()


def write_own(path: Path, content: bytes) -> None:
    """Put a file that only this user can write in place of what has its name. Raises OSError where that fails."""
    new = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:16]}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _way(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each folder on the way from the root to an absolute path and its facts, links followed; missing ones are made."""
    reached, pending, links = Path(folder.anchor), list(folder.parts[:0:-1]), 0
    yield reached, reached.lstat()
    while pending:
        name = pending.pop()
        if name == os.pardir:
            reached = reached.parent
            continue
        step = reached / name
        facts = _made(step)
        _refuse_others(step, facts)
        if stat.S_ISLNK(facts.st_mode):
            links += 1
            if links > _LINKS_MAX:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
            target = step.readlink()
            pending += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            reached = Path(target.anchor) if target.is_absolute() else reached
            continue
        reached = step
        yield reached, facts


def _made(folder: Path) -> os.stat_result:
    """The facts of a folder, or of what is in its place; it is made if nothing is."""
    try:
        return folder.lstat()
    except FileNotFoundError:
        # Another process may make it at the same time.
        folder.mkdir(_FOLDER_MODE, exist_ok=True)
        return folder.lstat()


def _refuse_loose(folder: Path) -> None:
    """Refuse a folder that others could fill. Its content is not to be trusted even after `chmod`, so it must go."""
    facts = folder.lstat()
    remedy = f"rm -r {shell_word(str(folder))}"
    if not stat.S_ISDIR(facts.st_mode):
        raise ForeignFileError(f"{folder} is not a folder", remedy)
    _refuse_others(folder, facts)
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ForeignFileError(f"{_writers(facts.st_mode)} can write to {folder}", remedy)


def _refuse_writers(folder: Path, facts: os.stat_result, mode: int, remedy: str) -> None:
    """Refuse a folder in which others can replace a name."""
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        ours = facts.st_uid == os.geteuid()
        raise ForeignFileError(f"{_writers(mode)} can write to {folder}", remedy if ours else _ELSEWHERE)


def _refuse_others(path: Path, facts: os.stat_result) -> None:
    if facts.st_uid not in (_ROOT_USER, os.geteuid()):
        raise ForeignFileError(f"{path} belongs to user {facts.st_uid}", _ELSEWHERE)


def _writers(mode: int) -> str:
    return "every user" if mode & stat.S_IWOTH else "its group"
