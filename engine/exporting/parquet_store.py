"""A folder of Parquet files in an object store, which cannot rename.

.NAME.arrivals-export/export-UUID/*   data files while they are made, and the lock; beside the target
NAME/~incomplete.parquet, NAME/-...   while files are put in place: two objects that no reader of Parquet takes
NAME/*                                the data files

The files are copied into place between the two objects, first and last by name. A reader that lists the folder
meanwhile fails, and does not take some files for all. The deletion of the last such object is the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import pyarrow as pa

from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.exporting.facts import Facts
from arrival_engine.engine.exporting.files import DataFile
from arrival_engine.engine.exporting.live import fault, listed
from arrival_engine.engine.exporting.parquet_folder import file_number
from arrival_engine.engine.exporting.sink import FileFacts, Output, Standing, conflict
from arrival_engine.engine.exporting.surroundings import StoreNeighbourhood
from arrival_engine.engine.exporting.trees import StoreTree, new_export
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.arrow_files import metadata_of_open
from arrival_engine.engine.storage.carrier import Carrier
from arrival_engine.engine.storage.store import Object, Store
from arrival_engine.engine.storage.url import StoreUrl

__all__ = ["ParquetStore"]

# Before and after every name of a data file or a day's folder.
_OBSTACLES = ("-incomplete.parquet", "~incomplete.parquet")
_NOTE = b"files are being put in place: not an export yet\n"
_ELSEWHERE = "give the URL of a new folder"


class _Found(NamedTuple):
    """What is in the folder."""

    files: list[Object]
    is_incomplete: bool


class ParquetStore:
    """The sink of a prefix."""

    def __init__(self, place: StoreUrl) -> None:
        """Nothing is contacted yet."""
        self._tree = StoreTree(Store(place))
        self._near = StoreNeighbourhood(place)
        self._aside = StoreTree(self._near.aside)
        self._carrier = Carrier(self._tree.store, Reporter())
        self._folder = new_export()
        self._held = ExitStack()
        self._standing: _Found | None = None

    @property
    def root(self) -> str:
        """What names of files have before them, seen from the description."""
        return self._near.root

    def standing(self, *, thorough: bool) -> Standing | None:
        """The export that is there; what a killed one left is removed."""
        self._held.enter_context(self._tree.held())
        for name in self._aside.exports():
            self._aside.delete(name)
        found = self._look()
        if found.is_incomplete:
            self._empty(found)
            return None
        if not found.files:
            return None
        self._standing = found
        facts = self._facts(found.files)
        numbers = sorted(file_number(item.path) for item in found.files)
        gaps = set(range(numbers[-1] + 1)) - set(numbers)
        if gaps:
            return Standing(facts, f"file {min(gaps)} is missing")
        live = {item.path: item.bytes for item in found.files}
        return Standing(facts, fault(self._tree, self._near, facts, live) if thorough else "")

    def _look(self) -> _Found:
        files = self._tree.store.list()
        obstacles = [item for item in files if item.path in _OBSTACLES]
        data = [item for item in files if item.path not in _OBSTACLES]
        for item in data:
            if file_number(item.path) < 0:
                raise conflict(self._tree, f"holds {item.path}, which is not a file of an export", _ELSEWHERE)
        return _Found(sorted(data, key=lambda item: file_number(item.path)), bool(obstacles))

    def _empty(self, found: _Found) -> None:
        """Remove data files, and only then what keeps readers off."""
        self._carrier.delete_all(item.path for item in found.files)
        self._carrier.delete_all(_OBSTACLES)

    def _facts(self, files: Sequence[Object]) -> Facts:
        found = [self._stated(item.path) for item in files]
        digest = sum((Digest.parse(facts.digest) for facts in found), Digest())
        facts = found[0].with_digest(digest)
        if any(other.with_digest(digest) != facts for other in found):
            raise conflict(self._tree, "holds files of several exports", _ELSEWHERE)
        return facts

    def _stated(self, path: str) -> Facts:
        try:
            with self._tree.store.open_input_file(path) as file:
                stated = metadata_of_open(file).metadata or {}
            facts = Facts.parse({name.decode(): value.decode() for name, value in stated.items()})
            Digest.parse(facts.digest)
        except (OSError, ValueError, pa.ArrowException) as failure:
            raise conflict(self._tree, f"holds {path}, which states no export: {failure}", _ELSEWHERE) from failure
        return facts

    def create(self, name: str) -> Output:
        """A new data file beside the target."""
        return self._aside.create(f"{self._folder}/{name}")

    def commit(self, files: Sequence[DataFile], facts: Facts, *, replace: bool) -> Sequence[FileFacts]:  # noqa: ARG002
        """Copy the files into place; readers see them when the last obstacle is gone."""
        if self._standing is not None and not replace:
            raise conflict(self._tree, "holds another export", "add --replace to put this export in its place")
        self._aside.settle({f"{self._folder}/{file.name}": file.bytes for file in files})
        for name in _OBSTACLES:
            self._tree.store.write_bytes(name, _NOTE)
        if self._standing is not None:
            self._carrier.delete_all(item.path for item in self._standing.files)
        self._near.place(self._folder, [file.name for file in files])
        self._tree.settle({file.name: file.bytes for file in files})
        for name in _OBSTACLES:
            self._tree.store.delete(name)
        self._aside.delete(self._folder)
        return [FileFacts(file.name, file.bytes, file.sha256) for file in files]

    def listed(self) -> Sequence[FileFacts]:
        """The files that are there, each read and hashed."""
        return listed(self._tree, {item.path: item.bytes for item in self._look().files})

    def description(self) -> bytes | None:
        """The description beside the folder."""
        return self._near.description()

    def describe(self, document: bytes) -> str:
        """Write the description beside the folder."""
        return self._near.describe(document)

    def abandon(self) -> None:
        """Remove what was made and not put in place, and release the target."""
        with self._held:
            self._aside.delete(self._folder)
