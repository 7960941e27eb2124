"""The folder of a lakehouse table, on this machine or in an object store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import READ_HINT, WRITE_HINT, reading, reason, refusal, writing
from arrival_engine.engine.exporting.beside import SyncedFile
from arrival_engine.engine.exporting.sink import Output, conflict
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.rundir.staging import make_folder
from arrival_engine.engine.storage.lock import store_lock
from arrival_engine.engine.storage.store import Store
from arrival_engine.engine.storage.url import Place, StoreUrl

__all__ = ["FolderTree", "StoreTree", "busy", "new_export", "tree_of"]

# Every export puts its data files into a folder of its own. So a folder that no version of the table names is left over
# from an export that was killed, and two exports never write one file.
_EXPORT = "export-"
# A version's actions take some 2 kB per data file.
_METADATA_MAX = 1 << 30


def new_export() -> str:
    """A name for the folder of one export's data files; its end is a UUID."""
    return f"{_EXPORT}{uuid.uuid4()}"


@dataclass(frozen=True)
class FolderTree:
    """A directory of this machine."""

    root: InsidePath

    def __str__(self) -> str:
        return str(self.root)

    @property
    def url(self) -> str:
        """The absolute path."""
        return str(self.root.resolve().outside)

    def create(self, path: str) -> Output:
        """A new file to write. Raises IO_WRITE_FAILED."""
        file = self.root / path
        with writing("data file", file):
            make_folder(file.parent)
            return SyncedFile(file)

    def settle(self, files: Mapping[str, int]) -> None:
        """Sync the names of files, whose bytes are on the disk since they were closed. Raises IO_WRITE_FAILED."""
        for folder in sorted({(self.root / path).parent for path in files}):
            with writing("directory", folder):
                folder.sync()

    def sync(self, path: str) -> None:
        """Sync a file that a library wrote, and its name. Raises IO_WRITE_FAILED."""
        file = self.root / path
        with writing("file", file):
            file.sync()
            file.parent.sync()

    def holds_something(self) -> bool:
        """Whether the directory is there and not empty. Raises IO_WRITE_CONFLICT for what is not a directory."""
        with reading("directory", self.root):
            kind = self.root.kind()
            if kind not in (None, "directory"):
                raise conflict(self, f"is a {kind}, not a directory", "name another target")
            return kind is not None and any(self.root.iterdir())

    def exports(self, folder: str = "") -> list[str]:
        """The names of folders of exports in `folder`."""
        with reading("directory", self.root / folder):
            return [path.name for path in (self.root / folder).glob(f"{_EXPORT}*") if path.kind() == "directory"]

    def sizes(self, folder: str = "") -> dict[str, int]:
        """The size of each file below `folder`, by its path. Raises IO_READ_FAILED."""
        if (self.root / folder).kind() is None:
            return {}
        with reading("directory", self.root / folder):
            files = [entry.path for entry in (self.root / folder).walk() if entry.kind == "file"]
            return {str(path.relative_to(self.root)): path.stat().st_size for path in files}

    def foreign(self) -> bool:
        """Whether there is anything but folders of exports."""
        with reading("directory", self.root):
            return any(not path.name.startswith(_EXPORT) for path in self.root.iterdir())

    def failure(self, code: Code, verb: str, failure: Exception) -> ArrivalError:
        """The error for an exception of a library that works here."""
        hint = READ_HINT if code is Code.IO_READ_FAILED else WRITE_HINT
        return refusal(code, f"cannot {verb} {self}: {reason(failure)}", failure, hint, path=str(self))

    def names(self, folder: str) -> list[str]:
        """The names of files in `folder`; none if there is none."""
        with reading("directory", self.root / folder):
            return [path.name for path in (self.root / folder).glob("*") if path.kind() == "file"]

    def read_bytes(self, path: str) -> bytes:
        """A small file. Raises IO_READ_FAILED."""
        with reading("file", self.root / path):
            return (self.root / path).read_bytes()

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file, hexadecimal. Raises IO_READ_FAILED."""
        with reading("data file", self.root / path):
            return content_sha256([self.root / path])

    def delete(self, path: str) -> None:
        """Delete a file or a folder with what is in it, if it exists. Raises IO_WRITE_FAILED."""
        with writing("leftover", self.root / path), suppress(FileNotFoundError):
            (self.root / path).remove()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory, which exists; the kernel releases it with the process. Raises IO_WRITE_CONFLICT."""
        with self.root.held() as ours:
            if not ours:
                raise busy(str(self), "wait for it to end, then run again")
            yield


