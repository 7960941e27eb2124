"""Two streams of arrivals side by side in key order, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.comparing.canonical import Rows, Vocabulary, read_rows

Key = tuple[int, int]


class Aligned(NamedTuple):
    """The next stretch of both sides: rows with equal keys, pair by pair, and the rows that only one side has."""

    a: Rows | None
    b: Rows | None
    only_a: Rows | None
    only_b: Rows | None


@dataclass
class _Stream:
    """One side: what has been read and not been used yet."""

    directory: InsidePath
    pieces: Iterator[Rows]
    head: Rows | None = None
    last: Key = (-1, 0)

    def advance(self) -> None:
        """Read on if there is nothing left; `head` is None at the end."""
        if self.head is not None and self.head.size:
            return
        self.head = next(self.pieces, None)
        if self.head is not None:
            self._check_order(self.head)

    def last_key(self) -> Key:
        """Key of the last row at hand."""
        return self.last

    def take(self, until: Key) -> Rows | None:
        """The rows at hand up to and including a key."""
        if self.head is None:
            return None
        count = _rows_up_to(self.head, until)
        taken, self.head = self.head.part(slice(None, count)), self.head.part(slice(count, None))
        return taken if count else None

    def _check_order(self, rows: Rows) -> None:
        merchant, seq = rows.merchant_id, rows.arrival_seq
        follows = (merchant[1:] > merchant[:-1]) | ((merchant[1:] == merchant[:-1]) & (seq[1:] > seq[:-1]))
        first = (int(merchant[0]), int(seq[0]))
        if first <= self.last or not follows.all():
            at = 0 if first <= self.last else int(np.argmin(follows)) + 1
            raise ArrivalError(
                Code.PARTITION_OR_PK_VIOLATION,
                f"{self.directory}: arrival {seq[at]} of merchant {merchant[at]} does not follow the one before it in "
                "(merchant_id, arrival_seq)",
                hint="rows out of order or repeated cannot be compared in lockstep: see `arrivals validate`",
                merchant_id=int(merchant[at]),
                arrival_seq=int(seq[at]),
                path=str(self.directory),
            )
        self.last = (int(merchant[-1]), int(seq[-1]))


def lockstep(a: Sequence[InsidePath], b: Sequence[InsidePath], vocabulary: Vocabulary) -> Iterator[Aligned]:
    """The part files of both sides, stretch by stretch; raises PARTITION_OR_PK_VIOLATION if not in key order."""
    left, right = (_Stream(parts[0].parent, read_rows(parts, vocabulary)) for parts in (a, b))
    while True:
        left.advance()
        right.advance()
        open_streams = [stream for stream in (left, right) if stream.head is not None]
        if not open_streams:
            return
        until = min(stream.last_key() for stream in open_streams)
        yield _aligned(left.take(until), right.take(until))


def _rows_up_to(rows: Rows, until: Key) -> int:
    merchant, seq = until
    first = int(np.searchsorted(rows.merchant_id, np.uint64(merchant), side="left"))
    last = int(np.searchsorted(rows.merchant_id, np.uint64(merchant), side="right"))
    return first + int(np.searchsorted(rows.arrival_seq[first:last], seq, side="right"))


def _aligned(a: Rows | None, b: Rows | None) -> Aligned:
    if a is None or b is None:
        return Aligned(None, None, a, b)
    if np.array_equal(a.merchant_id, b.merchant_id) and np.array_equal(a.arrival_seq, b.arrival_seq):
        return Aligned(a, b, None, None)
    key_a, key_b = _key_codes(a, b)
    in_a, in_b = np.isin(key_a, key_b, assume_unique=True), np.isin(key_b, key_a, assume_unique=True)
    return Aligned(_some(a, in_a), _some(b, in_b), _some(a, ~in_a), _some(b, ~in_b))


def _some(rows: Rows, wanted: NDArray[np.bool_]) -> Rows | None:
    return rows.part(wanted) if wanted.any() else None


def _key_codes(a: Rows, b: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One integer a key, equal where keys are."""
    _, merchant = np.unique(np.concatenate([a.merchant_id, b.merchant_id]), return_inverse=True)
    seqs, seq = np.unique(np.concatenate([a.arrival_seq, b.arrival_seq]), return_inverse=True)
    codes = merchant.astype(np.int64) * seqs.size + seq
    return codes[: a.size], codes[a.size :]
