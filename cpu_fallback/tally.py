"""Numbers of arrivals per count row of a batch."""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.tables import I32, I64


@njit(nogil=True, allocates=False)
def _tally(row: I32, counts: I64) -> bool:
    for i in range(row.size):
        if row[i] < 0 or row[i] >= counts.size:
            return False
        counts[row[i]] += 1
    return True


def tally_rows(row: I32, rows: int) -> I64 | None:
    """Occurrences of 0 to rows - 1 in `row`, int64[rows]; None if it holds any other value. Releases the GIL.

    `np.bincount` would first copy `row` to 64-bit integers; on threads, that takes most of its time.
    """
    counts = np.zeros(rows, np.int64)
    return counts if _tally(row, counts) else None
