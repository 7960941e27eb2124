"""The in-memory DuckDB database of a validation, of bounded memory, spilling below the run directory."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reason, refusal
from arrival_engine.engine.rundir.arrow_files import open_file
from arrival_engine.engine.rundir.sealed_files import InputFile, checked_copy

# The rest of the process takes less than 1 GiB: the interpreter, and Arrow buffers of the parts being read.
MEMORY_BYTES = 2_560 * 2**20
_BATCH_ROWS = 1 << 18
_DAMAGED = "the file is damaged, truncated, not readable or replaced by another run; restore it, or run this again"


def text(value: str) -> str:
    """A value as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def name(identifier: str) -> str:
    """A column name, quoted."""
    return '"' + identifier.replace('"', '""') + '"'


class _OpenFiles:
    """Files that DuckDB reads: it opens paths only, and is given those of files that are open already."""

    def __init__(self, folder: InsidePath) -> None:
        self._folder = folder
        self._held = ExitStack()
        self._names: dict[InsidePath, str] = {}
        self._lock = threading.Lock()
        # A scenario may have more parts than the 1,024 files that many systems allow at first.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def holds(self, file: InputFile) -> bool:
        """Whether the file is open."""
        return file.path in self._names

    def held(self, file: InputFile) -> str:
        """The name of a file that stays open until `close`; of a sealed one, that of a checked copy.

        Raises S5.IO_READ_FAILED, IO_WRITE_FAILED, and what reading a sealed file that differs raises.
        """
        path = file.path
        with self._lock:
            if path not in self._names:
                with _opening(path):
                    opened = open_file(path) if file.blocks is None else checked_copy(file, self._folder)
                    self._names[path] = self._held.enter_context(opened)
            return self._names[path]

    @contextmanager
    def opened(self, path: InsidePath) -> Iterator[str]:
        """The name of a file that is open for the block. Raises S5.IO_READ_FAILED."""
        with ExitStack() as held:
            with _opening(path):
                name = held.enter_context(open_file(path))
            self._names[path] = name
            held.callback(self._names.pop, path)
            yield name

    def in_words(self, message: str) -> str:
        """A message of DuckDB with the files' own paths."""
        names = sorted(self._names.items(), key=lambda item: -len(item[1]))
        for path, name in names:
            message = message.replace(name, str(path))
        return message

    def close(self) -> None:
        self._held.close()


def parquet(files: Sequence[str]) -> str:
    """FROM item over opened Parquet files; their columns are the files' own, never those of `key=value` folders."""
    return f"(SELECT * FROM read_parquet([{', '.join(map(text, files))}], hive_partitioning = false))"


class Database:
    """Runs SQL for several threads, each on a cursor of its own; errors of DuckDB become ArrivalError."""

    def __init__(self, spill: InsidePath, threads: int, memory_bytes: int = MEMORY_BYTES) -> None:
        self._threads = threads
        self._files = _OpenFiles(spill)
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": threads,
                "memory_limit": f"{memory_bytes // 2**20}MiB",
                "temp_directory": str(spill),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                # Row-group statistics are the file's own claims; rows are checked by their values.
                "disabled_optimizers": "statistics_propagation",
                "preserve_insertion_order": False,
            },
        )

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A cursor for one thread."""
        with _speaking(self._files), self._connection.cursor() as cursor:
            yield Cursor(cursor, self._files)

    @contextmanager
    def one_thread_a_query(self) -> Iterator[None]:
        """Run each query on its caller's thread alone, for one caller per core."""
        self._connection.execute("SET threads = 1")
        try:
            yield
        finally:
            self._connection.execute(f"SET threads = {self._threads}")

    def interrupt(self) -> None:
        """Stop the running statements."""
        self._connection.interrupt()

    def close(self) -> None:
        """Free memory and spill files, and close the files that were read."""
        self._connection.close()
        self._files.close()


