"""Copies of the facts of count rows to their arrivals, in one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.tables import I32, I64, U64


class RowFacts(NamedTuple):
    """Facts that arrivals take over from their count row: one value per count row, or one per arrival."""

    merchant_id: U64
    zone: I32
    channel: I32
    bucket: I64


@njit(nogil=True, allocates=False)
def _spread(of_rows: RowFacts, row: I32, of_arrivals: RowFacts) -> None:
    for i in range(row.size):
        at = row[i]
        of_arrivals.merchant_id[i] = of_rows.merchant_id[at]
        of_arrivals.zone[i] = of_rows.zone[at]
        of_arrivals.channel[i] = of_rows.channel[at]
        of_arrivals.bucket[i] = of_rows.bucket[at]


def spread_rows(of_rows: RowFacts, row: I32) -> RowFacts:
    """The facts of each arrival's count row; `row` int32[n] counts into `of_rows`. Releases the GIL."""
    of_arrivals = RowFacts(*(np.empty(row.size, facts.dtype) for facts in of_rows))
    _spread(of_rows, row, of_arrivals)
    return of_arrivals


@njit(nogil=True, allocates=False)
def _spread_codes(of_rows: I32, row: I32, of_arrivals: I32) -> None:
    for i in range(row.size):
        of_arrivals[i] = of_rows[row[i]]


def spread_codes(of_rows: I32, row: I32) -> I32:
    """The code of each arrival's count row; arguments as those of `spread_rows`."""
    of_arrivals = np.empty(row.size, np.int32)
    _spread_codes(of_rows, row, of_arrivals)
    return of_arrivals
