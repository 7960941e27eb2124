"""A user's tables in memory: data frames, Arrow tables and everything else with the Arrow C stream interface."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import lack_of_memory, reason
from arrival_engine.engine.importing.parquet import refuse_kind
from arrival_engine.engine.importing.room import Room

_STREAM = "__arrow_c_stream__"
# What Arrow calls the index of a pandas DataFrame that has no name.
_INDEX = re.compile(r"__index_level_[0-9]+__")
_GIVE = "give a pandas or Polars DataFrame, an Arrow table, a DuckDB relation, or paths of files"
_BATCH_ROWS = 1 << 17


def tables_in(given: object, argument: str) -> tuple[Any, ...]:
    """The paths and tables that an argument holds: one of them, or a sequence; none for None.

    Raises OPTION_INVALID for another type.
    """
    if given is None:
        return ()
    several = given if isinstance(given, list | tuple) else [given]
    return tuple(Path(one) if isinstance(one, str | os.PathLike) else _table(one, argument) for one in several)


def _table(given: object, argument: str) -> object:
    if hasattr(given, _STREAM) or _is_pandas(given):
        return given
    lazy = f"give {argument}.collect()" if callable(getattr(given, "collect", None)) else _GIVE
    raise ArrivalError(
        Code.OPTION_INVALID,
        f"{argument} is of type {type(given).__qualname__}, which is not a table",
        hint=lazy,
        argument=argument,
    )


def _is_pandas(given: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(given, pandas.DataFrame)


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """A table in memory: its name in messages, its header, and its rows, which can be read once."""

    name: str
    header: tuple[str, ...]
    reader: pa.RecordBatchReader
    delimiter: str = ""
    keys: Mapping[str, str | None] = field(default_factory=dict)
    around: Mapping[str, str | None] = field(default_factory=dict)

    def batches(self, columns: Sequence[str], room: Room) -> Iterator[pa.RecordBatch]:
        """The named columns. Raises SCHEMA_VIOLATION for columns that are not cells, RESOURCES_INSUFFICIENT."""
        places = [self.header.index(column) for column in columns]
        for column, place in zip(columns, places, strict=True):
            refuse_kind(self.name, column, self.reader.schema.field(place).type)
        rows = 0
        with _sound(self.name):
            for batch in self.reader:
                rows += batch.num_rows
                room.check(rows, self.name)
                # A producer of another process's making may pass texts that are not UTF-8.
                batch.validate(full=True)
                arrays = [_plain_text(batch.column(place)) for place in places]
                whole = pa.RecordBatch.from_arrays(arrays, names=list(columns))
                for first in range(0, batch.num_rows, _BATCH_ROWS):
                    yield whole.slice(first, _BATCH_ROWS)

    def place(self, row: int) -> Mapping[str, object]:
        """The place of data row `row` (from 0): the table, and its row from 1, as of a Parquet file."""
        return {"table": self.name, "row": row + 1}


@contextmanager
def open_frame(given: Any, argument: str, number: int | None) -> Iterator[SourceFrame]:
    """A table that was given for an argument, or the one of that number. Raises SCHEMA_VIOLATION.

    Its producer, which may be a database in the middle of a query, is let go of at the end.
    """
    name = f"table {argument}" if number is None else f"table {argument}[{number}]"
    with _sound(name):
        reader = _of_pandas(given) if _is_pandas(given) else pa.RecordBatchReader.from_stream(given)
    try:
        yield SourceFrame(name, tuple(reader.schema.names), reader)
    finally:
        reader.close()


def _of_pandas(frame: Any) -> pa.RecordBatchReader:
    """The columns, and the index if it has a name."""
    table = pa.Table.from_pandas(frame)
    nameless = [name for name in table.column_names if _INDEX.fullmatch(name)]
    return table.drop_columns(nameless).to_reader()


def _plain_text(array: pa.Array) -> pa.Array:
    """The array with text views as texts, of which Arrow finds the distinct ones."""
    kind = array.type
    if pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type):
        return pa.DictionaryArray.from_arrays(array.indices, array.dictionary.cast(pa.large_string()))
    return array.cast(pa.large_string()) if pa.types.is_string_view(kind) else array


@contextmanager
def _sound(name: str) -> Iterator[None]:
    try:
        yield
    except ArrivalError:
        raise
    except Exception as failure:
        if lack_of_memory(failure):
            raise
        # pandas says what is wrong and of which column in two texts.
        why = ": ".join(map(str, reversed(failure.args))) if len(failure.args) > 1 else reason(failure)
        raise ArrivalError(
            Code.SCHEMA_VIOLATION,
            f"{name} cannot be read as Arrow: {why}",
            hint="give each column one type: numbers, texts, dates or timestamps",
            table=name,
        ) from failure
