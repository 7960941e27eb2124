"""The rows of a source in an export's columns, in chunks whose sizes do not depend on the source's batches."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.engine.exporting.digests import U64, row_hashes
from arrival_engine.engine.exporting.texts import Texts, coded_schema
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.readable.reshaping import Reshaper
from arrival_engine.engine.readable.source import Source

__all__ = ["CHUNK_ROWS", "Chunk", "Columns", "chunks"]

# Rows of a row group: some 10 to 20 MB in a file, and what one thread holds at once.
CHUNK_ROWS = 1 << 20
# What a batch is cut to before it is reshaped, so that memory does not depend on the source's batches.
_STEP_ROWS = 1 << 18


class Chunk(NamedTuple):
    """Rows with codes in place of texts; hashes: uint64[rows], for the digest; days: int32[rows], days since 1970."""

    rows: pa.RecordBatch
    hashes: U64
    days: NDArray[np.int32]


class Columns:
    """The columns of an export: rows of the contract to codes, and codes to what a file stores."""

    def __init__(self, reshaper: Reshaper) -> None:
        self._reshaper = reshaper
        self.schema: pa.Schema = reshaper.schema
        self.coded: pa.Schema = coded_schema(self.schema)
        self._texts = {
            field.name: Texts() for field, code in zip(self.schema, self.coded, strict=True) if field.type != code.type
        }

    def encode(self, batch: pa.RecordBatch) -> Chunk:
        """Rows in the contract's columns as codes, in the batch's order."""
        rows = self._reshaper.batch(batch)
        arrays = [
            self._texts[name].encode(rows[name]) if name in self._texts else rows[name] for name in self.schema.names
        ]
        days = np.floor_divide(_micros(batch["ts_utc"]), 86_400_000_000).astype(np.int32)
        return Chunk(pa.RecordBatch.from_arrays(arrays, schema=self.coded), row_hashes(batch), days)

    def decode(self, rows: pa.RecordBatch) -> pa.Table:
        """Codes as texts, with dictionaries that depend on these rows alone."""
        arrays = [
            self._texts[name].decode(rows[name]) if name in self._texts else rows[name] for name in self.schema.names
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _micros(times: pa.Array) -> NDArray[np.int64]:
    if not pa.types.is_timestamp(times.type):
        times = times.cast(pa.timestamp("us", "UTC"))
    return times.view(pa.int64()).to_numpy()  # type: ignore[no-any-return]


def chunks(source: Source, columns: Columns, threads: int) -> Generator[Chunk, None, None]:
    """All rows of a source in its order, `CHUNK_ROWS` at a time; the last chunk may have fewer."""
    with (
        closing(_steps(source)) as steps,
        closing(ordered(columns.encode, steps, threads, Cancellation())) as encoded,
    ):
        held: list[Chunk] = []
        missing = CHUNK_ROWS
        for chunk in encoded:
            rest = chunk
            while rest.rows.num_rows >= missing:
                yield _joined([*held, _part(rest, 0, missing)])
                rest, held, missing = _part(rest, missing, rest.rows.num_rows), [], CHUNK_ROWS
            if rest.rows.num_rows:
                held.append(rest)
                missing -= rest.rows.num_rows
        if held:
            yield _joined(held)


def _steps(source: Source) -> Generator[pa.RecordBatch, None, None]:
    with closing(source.batches()) as batches:
        for batch in batches:
            for first in range(0, batch.num_rows, _STEP_ROWS):
                yield batch.slice(first, _STEP_ROWS)


def _part(chunk: Chunk, first: int, last: int) -> Chunk:
    return Chunk(chunk.rows.slice(first, last - first), chunk.hashes[first:last], chunk.days[first:last])


def _joined(parts: list[Chunk]) -> Chunk:
    return Chunk(
        pa.concat_batches([part.rows for part in parts]),
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.days for part in parts]),
    )
