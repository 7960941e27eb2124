"""What a table is read from, as its reader sees it: a file, or a table in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from arrival_engine.engine.importing.room import Room


class Source(Protocol):
    """Rows of a table."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def header(self) -> tuple[str, ...]:
        """The names of its columns."""

    @property
    def delimiter(self) -> str:
        """Of CSV, else empty."""

    @property
    def keys(self) -> Mapping[str, str | None]:
        """Partition keys, as of a `folders.TableFile`."""

    @property
    def around(self) -> Mapping[str, str | None]:
        """Partition keys of the path that was given, as of a `folders.TableFile`."""

    def batches(self, columns: Sequence[str], room: Room) -> Iterator[pa.RecordBatch]:
        """The named columns as batches of cells. Raises ArrivalError."""

    def place(self, row: int) -> Mapping[str, object]:
        """The place of data row `row` (from 0), in messages and their context."""
