"""Rows by UTC day in bounded memory: each chunk is cut into days and laid aside, then each day is read back.

Within a day, rows keep the order of the source, which is by merchant and arrival_seq.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import date, timedelta
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.exporting.chunks import CHUNK_ROWS, Chunk, Columns
from arrival_engine.engine.exporting.digests import digest_of
from arrival_engine.engine.exporting.files import Group, Made
from arrival_engine.engine.process.threads import Cancellation, ordered

__all__ = ["DayFile"]

_CODEC = "lz4_raw"
# Small days share a row group, unless it would have more than this share of all rows, or this many rows.
_SHARE, _LEAST_ROWS = 100, 1024
_EPOCH = date(1970, 1, 1)
# A block: the rows of one chunk that are of one day. Its place in the file, its size there and in memory, its digest.
_BLOCK = np.dtype(
    [("day", "i4"), ("rows", "i4"), ("at", "i8"), ("stored", "i8"), ("plain", "i8"), ("a", "u8"), ("b", "u8")]
)
Blocks = NDArray[Any]


class _Cut(NamedTuple):
    day: int
    data: pa.Buffer
    plain_bytes: int
    digest: Digest


class DayFile:
    """A file on disk, open for reading and writing, with the rows of an export by chunk and day."""

    def __init__(self, file: IO[bytes], columns: Columns) -> None:
        self._file, self._columns = file, columns
        self._found: list[Blocks] = []
        self._size = 0

    def fill(self, chunks: Iterable[Chunk], threads: int) -> None:
        """Write all chunks. Raises IO_WRITE_FAILED."""
        with closing(ordered(_cut, chunks, threads, Cancellation())) as done:
            for cuts in done:
                self._found.append(np.array([self._written(cut) for cut in cuts], _BLOCK))
        with writing("file of days", self._file.name):
            self._file.flush()

    def _written(self, cut: _Cut) -> tuple[int, ...]:
        with writing("file of days", self._file.name):
            self._file.write(cut.data)
        at, self._size = self._size, self._size + cut.data.size
        return cut.day, cut.digest.rows, at, cut.data.size, cut.plain_bytes, cut.digest.a, cut.digest.b

    def groups(self, *, partitioned: bool) -> Generator[Group, None, None]:
        """The rows by day, as row groups: at most `CHUNK_ROWS` rows each, of one day unless days are small.

        partitioned: no row group has rows of two days.
        """
        blocks = np.concatenate([np.empty(0, _BLOCK), *self._found])
        blocks = blocks[np.argsort(blocks["day"], kind="stable")]
        most = min(max(int(blocks["rows"].sum()) // _SHARE, _LEAST_ROWS), CHUNK_ROWS)
        for first, last in _spans(blocks, 0 if partitioned else most):
            part = blocks[first:last]
            day = str(_EPOCH + timedelta(days=int(part["day"][0]))) if partitioned else None
            yield Group(int(part["rows"].sum()), partial(self._made, part), day)

    def _made(self, blocks: Blocks) -> Made:
        rows = pa.concat_batches([self._rows(block) for block in blocks])
        return Made(self._columns.decode(rows), _digest(blocks))

    def _rows(self, block: Any) -> pa.RecordBatch:
        with reading("file of days", self._file.name):
            stored = os.pread(self._file.fileno(), int(block["stored"]), int(block["at"]))
        plain = pa.decompress(stored, int(block["plain"]), _CODEC)
        return pa.ipc.read_record_batch(plain, self._columns.coded)


def _spans(blocks: Blocks, most: int) -> Iterator[tuple[int, int]]:
    """Blocks of each row group, half-open: of as many whole days as have `most` rows, or some of one day's."""
    days = np.flatnonzero(np.append(True, np.diff(blocks["day"]) != 0)[: blocks.size])
    ends = np.append(days[1:], blocks.size).tolist()
    rows = np.append(0, np.cumsum(blocks["rows"], dtype=np.int64))
    first = 0
    for end, following in zip(ends, [*ends[1:], None], strict=False):
        if following is not None and rows[following] - rows[first] <= most:
            continue
        while first < end:
            last = max(int(np.searchsorted(rows, rows[first] + CHUNK_ROWS, side="right")) - 1, first + 1)
            yield first, min(last, end)
            first = min(last, end)


def _digest(blocks: Blocks) -> Digest:
    a, b = (int(blocks[lane].sum(dtype=np.uint64)) for lane in "ab")
    return Digest(int(blocks["rows"].sum()), a, b)


def _cut(chunk: Chunk) -> list[_Cut]:
    """The rows of a chunk by day."""
    order = np.argsort(chunk.days, kind="stable")
    days = chunk.days[order]
    rows, hashes = chunk.rows.take(pa.array(order)), chunk.hashes[order]
    starts = np.flatnonzero(np.append(True, days[1:] != days[:-1]))
    return [
        _packed(int(days[first]), rows.slice(first, last - first), hashes[first:last])
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), days.size], strict=True)
    ]


def _packed(day: int, rows: pa.RecordBatch, hashes: NDArray[np.uint64]) -> _Cut:
    plain = rows.serialize()
    return _Cut(day, pa.compress(plain, _CODEC), plain.size, digest_of(hashes))
