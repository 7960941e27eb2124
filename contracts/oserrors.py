"""Failures of the system, in reading and writing, as `ArrivalError`s that name their cause."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.openat import UnsafePathError

READ_HINT = "check that the file exists and is readable"
WRITE_HINT = "check that the directory is writable and that its disk has space"

MEMORY_HINT = (
    "this machine, or the limit of this process, has not enough memory for it: raise the limit, or lower "
    "--batch-arrivals or --threads, or work on a smaller part at once"
)
# The machine or its limits are at fault, not the file that happens to be open at the time.
_EXHAUSTED = {
    errno.EMFILE: "raise `ulimit -n`, the number of files that a process may have open",
    errno.ENFILE: "close other programs, or raise fs.file-max: the whole machine has too many files open",
    errno.ENOMEM: MEMORY_HINT,
}
_ADVICE = {
    errno.ENOSPC: "make space on the disk that this path is on",
    errno.EDQUOT: "make space within your quota on the disk that this path is on, or have the quota raised",
    errno.EFBIG: "raise `ulimit -f`, the size of the largest file that a process may write, or write to a file system "
    "that takes larger files",
    errno.EROFS: "mount the file system for writing, or write to another place",
    errno.EACCES: "give this user the permission on the path, and to pass through every directory above it",
    errno.EPERM: "give this user the permission on the path; check its attributes (`lsattr`) and who owns it",
    errno.ENAMETOOLONG: "use a shorter path or name",
    errno.ELOOP: "a symbolic link on the path leads back to itself: set it right",
    errno.EIO: "the disk or the network behind it failed: check its health and the kernel's log",
    errno.ESTALE: "the network file system lost the file: mount it again",
}
# Arrow and DuckDB pass on the system's message as a part of their own. Longest first: one begins as another does.
_NUMBERS = {
    os.strerror(number): number
    for number in sorted((*_EXHAUSTED, *_ADVICE), key=lambda number: -len(os.strerror(number)))
}


# How libraries word it: Arrow, C++, DuckDB.
_NO_MEMORY = re.compile(r"(?:malloc|realloc|posix_memalign) of size -?\d+ failed|std::bad_alloc|^Out of [Mm]emory")


def lack_of_memory(failure: BaseException) -> bool:
    """Whether an allocation failed, whatever exception a library made of that."""
    if isinstance(failure, ArrivalError):
        return False
    return (
        isinstance(failure, MemoryError)
        or system_number(failure) == errno.ENOMEM
        or bool(_NO_MEMORY.search(str(failure)))
    )


def system_number(failure: BaseException) -> int | None:
    """The system's number for a failure, also of Arrow or DuckDB; None where the system is not its cause."""
    if isinstance(failure, OSError) and failure.errno:
        return failure.errno
    told = str(failure)
    return next((number for text, number in _NUMBERS.items() if text in told), None)


def reason(failure: BaseException) -> str:
    """The message of a failure, in one line."""
    if isinstance(failure, OSError) and failure.errno and failure.strerror:
        # Arrow puts the system's message and number after its own text, which repeats the path.
        return os.strerror(failure.errno) if "[errno" in failure.strerror else failure.strerror
    if isinstance(failure, MemoryError) and not str(failure):
        return "an allocation failed"
    return next(iter(str(failure).splitlines()), "") or type(failure).__name__


def refusal(code: Code, message: str, failure: BaseException, hint: str, **context: object) -> ArrivalError:
    """The error with that code, message and hint for a failure at a file, unless the system says what is wrong.

    Then the hint is about that: about permissions, space or a limit. Where the process or the machine has run out of
    something, the code is RESOURCES_INSUFFICIENT: no file is at fault.
    """
    if isinstance(failure, UnsafePathError):
        return ArrivalError(code, message, hint=failure.advice, **context)
    if lack_of_memory(failure):
        return ArrivalError(Code.RESOURCES_INSUFFICIENT, message, hint=MEMORY_HINT, **context)
    number = system_number(failure)
    if number in _EXHAUSTED:
        return ArrivalError(Code.RESOURCES_INSUFFICIENT, message, hint=_EXHAUSTED[number], **context)
    return ArrivalError(code, message, hint=_ADVICE.get(number, hint) if number else hint, **context)


def of_the_system(failure: BaseException, code: Code) -> ArrivalError | None:
    """The error for a failure that no code foresaw, but that only a full disk or a limit can cause; else None."""
    if not isinstance(failure, OSError):
        return None
    if isinstance(failure, UnsafePathError):
        return refusal(code, f"{failure.filename} is refused: {reason(failure)}", failure, "")
    if failure.errno not in (*_EXHAUSTED, errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return None
    place = f" {failure.filename}" if failure.filename else ""
    return refusal(code, f"a file{place} cannot be opened or written: {reason(failure)}", failure, WRITE_HINT)


@contextmanager
def reading(
    what: str, path: object, *, hint: str = READ_HINT, also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn an OSError, or a failure of a kind in `also`, into IO_READ_FAILED, or as `refusal` does.

    Lack of memory is RESOURCES_INSUFFICIENT.
    """
    kinds: tuple[type[Exception], ...] = (OSError, MemoryError, *also)
    try:
        yield
    except kinds as failure:
        message = f"cannot read {what} {path}: {reason(failure)}"
        raise refusal(Code.IO_READ_FAILED, message, failure, hint, path=path) from failure


@contextmanager
def writing(what: str, path: object, *, hint: str = WRITE_HINT) -> Iterator[None]:
    """Turn an OSError into IO_WRITE_FAILED, or as `refusal` does; lack of memory into RESOURCES_INSUFFICIENT."""
    try:
        yield
    except (OSError, MemoryError) as failure:
        message = f"cannot write {what} {path}: {reason(failure)}"
        raise refusal(Code.IO_WRITE_FAILED, message, failure, hint, path=path) from failure
