"""Columns regrouped to one size: row groups must not depend on the size of the chunks they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = tuple[NDArray[Any], ...]


def equal_groups(chunks: Iterable[Columns], size: int) -> Iterator[Columns]:
    """The rows of all chunks in groups of exactly `size` rows, the last one smaller; a chunk's columns are as long."""
    held: list[Columns] = []
    rows = 0
    for chunk in chunks:
        held.append(chunk)
        rows += chunk[0].size
        if rows >= size:
            whole = _joined(held)
            full = rows - rows % size
            for first in range(0, full, size):
                yield tuple(column[first : first + size] for column in whole)
            held = [tuple(column[full:] for column in whole)]
            rows -= full
    if rows:
        yield _joined(held)


def _joined(chunks: list[Columns]) -> Columns:
    return chunks[0] if len(chunks) == 1 else tuple(np.concatenate(parts) for parts in zip(*chunks, strict=True))
