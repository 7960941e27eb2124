"""What follows from an import's contents: shares of weights, group weights per day, edges with their places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arrival_engine.engine.importing.contents import Contents, Floats, Ids, Ints, ordered_sums, runs
from arrival_engine.engine.importing.identity import IMPORT_VERSION
from arrival_engine.engine.importing.places import places_of
from arrival_engine.engine.importing.values import DAY_US
from arrival_engine.engine.tz.pinned import release
from arrival_engine.engine.world_files.virtual import Edge, Labels, MerchantEdges


def shares(merchant: npt.NDArray[Any], weight: Floats) -> Floats:
    """Weights of sorted owners, divided by each owner's left-to-right sum."""
    first = runs(merchant)
    totals = np.repeat(ordered_sums(first, weight), np.diff(np.append(first, len(merchant))))
    return np.asarray(weight / totals)


def constant_groups(contents: Contents) -> tuple[Ids, Ints, Floats]:
    """Merchant, zone and share of every group: as given, else by the merchant's site weights per zone."""
    sites, given = contents.sites, contents.group_weights
    silent = ~np.isin(sites.merchant, given.merchant)
    order = np.lexsort((sites.zone[silent], sites.merchant[silent]))
    merchant, zone = sites.merchant[silent][order], sites.zone[silent][order]
    first = runs(merchant, zone)
    summed = ordered_sums(first, sites.weight[silent][order])
    every = (
        np.concatenate([merchant[first], given.merchant]),
        np.concatenate([zone[first], given.zone]),
        np.concatenate([summed, given.weight]),
    )
    order = np.lexsort((every[1], every[0]))
    return every[0][order], every[1][order], shares(every[0][order], every[2][order])


# Rows of group weights that are in memory at once, if one merchant does not have more.
_PIECE_ROWS = 1 << 20


class DailyGroups(NamedTuple):
    """Group weights by (merchant, day, zone): uint64[K]; int64[K] days since 1970 and zones; float64[K] shares."""

    merchant: Ids
    day: Ints
    zone: Ints
    share: Floats


def daily_groups(contents: Contents) -> Iterator[DailyGroups]:
    """The same weights on every UTC day on which a bucket starts, in pieces of whole merchants; at least one piece."""
    merchant, zone, share = constant_groups(contents)
    days = np.unique(contents.grid_us[:-1] // DAY_US)
    first = runs(merchant)
    sizes = np.diff(np.append(first, len(merchant)))
    rows = np.cumsum(sizes * len(days))
    if not len(first):
        yield DailyGroups(merchant, np.empty(0, np.int64), zone, share)
    at = 0
    while at < len(first):
        before = rows[at - 1] if at else 0
        until = max(at + 1, int(np.searchsorted(rows, before + _PIECE_ROWS, side="right")))
        own = sizes[at:until]
        times = own * len(days)
        # By merchant, day and zone: each merchant's groups once per day.
        number = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        groups = np.repeat(own, times)
        row = np.repeat(first[at:until], times) + number % groups
        yield DailyGroups(merchant[row], days[number // groups], zone[row], share[row])
        at = until


def virtual_labels() -> Labels:
    """Provenance in 3B's tables."""
    return Labels(
        generator=f"arrival-engine.import|{IMPORT_VERSION}",
        rule_id="imported",
        rules=("virtual_merchants", "1.0.0"),
        coordinates=("tzdata_zone_tab", release()),
        edge_weights=("edges", "1.0.0"),
    )


def edges_of_merchants(contents: Contents) -> list[MerchantEdges]:
    """The edges of every merchant that has some, ascending by merchant."""
    edges, places = contents.edges, places_of(contents.tzids)
    weight = shares(edges.merchant, edges.weight).tolist()
    first = runs(edges.merchant).tolist()
    owners = []
    for start, end in zip(first, [*first[1:], len(weight)], strict=False):
        members = [
            Edge(
                seq=int(edges.order[row]) - 1,
                country=edges.countries[edges.country[row]],
                tzid=contents.tzids[edges.zone[row]],
                lat=float(places.lat[edges.zone[row]]) / 1e6,
                lon=float(places.lon[edges.zone[row]]) / 1e6,
                weight=weight[row],
            )
            for row in range(start, end)
        ]
        owners.append(MerchantEdges(int(edges.merchant[start]), members))
    return owners
