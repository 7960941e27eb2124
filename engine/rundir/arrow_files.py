"""Arrow and Parquet files below a root: Arrow is given open files, so that it opens no path itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts.arrow_names import legible
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.rundir.sealed_files import InputFile

# For annotations; files are opened by `open_parquet` and made by `new_parquet`.
ParquetFile, ParquetWriter = pq.ParquetFile, pq.ParquetWriter


@contextmanager
def open_parquet(file: InsidePath | InputFile, **options: Any) -> Iterator[pq.ParquetFile]:
    """A Parquet file to read; `options` are those of `pyarrow.parquet.ParquetFile`."""
    with (
        file.open() if isinstance(file, InputFile) else file.open("rb") as source,
        pq.ParquetFile(source, **options) as table,
    ):
        legible(table.schema_arrow)
        yield table


@contextmanager
def parquet_in_memory(data: bytes) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose bytes have been read already."""
    with pq.ParquetFile(pa.BufferReader(data)) as table:
        legible(table.schema_arrow)
        yield table


def parquet_schema(path: InsidePath) -> pa.Schema:
    """The Arrow schema of a Parquet file."""
    with open_parquet(path) as file:
        return file.schema_arrow


def parquet_metadata(file: InsidePath | InputFile) -> pq.FileMetaData:
    """The footer of a Parquet file."""
    with open_parquet(file) as table:
        return table.metadata


@contextmanager
def open_arrow(
    path: InsidePath, options: pa.ipc.IpcReadOptions | None = None
) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """An Arrow file to read."""
    with path.open("rb") as source, pa.ipc.open_file(pa.PythonFile(source, "r"), options=options) as reader:
        legible(reader.schema)
        yield reader


def sound_batch(reader: pa.RecordBatchFileReader, index: int) -> pa.RecordBatch:
    """A batch of an Arrow file whose offsets and codes lead nowhere outside it. Raises ArrowInvalid for any other."""
    batch = reader.get_batch(index)
    batch.validate(full=True)
    return batch


@contextmanager
def open_file(path: InsidePath) -> Iterator[str]:
    """A file to read for a library that opens paths only: a path that is the open file itself."""
    with path.open("rb", 0) as file:
        yield f"/dev/fd/{file.fileno()}"


@contextmanager
def new_file(path: InsidePath) -> Iterator[str]:
    """A new file for a library that opens paths only: as `open_file`."""
    with path.open("wb", 0) as file:
        yield f"/dev/fd/{file.fileno()}"


@contextmanager
def new_parquet(path: InsidePath, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """A Parquet file to write; `options` are those of `pyarrow.parquet.ParquetWriter`."""
    with path.open("wb") as sink, pq.ParquetWriter(sink, schema, **options) as writer:
        yield writer


def write_table(path: InsidePath, table: pa.Table, **options: Any) -> None:
    """Write a table as a Parquet file; `options` are those of `pyarrow.parquet.write_table`."""
    with path.open("wb") as sink:
        pq.write_table(table, sink, **options)
