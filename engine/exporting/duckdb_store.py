"""A DuckDB file in an object store: made on this machine, and put there whole by one upload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.exporting.facts import Facts
from arrival_engine.engine.exporting.files import DataFile
from arrival_engine.engine.exporting.sink import FileFacts, Output, Sink, Standing
from arrival_engine.engine.exporting.surroundings import StoreNeighbourhood
from arrival_engine.engine.exporting.trees import StoreTree
from arrival_engine.engine.process.scratch import scratch_folder, temporary_root
from arrival_engine.engine.storage.store import Store
from arrival_engine.engine.storage.url import StoreUrl

__all__ = ["DuckDBStore"]


class DuckDBStore:
    """The sink of one object. `local` makes the sink of a file on this machine."""

    root = ""

    def __init__(self, place: StoreUrl, local: Callable[[Path], Sink]) -> None:
        """Nothing is contacted yet."""
        self._near = StoreNeighbourhood(place)
        self._tree = StoreTree(Store(place))
        self._object = Store(place)
        self._local = local
        self._held = ExitStack()
        self._copy: InsidePath | None = None
        self._sink: Sink | None = None

    def standing(self, *, thorough: bool) -> Standing | None:
        """The export in the object, which is downloaded: DuckDB states it in a table."""
        self._held.enter_context(self._tree.held())
        copy = self._file()
        if self._object.stat("") is not None:
            self._object.download("", copy)
        return self._made().standing(thorough=thorough)

    def _file(self) -> InsidePath:
        """The file on this machine, of the object's name."""
        if self._copy is None:
            with writing("temporary directory", temporary_root(), hint="set TMPDIR to a writable folder"):
                self._copy = self._held.enter_context(scratch_folder()) / self._near.name
        return self._copy

    def _made(self) -> Sink:
        if self._sink is None:
            self._sink = self._local(self._file().outside)
            self._held.callback(self._sink.abandon)
        return self._sink

    def create(self, name: str) -> Output:
        """A file of rows on this machine."""
        return self._made().create(name)

    def commit(self, files: Sequence[DataFile], facts: Facts, *, replace: bool) -> Sequence[FileFacts]:
        """Make the file, and upload it; an object appears whole, in place of another one."""
        listed = self._made().commit(files, facts, replace=replace)
        self._object.upload(self._file(), "")
        return listed

    def listed(self) -> Sequence[FileFacts]:
        """The file."""
        return self._made().listed()

    def description(self) -> bytes | None:
        """The description beside the object."""
        return self._near.description()

    def describe(self, document: bytes) -> str:
        """Write the description beside the object."""
        return self._near.describe(document)

    def abandon(self) -> None:
        """Remove the file from this machine, and release the object."""
        self._held.close()
