"""Bucket counts as compact, sorted, merged arrays; zero rows are dropped while reading."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.tables import I32, Rows
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.rundir.inputs import pieces_of
from arrival_engine.engine.rundir.pieces import TablePiece, holding
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.table_limits import check_room
from arrival_engine.engine.world.catalogue import Catalogue, Uncoded, catalogued, united
from arrival_engine.engine.world.codes import encoded
from arrival_engine.engine.world.row_order import CodedRows, law_ordered

_COLUMNS = ("merchant_id", "zone_representation", "channel_group", "bucket_index", "count_N")


# A key of 8 bytes and three sorted columns of 4, besides the rows as read.
_SORTED_ROW_BYTES = 20
NO_ROWS = Rows(*(np.empty(0, np.int32) for _ in Rows._fields))


@dataclass(frozen=True)
class CountRows:
    """Count rows of one scenario: ordered by (merchant, bucket, zone bytes, channel bytes), keys unique."""

    rows: Rows
    catalogue: Catalogue
    input_rows: int
    zero_rows: int
    merged_rows: int


class DrawnRows(NamedTuple):
    """The rows with N > 0 of one table; `entity` is an index into the table's own catalogue."""

    catalogue: Catalogue
    entity: I32
    bucket: I32
    arrivals: I32
    input_rows: int


def read_counts(
    receipt: Receipt,
    scenario_id: str,
    buckets: int,
    max_count: int,
    threads: int,
    merchant_ids: Collection[int] | None = None,
) -> list[DrawnRows]:
    """Read and check the counts of a scenario, or of some merchants; pieces are read on `threads` threads.

    Accepts any row order, several files, repeated keys, zeros, null channels, plain or dictionary strings.
    Raises S1_OR_S3_OUTPUT_MISSING for rows that the schema forbids, LIMIT_EXCEEDED for a count above the guardrail
    `max_count`, TIME_GRID_MISMATCH for a bucket without a grid row.
    """

    def read(piece: TablePiece) -> list[DrawnRows]:
        return read_drawn(piece, buckets, max_count, merchant_ids)

    pieces = count_pieces(receipt, scenario_id)
    if merchant_ids is not None:
        pieces = holding(pieces, "merchant_id", merchant_ids)
    return list(chain.from_iterable(ordered(read, pieces, threads, Cancellation())))


def count_pieces(receipt: Receipt, scenario_id: str) -> list[TablePiece]:
    """A scenario's counts in pieces, for `read_drawn`."""
    return pieces_of(receipt, "s3_bucket_counts_5B", _COLUMNS, scenario_id=scenario_id)


def read_drawn(
    piece: TablePiece, buckets: int, max_count: int, merchant_ids: Collection[int] | None = None
) -> list[DrawnRows]:
    """The checked rows with N > 0 of each table of a piece, of all merchants or of some; errors as in `read_counts`."""
    drawn = []
    for table in piece.tables():
        _check_rows(table, piece.tokens["scenario_id"], buckets, max_count)
        drawn.append(_drawn_rows(table, merchant_ids))
    return drawn


def _drawn_rows(table: pa.Table, merchant_ids: Collection[int] | None) -> DrawnRows:
    """Rows with N > 0, their three entity columns replaced by one index into a catalogue."""
    wanted = pc.greater(table["count_N"], 0)
    if merchant_ids is not None:
        wanted = pc.and_(wanted, pc.is_in(table["merchant_id"], pa.array(merchant_ids, pa.uint64())))
    drawn = table.filter(wanted).combine_chunks()
    merchant, merchants = encoded(drawn["merchant_id"])
    zone, zones = encoded(drawn["zone_representation"])
    channel, channels = encoded(drawn["channel_group"])
    key, keys = encoded(pa.chunked_array([pa.array((merchant * len(zones) + zone) * len(channels) + channel)]))
    pair, channel = np.divmod(np.array(keys[:-1], np.int64), len(channels))
    merchant, zone = np.divmod(pair, len(zones))
    owner = np.array(merchants[:-1], np.uint64)[merchant]
    catalogue, index = catalogued(Uncoded(owner, zone, zones, channel, channels))
    return DrawnRows(
        catalogue,
        index[key],
        drawn["bucket_index"].to_numpy().astype(np.int32),
        drawn["count_N"].to_numpy().astype(np.int32),
        table.num_rows,
    )


