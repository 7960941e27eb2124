"""Bounds of the row groups of a part, chosen so that a reader of one merchant or one day can skip most of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import isqrt

import numpy as np
from numpy.typing import NDArray

# A merchant's arrivals are in time order, so a reader of one day reads about one group per merchant. Each group costs
# the writer as much as about 5,000 arrivals. For a given number of groups, sizes that grow with the square root of the
# merchant's arrivals leave the least to read: one in six arrivals of the reference world lies in a group that holds
# part of a given day; groups of equal size would leave one in five.
_ROWS_PER_ROOT = 100
_WORTH_A_GROUP = 8192


def row_group_spans(merchant_first: NDArray[np.int64], rows: int, most: int) -> list[tuple[int, int]]:
    """Half-open spans of at most `most` rows that cover 0 to `rows`, in order.

    merchant_first: ascending row numbers at which the arrivals of a merchant begin. Each merchant has groups of its
    own, as equal as possible: a group that also held the end of another merchant would span the whole scenario, and no
    reader of a day could skip it. Only merchants with few arrivals share a group.
    """
    return list(_spans(merchant_first, rows, most))


def _spans(merchant_first: NDArray[np.int64], rows: int, most: int) -> Iterator[tuple[int, int]]:
    few = max(min(_WORTH_A_GROUP, most // 2), 1)
    shared = 0  # start of the merchants that are too small for a group and in none yet
    for first, last in pairwise([0, *merchant_first[merchant_first > 0].tolist(), rows]):
        if last - first >= few:
            if first > shared:
                yield shared, first
            yield from _equal_spans(first, last, min(max(_ROWS_PER_ROOT * isqrt(last - first), few), most))
            shared = last
        elif last - shared >= few:
            yield shared, last
            shared = last
    if rows > shared:
        yield shared, rows


def _equal_spans(first: int, last: int, most: int) -> Iterator[tuple[int, int]]:
    """The fewest spans of at most `most` rows that cover first to last; sizes differ by at most one."""
    pieces = -(-(last - first) // most)
    return pairwise(first + (last - first) * piece // pieces for piece in range(pieces + 1))
