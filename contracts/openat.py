"""Steps from a root to a directory, one name at a time, no link followed; and what may be opened at the end."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from arrival_engine.contracts.safe_text import shell_word

Kind = Literal["file", "directory", "link", "other"]

# A directory that is only walked through needs no permission to be listed.
_WALK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for its other end. It means nothing to a regular file.
SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# The deepest path of the contract has 12 names. Without a limit, a tree could be made that takes hours to walk.
_DEPTH_MAX = 100
# Linux, <linux/fs.h>.
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
# A kernel without renameat2 says ENOSYS, a file system without the flag EINVAL or ENOTSUP.
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


class UnsafePathError(OSError):
    """A path that is not opened because of what is there; `advice` says what to do about it."""

    def __init__(self, number: int, what: str, path: object, advice: str) -> None:
        super().__init__(number, what, str(path))
        self.advice = advice

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.strerror, self.filename, self.advice)


@contextmanager
def walked(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """A handle of the directory below the root. Raises OSError, UnsafePathError."""
    handle = os.open(root, _WALK)
    try:
        for depth, name in enumerate(parts, 1):
            if depth > _DEPTH_MAX:
                raise refused_depth(root.joinpath(*parts[:depth]))
            try:
                further = os.open(name, _WALK | os.O_NOFOLLOW, dir_fd=handle)
            except OSError as failure:
                path = root.joinpath(*parts[:depth])
                if failure.errno in (errno.ENOTDIR, errno.ELOOP):
                    check_step(kind_at(handle, name), path)
                failure.filename = str(path)
                raise
            # An interrupt in between must not close one of them twice: the number may be another file's by then.
            before, handle = handle, further
            os.close(before)
        yield handle
    finally:
        os.close(handle)


@contextmanager
def listed(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """A handle of the directory below the root that may be listed. Raises OSError, UnsafePathError."""
    with walked(root, parts) as folder:
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


def kind_of(mode: int) -> Kind:
    """The kind in a file's mode."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def kind_at(folder: int, name: str) -> Kind:
    """What a directory has under a name. Raises OSError."""
    return kind_of(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def kind_of_entry(entry: os.DirEntry[str]) -> Kind:
    """The kind of what `os.scandir` found."""
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def check_file(facts: os.stat_result, path: object) -> None:
    """Raise UnsafePathError unless these are the facts of a regular file with one name."""
    kind = kind_of(facts.st_mode)
    check_kind(kind, path)
    if kind == "directory":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if facts.st_nlink > 1:
        raise UnsafePathError(
            errno.EMLINK,
            "a hard link: the file has another name too, which may be anywhere",
            path,
            "replace it by a copy of its own: cp FILE FILE.copy && mv FILE.copy FILE",
        )


def check_kind(kind: Kind | None, path: object) -> None:
    """Raise UnsafePathError for what can be neither a file nor a directory of the product's."""
    if kind == "link":
        raise refused_link(path)
    if kind == "other":
        raise UnsafePathError(
            errno.EINVAL,
            "not a regular file, but a pipe, a socket or a device",
            path,
            "remove it, or restore the file that belongs there",
        )


def check_step(kind: Kind, path: object) -> None:
    """Raise UnsafePathError where a link was met, or what is now a directory and was not one a moment ago."""
    if kind == "link":
        raise refused_link(path)
    if kind == "directory":
        raise UnsafePathError(
            errno.EAGAIN,
            "it is being replaced while it is opened",
            path,
            "let no other program write below this directory meanwhile",
        )


def refused_link(path: object) -> UnsafePathError:
    """The error for a link on a path, or at its end."""
    return UnsafePathError(
        errno.ELOOP,
        f"{path} is a symbolic link, which could lead anywhere",
        path,
        "put what it points to in its place (a mount serves too): below this directory no link is followed",
    )


def refused_depth(path: object) -> UnsafePathError:
    """The error for a tree that is too deep to be walked."""
    return UnsafePathError(
        errno.ENAMETOOLONG,
        f"directories lie more than {_DEPTH_MAX} deep",
        path,
        f"remove it: rm -r {shell_word(str(path))}",
    )


def exchanged(here: int, name: str, there: int, other: str) -> bool:
    """Swap two names of two directories in one step; False, and nothing done, where the system cannot."""
    return _renamed(here, name, there, other, _RENAME_EXCHANGE)


def renamed_new(here: int, name: str, there: int, other: str) -> bool:
    """Move to a name that nothing has, else FileExistsError; False, and nothing done, where the system cannot."""
    return _renamed(here, name, there, other, _RENAME_NOREPLACE)


def _renamed(here: int, name: str, there: int, other: str, flags: int) -> bool:
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    if renameat2(here, os.fsencode(name), there, os.fsencode(other), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number not in _UNSUPPORTED:
        raise OSError(number, os.strerror(number), other)
    return False


@cache
def _renameat2() -> Any:
    """The C library's function, or None."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
