"""Transfers of many files at once between a store and this machine, with progress and cancellation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import TypeVar

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.process import human
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.storage.store import Check, Object, Store, Transfer

T = TypeVar("T")
R = TypeVar("R")

# Requests wait for the network far more than for a CPU core.
_AT_ONCE = 8


@dataclass(frozen=True)
class Carrier:
    """Moves files of one store, several at once; the first failure stops all transfers."""

    store: Store
    reporter: Reporter

    def list_all(self, folders: Iterable[str]) -> list[Object]:
        """Every file below any of the folders."""
        return [item for found in self._each(lambda folder, _: self.store.list(folder), folders) for item in found]

    def find_all(self, paths: Iterable[str]) -> list[Object]:
        """The files that exist."""
        return [item for item in self._each(lambda path, _: self.store.stat(path), paths) if item is not None]

    def download_all(self, files: Sequence[Object], root: InsidePath) -> list[Transfer]:
        """Copy files to the same paths below `root`.

        Raises IO_READ_FAILED for one that has another size than listed, or whose name cannot be beside another's, and
        IO_WRITE_FAILED, before any is copied, if the disk lacks room.
        """
        self._refuse_nested(files)
        _refuse_full(files, root)

        def fetch(item: Object, check: Check) -> Transfer:
            with _receiving(root / item.path):
                found = self.store.download(item.path, root / item.path, check, item.bytes)
            if found.bytes != item.bytes:
                raise ArrivalError(
                    Code.IO_READ_FAILED,
                    f"{self.store.url(item.path)} had {item.bytes} bytes when listed, but {found.bytes} were read",
                    hint="another program is changing it; run again when that has ended",
                )
            return found

        self.reporter.expect("bytes", sum(item.bytes for item in files))
        return self._each(fetch, files)

    def _refuse_nested(self, files: Sequence[Object]) -> None:
        names = {item.path for item in files}
        for item in files:
            above = item.path.rpartition("/")[0]
            while above:
                if above in names:
                    raise ArrivalError(
                        Code.IO_READ_FAILED,
                        f"{self.store.url(above)} and {self.store.url(item.path)} cannot both be files of a directory",
                        hint="rename or delete the one that does not belong to the run",
                    )
                above = above.rpartition("/")[0]

    def upload_all(self, files: Sequence[tuple[InsidePath, str]]) -> list[Transfer]:
        """Write local files to paths of the store."""
        self.reporter.expect("bytes", sum(path.stat().st_size for path, _ in files))
        return self._each(lambda pair, check: self.store.upload(pair[0], pair[1], check), files)

    def copy_all(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy files within the store."""
        self.reporter.expect("files", len(pairs))

        def copy(pair: tuple[str, str], check: Check) -> None:
            self.store.copy(*pair)
            check(1)

        self._each(copy, pairs)

    def hash_all(self, files: Sequence[Object]) -> list[Transfer]:
        """Read files of the store and hash them. Raises IO_READ_FAILED for one that is larger than listed."""
        self.reporter.expect("bytes", sum(item.bytes for item in files))
        return self._each(lambda item, check: self.store.sha256(item.path, check, item.bytes), files)

    def delete_all(self, paths: Iterable[str]) -> None:
        """Delete files."""
        self._each(lambda path, _: self.store.delete(path), paths)

    def _each(self, work: Callable[[T, Check], R], items: Iterable[T]) -> list[R]:
        cancellation = Cancellation()

        def check(amount: int) -> None:
            cancellation.check()
            self.reporter.advance(amount)

        results = ordered(lambda item: work(item, check), items, _AT_ONCE, cancellation)
        with closing(results):
            return list(results)


def _refuse_full(files: Sequence[Object], root: InsidePath) -> None:
    """Raise IO_WRITE_FAILED if the files certainly have no room on the disk of `root`."""
    with writing("working copy", root):
        disk = os.statvfs(root.root)
    needed, free = sum(item.bytes for item in files), disk.f_bavail * disk.f_frsize
    # Some file systems tell neither.
    if (disk.f_blocks and needed > free) or (disk.f_files and len(files) > disk.f_favail):
        raise ArrivalError(
            Code.IO_WRITE_FAILED,
            f"a copy of {human.count(len(files))} files takes {human.size(needed)}; {root} has room for "
            f"{human.size(free)} and {human.count(disk.f_favail)} files",
            hint="name a directory with more room (--scratch DIR)",
            bytes=needed,
            free=free,
        )


def _receiving(target: InsidePath) -> AbstractContextManager[None]:
    return writing("file", target, hint="check that the scratch directory has room (--scratch DIR names another)")
