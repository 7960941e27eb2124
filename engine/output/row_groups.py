"""Where the row groups of a part end, so that readers who look for a merchant or a day can leave most of them out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A merchant's arrivals are in time order, so a group within one merchant spans few days; one that holds the end of a
# merchant and the start of the next spans the whole scenario. Groups may end early to avoid that, but not so early
# that their number grows much: on the reference world a tenth.
_FULL_ENOUGH = 4


def row_group_spans(merchant_first: NDArray[np.int64], rows: int, most: int) -> list[tuple[int, int]]:
    """Half-open spans of at most `most` rows that cover 0 to `rows`, in order.

    merchant_first: ascending row numbers at which a merchant's arrivals begin. A group ends with its merchant once it
    holds a quarter of `most`.
    """
    spans: list[tuple[int, int]] = []
    first = 0
    for end in [*merchant_first[merchant_first > 0].tolist(), rows]:
        while end - first > most:
            spans.append((first, first + most))
            first += most
        if end > first and (end == rows or (end - first) * _FULL_ENOUGH >= most):
            spans.append((first, end))
            first = end
    return spans
