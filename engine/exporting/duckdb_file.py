"""A DuckDB file with tables `arrivals` and `arrivals_metadata`, built beside its place and put there by one rename."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import duckdb

from arrival_engine.contracts import Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading, reason, refusal, writing
from arrival_engine.engine.exporting.beside import Neighbourhood, SyncedFile
from arrival_engine.engine.exporting.croissant import files_described
from arrival_engine.engine.exporting.facts import Facts
from arrival_engine.engine.exporting.files import DataFile
from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.exporting.sink import FileFacts, Layout, Output, Sink, Standing, conflict
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.rundir.arrow_files import open_file
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.storage.url import Place

__all__ = ["open_sink"]

# Where the format's mark is in a file, and what it is.
_MARK_AT, _MARK = 8, b"DUCK"
_ELSEWHERE = "give the path of a new file"


def open_sink(place: Place, options: ExportOptions, layout: Layout) -> Sink:
    """The sink of a place."""
    threads = options.threads or available_cores()
    if isinstance(place, Path):
        return _DuckDBFile(place, layout, threads)
    from arrival_engine.engine.exporting.duckdb_store import DuckDBStore

    return DuckDBStore(place, lambda local: _DuckDBFile(local, layout, threads))


class _DuckDBFile:
    """The sink of a local file. The rows go through Parquet files, which DuckDB reads on several threads."""

    def __init__(self, target: Path, layout: Layout, threads: int) -> None:
        self._near = Neighbourhood(target)
        self._target, self._layout, self._threads = self._near.target, layout, threads

    @property
    def root(self) -> str:
        return ""

    def standing(self, *, thorough: bool) -> Standing | None:
        with reading("file", self._target):
            kind = self._target.kind()
            if kind is None:
                return None
            if kind != "file" or not self._has_mark():
                raise conflict(self._target, "is not a DuckDB file", _ELSEWHERE)
        rows, facts = self._stated()
        fault = "" if rows == facts.rows else f"table arrivals has {rows} rows instead of {facts.rows}"
        return Standing(facts, fault or (self._damage(facts) if thorough else ""))

    def _has_mark(self) -> bool:
        with self._target.open("rb") as file:
            return file.read(_MARK_AT + len(_MARK))[_MARK_AT:] == _MARK

    def _stated(self) -> tuple[int, Facts]:
        """Rows and facts, as the file states them."""
        try:
            with open_file(self._target) as name, duckdb.connect(name, read_only=True) as database:
                properties = dict(database.execute("SELECT name, value FROM arrivals_metadata").fetchall())
                (rows,) = database.execute("SELECT count(*) FROM arrivals").fetchall()[0]
            return int(rows), Facts.parse(properties)
        except (duckdb.Error, OSError, TypeError, ValueError) as failure:
            raise conflict(self._target, f"is not an export, or is in use: {reason(failure)}", _ELSEWHERE) from failure

    def _damage(self, facts: Facts) -> str:
        document = self.description()
        told = None if document is None else files_described(document, facts, self.root)
        return "it is not as its description says" if told is not None and told != self.listed() else ""

    def create(self, name: str) -> Output:
        path = self._near.staged / "rows" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return SyncedFile(path)

    def commit(self, files: Sequence[DataFile], facts: Facts, *, replace: bool) -> Sequence[FileFacts]:
        staged = self._near.staged / "arrivals.duckdb"
        self._build(staged, [self._near.staged / "rows" / file.name for file in files], facts)
        with writing("file", self._target):
            staged.sync()
            self._put(staged, replace=replace)
            self._target.parent.sync()
        return self.listed()

    def _build(self, path: InsidePath, files: Sequence[InsidePath], facts: Facts) -> None:
        try:
            with (
                ExitStack() as held,
                duckdb.connect(os.fspath(path.outside), config={"threads": self._threads}) as database,
            ):
                names = [held.enter_context(open_file(file)) for file in files]
                database.execute("SET preserve_insertion_order = true")
                database.execute("CREATE TABLE arrivals AS SELECT * FROM read_parquet($1)", [names])
                for statement in self._comments():
                    database.execute(statement)
                database.execute("CREATE TABLE arrivals_metadata (name VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)")
                database.executemany("INSERT INTO arrivals_metadata VALUES (?, ?)", list(facts.properties().items()))
                database.execute("CHECKPOINT")
        except duckdb.Error as failure:
            message = f"cannot write the DuckDB file {self._target}: {reason(failure)}"
            raise refusal(
                Code.IO_WRITE_FAILED, message, failure, "check that its disk has space", path=str(self._target)
            ) from failure

    def _comments(self) -> Iterator[str]:
        yield f"COMMENT ON TABLE arrivals IS {_text(self._layout.about)}"
        for field in self._layout.schema:
            description = (field.metadata or {}).get(b"description", b"").decode()
            yield f'COMMENT ON COLUMN arrivals."{field.name}" IS {_text(description)}'

    def _put(self, staged: InsidePath, *, replace: bool) -> None:
        if replace and self._target.kind() is not None:
            # What is there may have changed since it was looked at.
            self.standing(thorough=False)
            staged.exchange(self._target)
            return
        if not staged.rename_new(self._target):
            raise conflict(
                self._target, "was made by another process meanwhile", "add --replace to put this export in its place"
            )

    def listed(self) -> Sequence[FileFacts]:
        with reading("file", self._target):
            size = self._target.stat().st_size
            return [FileFacts(self._target.name, size, content_sha256([self._target]))]

    def description(self) -> bytes | None:
        return self._near.description()

    def describe(self, document: bytes) -> str:
        return self._near.describe(document)

    def abandon(self) -> None:
        self._near.close()


def _text(value: str) -> str:
    """A value as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"
