"""A user's Parquet files: refused by their metadata if they would fill the memory, and read as batches of cells.

A file of a few kilobytes may hold texts of gigabytes, or a hundred million equal rows. What its metadata says is
checked before a page is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.arrow_names import legible
from arrival_engine.contracts.oserrors import lack_of_memory, reading, reason
from arrival_engine.contracts.parquet_footer import RowGroup, row_groups
from arrival_engine.contracts.plainness import TEXT_BYTES_MAX
from arrival_engine.engine.importing.room import Room
from arrival_engine.engine.process import human

_BATCH_ROWS = 1 << 17
# The longest text with the header of a page of its own, which may repeat the text as both extremes.
_ROW_BYTES_MAX = 4 * TEXT_BYTES_MAX
_CHUNK_BYTES_MIN = 1 << 20
# Dictionaries make a batch of each row group; many small ones are faster read as they are.
_PLAIN_BYTES_MAX = 1 << 27


def header_of(path: Path, name: str) -> tuple[str, ...]:
    """The names of the columns. Raises SCHEMA_VIOLATION for a damaged file, IO_READ_FAILED."""
    with reading("table", path), _sound(name):
        return tuple(legible(pq.read_schema(path)).names)


def batches(path: Path, name: str, columns: Sequence[str], room: Room) -> Iterator[pa.RecordBatch]:
    """The named columns, in batches of at most 131,072 rows; texts that may repeat are dictionary-encoded.

    Raises SCHEMA_VIOLATION for a damaged file and for columns that are not cells, LIMIT_EXCEEDED for pages that texts
    of the longest kind do not explain, RESOURCES_INSUFFICIENT for more rows than fit the memory, IO_READ_FAILED.
    """
    with reading("table", path), _sound(name):
        schema = legible(pq.read_schema(path))
        for column in columns:
            refuse_kind(name, column, schema.field(column).type)
        groups = _row_groups(path)
        _refuse_large_pages(groups, name, columns)
        texts = [column for column in columns if is_text(schema.field(column).type)]
        # A long text that a million rows share is in the file once. So it is in the memory, until its length is known.
        coded = [column for column in texts if _most_bytes(groups, column) > _PLAIN_BYTES_MAX]
        with pq.ParquetFile(path, read_dictionary=coded) as file:
            room.check(file.metadata.num_rows, name)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                # Parquet does not say whether texts are UTF-8.
                batch.validate(full=True)
                yield batch


def is_text(kind: pa.DataType) -> bool:
    """Whether cells of the type are texts."""
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def is_uuid(kind: pa.DataType) -> bool:
    """Whether cells of the type are UUIDs of 16 bytes."""
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"


def refuse_kind(name: str, column: str, kind: pa.DataType) -> None:
    """Raise SCHEMA_VIOLATION for a type whose values are not cells of a table."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_timestamp,
        is_text,
        is_uuid,
        pa.types.is_null,
    )
    if not any(test(kind) for test in tests):
        raise ArrivalError(
            Code.SCHEMA_VIOLATION,
            f"{name}: column {column!r} has the type {kind}",
            hint="store it as a number, a text, a date or a timestamp",
            file=name,
            column=column,
        )


def _row_groups(path: Path) -> list[RowGroup]:
    with path.open("rb") as source:
        return row_groups(source)


def _most_bytes(groups: Sequence[RowGroup], column: str) -> int:
    """What the texts of a column take if each row repeats the longest that its row group has space for."""
    return sum(rows * chunks[column].uncompressed_bytes for rows, chunks in groups)


def _refuse_large_pages(groups: Sequence[RowGroup], name: str, columns: Sequence[str]) -> None:
    for group, (rows, chunks) in enumerate(groups):
        allowed = max(rows * _ROW_BYTES_MAX, _CHUNK_BYTES_MIN)
        for column in columns:
            if column not in chunks:
                raise pa.ArrowInvalid(f"row group {group} has no column {column!r}")
            held = chunks[column].uncompressed_bytes
            if not 0 <= held <= allowed:
                raise ArrivalError(
                    Code.LIMIT_EXCEEDED,
                    f"{name}: column {column!r} of row group {group} takes {human.size(held)} for "
                    f"{human.amount(rows, 'rows')}; a cell may have {TEXT_BYTES_MAX:,} bytes",
                    hint="shorten its texts, or export the table again",
                    file=name,
                    column=column,
                    limit=TEXT_BYTES_MAX,
                )


@contextmanager
def _sound(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as failure:
        if lack_of_memory(failure):
            raise
        _refuse(name, f"cannot be read as Parquet: {reason(failure)}", "export the table again")


def _refuse(file: str, what: str, hint: str) -> NoReturn:
    raise ArrivalError(Code.SCHEMA_VIOLATION, f"{file} {what}", hint=hint, file=file)
