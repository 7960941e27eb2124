"""The inputs of a run as tables and documents, checked against their schemas and the run's identity."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arrival_engine.contracts import ArrivalError, Code, Dataset, check_document, dataset
from arrival_engine.contracts.oserrors import reading
from arrival_engine.contracts.tables import conform
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.strict_json import read_json


def locate_files(receipt: Receipt, dataset_id: str, **tokens: str) -> tuple[Path, ...]:
    """The files of a dataset at the receipt's identity; an error with the expected path if there are none."""
    entry = dataset(dataset_id)
    files = tuple(receipt.files(dataset_id, **tokens))
    if not files:
        raise ArrivalError(
            entry.on_invalid,
            f"{dataset_id} is missing at {receipt.path(dataset_id, **tokens)}",
            hint="check that run_receipt.json names the seed and manifest_fingerprint the data was written under",
            dataset=dataset_id,
        )
    return files


def read_bytes(path: Path) -> bytes:
    """A whole file; OS failures become IO_READ_FAILED."""
    with _readable(path):
        return path.read_bytes()


def read_document(receipt: Receipt, dataset_id: str) -> dict[str, Any]:
    """A JSON document of the run, checked against its schema and the run's identity."""
    entry = dataset(dataset_id)
    (path,) = locate_files(receipt, dataset_id)
    document = read_json(path, what=dataset_id, code=entry.on_invalid, hint="restore the file and seal again")
    check_document(entry.schema, document, code=entry.on_invalid, where=str(path))
    check_document_identity(receipt, entry, document, path)
    return dict(document)


@dataclass(frozen=True)
class TablePiece:
    """One row group of a file of a dataset, to be read on any thread; an empty file is also one piece.

    first_row: number of rows of the file before it.
    """

    receipt: Receipt
    dataset_id: str
    path: Path
    row_group: int
    first_row: int
    columns: tuple[str, ...]
    tokens: Mapping[str, str]

    def read(self) -> pa.Table:
        """The columns asked for, with the declared types, checked against schema and identity."""
        entry = dataset(self.dataset_id)
        with _readable(self.path):
            schema = pq.read_schema(self.path)
            identity = [name for name in (*self.receipt.identity.columns(), *self.tokens) if name in schema.names]
            wanted = [*self.columns, *(name for name in identity if name not in self.columns)]
            # A column that the schema allows a file to omit is all null.
            present = [name for name in wanted if name in schema.names]
            texts = [name for name in present if _is_text(schema.field(name).type)]
            with pq.ParquetFile(self.path, read_dictionary=texts) as file:
                groups = [self.row_group] if file.num_row_groups else []
                table = file.read_row_groups(groups, columns=present, use_threads=False)
            # Damaged pages may decode to invalid UTF-8, which Parquet itself does not check.
            validate_fully(table)
        where = f"{self.path} from row {self.first_row}" if self.first_row else str(self.path)
        table = conform(entry.id, table, where=where, columns=wanted)
        _check_identity(self.receipt, entry, table, self.path, self.tokens)
        return table.select(list(self.columns))

    def may_hold(self, column: str, values: Collection[int]) -> bool:
        """Whether the row group's statistics allow any of the values; true if it has no statistics."""
        with _readable(self.path):
            metadata = pq.read_metadata(self.path)
        if not metadata.num_row_groups:
            return True
        group = metadata.row_group(self.row_group)
        names = [group.column(index).path_in_schema for index in range(group.num_columns)]
        statistics = group.column(names.index(column)).statistics
        if statistics is None or not statistics.has_min_max:
            return True
        return any(statistics.min <= value <= statistics.max for value in values)


def table_pieces(receipt: Receipt, dataset_id: str, columns: Sequence[str], **tokens: str) -> list[TablePiece]:
    """The pieces of a dataset in file and row order; checks every file's schema once."""
    pieces = []
    for path in locate_files(receipt, dataset_id, **tokens):
        with _readable(path):
            conform(dataset_id, pq.read_schema(path).empty_table(), where=str(path))
            metadata = pq.read_metadata(path)
            sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        first_rows = accumulate(sizes[:-1], initial=0)
        pieces += [
            TablePiece(receipt, dataset_id, path, group, first_row, tuple(columns), tokens)
            for group, first_row in enumerate(first_rows)
        ]
    return pieces


def read_table(receipt: Receipt, dataset_id: str, columns: Sequence[str], **tokens: str) -> pa.Table:
    """Selected columns of all files of a dataset, as one table with the declared Arrow types."""
    return pa.concat_tables([piece.read() for piece in table_pieces(receipt, dataset_id, columns, **tokens)])


def _readable(path: Path) -> AbstractContextManager[None]:
    hint = "the file is damaged, truncated or not readable; restore it and seal again"
    return reading("file", path, hint=hint, also=(pa.ArrowException, UnicodeDecodeError))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def validate_fully(table: pa.Table) -> None:
    """Raise pa.ArrowInvalid for what `table.validate(full=True)` refuses, at a third of the cost for valid codes."""
    try:
        table.validate()
        sound = all(_is_sound(chunk) for column in table.columns for chunk in column.chunks)
    except pa.ArrowInvalid:
        sound = False
    if not sound:
        table.validate(full=True)


def _is_sound(array: pa.Array) -> bool:
    if not pa.types.is_dictionary(array.type):
        array.validate(full=True)
        return True
    array.dictionary.validate(full=True)
    array.indices.validate(full=True)
    # If every code is null, there are no extremes.
    least, most = (extreme.as_py() for extreme in pc.min_max(array.indices).values())
    return least is None or bool(0 <= least <= most < len(array.dictionary))


def _check_identity(receipt: Receipt, entry: Dataset, table: pa.Table, path: Path, tokens: Mapping[str, str]) -> None:
    for name, expected in {**receipt.identity.columns(), **tokens}.items():
        if name not in table.column_names or _is_constant(table.column(name), expected):
            continue
        for found in pc.unique(table.column(name)).to_pylist():
            if found != expected:
                raise _of_another_run(entry, path, name, found, expected)


def _is_constant(column: pa.ChunkedArray, value: object) -> bool:
    """Whether every row is certain to hold `value`; false if only the text of each row could tell."""
    if column.null_count:
        return False
    if pa.types.is_dictionary(column.type):
        return all(len(chunk.dictionary) == 1 and chunk.dictionary[0].as_py() == value for chunk in column.chunks)
    if pa.types.is_integer(column.type):
        return bool(pc.min_max(column).as_py() == {"min": value, "max": value})
    return False


def check_document_identity(receipt: Receipt, entry: Dataset, document: Mapping[str, object], path: Path) -> None:
    """The same for the identity fields of a JSON document. Raises PARTITION_OR_PK_VIOLATION."""
    for name, expected in receipt.identity.columns().items():
        if document.get(name, expected) != expected:
            raise _of_another_run(entry, path, name, document[name], expected)


def _of_another_run(entry: Dataset, path: Path, name: str, found: object, expected: object) -> ArrivalError:
    return ArrivalError(
        Code.PARTITION_OR_PK_VIOLATION,
        f"{path}: {name} is {found!r}, but the run and the path say {expected!r}",
        hint="the file belongs to another run; restore the right one or correct the receipt",
        dataset=entry.id,
        path=str(path),
        column=name,
    )
