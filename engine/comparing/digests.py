"""The arrival digest (LAW section 7) of canonical rows, by NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.digest import MULTIPLIERS, SECOND_LANE, Digest
from arrival_engine.engine.comparing.canonical import Rows, Vocabulary


def digest_of(rows: Rows, vocabulary: Vocabulary) -> Digest:
    """What these rows add to their dataset's digest."""
    columns = {name: column.values for name, column in rows.columns.items()}
    virtual = columns["is_virtual"] != 0
    words = (
        columns["merchant_id"],
        vocabulary.digest_words(columns["zone_representation"]),
        vocabulary.digest_words(columns["channel_group"]),
        columns["bucket_index"],
        columns["arrival_seq"],
        columns["ts_utc"],
        virtual,
        np.where(virtual, columns["edge_id"], columns["site_id"]),
        vocabulary.digest_words(columns["tzid_primary"]),
        columns["ts_local_primary"],
        np.where(virtual, vocabulary.digest_words(columns["tzid_settlement"]), np.uint64(0)),
        np.where(virtual, columns["ts_local_settlement"], 0),
    )
    h = np.zeros(rows.size, np.uint64)
    for word, multiplier in zip(words, MULTIPLIERS, strict=True):
        h += word.astype(np.uint64) * multiplier
    return Digest(rows.size, _sum(_mix(h)), _sum(_mix(h ^ SECOND_LANE)))


def _sum(lane: NDArray[np.uint64]) -> int:
    return int(lane.sum(dtype=np.uint64))


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
