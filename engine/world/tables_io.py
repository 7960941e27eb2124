"""Reading contract tables from a run directory, checked against their schemas and against the run's identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts import ArrivalError, Code, Dataset, dataset
from contracts.tables import conform
from engine.receipt import Receipt

BATCH_ROWS = 1 << 20


def locate_files(receipt: Receipt, dataset_id: str, **tokens: str) -> tuple[Path, ...]:
    """The files of a dataset at the receipt's identity; an error that names the expected path if there is none."""
    entry = dataset(dataset_id)
    resolved = receipt.identity.tokens(**tokens)
    files = tuple(entry.files(receipt.run_root, resolved))
    if not files:
        raise ArrivalError(
            entry.on_invalid,
            f"{dataset_id} is missing at {entry.locate(receipt.run_root, resolved)}",
            hint="check that run_receipt.json names the seed and manifest_fingerprint the data was written under",
            dataset=dataset_id,
        )
    return files


def read_bytes(path: Path) -> bytes:
    """A whole file; OS failures become IO_READ_FAILED."""
    try:
        return path.read_bytes()
    except OSError as failure:
        raise _unreadable(path, failure) from failure


def read_table(receipt: Receipt, dataset_id: str, columns: Sequence[str], **tokens: str) -> pa.Table:
    """Selected columns of all files of a dataset, as one table with the declared Arrow types."""
    files = locate_files(receipt, dataset_id, **tokens)
    batches = [table for path in files for table in _read_file(receipt, dataset(dataset_id), path, columns, tokens)]
    return pa.concat_tables(batches)


def iterate_table(receipt: Receipt, dataset_id: str, columns: Sequence[str], **tokens: str) -> Iterator[pa.Table]:
    """Like `read_table`, but a piece of at most BATCH_ROWS rows at a time."""
    for path in locate_files(receipt, dataset_id, **tokens):
        yield from _read_file(receipt, dataset(dataset_id), path, columns, tokens)


def _read_file(
    receipt: Receipt, entry: Dataset, path: Path, columns: Sequence[str], tokens: Mapping[str, str]
) -> Iterator[pa.Table]:
    try:
        schema = pq.read_schema(path)
        # The schema as a whole is judged once a file; only the wanted columns are then read.
        conform(entry.id, schema.empty_table(), where=str(path))
        identity = [name for name in identity_values(receipt, tokens) if name in schema.names]
        wanted = [*columns, *(name for name in identity if name not in columns)]
        texts = [name for name in wanted if _is_text(schema.field(name).type)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for piece in _pieces(file, wanted):
                table = conform(entry.id, piece, where=str(path), columns=wanted)
                _check_identity(receipt, entry, table, path, tokens)
                yield table.select(list(columns))
    except (pa.ArrowException, OSError) as failure:
        raise _unreadable(path, failure) from failure


def _pieces(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.Table]:
    if file.metadata.num_rows == 0:
        # No batch would come of it, but it stands for a table with no rows.
        yield file.read(columns=columns)
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
        yield pa.Table.from_batches([batch])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def identity_values(receipt: Receipt, tokens: Mapping[str, str]) -> dict[str, object]:
    """What the identity columns of any dataset of this run must hold."""
    identity = receipt.identity
    return {
        "manifest_fingerprint": identity.manifest_fingerprint,
        "parameter_hash": identity.parameter_hash,
        "seed": identity.seed,
        **{name: value for name, value in tokens.items() if name == "scenario_id"},
    }


def _check_identity(receipt: Receipt, entry: Dataset, table: pa.Table, path: Path, tokens: Mapping[str, str]) -> None:
    for name, expected in identity_values(receipt, tokens).items():
        if name not in table.column_names:
            continue
        for found in pc.unique(table.column(name)).to_pylist():
            if found != expected:
                raise ArrivalError(
                    Code.PARTITION_OR_PK_VIOLATION,
                    f"{path.name}: column {name} holds {found!r}, but the run and its path say {expected!r}",
                    hint="the file belongs to another run; restore the right one or correct the receipt",
                    dataset=entry.id,
                    path=str(path),
                    column=name,
                )


def _unreadable(path: Path, failure: Exception) -> ArrivalError:
    detail = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
    return ArrivalError(
        Code.IO_READ_FAILED,
        f"cannot read {path}: {detail}",
        hint="the file is damaged, truncated or not readable; restore it and seal again",
        path=str(path),
    )
