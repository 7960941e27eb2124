"""Exchange of two paths in one step, so that readers find either the old or the new content."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

# Linux, <linux/fs.h> and <fcntl.h>.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
# A kernel without renameat2 says ENOSYS, a file system without the flag EINVAL or ENOTSUP.
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def exchange(first: Path, second: Path) -> None:
    """Swap two files or directories of one file system, atomically if the system supports it.

    If not, `second` is missing between two renames, and is restored if the other rename fails. Raises OSError; both
    paths are then unchanged.
    """
    renameat2 = _renameat2()
    if renameat2 is not None:
        if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _UNSUPPORTED:
            raise OSError(number, os.strerror(number), str(second))
    _exchange_by_renames(first, second)


@cache
def _renameat2() -> Any:
    """The C library's function, or None."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _exchange_by_renames(first: Path, second: Path) -> None:
    aside = first.with_name(f"{first.name}.exchanged")
    with ExitStack() as undo:
        for source, target in ((second, aside), (first, second), (aside, first)):
            source.rename(target)
            undo.callback(target.rename, source)
        undo.pop_all()
