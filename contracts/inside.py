"""Paths below a root, opened so that nothing found there can lead out of it.

A run directory may come from anywhere: an archive, a bucket, a colleague. A link in it could lead a reader to a file
that is none of its business, and a writer to any file of the user's. So everything below a root goes through
`InsidePath`, which walks from the root one directory at a time, follows no link, and opens only regular files that have
one name. The root itself is the user's own word, and may be reached by links.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple, overload

from arrival_engine.contracts.openat import (
    SAFE,
    Kind,
    UnsafePathError,
    check_file,
    check_kind,
    exchanged,
    kind_at,
    kind_of,
    kind_of_entry,
    listed,
    refused_depth,
    refused_link,
    renamed_new,
    walked,
)

BinaryMode = Literal["rb", "wb", "xb", "ab", "a+b", "r+b", "x+b"]
TextMode = Literal["r", "w", "x", "a", "a+", "r+"]

_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "x+": os.O_RDWR | os.O_CREAT | os.O_EXCL,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "a+": os.O_RDWR | os.O_CREAT | os.O_APPEND,
    "r+": os.O_RDWR,
}

# A process that has opened a directory can make a file in it after its names were read, and so keep it from being
# removed. Each removal takes more of its directories away from it.
_DISCARDS = 10


class Entry(NamedTuple):
    """One name in a directory, and what it is, links not followed."""

    path: InsidePath
    kind: Kind


@dataclass(frozen=True, order=True, slots=True)
class InsidePath:
    """A path below `root`, with the methods of `pathlib.Path` that the engine needs.

    Methods that reach the disk raise OSError: UnsafePathError for a link on the way or at the end, for a file that has
    a second name, and for a pipe, socket or device where a file is needed. `os.fspath` refuses the path, so that no
    other function opens it by mistake.
    """

    root: Path
    parts: tuple[str, ...] = ()

    @classmethod
    def of_user(cls, path: Path) -> InsidePath:
        """A single file or directory that the user named; links in that path are the user's own, and are followed."""
        real = path.resolve()
        return cls(real.parent, (real.name,)) if real.name else cls(real)

    def __truediv__(self, further: str | PurePosixPath) -> InsidePath:
        text = str(further)
        names = tuple(name for name in text.split("/") if name not in ("", "."))
        if text.startswith("/") or ".." in names or "\0" in text:
            raise UnsafePathError(
                errno.EINVAL, f"{text!r} is not a path below it", self, "give a relative path without '..'"
            )
        return InsidePath(self.root, self.parts + names)

    def __str__(self) -> str:
        return str(self.outside)

    @property
    def outside(self) -> Path:
        """The path for people and for other programs."""
        return self.root.joinpath(*self.parts)

    @property
    def name(self) -> str:
        """The last name; that of the root if the path is the root."""
        return self.parts[-1] if self.parts else self.root.name

    @property
    def suffix(self) -> str:
        """The end of the name, from its last point on."""
        return PurePosixPath(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> InsidePath:
        """The directory above; that of the root is the root."""
        return InsidePath(self.root, self.parts[:-1])

    def with_name(self, name: str) -> InsidePath:
        """The path of another name in the same directory."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> InsidePath:
        """The path with another end of the name."""
        return self.with_name(self.stem + suffix)

    def relative_to(self, base: InsidePath) -> PurePosixPath:
        """The path below `base`. Raises ValueError if it is not below."""
        return self._pure().relative_to(base._pure())

    def is_relative_to(self, base: InsidePath) -> bool:
        """Whether the path is `base` or below it."""
        return self._pure().is_relative_to(base._pure())

    def resolve(self) -> InsidePath:
        """The same path with an absolute root without links."""
        return InsidePath(self.root.resolve(), self.parts)

    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self.root, *self.parts)

    # What is there

    def kind(self) -> Kind | None:
        """What is at the path, a link at the end included; None if there is nothing. Links to the root are followed."""
        try:
            if not self.parts:
                return kind_of(self.root.stat().st_mode)
            with self._at() as (folder, name):
                return kind_at(folder, name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self) -> bool:
        """Whether a file or directory is at the path."""
        return self._sound_kind() is not None

    def is_file(self) -> bool:
        """Whether a regular file is at the path."""
        return self._sound_kind() == "file"

    def is_dir(self) -> bool:
        """Whether a directory is at the path."""
        return self._sound_kind() == "directory"

    def _sound_kind(self) -> Kind | None:
        found = self.kind()
        check_kind(found, self)
        return found

    def stat(self) -> os.stat_result:
        """The facts of the file or directory."""
        with self._at() as (folder, name):
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(facts.st_mode):
            raise refused_link(self)
        return facts

    def entries(self) -> list[Entry]:
        """What the directory holds, by name."""
        with listed(self.root, self.parts) as folder, os.scandir(folder) as found:
            kinds = {entry.name: kind_of_entry(entry) for entry in found}
        return [Entry(InsidePath(self.root, (*self.parts, name)), kinds[name]) for name in sorted(kinds)]

    def iterdir(self) -> Iterator[InsidePath]:
        """The paths in the directory, by name, links included."""
        return iter([entry.path for entry in self.entries()])

    def glob(self, pattern: str) -> list[InsidePath]:
        """The paths in the directory whose names match, by name, links included; none if there is no directory."""
        try:
            return [path for path in self.iterdir() if fnmatchcase(path.name, pattern)]
        except FileNotFoundError:
            return []

    def walk(self) -> Iterator[Entry]:
        """Everything below the directory but directories, by relative path; linked directories count as links."""
        below: list[Entry] = []
        ahead = [self]
        while ahead:
            for entry in ahead.pop().entries():
                if entry.kind == "directory":
                    ahead.append(entry.path)
                else:
                    below.append(entry)
        return iter(sorted(below, key=lambda entry: "/".join(entry.path.parts)))

    # Files

    @overload
    def open(self, mode: BinaryMode, buffering: Literal[0]) -> io.FileIO: ...
    @overload
    def open(self, mode: BinaryMode) -> IO[bytes]: ...
    @overload
    def open(self, mode: TextMode) -> IO[str]: ...

    def open(self, mode: str, buffering: int = -1) -> IO[Any]:
        """The file, regular and with one name; texts are UTF-8. `w` and `a` make a file that is missing, `x` always."""
        binary = mode.endswith("b")
        handle = self._handle(mode.removesuffix("b"))
        return os.fdopen(handle, mode, buffering, None if binary else "utf-8")

    def _handle(self, mode: str) -> int:
        with self._at() as (folder, name):
            if not mode.startswith("x"):
                # Opening a device can do something by itself.
                with suppress(FileNotFoundError):
                    check_file(os.stat(name, dir_fd=folder, follow_symlinks=False), self)
            try:
                handle = os.open(name, _FLAGS[mode] | SAFE, 0o666, dir_fd=folder)
            except OSError as failure:
                # It was none when it was looked at.
                if failure.errno == errno.ELOOP:
                    raise refused_link(self) from failure
                raise
        try:
            check_file(os.fstat(handle), self)
            if mode == "w":
                # Not before the check, as O_TRUNC would.
                os.ftruncate(handle, 0)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def read_bytes(self) -> bytes:
        """The whole content."""
        with self.open("rb") as file:
            return file.read()

    def read_text(self) -> str:
        """The whole content, UTF-8."""
        with self.open("r") as file:
            return file.read()

    def write_bytes(self, data: bytes) -> None:
        """Write a file, or write it anew."""
        with self.open("wb") as file:
            file.write(data)

    # Changes of directories

    def mkdir(self, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Make the directory; with `parents` also those above, the root included."""
        if parents and self.parts:
            self.parent.mkdir(parents=True, exist_ok=True)
        if not self.parts:
            self.root.mkdir(mode, parents, exist_ok)
            return
        try:
            with self._at() as (folder, name):
                os.mkdir(name, mode, dir_fd=folder)
        except FileExistsError:
            if not exist_ok or not self.is_dir():
                raise

    def make_temporary(self, prefix: str) -> InsidePath:
        """Make a directory in this one, for this user alone, under a name that was not there."""
        while True:
            path = self / f"{prefix}-{secrets.token_hex(4)}"
            with suppress(FileExistsError):
                path.mkdir(0o700)
                return path

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove a file, or a link itself."""
        with self._at() as (folder, name):
            try:
                os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def remove(self) -> None:
        """Remove whatever is there, a directory with its content; of a link, only the link. Raises OSError."""
        self._remove(ignore_errors=False)

    def discard(self) -> None:
        """As `remove`, as far as it can be done; what others make meanwhile goes with it."""
        with suppress(OSError):
            for _ in range(_DISCARDS):
                self._remove(ignore_errors=True)
                if self.kind() is None:
                    return

    def _remove(self, *, ignore_errors: bool) -> None:
        with self._at() as (folder, name):
            if kind_at(folder, name) != "directory":
                os.unlink(name, dir_fd=folder)
                return
            try:
                shutil.rmtree(name, ignore_errors, dir_fd=folder)
            except RecursionError:
                raise refused_depth(self) from None

    def rename(self, target: InsidePath) -> None:
        """Move to `target`, of the same file system; a file there is replaced, and a link there itself."""
        with self._at() as (here, name), target._at() as (there, new):
            os.rename(name, new, src_dir_fd=here, dst_dir_fd=there)

    def rename_new(self, target: InsidePath) -> bool:
        """Move to `target`, of the same file system, where nothing may be; False if something is there.

        Without support of the system, what another process puts there in the same moment is replaced.
        """
        with self._at() as (here, name), target._at() as (there, new):
            try:
                if not renamed_new(here, name, there, new):
                    if target.kind() is not None:
                        return False
                    os.rename(name, new, src_dir_fd=here, dst_dir_fd=there)
            except FileExistsError:
                return False
        return True

    def exchange(self, other: InsidePath) -> None:
        """Swap two files or directories of one file system, atomically if the system supports it.

        If not, `other` is missing between two renames, and is restored if the other rename fails. Both are unchanged
        after an OSError.
        """
        with self._at() as (here, name), other._at() as (there, twin):
            if exchanged(here, name, there, twin):
                return
        self._exchange_by_renames(other)

    def _exchange_by_renames(self, other: InsidePath) -> None:
        aside = self.with_name(f"{self.name}.exchanged")
        with ExitStack() as undo:
            for source, target in ((other, aside), (self, other), (aside, self)):
                source.rename(target)
                undo.callback(target.rename, source)
            undo.pop_all()

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold a directory as `held` does, but wait while another process has it; False where the system cannot."""
        with self._at() as (folder, name):
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | SAFE, dir_fd=folder)
        try:
            is_held = True
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:
                # Some network file systems lock only files that are open for writing.
                is_held = False
            yield is_held
        finally:
            os.close(handle)

    def sync(self) -> None:
        """Flush a file's bytes, or a directory's entries, to the disk."""
        with self._at() as (folder, name):
            handle = os.open(name, os.O_RDONLY | SAFE, dir_fd=folder)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold a directory, so that no other process does; False if another one has it.

        The kernel releases it with the process.
        """
        with self._at() as (folder, name):
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | SAFE, dir_fd=folder)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)

    # The walk

    @contextmanager
    def _at(self) -> Iterator[tuple[int, str]]:
        """The directory that holds the path, as a handle, and the path's name in it."""
        with walked(self.root, self.parts[:-1]) as folder:
            try:
                yield folder, self.parts[-1] if self.parts else "."
            except OSError as failure:
                # The system was told only the last name.
                if failure.filename in (None, self.name, "."):
                    failure.filename = str(self)
                raise


def inside(root: Path | InsidePath) -> InsidePath:
    """The path of a root; a path that is below one already stays so."""
    return root if isinstance(root, InsidePath) else InsidePath(Path(root))
