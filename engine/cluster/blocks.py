"""The count rows with N > 0 as the survey leaves them for the shards: read once from the inputs, sliced by merchant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from arrival_engine.engine.cluster.depot import ROWS, Depot
from arrival_engine.engine.rundir.staging import writing
from arrival_engine.engine.rundir.strict_json import reading
from arrival_engine.engine.world.counts import DrawnRows


class Block(NamedTuple):
    """The rows of one survey task, two files: NNNNNN.npy, int32[3, R] entity, bucket and arrivals by merchant; and
    NNNNNN.npz, its merchants, their first rows, and its entities. low, high: its least and greatest merchant id.
    """

    number: int
    low: int
    high: int


def write_block(number: int, pieces: Sequence[DrawnRows], depot: Depot) -> tuple[Block, ...]:
    """Hand in the rows of some row groups as block `number`; no block where there are none. Raises IO_WRITE_FAILED."""
    entities = sorted({entity for piece in pieces for entity in piece.entities})
    codes = {entity: code for code, entity in enumerate(entities)}
    coded = [np.array([codes[e] for e in piece.entities], np.int32)[piece.entity] for piece in pieces]
    entity = np.concatenate(coded)
    if not entity.size:
        return ()
    owner = np.array([merchant for merchant, _, _ in entities], np.uint64)
    # Entities are sorted by merchant first, so ordering rows by entity orders them by merchant.
    order = np.argsort(entity, kind="stable")
    columns = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("bucket", "arrivals"))
    rows = np.stack([entity, *columns])[:, order]
    merchant_ids, first = np.unique(owner[rows[0]], return_index=True)
    with depot.attempt() as scratch, writing("count rows", scratch):
        files = [scratch / f"{number:06d}.npy", scratch / f"{number:06d}.npz"]
        np.save(files[0], rows)
        np.savez(
            files[1],
            merchant_ids=merchant_ids,
            row_start=np.append(first, entity.size),
            owner=owner,
            zones=np.array([zone for _, zone, _ in entities], dtype=np.str_),
            channels=np.array([channel for _, _, channel in entities], dtype=np.str_),
        )
        depot.hand_in(ROWS, files)
    return (Block(number, int(merchant_ids[0]), int(merchant_ids[-1])),)


def read_block(number: int, merchant_ids: Sequence[int], depot: Depot) -> DrawnRows:
    """The rows that a block has of a range of merchants, ascending. Raises IO_READ_FAILED."""
    table = depot.folder / ROWS / f"{number:06d}.npy"
    with reading("count rows", table):
        first, end = _span(table.with_suffix(".npz"), merchant_ids)
        entity, bucket, arrivals = (
            np.array(column[first:end]) for column in np.load(table, mmap_mode="r", allow_pickle=False)
        )
        used, entity = np.unique(entity, return_inverse=True)
        with np.load(table.with_suffix(".npz"), allow_pickle=False) as facts:
            texts = (facts[name][used].tolist() for name in ("owner", "zones", "channels"))
            entities = list(zip(*texts, strict=True))
    return DrawnRows(entities, entity.astype(np.int32), bucket, arrivals, 0)


def _span(path: Path, merchant_ids: Sequence[int]) -> tuple[int, int]:
    with np.load(path, allow_pickle=False) as facts:
        known, row_start = facts["merchant_ids"], facts["row_start"]
    low, high = np.array([merchant_ids[0], merchant_ids[-1]], np.uint64)
    return int(row_start[np.searchsorted(known, low)]), int(row_start[np.searchsorted(known, high, side="right")])
