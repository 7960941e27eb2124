"""Rows cut into pages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.pages.layout import REQUIRED, WHERE_CLEAR, WHERE_SET, Cut
from arrival_engine.cpu_fallback.tables import I64

_NO_FLAGS = np.empty(0, np.uint8)
# `Cut.flags` are read eight at a time.
_SPARE = 7


def cut_into_pages(group: I64, most: int) -> Cut:
    """Pages of about `most` rows, at least one per row group, of equal size within a row group.

    group: int64[R + 1], rows before each row group.
    """
    rows = np.diff(group)
    pages = np.maximum(1, (rows + most // 2) // most)
    first = np.append(0, np.cumsum(pages))
    number = np.arange(first[-1]) - np.repeat(first[:-1], pages)
    row = np.repeat(group[:-1], pages) + np.repeat(rows, pages) * number // np.repeat(pages, pages)
    row = np.append(row, group[-1])
    return Cut(row, row, first, np.int64(REQUIRED), _NO_FLAGS)


def largest_page(most: int) -> int:
    """The rows that a page of `cut_into_pages` has at most."""
    return most + most // 2 + 1


def cut_by_row_group(group: I64) -> Cut:
    """One page per row group. group: int64[R + 1], rows before each."""
    return Cut(group, group, np.arange(group.size), np.int64(REQUIRED), _NO_FLAGS)


def with_nulls(cut: Cut, valid: NDArray[np.bool_]) -> tuple[Cut, Cut]:
    """The cut of a column that has values where `valid` is set, and of one that has them elsewhere."""
    flags = np.zeros(valid.size + _SPARE, np.uint8)
    flags[: valid.size] = valid
    pages = zip(cut.row[:-1].tolist(), cut.row[1:].tolist(), strict=True)
    counts = [np.count_nonzero(valid[first:last]) for first, last in pages]
    before = np.append(0, np.cumsum(counts, dtype=np.int64))
    return (
        cut._replace(value=before, levels=np.int64(WHERE_SET), flags=flags),
        cut._replace(value=cut.row - before, levels=np.int64(WHERE_CLEAR), flags=flags),
    )


def without_nulls(cut: Cut) -> Cut:
    """The cut of a column that may have nulls, and has none."""
    return cut._replace(levels=np.int64(WHERE_SET))
