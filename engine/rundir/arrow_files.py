"""Arrow and Parquet files below a root: Arrow is given open files, so that it opens no path itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.contracts.arrow_names import legible
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.rundir.sealed_files import InputFile

# For annotations; files are made by `new_parquet`.
ParquetWriter = pq.ParquetWriter


class ParquetFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
    """A Parquet file that is read on the thread that asks.

    Threads of Arrow would hold the open file, or bytes that it gave, for a while after the rows are there. If Python,
    up to 3.13, ends meanwhile, the process is aborted (apache/arrow#34314). Readers that want several cores read
    several files.
    """

    def __init__(self, source: Any, **options: Any) -> None:
        try:
            super().__init__(source, pre_buffer=False, **options)
        except UnicodeDecodeError as failure:
            raise pa.ArrowInvalid(f"a column's name is not UTF-8: {failure}") from failure

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The named columns, by default all, of all rows."""
        return super().read(columns, use_threads=False)

    def read_row_group(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The named columns of one row group."""
        return super().read_row_group(index, columns, use_threads=False)

    def read_row_groups(self, indices: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """The named columns of several row groups."""
        return super().read_row_groups(indices, columns, use_threads=False)

    def iter_batches(
        self, batch_size: int, row_groups: Sequence[int] | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The named columns in batches of at most `batch_size` rows."""
        yield from super().iter_batches(batch_size, row_groups, columns, use_threads=False)


@contextmanager
def open_parquet(file: InsidePath | InputFile, **options: Any) -> Iterator[ParquetFile]:
    """A Parquet file to read; `options` are those of `pyarrow.parquet.ParquetFile` except `pre_buffer`."""
    with (
        file.open() if isinstance(file, InputFile) else file.open("rb") as source,
        ParquetFile(source, **options) as table,
    ):
        legible(table.schema_arrow)
        yield table


@contextmanager
def parquet_in_memory(data: bytes) -> Iterator[ParquetFile]:
    """A Parquet file whose bytes have been read already."""
    with ParquetFile(pa.BufferReader(data)) as table:
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


def metadata_of_open(source: Any) -> pq.FileMetaData:
    """The footer of a Parquet file that is open already, of any file system."""
    with ParquetFile(source) as table:
        return table.metadata


@contextmanager
def open_arrow(path: InsidePath, fields: Sequence[int] = ()) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """An Arrow file to read: all columns, or those at the indices `fields`."""
    options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields or None)
    # Threads of Arrow read its footer in any case, so that they must not hold Python's file.
    with open_file(path) as name, pa.OSFile(name) as source, pa.ipc.open_file(source, options=options) as reader:
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


def empty_parquet(schema: pa.Schema) -> bytes:
    """A Parquet file without rows, as Arrow writes it."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, version="2.6"):
        pass
    return bytes(sink.getvalue().to_pybytes())


def parquet_bytes(table: pa.Table, **options: Any) -> pa.Buffer:
    """A table as a Parquet file in memory, in one row group; `options` are those of `pyarrow.parquet.ParquetWriter`."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
    return sink.getvalue()


def write_table(path: InsidePath, table: pa.Table, **options: Any) -> None:
    """Write a table as a Parquet file; `options` are those of `pyarrow.parquet.write_table`."""
    with path.open("wb") as sink:
        pq.write_table(table, sink, **options)


def table_bytes(table: pa.Table, **options: Any) -> bytes:
    """The bytes that `write_table` would write."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue().to_pybytes())
