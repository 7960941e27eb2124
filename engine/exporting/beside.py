"""A local export: its hidden staging folder and its description, both beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.engine.process.scratch import OWNER, clear, scratch_folder, temporary_root
from arrival_engine.engine.rundir.staging import write_file
from arrival_engine.engine.storage.url import Place

__all__ = ["Neighbourhood", "SyncedFile", "spill_file"]


# Folders of rows that are in no order yet.
_SPILL = ".arrivals-export"


class Neighbourhood:
    """The folder around a local target; links in the target's path are the user's own, and are followed."""

    def __init__(self, target: Path) -> None:
        self.target = InsidePath.of_user(target)
        if not self.target.parts:
            raise ArrivalError(
                Code.IO_WRITE_CONFLICT,
                f"{target} cannot be replaced by an export",
                hint="name a folder or file that the export makes",
                path=str(target),
            )
        self._given = target
        self._description = self.target.with_name(f"{self.target.name}.croissant.json")
        self._held = ExitStack()
        self._staged: InsidePath | None = None

    @property
    def root(self) -> str:
        """What names of files have before them, seen from the description."""
        return f"{self.target.name}/"

    @property
    def staged(self) -> InsidePath:
        """The staging folder, made when it is first asked for; those of killed exports to this target are removed."""
        if self._staged is None:
            parent = self.target.parent
            with writing("directory", parent):
                parent.mkdir(parents=True, exist_ok=True)
                self._staged = self._held.enter_context(_own_folder(parent, f".{self.target.name}.export"))
        return self._staged

    def description(self) -> bytes | None:
        """The description beside the target."""
        with reading("description", self._description):
            return self._description.read_bytes() if self._description.is_file() else None

    def describe(self, document: bytes) -> str:
        """Write the description in one step."""
        if document != self.description():
            # Made in the staging folder, so that a killed export leaves it where the next one looks.
            staged = write_file(self.staged / "description.json", document)
            with writing("description", self._description):
                staged.rename(self._description)
                self._description.parent.sync()
        # In the user's words, unless those lead elsewhere by a link.
        given = self._given.with_name(self._description.name) if self._given.name == self.target.name else None
        return str(self._description if given is None or self._given.is_symlink() else given)

    def close(self) -> None:
        """Remove the staging folder, and those that killed exports left here."""
        self._held.close()
        with suppress(OSError):
            for prefix in (f".{self.target.name}.export", _SPILL):
                _clear(self.target.parent, prefix)


@contextmanager
def spill_file(place: Place) -> Iterator[IO[bytes]]:
    """A file for rows that are in no order yet: beside a local target, else among temporary files."""
    parent = Neighbourhood(place).target.parent if isinstance(place, Path) else temporary_root()
    with ExitStack() as held:
        with writing("directory", parent):
            parent.mkdir(parents=True, exist_ok=True)
            folder = held.enter_context(_own_folder(parent, _SPILL))
            file = held.enter_context((folder / "rows").open("x+b"))
        yield file


@contextmanager
def _own_folder(parent: InsidePath, prefix: str) -> Iterator[InsidePath]:
    """A new folder, removed at the end; those of killed exports with this prefix are removed first."""
    with ExitStack() as held:
        with parent.locked() as is_held:
            _clear_ownerless(parent, prefix, is_held)
            folder = held.enter_context(scratch_folder(parent, prefix=prefix))
        yield folder


def _clear(parent: InsidePath, prefix: str) -> None:
    clear(parent, prefix)
    with parent.locked() as is_held:
        _clear_ownerless(parent, prefix, is_held)


def _clear_ownerless(parent: InsidePath, prefix: str, is_held: bool) -> None:
    """Remove folders of exports that were killed before they had said that the folder is theirs.

    A living one says so while it holds the parent.
    """
    for path in parent.glob(f"{prefix}-*") if is_held else ():
        if path.kind() == "directory" and path.stat().st_uid == os.geteuid() and (path / OWNER).kind() is None:
            path.discard()


class SyncedFile:
    """A new file, whose bytes are on the disk when it is closed."""

    def __init__(self, path: InsidePath) -> None:
        self._file: IO[bytes] = path.open("xb")

    def write(self, data: bytes | memoryview) -> int:
        """As of a file."""
        return self._file.write(data)

    def close(self) -> None:
        """Flush and close."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
