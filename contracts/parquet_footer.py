"""Sizes and extremes of the column chunks of a Parquet file, read from its footer without Arrow.

Arrow ends the process when it is asked about a chunk whose entry in the footer is not sound, so it is not asked. Field
numbers: parquet-format, `parquet.thrift`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import pyarrow as pa

from arrival_engine.contracts.thrift import Compact, read_footer

_UINT64_BYTES = 8


class Chunk(NamedTuple):
    """A column of a row group: its bytes uncompressed, as stated, and the least and greatest of its unsigned values.

    Both are None without statistics of that form.
    """

    uncompressed_bytes: int
    least: int | None
    greatest: int | None

    def may_hold(self, value: int) -> bool:
        """Whether the statistics allow this value, 0 or more; true without statistics."""
        if self.least is None or self.greatest is None:
            return True
        # As unsigned numbers, negative extremes are large: then nothing is known.
        return self.least > self.greatest or self.least <= value <= self.greatest


class RowGroup(NamedTuple):
    """A row group: its rows, as stated, and its chunks by the dotted path of their column."""

    rows: int
    chunks: Mapping[str, Chunk]


def row_groups(source: IO[bytes]) -> list[RowGroup]:
    """The row groups of a Parquet file. Raises OSError, and ArrowInvalid for a file whose footer is not sound."""
    try:
        footer = Compact(read_footer(source)[1]).struct()
        return [RowGroup(int(group[3]), dict(map(_chunk, group[1]))) for group in footer[4]]
    except (AttributeError, IndexError, LookupError, TypeError, ValueError) as failure:
        raise pa.ArrowInvalid(f"the Parquet footer is damaged: {failure}") from failure


def _chunk(entry: Mapping[int, Any]) -> tuple[str, Chunk]:
    facts = entry[3]
    statistics = facts.get(12, {})
    path = ".".join(name.decode() for name in facts[3])
    return path, Chunk(int(facts[6]), _unsigned(statistics.get(6)), _unsigned(statistics.get(5)))


def _unsigned(stated: object) -> int | None:
    return int.from_bytes(stated, "little") if isinstance(stated, bytes) and len(stated) == _UINT64_BYTES else None
