"""Where the row groups of a part end, so that readers who look for a merchant or a day can leave most of them out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import isqrt

import numpy as np
from numpy.typing import NDArray

# A merchant's arrivals are in time order, so whoever reads one day reads about one group of each merchant, and every
# group costs the writer about as much as 5,000 arrivals. For so many groups in all, groups that grow with the square
# root of the merchant's arrivals leave the least to read: of the reference world's arrivals, one in six lies in a group
# that holds some of a given day, where as many groups of one size would leave one in five.
_ROWS_PER_ROOT = 100
_WORTH_A_GROUP = 8192


def row_group_spans(merchant_first: NDArray[np.int64], rows: int, most: int) -> list[tuple[int, int]]:
    """Half-open spans of at most `most` rows that cover 0 to `rows`, in order.

    merchant_first: ascending row numbers at which a merchant's arrivals begin. A merchant has groups of its own, as
    equal as can be: one that also held the end of another would span the whole scenario, and no reader of a day could
    skip it. Only merchants of few arrivals share one.
    """
    return list(_spans(merchant_first, rows, most))


def _spans(merchant_first: NDArray[np.int64], rows: int, most: int) -> Iterator[tuple[int, int]]:
    few = max(min(_WORTH_A_GROUP, most // 2), 1)
    shared = 0  # from here on lie merchants too small for a group, and in no group yet
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
    """As few spans of at most `most` rows as cover first to last, of sizes that differ by one at most."""
    pieces = -(-(last - first) // most)
    return pairwise(first + (last - first) * piece // pieces for piece in range(pieces + 1))
