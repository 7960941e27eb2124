"""Delta tables: data files that were written once, and one commit that names them.

A new table on this machine is built in a hidden folder beside the target and renamed whole. In a table that stands, and
in an object store, the data files lie in a folder that no version names before the commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from arrival_engine.contracts import ArrivalError, Code, compact_json
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing
from arrival_engine.contracts.safe_text import visible
from arrival_engine.engine.exporting.beside import Neighbourhood
from arrival_engine.engine.exporting.delta_files import add_actions
from arrival_engine.engine.exporting.facts import PREFIX, Facts
from arrival_engine.engine.exporting.files import DataFile
from arrival_engine.engine.exporting.live import fault, gap, listed
from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.exporting.sink import FileFacts, Layout, Output, Sink, Standing, conflict
from arrival_engine.engine.exporting.store_options import delta_options
from arrival_engine.engine.exporting.surroundings import surroundings
from arrival_engine.engine.exporting.trees import FolderTree, StoreTree, busy, new_export, tree_of
from arrival_engine.engine.process.extras import require
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable, Schema

__all__ = ["DeltaSink", "open_sink"]

_LOG = "_delta_log"
_EXPORT = f"{PREFIX}export"
_APPLICATION = "arrivals.export"
_HISTORY = "The commit info of each version says what it is: arrivals.digest, arrivals.scenario_id and others."
# Operations of other writers that change no row.
_KEEPING = re.compile(r"OPTIMIZE|VACUUM .*|(UN)?SET TBLPROPERTIES|ADD FEATURE|UPDATE .*METADATA")
# deltalake takes %41 in a path for A and a backslash for a slash, refuses control characters, and cuts URLs at a #.
_MISREAD = re.compile(r"%[0-9A-Fa-f]{2}|\\|[\x00-\x1f\x7f]")
_MISREAD_IN_URLS = re.compile(rf"{_MISREAD.pattern}|#")
_COMMIT = re.compile(r"[0-9]{20}\.json")
_STAGED = re.compile(r"[0-9]{20}\.json#[0-9]+")


def open_sink(place: Place, options: ExportOptions, layout: Layout) -> Sink:  # noqa: ARG001 - as of every format
    """The sink of a place."""
    return DeltaSink(place, layout)


class DeltaSink:
    """One export to a Delta table."""

    def __init__(self, place: Place, layout: Layout) -> None:
        """Nothing is contacted yet. Raises DEPENDENCY_MISSING, OPTION_INVALID for a path that deltalake misreads."""
        require("delta", "a Delta table")
        self._layout = layout
        self._tree = tree_of(place)
        self._near = surroundings(place)
        self._storage = delta_options(self._tree.store) if isinstance(self._tree, StoreTree) else None
        found = (_MISREAD if self._storage is None else _MISREAD_IN_URLS).search(self._tree.url)
        if found:
            raise ArrivalError(
                Code.OPTION_INVALID,
                f"{visible(self._tree.url)} has {found[0]!r} in its path, which Delta readers take for something else",
                hint="name another target, or --to parquet",
            )
        self._folder = new_export()
        self._held = ExitStack()
        self._table: DeltaTable | None = None
        self._target: FolderTree | StoreTree | None = None
        self._attempted = False

    @property
    def root(self) -> str:
        """What names of files have before them, seen from the description."""
        return self._near.root

    def standing(self, *, thorough: bool) -> Standing | None:
        """The export that the table's last version is; None if there is no table.

        Removes what killed exports left in the table. Raises IO_WRITE_CONFLICT for anything that is not a table of
        `arrivals export`, or if another export is writing to it.
        """
        if isinstance(self._tree, FolderTree) and not self._tree.holds_something():
            return None
        self._held.enter_context(self._tree.held())
        table = self._table = self._opened()
        if table is None:
            self._clear(frozenset())
            return None
        history = self._history()
        found = _last_export(history)
        if found is None and table.transaction_version(_APPLICATION) is None:
            raise conflict(self._tree, "is a Delta table that no export made", "name another target")
        self._clear({str(commit.get(_EXPORT)) for commit in history})
        if found is None or not found.is_last:
            return Standing(Facts.unknown() if found is None else found.facts, "another program changed the table")
        live = _live(table)
        problem = gap(self._tree, live) or (fault(self._tree, self._near, found.facts, live) if thorough else "")
        return Standing(found.facts, problem)

    def _history(self) -> list[dict[str, Any]]:
        """The commit info of every version that the log still has, newest first.

        deltalake's own finds none where the path has a question mark or a number sign.
        """
        found = []
        for name in sorted(self._tree.names(_LOG), reverse=True):
            if _COMMIT.fullmatch(name):
                lines = self._tree.read_bytes(f"{_LOG}/{name}").splitlines()
                actions = [json.loads(line) for line in lines if b'"commitInfo"' in line]
                found += [action["commitInfo"] for action in actions if "commitInfo" in action][:1] or [{}]
        return found

    def _opened(self) -> DeltaTable | None:
        from deltalake import DeltaTable

        with _told(self._tree, Code.IO_READ_FAILED, "read"):
            if DeltaTable.is_deltatable(self._tree.url, self._storage):
                return DeltaTable(self._tree.url, storage_options=self._storage)
        if self._tree.foreign():
            raise conflict(self._tree, "holds files, but is not a Delta table", "name another target")
        return None

    def _clear(self, landed: Collection[str]) -> None:
        """Remove the folders of exports that no version names, and what deltalake left of their commits."""
        live = set() if self._table is None else {path.partition("/")[0] for path in _live(self._table)}
        dead = [name for name in self._tree.exports() if name not in landed and name not in live]
        for name in dead:
            self._tree.delete(name)
        for name in self._tree.names(_LOG):
            if _STAGED.fullmatch(name):
                content = self._tree.read_bytes(f"{_LOG}/{name}")
                # An empty one does not say whose it is.
                if _EXPORT.encode() in content or (dead and not content):
                    self._tree.delete(f"{_LOG}/{name}")

    def create(self, name: str) -> Output:
        """A new data file, in a place that no reader looks at."""
        return self._at().create(f"{self._folder}/{name}")

    def _at(self) -> FolderTree | StoreTree:
        """Where the files of this export go."""
        if self._target is None:
            if self._table is not None:
                self._refuse_other_partitions(self._table)
            self._target = self._tree
            if self._table is None and isinstance(self._near, Neighbourhood):
                staged = self._near.staged / "table"
                with writing("directory", staged):
                    staged.mkdir()
                self._target = FolderTree(staged)
        return self._target

    def _refuse_other_partitions(self, table: DeltaTable) -> None:
        partitioned = table.metadata().partition_columns
        if partitioned != self._partition():
            raise conflict(
                self._tree,
                f"is partitioned by {', '.join(partitioned) or 'nothing'}, which no version of it can change",
                "name another target, or remove the table first",
            )

    def commit(self, files: Sequence[DataFile], facts: Facts, *, replace: bool) -> Sequence[FileFacts]:
        """Make the files the table's content, in one version. Raises IO_WRITE_CONFLICT if another export was first."""
        if self._table is not None and not replace:
            raise conflict(self._tree, "holds another export", "pass --replace to put this one in its place")
        self._at().settle({f"{self._folder}/{file.name}": file.bytes for file in files})
        self._attempted = True
        if self._table is None:
            self._create(files, facts)
        else:
            self._overwrite(self._table, files, facts)
        return [FileFacts(f"{self._folder}/{file.name}", file.bytes, file.sha256) for file in files]

    def listed(self) -> Sequence[FileFacts]:
        """The files of the table's version."""
        return [] if self._table is None else listed(self._tree, _live(self._table))

    def description(self) -> bytes | None:
        """The description beside the table."""
        return self._near.description()

    def describe(self, document: bytes) -> str:
        """Write the description beside the table."""
        return self._near.describe(document)

    def _create(self, files: Sequence[DataFile], facts: Facts) -> None:
        from deltalake.transaction import create_table_with_add_actions

        with _told(self._tree, Code.IO_WRITE_FAILED, "write"):
            create_table_with_add_actions(
                self._at().url,
                self._schema(),
                add_actions(self._folder, files, self._partition()),
                mode="error",
                partition_by=self._partition(),
                name="arrivals",
                description=f"{self._layout.about} {_HISTORY}",
                storage_options=self._storage,
                commit_properties=self._properties(facts, 0),
            )
        staged = self._at()
        if isinstance(staged, FolderTree) and isinstance(self._tree, FolderTree):
            log = staged.root / f"{_LOG}/{0:020}.json"
            with writing("Delta log", log):
                log.write_bytes(_located(log.read_bytes(), f"{Path(self._tree.url).as_uri()}/"))
            staged.sync(f"{_LOG}/{0:020}.json")
            self._publish(staged.root, self._tree.root)

    def _publish(self, staged: InsidePath, final: InsidePath) -> None:
        try:
            with writing("directory", final):
                staged.sync()
                staged.rename(final)
                final.parent.sync()
        except ArrivalError as failure:
            if final.kind() is not None:
                raise busy(str(final), "run the same command again: it compares what is there") from failure
            raise

    def _overwrite(self, table: DeltaTable, files: Sequence[DataFile], facts: Facts) -> None:
        version = table.version() + 1
        with _told(self._tree, Code.IO_WRITE_FAILED, "write"):
            table.create_write_transaction(
                [*add_actions(self._folder, files, self._partition())],
                mode="overwrite",
                schema=self._schema(),
                partition_by=self._partition(),
                commit_properties=self._properties(facts, version),
            )
        self._tree.sync(f"{_LOG}/{version:020}.json")

    def _properties(self, facts: Facts, version: int) -> CommitProperties:
        from deltalake import CommitProperties, Transaction

        told = {**facts.properties(), _EXPORT: self._folder}
        return CommitProperties(
            # Spark's DESCRIBE HISTORY shows userMetadata alone.
            custom_metadata={**told, "userMetadata": json.dumps(told, ensure_ascii=False)},
            # A second try would overwrite, unseen, what another writer committed in between.
            max_commit_retries=0,
            app_transactions=[Transaction(_APPLICATION, version)],
        )

    def _partition(self) -> list[str]:
        return [self._layout.partition] if self._layout.partition else []

    def _schema(self) -> Schema:
        import pyarrow as pa
        from deltalake import Schema

        fields = [_commented(field) for field in self._layout.schema]
        fields += [pa.field(name, pa.date32(), True, {"comment": "UTC day of ts_utc."}) for name in self._partition()]
        return Schema.from_arrow(pa.schema(fields))

    def abandon(self) -> None:
        """Remove what no version names, and release the table."""
        with self._held:
            self._near.close()
            if self._target is self._tree and not self._may_have_landed():
                self._tree.delete(self._folder)

    def _may_have_landed(self) -> bool:
        """Whether a version may name the files of this export: a commit can fail after it took effect."""
        if not self._attempted:
            return False
        try:
            return any(commit.get(_EXPORT) == self._folder for commit in self._history())
        except (ArrivalError, ValueError):
            # The next export looks again.
            return True


