"""Read and write failures as `ArrivalError`s."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arrival_engine.contracts.errors import ArrivalError, Code


def reason(failure: BaseException) -> str:
    """The message of a failure, in one line."""
    if isinstance(failure, OSError) and failure.errno and failure.strerror:
        # Arrow puts the system's message and number after its own text, which repeats the path.
        return os.strerror(failure.errno) if "[errno" in failure.strerror else failure.strerror
    return next(iter(str(failure).splitlines()), "") or type(failure).__name__


@contextmanager
def reading(
    what: str,
    path: Path,
    *,
    hint: str = "check that the file exists and is readable",
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turn an OSError, or a failure of a kind in `also`, into IO_READ_FAILED."""
    kinds: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except kinds as failure:
        message = f"cannot read {what} {path}: {reason(failure)}"
        raise ArrivalError(Code.IO_READ_FAILED, message, hint=hint, path=path) from failure


@contextmanager
def writing(
    what: str, path: Path, *, hint: str = "check that the directory is writable and that its disk has space"
) -> Iterator[None]:
    """Turn an OSError into IO_WRITE_FAILED."""
    try:
        yield
    except OSError as failure:
        message = f"cannot write {what} {path}: {reason(failure)}"
        raise ArrivalError(Code.IO_WRITE_FAILED, message, hint=hint, path=path) from failure
