"""The inputs of a run as documents and whole tables, checked against their schemas and the run's identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Dataset, check_document, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.rundir.pieces import TablePiece, of_another_run, readable, table_pieces
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.strict_json import read_json


def locate_files(receipt: Receipt, dataset_id: str, **tokens: str) -> tuple[InsidePath, ...]:
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


def read_bytes(receipt: Receipt, path: InsidePath) -> bytes:
    """A whole file of an input; OS failures become IO_READ_FAILED."""
    with readable(path), receipt.open(path) as file:
        return file.read()


def read_document(receipt: Receipt, dataset_id: str) -> dict[str, Any]:
    """A JSON document of the run, checked against its schema and the run's identity."""
    entry = dataset(dataset_id)
    (path,) = locate_files(receipt, dataset_id)
    hint = "restore the file and seal again"
    document = read_json(path, what=dataset_id, code=entry.on_invalid, hint=hint, opened=receipt.open)
    check_document(entry.schema, document, code=entry.on_invalid, where=str(path))
    check_document_identity(receipt, entry, document, path)
    return dict(document)


def pieces_of(receipt: Receipt, dataset_id: str, columns: Sequence[str], **tokens: str) -> list[TablePiece]:
    """A dataset in pieces, in file and row order, for `TablePiece.read`; checks every file's schema."""
    return table_pieces(receipt, dataset_id, locate_files(receipt, dataset_id, **tokens), columns, tokens)


def read_table(receipt: Receipt, dataset_id: str, columns: Sequence[str], **tokens: str) -> pa.Table:
    """Selected columns of all files of a dataset, as one table with the declared Arrow types."""
    return pa.concat_tables([piece.read() for piece in pieces_of(receipt, dataset_id, columns, **tokens)])


def check_document_identity(receipt: Receipt, entry: Dataset, document: Mapping[str, object], path: InsidePath) -> None:
    """Refuse a JSON document with identity fields of another run. Raises PARTITION_OR_PK_VIOLATION."""
    for name, expected in receipt.identity.columns().items():
        if document.get(name, expected) != expected:
            raise of_another_run(entry, path, name, document[name], expected)
