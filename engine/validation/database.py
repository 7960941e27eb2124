"""The in-memory DuckDB database of a validation, of bounded memory, spilling below the run directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import reason, refusal

# The rest of the process takes less than 1 GiB: the interpreter, and Arrow buffers of the parts being read.
MEMORY_BYTES = 2_560 * 2**20


def text(value: str) -> str:
    """A value as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def name(identifier: str) -> str:
    """A column name, quoted."""
    return '"' + identifier.replace('"', '""') + '"'


def parquet(paths: Sequence[Path]) -> str:
    """FROM item over Parquet files; columns come from the files alone, never from `key=value` folders."""
    listed = ", ".join(text(_literal(path)) for path in paths)
    return f"(SELECT * FROM read_parquet([{listed}], hive_partitioning = false))"


def json_lines(paths: Sequence[Path], columns: str) -> str:
    """FROM item over JSON Lines files, with the columns (`name: 'TYPE', ...`) to read."""
    listed = ", ".join(text(_literal(path)) for path in paths)
    return (
        f"(SELECT * FROM read_json([{listed}], format = 'newline_delimited', columns = {{{columns}}}, "
        "hive_partitioning = false))"
    )


def _literal(path: Path) -> str:
    # DuckDB reads *, ? and [ in a path as a pattern.
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in str(path))


class Database:
    """Runs SQL for several threads, each on a cursor of its own; errors of DuckDB become ArrivalError."""

    def __init__(self, spill: Path, threads: int, memory_bytes: int = MEMORY_BYTES) -> None:
        self._threads = threads
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
        with _speaking(), self._connection.cursor() as cursor:
            yield Cursor(cursor)

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
        """Free memory and spill files."""
        self._connection.close()


class Cursor:
    """SQL on one thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def run(self, sql: str) -> None:
        """Execute statements without a result."""
        with _speaking():
            self._connection.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small result."""
        with _speaking():
            return self._connection.execute(sql).fetchall()

    def row(self, sql: str) -> tuple[Any, ...]:
        """The only row of a result."""
        (found,) = self.rows(sql)
        return found

    def records(self, sql: str) -> list[dict[str, Any]]:
        """A small result as one mapping per row, columns by name."""
        with _speaking():
            result = self._connection.execute(sql)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def arrow(self, sql: str) -> pa.Table:
        """A result as an Arrow table."""
        with _speaking():
            return self._connection.sql(sql).to_arrow_table()

    def store(self, table: str, content: pa.Table) -> None:
        """Store an Arrow table as a table of the database."""
        with _speaking():
            self._connection.register("incoming", content)
            self._connection.execute(f"CREATE OR REPLACE TABLE {name(table)} AS SELECT * FROM incoming")
            self._connection.unregister("incoming")

    def attach(self, view: str, source: object) -> None:
        """Make an Arrow dataset readable as `view` on this cursor."""
        with _speaking():
            self._connection.register(view, source)

    def detach(self, view: str) -> None:
        """Forget a view."""
        with _speaking():
            self._connection.unregister(view)


@contextmanager
def _speaking() -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as failure:
        raise ArrivalError(
            Code.RESOURCES_INSUFFICIENT,
            f"validation ran out of memory: {reason(failure)}",
            hint="use fewer threads, and check that the disk of the run directory has room",
        ) from failure
    except (duckdb.IOException, duckdb.InvalidInputException) as failure:
        raise _unreadable(failure) from failure
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as failure:
        raise ArrivalError(
            Code.S5_UNEXPECTED_INTERNAL_ERROR,
            f"{type(failure).__name__}: {reason(failure)}",
            hint="this is a defect of validation, or an input that it does not foresee; please report it",
        ) from failure


def _unreadable(failure: Exception) -> ArrivalError:
    return refusal(
        Code.S5_IO_READ_FAILED,
        f"cannot read a file of the run: {reason(failure)}",
        failure,
        "the file is damaged, truncated, not readable or replaced by another run; restore it, or run this again",
    )
