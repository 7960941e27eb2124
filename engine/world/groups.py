"""Tz group weights of 2B: one alias table per merchant and UTC day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.alias import pack
from arrival_engine.cpu_fallback.tables import Grid, Groups
from arrival_engine.engine.rundir.inputs import read_table
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.world.codes import alias_tables, codes_in, encoded, only_merchants, starts_of, texts_of
from arrival_engine.engine.world.sites import SiteTables


@dataclass(frozen=True)
class GroupWeights:
    """Rows of s4_group_weights within the horizon, unordered: merchant int64[K], day int64[K], tzids, weights."""

    merchant: NDArray[np.int64]
    day: NDArray[np.int64]
    tzids: NDArray[np.object_]
    weights: NDArray[np.float64]


# Of a run that leaves group weights unused: a row per merchant, zone and day is not read for nothing.
NO_GROUP_WEIGHTS = GroupWeights(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, dtype=object), np.empty(0, np.float64)
)


def load_group_weights(receipt: Receipt, merchant_ids: NDArray[np.uint64], grid: Grid) -> GroupWeights:
    """Group weights of the given merchants on the UTC days of the grid."""
    columns = ("merchant_id", "utc_day", "tz_group_id", "p_group")
    table, merchant = only_merchants(read_table(receipt, "s4_group_weights", columns), merchant_ids)
    days = _days(table["utc_day"], merchant_ids[merchant])
    kept = (days >= int(grid.day[0])) & (days <= int(grid.day[-1]))
    return GroupWeights(
        merchant[kept], days[kept], texts_of(table["tz_group_id"])[kept], table["p_group"].to_numpy()[kept]
    )


def build_group_tables(
    weights: GroupWeights, tzids: Sequence[str], merchant_ids: NDArray[np.uint64], sites: SiteTables
) -> tuple[Groups, NDArray[np.int64]]:
    """The tables, slots by tzid (byte order), and each merchant's bounds among them, int64[M + 1].

    A merchant-day whose weights sum to zero has no table (LAW section 3).
    """
    zone = codes_in(weights.tzids, tzids)
    order = np.lexsort((zone, weights.day, weights.merchant))
    merchant, day, zone = weights.merchant[order], weights.day[order], zone[order]
    new_table = np.append(True, (merchant[1:] != merchant[:-1]) | (day[1:] != day[:-1]))[: merchant.size]
    repeated = np.append(False, ~new_table[1:] & (zone[1:] == zone[:-1]))[: merchant.size]
    if repeated.any():
        row = int(np.argmax(repeated))
        raise ArrivalError(
            Code.SITE_RESOLUTION_FAILED,
            f"s4_group_weights repeats merchant {merchant_ids[merchant[row]]}, {_day(day[row])}, {tzids[zone[row]]}",
            hint="the key (merchant_id, utc_day, tz_group_id) must be unique",
        )
    first = np.flatnonzero(new_table)
    starts = np.append(first, merchant.size).astype(np.int64)

    def name(table: int) -> str:
        row = starts[table]
        return f"the tz groups of merchant {merchant_ids[merchant[row]]} on {_day(day[row])}"

    built = alias_tables(weights.weights[order], starts, Code.SITE_RESOLUTION_FAILED, name)
    kept_slots = np.repeat(built.exists, np.diff(starts))
    kept_starts = np.append(0, np.cumsum(np.diff(starts)[built.exists])).astype(np.int64)
    groups = Groups(
        day=day[first][built.exists].astype(np.int32),
        start=kept_starts,
        packed=pack(built.threshold, built.alias)[kept_slots],
        zone=zone[kept_slots].astype(np.int32),
        site_table=sites.of_pair(merchant, zone)[kept_slots],
    )
    return groups, starts_of(merchant[first][built.exists], merchant_ids.size)


def _days(column: pa.ChunkedArray, merchant_of_row: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Days since 1970; each distinct text is parsed once."""
    code, texts = encoded(column)
    used = set(np.unique(code).tolist())
    days = np.empty(len(texts), np.int64)
    for text, at in sorted((texts[at], at) for at in used):
        try:
            days[at] = np.datetime64(text, "D").astype(np.int64)
        except ValueError as failure:
            merchant = merchant_of_row[np.argmax(code == at)]
            raise ArrivalError(
                Code.SITE_RESOLUTION_FAILED,
                f"s4_group_weights: utc_day {text} of merchant {merchant} is not a calendar day",
                hint="correct the day and seal again",
                dataset="s4_group_weights",
                utc_day=text,
            ) from failure
    return days[code]


def _day(day: int) -> str:
    return str(np.datetime64(int(day), "D"))
