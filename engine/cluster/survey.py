"""Counts added up by segment, a few pieces at a time, so that no process holds the whole count table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.tables import I32, I64, U64
from arrival_engine.engine.cluster.blocks import Block, write_block
from arrival_engine.engine.cluster.depot import Depot
from arrival_engine.engine.rundir.pieces import TablePiece
from arrival_engine.engine.world.catalogue import Catalogue, united
from arrival_engine.engine.world.counts import NO_ROWS, CountRows, DrawnRows, read_drawn


class SegmentSums(NamedTuple):
    """Count rows with N > 0 added up by (merchant, bucket), S segments in that order.

    merchant counts into merchant_ids; rows: count rows as read, before those that repeat a key are merged.
    """

    merchant_ids: U64  # [M] ascending
    merchant: I32  # [S]
    bucket: I32  # [S]
    arrivals: I64  # [S]
    rows: I64  # [S]


class SurveyedPieces(NamedTuple):
    """What some pieces hold."""

    sums: SegmentSums
    catalogue: Catalogue
    blocks: tuple[Block, ...]
    input_rows: int
    drawn_rows: int


class Survey(NamedTuple):
    """A scenario's segments and entities, without a count row.

    counts: the scenario's entities and row numbers.
    """

    sums: SegmentSums
    counts: CountRows
    blocks: tuple[Block, ...]
    drawn_rows: int

    def arrival_start(self) -> I64:
        """Arrivals before each segment, and of them all: int64[S + 1]."""
        return np.append(0, np.cumsum(self.sums.arrivals)).astype(np.int64)


def survey_pieces(
    number: int, pieces: Sequence[TablePiece], buckets: int, max_count: int, depot: Depot
) -> SurveyedPieces:
    """Read and check pieces, leave their rows as block `number` and add them up; errors as in `load_counts`."""
    drawn = [rows for piece in pieces for rows in read_drawn(piece, buckets, max_count)]
    return SurveyedPieces(
        _merged([_sums(part) for part in drawn]),
        united([part.catalogue for part in drawn])[0],
        write_block(number, drawn, depot),
        sum(part.input_rows for part in drawn),
        sum(part.entity.size for part in drawn),
    )


def merge_surveys(surveyed: Sequence[SurveyedPieces]) -> Survey:
    """The survey of a scenario from those of its pieces."""
    catalogue, _ = united([part.catalogue for part in surveyed])
    input_rows = sum(part.input_rows for part in surveyed)
    drawn_rows = sum(part.drawn_rows for part in surveyed)
    blocks = tuple(sorted(block for part in surveyed for block in part.blocks))
    counts = CountRows(NO_ROWS, catalogue, input_rows, input_rows - drawn_rows, 0)
    return Survey(_merged([part.sums for part in surveyed]), counts, blocks, drawn_rows)


def _sums(drawn: DrawnRows) -> SegmentSums:
    ones = np.ones(drawn.entity.size, np.int64)
    merchant_ids, merchant = drawn.catalogue.merchant_ids, drawn.catalogue.merchant
    return SegmentSums(merchant_ids, merchant[drawn.entity], drawn.bucket, drawn.arrivals.astype(np.int64), ones)


def _merged(parts: Sequence[SegmentSums]) -> SegmentSums:
    """Sums of sums: merchants ascending and distinct, segments in (merchant, bucket) order and distinct."""
    merchant_ids = np.unique(_joined([part.merchant_ids for part in parts], np.uint64))
    ranks = [np.searchsorted(merchant_ids, part.merchant_ids)[part.merchant] for part in parts]
    merchant, bucket = _joined(ranks, np.int64), _joined([part.bucket for part in parts], np.int64)
    width = int(bucket.max(initial=0)) + 1
    key = merchant * width + bucket
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.append(key.size > 0, key[1:] != key[:-1]))[: key.size]

    def summed(columns: list[I64]) -> I64:
        joined: I64 = _joined(columns, np.int64)[order]
        return np.add.reduceat(joined, first) if first.size else joined

    return SegmentSums(
        merchant_ids,
        (key[first] // width).astype(np.int32),
        (key[first] % width).astype(np.int32),
        summed([part.arrivals for part in parts]),
        summed([part.rows for part in parts]),
    )


def _joined(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind, copy=False)
