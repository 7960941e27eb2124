"""Iceberg tables: data files that were written once, and one commit to the catalog, the only step that readers see.

Locations in an Iceberg table are absolute, so nothing is renamed: data files lie in their final place, in a folder that
no snapshot names before the commit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.exporting.facts import PREFIX, Facts
from arrival_engine.engine.exporting.files import DataFile
from arrival_engine.engine.exporting.iceberg_catalog import CATALOG_FILE, TABLE, open_catalog, told
from arrival_engine.engine.exporting.iceberg_files import (
    day_spec,
    entries,
    evolve,
    live_files,
    named_files,
    numbered,
    table_schema,
)
from arrival_engine.engine.exporting.live import fault, gap, listed
from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.exporting.sink import FileFacts, Layout, Output, Sink, Standing, conflict
from arrival_engine.engine.exporting.surroundings import surroundings
from arrival_engine.engine.exporting.trees import FolderTree, StoreTree, new_export, tree_of
from arrival_engine.engine.process.extras import require
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table, Transaction

__all__ = ["IcebergSink", "open_sink"]

_DATA, _METADATA = "data", "metadata"
_EXPORT = f"{PREFIX}export"
_HISTORY = "The summary of each snapshot says what it is: arrivals.digest, arrivals.scenario_id and others."
# pyiceberg takes what follows them in a URL for something else than a key.
_CUT = re.compile(r"[#?]")


def open_sink(place: Place, options: ExportOptions, layout: Layout) -> Sink:
    """The sink of a place."""
    return IcebergSink(place, layout, options.catalog, options.table)


class IcebergSink:
    """One export to an Iceberg table, whose files lie in the target."""

    def __init__(self, place: Place, layout: Layout, catalog: str | None = None, table: str | None = None) -> None:
        """Nothing is contacted yet. Raises DEPENDENCY_MISSING, OPTION_INVALID."""
        require("iceberg", "an Iceberg table")
        self._layout, self._choice, self._name = layout, catalog, table or TABLE
        self._tree = tree_of(place)
        self._near = surroundings(place)
        if isinstance(self._tree, StoreTree) and _CUT.search(self._tree.url):
            raise ArrivalError(
                Code.OPTION_INVALID, f"{self._tree} has a # in its path, which pyiceberg cuts off", hint="name another"
            )
        self._folder = new_export()
        self._held = ExitStack()
        self._opened: Catalog | None = None
        self._table: Table | None = None
        self._transaction: Transaction | None = None
        self._was_empty = False
        self._made: Literal["content", "directory"] | None = None
        self._attempted = False

    @property
    def root(self) -> str:
        """What names of files have before them, seen from the description."""
        return self._near.root

    def standing(self, *, thorough: bool) -> Standing | None:
        """The export that the table's present snapshot is; None if there is no table.

        Removes what killed exports left in the target. Raises IO_WRITE_CONFLICT for anything that is not a table of
        `arrivals export`, or if another export is writing to it.
        """
        if isinstance(self._tree, FolderTree) and not self._tree.holds_something():
            self._was_empty = True
            if self._choice is None:
                return None
        else:
            self._held.enter_context(self._tree.held())
        self._table = self._load()
        if self._table is None:
            self._refuse_foreign()
            self._clear([])
            return None
        found = self._last_export(self._table)
        self._clear([snapshot_properties(one) for one in self._table.snapshots()])
        if found.fault:
            return found
        live = self._live()
        problem = gap(self._tree, live) or (fault(self._tree, self._near, found.facts, live) if thorough else "")
        return Standing(found.facts, problem)

    def _load(self) -> Table | None:
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

        own = self._choice is None and isinstance(self._tree, FolderTree)
        if own and not (self._tree.root / CATALOG_FILE).is_file():  # type: ignore[union-attr]
            return None
        with told(self._tree, Code.IO_READ_FAILED, "read"), suppress(NoSuchTableError, NoSuchNamespaceError):
            table = self._catalog().load_table(self._name)
            if table.location().rstrip("/") != self._tree.url:
                raise conflict(
                    self._tree,
                    f"is not where the table {self._name} is: that is in {table.location()}",
                    "name the table's place as TARGET, or another table: --table NAMESPACE.NAME",
                )
            return table
        return None

    def _catalog(self) -> Catalog:
        if self._opened is None:
            self._opened = open_catalog(self._choice, self._tree)
            self._held.callback(self._opened.close)
        return self._opened

    def _refuse_foreign(self) -> None:
        """Raise IO_WRITE_CONFLICT for a target that holds anything but what exports make."""
        ours = (f"{_DATA}/export-", f"{_METADATA}/", CATALOG_FILE)
        foreign = [path for path in self._tree.sizes() if not path.startswith(ours)]
        tables = self._others()
        if foreign:
            raise conflict(self._tree, f"holds other files, such as {foreign[0]}", "name another target")
        if tables:
            raise conflict(
                self._tree, f"holds the table {tables[0]}", f"name that one, --table {tables[0]}, or another target"
            )

    def _others(self) -> list[str]:
        """Tables of the target's own catalog."""
        if self._opened is None or self._choice is not None:
            return []
        with told(self._tree, Code.IO_READ_FAILED, "read"):
            spaces = self._opened.list_namespaces()
            return [".".join(table) for space in spaces for table in self._opened.list_tables(space)]

    def _last_export(self, table: Table) -> Standing:
        present = table.current_snapshot()
        told_now = snapshot_properties(present)
        exports = [snapshot_properties(one) for one in table.snapshots() if _EXPORT in snapshot_properties(one)]
        if not exports:
            raise conflict(self._tree, "is an Iceberg table that no export made", "name another target")
        try:
            facts = Facts.parse(told_now if _EXPORT in told_now else exports[-1])
        except ValueError:
            facts = Facts.unknown()
        return Standing(facts, "" if _EXPORT in told_now else "another program changed the table")

    def _clear(self, landed: Sequence[Mapping[str, str]]) -> None:
        """Remove the data files of exports that no snapshot names, and what pyiceberg wrote for their commits."""
        known = {summary.get(_EXPORT) for summary in landed}
        dead = [name for name in self._tree.exports(_DATA) if name not in known]
        if dead and self._table is not None:
            # Other writers may have kept some files of an export and dropped its snapshot.
            with told(self._tree, Code.IO_READ_FAILED, "read"):
                named = named_files(self._table)
            dead = [name for name in dead if not any(f"/{_DATA}/{name}/" in path for path in named)]
        if not dead:
            return
        for name in self._tree.names(_METADATA):
            if self._is_of(name, dead):
                self._tree.delete(f"{_METADATA}/{name}")
        for name in dead:
            self._tree.delete(f"{_DATA}/{name}")

    def _is_of(self, name: str, dead: Sequence[str]) -> bool:
        """Whether a metadata file is of a commit that did not happen."""
        if name.endswith(".avro"):
            return any(str(_uuid(folder)) in name for folder in dead)
        if not name.endswith(".metadata.json"):
            return False
        content = self._tree.read_bytes(f"{_METADATA}/{name}")
        # One that is cut off has no reader.
        return not content or any(folder.encode() in content for folder in dead)

    def numbered(self) -> pa.Schema:
        """The columns of the data files, with the table's field ids."""
        return numbered(self._layout.schema, self._begun().table_metadata.schema())

    def _begun(self) -> Transaction:
        """The transaction of this export; it has no effect before its commit."""
        if self._transaction is None:
            schema = table_schema(self._layout.schema)
            if self._table is not None:
                with told(self._tree, Code.IO_WRITE_FAILED, "write"):
                    transaction = self._table.transaction()
                    evolve(transaction, schema, self._layout.partition)
            else:
                self._make_place()
                with told(self._tree, Code.IO_WRITE_FAILED, "write"):
                    self._catalog().create_namespace_if_not_exists(self._name.rpartition(".")[0])
                    transaction = self._catalog().create_table_transaction(
                        self._name,
                        schema,
                        self._tree.url,
                        day_spec(schema, self._layout.partition),
                        properties={"comment": f"{self._layout.about} {_HISTORY}"},
                    )
            self._transaction = transaction
        return self._transaction

    def _make_place(self) -> None:
        if not self._was_empty or not isinstance(self._tree, FolderTree):
            return
        root = self._tree.root
        with writing("directory", root):
            was_there = root.kind() is not None
            root.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(self._tree.held())
        # Another export may have been here between the look at the target and the lock.
        if not self._tree.holds_something():
            self._made = "content" if was_there else "directory"

    def create(self, name: str) -> Output:
        """A new data file, in a place that no snapshot names."""
        self._begun()
        return self._tree.create(f"{_DATA}/{self._folder}/{name}")

    def commit(self, files: Sequence[DataFile], facts: Facts, *, replace: bool) -> Sequence[FileFacts]:
        """Make the files the table's content, in one snapshot. Raises IO_WRITE_CONFLICT if another export was first."""
        if self._table is not None and not replace:
            raise conflict(self._tree, "holds another export", "pass --replace to put this one in its place")
        transaction = self._begun()
        folder = f"{_DATA}/{self._folder}"
        self._tree.settle({f"{folder}/{file.name}": file.bytes for file in files})
        told_there = {**facts.properties(), _EXPORT: self._folder}
        self._attempted = True
        with told(self._tree, Code.IO_WRITE_FAILED, "write"):
            update = transaction.update_snapshot(snapshot_properties=told_there)
            with update.overwrite(commit_uuid=_uuid(self._folder)) as snapshot:
                for entry in entries(transaction.table_metadata, f"{self._tree.url}/{folder}", files):
                    snapshot.append_data_file(entry)
                for entry in live_files(self._table) if self._table is not None else []:
                    snapshot.delete_data_file(entry)
            transaction.commit_transaction()
        return [FileFacts(f"{folder}/{file.name}", file.bytes, file.sha256) for file in files]

    def listed(self) -> Sequence[FileFacts]:
        """The files of the table's present snapshot."""
        return listed(self._tree, self._live())

    def _live(self) -> dict[str, int]:
        """The size of each file of the present snapshot, by its path below the target."""
        if self._table is None:
            return {}
        base = f"{self._tree.url}/"
        with told(self._tree, Code.IO_READ_FAILED, "read"):
            return {entry.file_path.removeprefix(base): entry.file_size_in_bytes for entry in live_files(self._table)}

    def description(self) -> bytes | None:
        """The description beside the table."""
        return self._near.description()

    def describe(self, document: bytes) -> str:
        """Write the description beside the table."""
        return self._near.describe(document)

    def abandon(self) -> None:
        """Remove what no snapshot names, and release the table."""
        with self._held:
            self._near.close()
            has_begun = self._transaction is not None or self._made is not None
            if has_begun and not self._may_have_landed():
                self._tree.delete(f"{_DATA}/{self._folder}")
                self._unmake_place()

    def _unmake_place(self) -> None:
        """Remove what this export made of the target, in which there was nothing."""
        if self._made is None:
            return
        names = [_DATA, _METADATA, CATALOG_FILE] if self._choice is None else [_DATA]
        for name in names:
            self._tree.delete(name)
        if self._made == "directory":
            self._tree.delete("")

    def _may_have_landed(self) -> bool:
        """Whether a snapshot may name the files of this export: a commit can fail after it took effect."""
        if not self._attempted:
            return False
        try:
            table = self._load()
        except ArrivalError:
            # The next export looks again.
            return True
        landed = [] if table is None else [snapshot_properties(one) for one in table.snapshots()]
        return any(summary.get(_EXPORT) == self._folder for summary in landed)


def snapshot_properties(snapshot: object) -> Mapping[str, str]:
    """The properties of a snapshot's summary; none without a snapshot."""
    summary = getattr(snapshot, "summary", None)
    return summary.additional_properties if summary is not None else {}


def _uuid(folder: str) -> UUID:
    """The UUID of an export, by which the files of its commit are known."""
    return UUID(folder.partition("-")[2])