@dataclass(frozen=True)
class StoreTree:
    """A prefix of an object store."""

    store: Store

    def __str__(self) -> str:
        return str(self.store)

    @property
    def url(self) -> str:
        """The URL without options."""
        return str(self.store)

    def create(self, path: str) -> Output:
        """A new object, which appears when it is closed."""
        return self.store.create(path)

    def settle(self, files: Mapping[str, int]) -> None:
        """Raise IO_WRITE_FAILED unless the store lists each object with its size."""
        there = {}
        for folder in {path.rpartition("/")[0].partition("/")[0] for path in files}:
            there.update(self.sizes(folder))
        for path, size in files.items():
            if there.get(path) != size:
                raise ArrivalError(
                    Code.IO_WRITE_FAILED,
                    f"{size} bytes were written to {self.store.url(path)}, but {there.get(path, 'none')} are there",
                    hint="another program writes there, or the store loses data; run again",
                )

    def sync(self, path: str) -> None:
        """Nothing: what a store has accepted stays."""

    def exports(self, folder: str = "") -> list[str]:
        """The names of folders of exports in `folder`."""
        names = (item.path.removeprefix(f"{folder}/").partition("/") for item in self.store.list(folder))
        return sorted({name for name, slash, _ in names if slash and name.startswith(_EXPORT)})

    def sizes(self, folder: str = "") -> dict[str, int]:
        """The size of each object below `folder`, by its path."""
        return {item.path: item.bytes for item in self.store.list(folder)}

    def foreign(self) -> bool:
        """Whether there is anything but folders of exports."""
        return any(not item.path.startswith(_EXPORT) for item in self.store.list())

    def failure(self, code: Code, verb: str, failure: Exception) -> ArrivalError:
        """The error for an exception of a library that works here."""
        return self.store.failure(code, verb, failure)

    def names(self, folder: str) -> list[str]:
        """The names of files in `folder`; none if there is none."""
        names = (item.path.removeprefix(f"{folder}/") for item in self.store.list(folder))
        return [name for name in names if "/" not in name]

    def read_bytes(self, path: str) -> bytes:
        """A file of metadata. Raises IO_READ_FAILED."""
        return self.store.read_bytes(path, _METADATA_MAX)

    def sha256(self, path: str) -> str:
        """The SHA-256 of an object, hexadecimal. Raises IO_READ_FAILED."""
        return self.store.sha256(path).sha256

    def delete(self, path: str) -> None:
        """Delete an object or everything below a prefix. Raises IO_WRITE_FAILED."""
        self.store.delete(path)
        self.store.delete_folder(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the prefix by an object beside it, so that no reader of the table sees it."""
        place = cast("StoreUrl", self.store.place)
        above, slash, name = place.prefix.rpartition("/")
        with store_lock(Store(replace(place, prefix=f"{above}{slash}.{name}.arrivals-export"))):
            yield


def tree_of(place: Place) -> FolderTree | StoreTree:
    """The tree at a path or a URL."""
    return FolderTree(InsidePath.of_user(place)) if isinstance(place, Path) else StoreTree(Store(place))


def busy(target: str, hint: str) -> ArrivalError:
    """The refusal of a target that another export is writing to."""
    return ArrivalError(Code.IO_WRITE_CONFLICT, f"another export is writing to {target}", hint=hint, path=target)
