"""Nulls and extremes of columns by page and by row group, measured from the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arrival_engine.engine.validation.statements import Column, Statements


class Measure(NamedTuple):
    """Of the rows of a page or row group: nulls, least and greatest value, None where there is none, bytes of texts."""

    nulls: int
    least: Any = None
    greatest: Any = None
    text_bytes: int = 0


class Measures(NamedTuple):
    """Of a column in a row group: the type of its values, temporal ones as whole numbers, and a measure per page."""

    kind: pa.DataType
    pages: Sequence[Measure]

    @property
    def whole(self) -> Measure:
        """The measure of all pages together."""
        least = [page.least for page in self.pages if page.least is not None]
        greatest = [page.greatest for page in self.pages if page.greatest is not None]
        return Measure(
            sum(page.nulls for page in self.pages),
            min(least, default=None),
            max(greatest, default=None),
            sum(page.text_bytes for page in self.pages),
        )


class _Chunk:
    """The measures of one column in one row group as they grow, page by page: nulls, and extremes if it states any."""

    def __init__(self, column: Column, rows: int) -> None:
        self._first_rows = column.first_rows
        self._rows = np.diff(self._first_rows, append=rows)
        self._bounded = column.bounds
        self._kind = pa.null()
        self._nulls = np.zeros_like(self._rows)
        self._least = self._greatest = np.empty(0, np.int64)

    def add(self, row: int, values: pa.Array) -> None:
        """Take in the values from a row of the group on."""
        if not self._bounded and not values.null_count:
            return
        first = int(np.searchsorted(self._first_rows, row, "right")) - 1
        last = int(np.searchsorted(self._first_rows, row + len(values)))
        cuts = np.maximum(self._first_rows[first:last] - row, 0)
        missing = None
        if values.null_count:
            missing = values.is_null().to_numpy(zero_copy_only=False)
            self._nulls[first:last] += np.add.reduceat(missing, cuts, dtype=np.int64)
        if not self._bounded:
            return
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        if pa.types.is_integer(values.type):
            self._add_numbers(slice(first, last), cuts, values, missing)

    def _add_numbers(
        self, pages: slice, cuts: NDArray[np.int64], values: pa.Array, missing: NDArray[np.bool_] | None
    ) -> None:
        numbers = (values if missing is None else values.fill_null(0)).to_numpy()
        ends = np.iinfo(numbers.dtype)
        if not self._least.size:
            self._kind = values.type
            self._least = np.full(self._rows.size, ends.max, numbers.dtype)
            self._greatest = np.full(self._rows.size, ends.min, numbers.dtype)
        low = high = numbers
        if missing is not None:
            low, high = np.where(missing, ends.max, numbers), np.where(missing, ends.min, numbers)
        self._least[pages] = np.minimum(self._least[pages], np.minimum.reduceat(low, cuts))
        self._greatest[pages] = np.maximum(self._greatest[pages], np.maximum.reduceat(high, cuts))

    def measures(self) -> Measures | None:
        """What was measured; None if that is not all that the column states."""
        if not self._bounded:
            return Measures(self._kind, [Measure(nulls) for nulls in self._nulls.tolist()])
        if not self._least.size:
            return None
        facts = zip(*(each.tolist() for each in (self._rows, self._nulls, self._least, self._greatest)), strict=True)
        return Measures(
            self._kind, [Measure(*found) if found[0] < rows else Measure(found[0]) for rows, *found in facts]
        )


class PassMeasures:
    """Measures from the batches of a pass over a file, of columns that a pass can measure.

    columns: names of those that the pass should have.
    """

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        chunks = [column for group in statements.groups for column in group.columns]
        self.columns = sorted({chunk.leaf.path[0] for chunk in chunks if _measurable(chunk)})
        self._found: dict[tuple[int, str], _Chunk] = {}
        self._group = self._row = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next batch, which has all or some of the file's columns."""
        groups = self.statements.groups
        while batch.num_rows and self._group < len(groups):
            group = groups[self._group]
            left = group.rows - self._row
            if left <= 0:
                self._group, self._row = self._group + 1, 0
                continue
            if not self._row:
                self._found |= {
                    (self._group, column.leaf.path[0]): _Chunk(column, group.rows)
                    for column in group.columns
                    if _measurable(column)
                }
            piece = batch.slice(0, left)
            for name in self.columns:
                at, chunk = piece.schema.get_field_index(name), self._found.get((self._group, name))
                if at >= 0 and chunk is not None:
                    chunk.add(self._row, piece.column(at))
            self._row += piece.num_rows
            batch = batch.slice(piece.num_rows)

    def of(self, group: int, column: Column) -> Measures | None:
        """What was measured; None of a column that was not, or not all that it states."""
        if not column.bounds and not column.leaf.levels:
            return Measures(pa.null(), [Measure(0)] * len(column.first_rows))
        found = self._found.get((group, column.leaf.path[0]))
        return found.measures() if found is not None and _measurable(column) else None


def _measurable(column: Column) -> bool:
    """Whether a pass measures all that the column states: whole numbers, or no more than nulls."""
    if len(column.leaf.path) > 1 or column.counts_distinct:
        return False
    return column.stated and (column.leaf.whole_numbers if column.bounds else column.leaf.levels > 0)


def measured(values: pa.ChunkedArray, first_rows: NDArray[np.int64]) -> Measures:
    """The measures of a column of a row group that has been read whole."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.int64() if values.type.bit_width == 64 else pa.int32())
    ends = np.append(first_rows[1:], len(values))
    pages = [
        _measured(values.slice(first, end - first))
        for first, end in zip(first_rows.tolist(), ends.tolist(), strict=True)
    ]
    return Measures(values.type, pages)


def _measured(values: pa.ChunkedArray) -> Measure:
    least, greatest = (value.as_py() for value in pc.min_max(values).values())
    text_bytes = pc.sum(pc.binary_length(values)).as_py() or 0 if is_text(values.type) else 0
    return Measure(values.null_count, least, greatest, text_bytes)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of the type are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def column_of(table: pa.Table, path: Sequence[str]) -> pa.ChunkedArray:
    """The values at a path of names in a table of structs."""
    values = table[path[0]]
    for name in path[1:]:
        values = pc.struct_field(values, name)
    return values