class Cursor:
    """SQL on one thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: _OpenFiles) -> None:
        self._connection = connection
        self._files = files

    def holds(self, file: InputFile) -> bool:
        """Whether the database has the file open, so that it is not read from its place again."""
        return self._files.holds(file)

    def parquet(self, files: Sequence[InputFile]) -> str:
        """FROM item over Parquet files, which stay open as long as the database; errors as of `_OpenFiles.held`."""
        return parquet([self._files.held(file) for file in files])

    def json_lines(self, paths: Sequence[InsidePath], columns: str) -> str:
        """The same over JSON Lines files, with the columns (`name: 'TYPE', ...`) to read."""
        listed = ", ".join(text(self._files.held(InputFile(path))) for path in paths)
        return (
            f"(SELECT * FROM read_json([{listed}], format = 'newline_delimited', columns = {{{columns}}}, "
            "hive_partitioning = false))"
        )

    @contextmanager
    def opened(self, paths: Sequence[InsidePath]) -> Iterator[list[str]]:
        """Files that are open for the block, by names that DuckDB and Arrow can read. Raises S5.IO_READ_FAILED."""
        with ExitStack() as held:
            yield [held.enter_context(self._files.opened(path)) for path in paths]

    def run(self, sql: str) -> None:
        """Execute statements without a result."""
        with _speaking(self._files):
            self._connection.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small result."""
        with _speaking(self._files):
            return self._connection.execute(sql).fetchall()

    def row(self, sql: str) -> tuple[Any, ...]:
        """The only row of a result."""
        (found,) = self.rows(sql)
        return found

    def records(self, sql: str) -> list[dict[str, Any]]:
        """A small result as one mapping per row, columns by name."""
        with _speaking(self._files):
            result = self._connection.execute(sql)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def arrow(self, sql: str) -> pa.Table:
        """A result as an Arrow table."""
        with _speaking(self._files):
            return self._connection.sql(sql).to_arrow_table()

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """A large result, piece by piece."""
        with _speaking(self._files):
            yield from self._connection.sql(sql).to_arrow_reader(_BATCH_ROWS)

    def store(self, table: str, content: pa.Table) -> None:
        """Store an Arrow table as a table of the database."""
        with _speaking(self._files):
            self._connection.register("incoming", content)
            self._connection.execute(f"CREATE OR REPLACE TABLE {name(table)} AS SELECT * FROM incoming")
            self._connection.unregister("incoming")

    def attach(self, view: str, source: object) -> None:
        """Make an Arrow dataset readable as `view` on this cursor."""
        with _speaking(self._files):
            self._connection.register(view, source)

    def detach(self, view: str) -> None:
        """Forget a view."""
        with _speaking(self._files):
            self._connection.unregister(view)


@contextmanager
def _speaking(files: _OpenFiles) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as failure:
        raise ArrivalError(
            Code.RESOURCES_INSUFFICIENT,
            f"validation ran out of memory: {reason(failure)}",
            hint="use fewer threads, and check that the disk of the run directory has room",
        ) from failure
    except (duckdb.IOException, duckdb.InvalidInputException) as failure:
        raise _unreadable(failure, files) from failure
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as failure:
        raise ArrivalError(
            Code.S5_UNEXPECTED_INTERNAL_ERROR,
            f"{type(failure).__name__}: {reason(failure)}",
            hint="this is a defect of validation, or an input that it does not foresee; please report it",
        ) from failure


@contextmanager
def _opening(path: InsidePath) -> Iterator[None]:
    try:
        yield
    except OSError as failure:
        message = f"cannot read file {path}: {reason(failure)}"
        raise refusal(Code.S5_IO_READ_FAILED, message, failure, _DAMAGED, path=path) from failure


def _unreadable(failure: Exception, files: _OpenFiles) -> ArrivalError:
    message = f"cannot read a file of the run: {files.in_words(reason(failure))}"
    return refusal(Code.S5_IO_READ_FAILED, message, failure, _DAMAGED)
