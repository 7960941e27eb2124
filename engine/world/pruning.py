"""Which parts of Parquet files can hold certain values, by the files' own statistics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from engine.world.tables_io import TablePiece


def row_groups_with(path: Path, wanted: Mapping[str, Collection[int]]) -> list[int]:
    """Row groups that, in every named integer column, may hold one of the wanted values; one without statistics may.

    Raises OSError, pa.ArrowException.
    """
    metadata = pq.read_metadata(path)
    position = {name: metadata.schema.names.index(name) for name in wanted}

    def possible(group: int) -> bool:
        row_group = metadata.row_group(group)
        return all(
            _may_hold(row_group.column(position[name]).statistics, values) for name, values in wanted.items()
        )

    return [group for group in range(metadata.num_row_groups) if possible(group)]


def _may_hold(statistics: pq.Statistics | None, values: Collection[int]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return any(statistics.min <= value <= statistics.max for value in values)


def pieces_with_merchants(pieces: Sequence[TablePiece], merchant_ids: Collection[int]) -> list[TablePiece]:
    """The pieces that may hold rows of one of these merchants."""
    groups = {path: row_groups_with(path, {"merchant_id": merchant_ids}) for path in {piece.path for piece in pieces}}
    return [piece for piece in pieces if piece.row_group in groups[piece.path]]
