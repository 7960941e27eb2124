"""The count rows with N > 0 as the survey leaves them for the shards: read once from the inputs, sliced by merchant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading, writing
from arrival_engine.engine.cluster.depot import ROWS, Depot
from arrival_engine.engine.rundir.array_files import loaded_arrays, map_array, save_array, save_arrays
from arrival_engine.engine.world.catalogue import Catalogue, Uncoded, catalogued, united
from arrival_engine.engine.world.counts import DrawnRows


class Block(NamedTuple):
    """The rows of one survey task, two files: NNNNNN.npy, int32[3, R] entity, bucket and arrivals by merchant; and
    NNNNNN.npz, its catalogue and the first row of each merchant. low, high: its least and greatest merchant id.
    """

    number: int
    low: int
    high: int


def write_block(number: int, pieces: Sequence[DrawnRows], depot: Depot) -> tuple[Block, ...]:
    """Hand in the rows of some pieces as block `number`; no block where there are none. Raises IO_WRITE_FAILED."""
    catalogue, codes = united([piece.catalogue for piece in pieces])
    entity = np.concatenate([code[piece.entity] for code, piece in zip(codes, pieces, strict=True)])
    if not entity.size:
        return ()
    # Entities are sorted by merchant first, so ordering rows by entity orders them by merchant.
    order = np.argsort(entity, kind="stable")
    columns = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("bucket", "arrivals"))
    rows = np.stack([entity, *columns])[:, order]
    merchant_ids = catalogue.merchant_ids
    first = np.searchsorted(catalogue.merchant[rows[0]], np.arange(merchant_ids.size + 1))
    with depot.attempt() as scratch, writing("count rows", scratch):
        files = [scratch / f"{number:06d}.npy", scratch / f"{number:06d}.npz"]
        save_array(files[0], rows)
        save_arrays(files[1], row_start=first, **packed(catalogue))
        depot.hand_in(ROWS, files)
    return (Block(number, int(merchant_ids[0]), int(merchant_ids[-1])),)


def read_block(number: int, merchant_ids: Sequence[int], depot: Depot) -> DrawnRows:
    """The rows that a block has of a range of merchants, ascending. Raises IO_READ_FAILED."""
    table = depot.folder / ROWS / f"{number:06d}.npy"
    with reading("count rows", table):
        first, end = _span(table.with_suffix(".npz"), merchant_ids)
        entity, bucket, arrivals = (np.array(column[first:end]) for column in map_array(table))
        used, entity = np.unique(entity, return_inverse=True)
        with loaded_arrays(table.with_suffix(".npz")) as facts:
            whole = unpacked(facts)
    owner = whole.merchant_ids[whole.merchant[used]]
    # Those used are distinct and in order, so that each keeps its place.
    part = Uncoded(owner, whole.zone[used], whole.zones, whole.channel[used], whole.channels)
    return DrawnRows(catalogued(part)[0], entity.astype(np.int32), bucket, arrivals, 0)


def _span(path: InsidePath, merchant_ids: Sequence[int]) -> tuple[int, int]:
    with loaded_arrays(path) as facts:
        known, row_start = facts["merchant_ids"], facts["row_start"]
    low, high = np.array([merchant_ids[0], merchant_ids[-1]], np.uint64)
    return int(row_start[np.searchsorted(known, low)]), int(row_start[np.searchsorted(known, high, side="right")])


def packed(catalogue: Catalogue) -> dict[str, Any]:
    """A catalogue as arrays for `save_arrays`."""
    texts = {name: np.array(getattr(catalogue, name), np.str_) for name in ("zones", "channels")}
    return {**catalogue._asdict(), **texts}


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> Catalogue:
    """The catalogue among arrays that `loaded_arrays` gives."""
    columns: dict[str, Any] = {name: arrays[name] for name in Catalogue._fields}
    texts = {name: tuple(columns[name].tolist()) for name in ("zones", "channels")}
    return Catalogue(**{**columns, **texts})
