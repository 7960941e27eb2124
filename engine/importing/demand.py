"""The demand behind imported counts: the counts by week, because a user's tables state no model of demand."""

from __future__ import annotations

import numpy as np

from arrival_engine.engine.importing.contents import Contents, Floats, Ints, by_bytes, runs, sorted_order
from arrival_engine.engine.importing.values import MICROS
from arrival_engine.engine.world_files.demand import Demand, LocalRows

_US_PER_WEEK = 7 * 86_400 * MICROS


def local_demand(contents: Contents) -> tuple[Demand, list[LocalRows]]:
    """One cell per (merchant, zone) with counts, and its arrivals per week from the begin of the grid.

    The one class of demand has one bucket, the whole week. A week's arrivals are exact; together they are the counts.
    """
    counts = contents.counts
    first = runs(counts.merchant, counts.zone)
    merchant, zone = counts.merchant[first], counts.zone[first]
    country, countries = _countries(contents, first)
    order = sorted_order(merchant, country, zone)
    cell = np.empty(len(first), np.int64)
    cell[order] = np.arange(len(first))
    row_cell = np.repeat(cell, np.diff(np.append(first, len(counts.zone))))
    arrivals = counts.arrivals.astype(np.float64)
    horizon_us = int(contents.grid_us[-1] - contents.grid_us[0])
    demand = Demand(
        merchant=merchant[order],
        country=country[order],
        countries=countries,
        zone=zone[order],
        tzids=contents.tzids,
        demand=np.zeros(len(first), np.int64),
        classes=("imported",),
        weekly=_sums(row_cell, arrivals, len(first)) * (_US_PER_WEEK / horizon_us),
        shares=np.ones((1, 1)),
        source="imported",
    )
    week = (contents.grid_us[counts.bucket] - contents.grid_us[0]) // _US_PER_WEEK
    weeks = int(week.max()) + 1
    keys, group = np.unique(row_cell * weeks + week, return_inverse=True)
    return demand, [LocalRows(keys // weeks, keys % weeks, _sums(group, arrivals, len(keys)))]


def _sums(group: Ints, arrivals: Floats, groups: int) -> Floats:
    # Sums of integers below 2^53 are exact in any order.
    return np.asarray(np.bincount(group, weights=arrivals, minlength=groups), np.float64)


def _countries(contents: Contents, first: Ints) -> tuple[Ints, tuple[str, ...]]:
    """The legal country of each cell: of the merchant's first site or edge in the zone, else of its first at all.

    A merchant with counts has one or the other.
    """
    members = (contents.sites, contents.edges)
    countries = by_bytes({name for table in members for name in table.countries})
    number = {name: code for code, name in enumerate(countries)}
    everyone, zones = contents.merchants.merchant, len(contents.tzids)
    merchant = np.searchsorted(everyone, np.concatenate([table.merchant for table in members]))
    zone = np.concatenate([table.zone for table in members])
    country = np.concatenate([np.array([number[name] for name in t.countries], np.int64)[t.country] for t in members])
    owner = np.searchsorted(everyone, contents.counts.merchant[first])
    # np.unique returns the first place of each key; sites come before edges, each in their own order.
    placed, at = np.unique(merchant * zones + zone, return_index=True)
    known, at_all = np.unique(merchant, return_index=True)
    wanted = owner * zones + contents.counts.zone[first]
    here = np.minimum(np.searchsorted(placed, wanted), len(placed) - 1)
    anywhere = country[at_all[np.searchsorted(known, owner)]]
    return np.where(placed[here] == wanted, country[at[here]], anywhere), countries