def _check_rows(table: pa.Table, scenario_id: str, buckets: int, max_count: int) -> None:
    for column, limit, code, problem in (
        (
            "bucket_index",
            buckets,
            Code.TIME_GRID_MISMATCH,
            f"has no row in the time grid of {buckets} buckets",
        ),
        (
            "count_N",
            max_count + 1,
            Code.LIMIT_EXCEEDED,
            f"is above max_arrivals_per_bucket = {max_count}",
        ),
    ):
        highest = pc.max(table[column]).as_py()
        if highest is not None and highest >= limit:
            row = table.slice(pc.index(table[column], highest).as_py(), 1).to_pylist()[0]
            raise ArrivalError(
                code,
                f"s3_bucket_counts_5B of {scenario_id}: {column} {highest} of merchant {row['merchant_id']} {problem}",
                hint="correct the counts (or the policy's guardrail) and seal again",
                scenario_id=scenario_id,
                **row,
            )


def merge_drawn(pieces: Sequence[DrawnRows], buckets: int, max_count: int) -> CountRows:
    """Merge pieces and add up rows of one key. Raises LIMIT_EXCEEDED for a sum above `max_count`."""
    return merge_rows(united([piece.catalogue for piece in pieces]), pieces, buckets, max_count)


def merge_rows(
    united_catalogues: tuple[Catalogue, Sequence[I32]], pieces: Sequence[DrawnRows], buckets: int, max_count: int
) -> CountRows:
    """The same for pieces whose catalogues are already united."""
    catalogue, codes = united_catalogues
    drawn_rows = sum(piece.entity.size for piece in pieces)
    check_room(f"sorting {drawn_rows:,} count rows above zero", drawn_rows * _SORTED_ROW_BYTES)
    parts = [
        CodedRows(code, piece.entity, piece.bucket, piece.arrivals) for code, piece in zip(codes, pieces, strict=True)
    ]
    drawn = law_ordered(parts, catalogue.merchant, buckets)
    rows, counts = _merged(drawn)
    for row in np.flatnonzero(counts > max_count)[:1]:
        raise _above_guardrail(catalogue.entity(rows.entity[row]), int(rows.bucket[row]), int(counts[row]), max_count)
    input_rows = sum(piece.input_rows for piece in pieces)
    return CountRows(
        rows=rows._replace(arrivals=counts.astype(np.int32, copy=False)),
        catalogue=catalogue,
        input_rows=input_rows,
        zero_rows=input_rows - drawn.entity.size,
        merged_rows=drawn.entity.size - rows.entity.size,
    )


def _merged(rows: Rows) -> tuple[Rows, NDArray[Any]]:
    """The first of the adjacent rows of every key, and the sum of their arrivals, exact even above int32."""
    repeated = 1 + np.flatnonzero((rows.entity[1:] == rows.entity[:-1]) & (rows.bucket[1:] == rows.bucket[:-1]))
    if repeated.size == 0:
        return rows, rows.arrivals
    first = np.ones(rows.entity.size, np.bool_)
    first[repeated] = False
    merged = Rows(*(column[first] for column in rows))
    counts = merged.arrivals.astype(np.int64)
    # The first row of a key has moved up by one place per repetition up to and including this row.
    np.add.at(counts, repeated - np.arange(1, repeated.size + 1), rows.arrivals[repeated])
    return merged, counts


def _above_guardrail(entity: tuple[int, str, str], bucket: int, arrivals: int, max_count: int) -> ArrivalError:
    merchant_id, tzid, channel = entity
    return ArrivalError(
        Code.LIMIT_EXCEEDED,
        f"s3_bucket_counts_5B: the rows of merchant {merchant_id}, {tzid}, {channel or 'no channel'}, bucket {bucket} "
        f"add up to {arrivals} arrivals, which is above max_arrivals_per_bucket = {max_count}",
        hint="correct the counts (or the policy's guardrail) and seal again",
        merchant_id=merchant_id,
        zone_representation=tzid,
        channel_group=channel or None,
        bucket_index=bucket,
    )
