"""How many arrivals each count row of a batch has."""

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
    """Occurrences of 0 to rows - 1 in `row`, int64[rows]; None where it holds anything else. Releases the GIL.

    `np.bincount` first makes 64-bit integers of all of them, in fresh memory: on threads that is most of its time.
    """
    counts = np.zeros(rows, np.int64)
    return counts if _tally(row, counts) else None