class _Export(NamedTuple):
    """The newest export in a table's history; is_last: whether every later version has the same rows."""

    facts: Facts
    is_last: bool


def _last_export(history: Iterable[Mapping[str, Any]]) -> _Export | None:
    is_last = True
    for commit in history:
        if _EXPORT in commit:
            try:
                return _Export(Facts.parse(commit), is_last)
            except ValueError:
                return _Export(Facts.unknown(), is_last=False)
        is_last = is_last and _KEEPING.fullmatch(str(commit.get("operation"))) is not None
    return None


def _located(log: bytes, place: str) -> bytes:
    """The actions of a version that was written elsewhere, its commit info with the table's own place."""
    actions = [json.loads(line) for line in log.splitlines() if line]
    for action in actions:
        action.get("commitInfo", {}).get("operationParameters", {})["location"] = place
    return b"".join(compact_json(action) + b"\n" for action in actions)


def _live(table: DeltaTable) -> dict[str, int]:
    """The size of each file of the table's version, by its path."""
    import pyarrow as pa

    found = pa.table(table.get_add_actions(flatten=True))
    paths = (unquote(path) for path in found["path"].to_pylist())
    return dict(zip(paths, found["size_bytes"].to_pylist(), strict=True))


def _commented(field: pa.Field) -> pa.Field:
    import pyarrow as pa

    if pa.types.is_unsigned_integer(field.type):
        raise ValueError(f"{field.name} is {field.type}, which Delta does not have")
    words = (field.metadata or {}).get(b"description", b"")
    return field.with_metadata({"comment": words.decode()} if words else None)


@contextmanager
def _told(tree: FolderTree | StoreTree, code: Code, verb: str) -> Iterator[None]:
    """Failures of deltalake as ArrivalErrors."""
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError as failure:
        raise busy(str(tree), "run the same command again: it compares what is there") from failure
    except (DeltaError, OSError, ValueError) as failure:
        if "already exists" in str(failure):
            raise busy(str(tree), "run the same command again: it compares what is there") from failure
        raise tree.failure(code, verb, failure) from failure
