"""Bucket counts as compact, sorted, merged arrays; zero rows are dropped while reading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts import ArrivalError, Code
from cpu_fallback.tables import Rows
from engine.pipeline import Cancellation, ordered
from engine.receipt import Receipt
from engine.world.tables_io import TablePiece, table_pieces

_COLUMNS = ("merchant_id", "zone_representation", "channel_group", "bucket_index", "count_N")


@dataclass(frozen=True)
class CountRows:
    """Count rows of one scenario, entities coded.

    rows: ordered by (merchant, bucket, zone bytes, channel bytes), keys unique. merchant_ids: uint64[M] ascending.
    zones, channels: texts in byte order, the null channel being "". entity_merchant, entity_zone, entity_channel:
    int32[E] indices, entities ordered by (merchant, zone, channel).
    """

    rows: Rows
    merchant_ids: NDArray[np.uint64]
    zones: tuple[str, ...]
    channels: tuple[str, ...]
    entity_merchant: NDArray[np.int32]
    entity_zone: NDArray[np.int32]
    entity_channel: NDArray[np.int32]
    input_rows: int
    zero_rows: int
    merged_rows: int


class _Texts:
    """Codes of the distinct texts of a column, in order of first sight."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def encode(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        array = column.combine_chunks()
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        if isinstance(array, pa.ChunkedArray):
            array = array.unify_dictionaries().combine_chunks()
        null = self._codes.setdefault("", len(self._codes)) if array.null_count else 0
        codes = np.array(
            [self._codes.setdefault(text or "", len(self._codes)) for text in array.dictionary.to_pylist()]
        )
        indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        known: NDArray[np.int64] = np.append(codes, null).astype(np.int64)
        codes_of_rows: NDArray[np.int64] = known[indices]
        return codes_of_rows

    def ranked(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The texts in byte order, and the rank of each code."""
        ordered = sorted(self._codes, key=str.encode)
        ranks = np.empty(len(ordered), np.int64)
        ranks[[self._codes[text] for text in ordered]] = np.arange(len(ordered))
        return tuple(ordered), ranks


@dataclass
class _Gathered:
    merchant: list[NDArray[np.uint64]] = field(default_factory=list)
    zone: list[NDArray[np.int64]] = field(default_factory=list)
    channel: list[NDArray[np.int64]] = field(default_factory=list)
    bucket: list[NDArray[np.int64]] = field(default_factory=list)
    count: list[NDArray[np.int64]] = field(default_factory=list)
    input_rows: int = 0


def load_counts(receipt: Receipt, scenario_id: str, buckets: int, max_count: int, threads: int) -> CountRows:
    """Read, check and merge the counts of a scenario; row groups are read on `threads` threads.

    Accepts any row order, several files, repeated keys, zeros, null channels, plain or dictionary strings.
    Raises S1_OR_S3_OUTPUT_MISSING for rows the schema or the guardrail forbids, TIME_GRID_MISMATCH for a bucket
    without a grid row.
    """
    gathered, zones, channels = _Gathered(), _Texts(), _Texts()

    def read(piece: TablePiece) -> tuple[int, pa.Table]:
        table = piece.read()
        _check_rows(table, scenario_id, buckets, max_count)
        return table.num_rows, table.filter(pc.greater(table["count_N"], 0))

    pieces = table_pieces(receipt, "s3_bucket_counts_5B", _COLUMNS, scenario_id=scenario_id)
    for rows, drawn in ordered(read, pieces, threads, Cancellation()):
        gathered.input_rows += rows
        gathered.merchant.append(drawn["merchant_id"].to_numpy())
        gathered.zone.append(zones.encode(drawn["zone_representation"]))
        gathered.channel.append(channels.encode(drawn["channel_group"]))
        gathered.bucket.append(drawn["bucket_index"].to_numpy())
        gathered.count.append(drawn["count_N"].to_numpy())
    return _merge(gathered, zones, channels, buckets)


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
            Code.S1_OR_S3_OUTPUT_MISSING,
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


def _merge(gathered: _Gathered, zones: _Texts, channels: _Texts, buckets: int) -> CountRows:
    merchant = _joined(gathered.merchant, np.uint64)
    bucket = _joined(gathered.bucket, np.int64)
    merchant_ids = np.sort(pc.unique(pa.array(merchant)).to_numpy())
    merchant_code = np.searchsorted(merchant_ids, merchant).astype(np.int64)
    zone_texts, zone_rank = zones.ranked()
    channel_texts, channel_rank = channels.ranked()
    pairs = len(zone_texts) * len(channel_texts)
    entity_key = (
        merchant_code * pairs
        + zone_rank[_joined(gathered.zone, np.int64)] * len(channel_texts)
        + channel_rank[_joined(gathered.channel, np.int64)]
    )
    entities, entity = _ranked_codes(entity_key)
    order, first = _sorted_groups(merchant_code * buckets + bucket, entity, entities.size)
    counts = np.add.reduceat(_joined(gathered.count, np.int64)[order], first) if first.size else np.empty(0, np.int64)
    kept = order[first]
    _check_total(counts, bucket[kept], merchant_ids[merchant_code[kept]])
    return CountRows(
        rows=Rows(entity[kept].astype(np.int32), bucket[kept].astype(np.int32), counts.astype(np.int32)),
        merchant_ids=merchant_ids,
        zones=zone_texts,
        channels=channel_texts,
        entity_merchant=(entities // pairs).astype(np.int32) if pairs else np.empty(0, np.int32),
        entity_zone=(entities % pairs // len(channel_texts)).astype(np.int32) if pairs else np.empty(0, np.int32),
        entity_channel=(entities % len(channel_texts)).astype(np.int32) if pairs else np.empty(0, np.int32),
        input_rows=gathered.input_rows,
        zero_rows=gathered.input_rows - merchant.size,
        merged_rows=merchant.size - kept.size,
    )


def _joined(parts: Iterable[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *parts])


def _ranked_codes(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct keys ascending, and each key's rank; by hashing, since keys repeat thousands of times."""
    encoded = pa.array(keys).dictionary_encode()
    distinct = encoded.dictionary.to_numpy()
    order = np.argsort(distinct)
    rank = np.empty(distinct.size, np.int64)
    rank[order] = np.arange(distinct.size)
    return distinct[order], rank[encoded.indices.to_numpy()] if keys.size else np.empty(0, np.int64)


def _sorted_groups(
    segment: NDArray[np.int64], entity: NDArray[np.int64], entities: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row order by (segment, entity), and where each distinct pair starts in it."""
    if segment.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if (int(segment.max()) + 1) * entities < 1 << 63:
        key = segment * entities + entity
        order = np.argsort(key)
        key = key[order]
        changed = key[1:] != key[:-1]
    else:
        order = np.lexsort((entity, segment))
        changed = (segment[order][1:] != segment[order][:-1]) | (entity[order][1:] != entity[order][:-1])
    return order, np.flatnonzero(np.append(True, changed))


def _check_total(counts: NDArray[np.int64], bucket: NDArray[np.int64], merchant: NDArray[np.uint64]) -> None:
    over = counts > np.iinfo(np.int32).max
    if over.any():
        row = int(np.argmax(over))
        raise ArrivalError(
            Code.S1_OR_S3_OUTPUT_MISSING,
            f"repeated rows of merchant {merchant[row]}, bucket {bucket[row]} add up to {counts[row]} arrivals",
            hint="a merged count must stay below 2^31; correct the counts and seal again",
        )
