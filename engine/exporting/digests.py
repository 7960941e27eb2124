"""The arrival digest (LAW section 7) of record batches in the contract's columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.digest import MULTIPLIERS, SECOND_LANE, Digest
from arrival_engine.cpu_fallback.identifiers import text_word

__all__ = ["digest_of", "row_hashes"]

U64 = NDArray[np.uint64]

_ALWAYS = (
    "merchant_id",
    "zone_representation",
    "channel_group",
    "bucket_index",
    "arrival_seq",
    "ts_utc",
    "is_virtual",
    "place",
    "tzid_primary",
    "ts_local_primary",
)
_OF_VIRTUAL = ("tzid_settlement", "ts_local_settlement")


def row_hashes(rows: pa.RecordBatch) -> U64:
    """What each row adds to the sums before it is mixed, uint64[N]."""
    virtual = rows["is_virtual"].to_numpy(zero_copy_only=False)
    hashes = np.zeros(rows.num_rows, np.uint64)
    for name, multiplier in zip(_ALWAYS, MULTIPLIERS, strict=False):
        if name == "place":
            words = np.where(virtual, _numbers(rows["edge_id"]), _numbers(rows["site_id"]))
        else:
            words = _words(rows[name])
        hashes += words * multiplier
    if virtual.any():
        at = np.flatnonzero(virtual)
        further = rows.select(list(_OF_VIRTUAL)).take(pa.array(at))
        for name, multiplier in zip(_OF_VIRTUAL, MULTIPLIERS[len(_ALWAYS) :], strict=True):
            hashes[at] += _words(further[name]) * multiplier
    return hashes


def digest_of(hashes: U64) -> Digest:
    """The digest of the rows with these hashes."""
    return Digest(hashes.size, _sum(_mix(hashes)), _sum(_mix(hashes ^ SECOND_LANE)))


def _words(column: pa.Array) -> U64:
    if pa.types.is_dictionary(column.type):
        # Null is the empty text.
        words = np.array([text_word(text or "") for text in (*column.dictionary.to_pylist(), "")], np.uint64)
        indices = column.indices.fill_null(words.size - 1) if column.null_count else column.indices
        found: U64 = words[indices.to_numpy()]
        return found
    if pa.types.is_boolean(column.type):
        flags: U64 = column.to_numpy(zero_copy_only=False).astype(np.uint64)
        return flags
    if pa.types.is_string(column.type):
        # A text column outside the contract's dictionaries is one of times.
        zone = "UTC" if column and str(column[0]).endswith("Z") else None
        column = column.cast(pa.timestamp("us", zone))
    return _numbers(column)


def _numbers(column: pa.Array) -> U64:
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    filled = column.fill_null(0) if column.null_count else column
    return filled.to_numpy().view(np.uint64)  # type: ignore[no-any-return]


def _sum(lane: U64) -> int:
    return int(lane.sum(dtype=np.uint64))


def _mix(value: U64) -> U64:
    """splitmix64's finaliser."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
