"""Join the user's tables into the contents of a world; rows that do not fit are refused with their line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import Code, Notice
from arrival_engine.contracts.options import ZoneSource
from arrival_engine.contracts.plainness import short
from arrival_engine.contracts.zone_names import one_name_each, shared_names
from arrival_engine.cpu_fallback.law import MODES, NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.engine.importing.contents import (
    Contents,
    Counts,
    GroupWeights,
    Ids,
    Ints,
    Members,
    Merchants,
    Placed,
    by_bytes,
    codes_in,
    ordered_sums,
    runs,
    sorted_order,
    texts_in_use,
)
from arrival_engine.engine.importing.grid import told
from arrival_engine.engine.importing.guardrails import ARRIVALS_MAX, refuse_unordered
from arrival_engine.engine.importing.merchants import alike
from arrival_engine.engine.importing.placing import Placement
from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.importing.routes import homeless_counts, homeless_groups, mode_of
from arrival_engine.engine.merchant_names import known_as

_TZ = "tz"


@dataclass(frozen=True)
class Build:
    """The contents, and the numbers of count rows read, with zero counts, and merged into a row of the same key."""

    contents: Contents
    input_rows: int
    zero_rows: int
    merged_rows: int
    notices: tuple[Notice, ...]


def build(tables: Mapping[str, Table], placement: Placement, zones: ZoneSource) -> Build:
    """Join the tables, the counts as they were placed on the grid. Raises what `import_world` does."""
    table = tables["counts"]
    counted = table["count"] > 0
    named = texts_in_use(table, _TZ, counted) | texts_in_use(tables["virtual merchants"], "settlement_tz")
    for name in ("sites", "edges", "group weights"):
        named |= texts_in_use(tables[name], _TZ)
    tzids = by_bytes(named - {""})
    grid_us, placed = placement.grid_us, placement.placed
    counts = _counts(table, placed, (tzids, grid_us))
    sites = _members(tables["sites"], "site_order", tzids, number_by_country=True)
    edges = _members(tables["edges"], "edge_order", tzids, number_by_country=False)
    merchants = _merchants(tables["virtual merchants"], counts, sites, tzids)
    _check_edges(tables, merchants, edges)
    _check_routes(table, counted, merchants, sites)
    groups = _group_weights(tables["group weights"], sites, tzids)
    names = None if table.names is None else table.names.of_merchants(merchants.merchant)
    contents = Contents(tzids, grid_us, counts, sites, merchants, edges, groups, placement.day_rule, names)
    zero = len(counted) - int(counted.sum())
    merged = placed.merged + len(placed.row) - len(counts.arrivals)
    notices = [*placement.notices, *_notices(contents, merged, zones)]
    return Build(contents, len(counted), zero, merged, tuple(notices))


def _counts(table: Table, placed: Placed, places: tuple[tuple[str, ...], Ints]) -> Counts:
    tzids, grid_us = places
    rows, bucket = placed.row, placed.bucket
    channels = by_bytes(texts_in_use(table, "channel", table["count"] > 0))
    merchants, merchant = np.unique(table["merchant_id"][rows], return_inverse=True)
    zone, channel = codes_in(table, _TZ, tzids)[rows], codes_in(table, "channel", channels)[rows]
    order = _entity_order((merchant, zone, channel, bucket), (len(merchants), len(tzids), len(channels)), grid_us)
    rows = rows[order]
    keys = (merchant[order], zone[order], channel[order], bucket[order])
    first = runs(*keys)
    arrivals = np.add.reduceat(placed.arrivals[order], first)
    above = np.flatnonzero(arrivals > ARRIVALS_MAX)
    if len(above):
        run = int(above[0])
        at = int(first[run])
        members = rows[at : first[run + 1] if run + 1 < len(first) else None]
        several = f" in {len(members)} rows" if len(members) > 1 else ""
        table.refuse(
            int(members[-1]),
            f"merchant {table.told(merchants[keys[0][at]])} has {arrivals[run]} arrivals{several} in "
            f"{tzids[keys[1][at]]} from {told(int(grid_us[keys[3][at]]))}; a count row can hold {ARRIVALS_MAX}",
            "use shorter buckets, or split the merchant's arrivals by channel",
            code=Code.LIMIT_EXCEEDED,
        )
    counts = Counts(
        merchant=merchants[keys[0][first]],
        zone=keys[1][first],
        channel=keys[2][first],
        channels=channels,
        bucket=keys[3][first],
        arrivals=arrivals,
    )
    refuse_unordered(table, rows[first], counts, grid_us)
    return counts


def _entity_order(keys: tuple[Ints, Ints, Ints, Ints], sizes: tuple[int, int, int], grid_us: Ints) -> Ints:
    """Order by all keys, with a single sort of a combined key if it fits into 64 bits."""
    merchants, zones, channels = sizes
    buckets = len(grid_us) - 1
    if merchants * zones * channels * buckets >= 1 << 63:
        return sorted_order(*keys)
    merchant, zone, channel, bucket = keys
    combined = ((merchant * zones + zone) * channels + channel) * buckets + bucket
    return np.argsort(combined, kind="stable").astype(np.int64)


def _members(table: Table, order_name: str, tzids: tuple[str, ...], *, number_by_country: bool) -> Members:
    """Sites or edges in the given order, or by country, zone and weight; with checked weights."""
    countries = by_bytes(texts_in_use(table, "country"))
    merchant, weight = table["merchant_id"], table["weight"]
    zone, country = codes_in(table, _TZ, tzids), codes_in(table, "country", countries)
    scope = (merchant, country) if number_by_country else (merchant,)
    if table.has(order_name):
        given = table[order_name]
        rows = sorted_order(*scope, given)
        _refuse_repeats(table, rows, (*(key[rows] for key in scope), given[rows]), order_name)
        number = given[rows]
    else:
        rows = sorted_order(merchant, country, zone, weight)
        first = runs(*(key[rows] for key in scope))
        number = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows)))) + 1
    _check_weights(table, rows, merchant[rows], weight[rows])
    return Members(merchant[rows], zone[rows], country[rows], countries, number.astype(np.int64), weight[rows])


def _refuse_repeats(table: Table, rows: Ints, keys: tuple[npt.NDArray[np.generic], ...], order_name: str) -> None:
    repeated = np.ones(len(rows), np.bool_)
    repeated[runs(*keys)] = False
    if repeated.any():
        at = int(np.argmax(repeated))
        row = int(rows[at])
        of_country = f" in {table.texts['country'][table['country'][row]]}" if len(keys) == 3 else ""
        table.refuse(
            row,
            f"merchant {table.told(keys[0][at])} has {order_name} {keys[-1][at]} twice{of_country}",
            "number them differently, or remove the repetition",
            **known_as(table.names, int(table["merchant_id"][row])),
        )


def _check_weights(table: Table, rows: Ints, merchant: Ids, weight: npt.NDArray[np.float64]) -> None:
    """Refuse weights of a merchant whose sum is not finite or not above zero."""
    first = runs(merchant)
    with np.errstate(over="ignore"):
        total = ordered_sums(first, weight)
    for bad, what, hint in (
        (total <= 0.0, "are all zero", "give at least one a weight above zero"),
        (~np.isfinite(total), "have a sum that is too large", "give smaller weights; only their ratios matter"),
    ):
        if bad.any():
            at = int(first[int(np.argmax(bad))])
            weights = f"the weights of merchant {table.told(merchant[at])} among the {table.layout.name}"
            table.refuse(int(rows[at]), f"{weights} {what}", hint)


def _merchants(table: Table, counts: Counts, sites: Members, tzids: tuple[str, ...]) -> Merchants:
    listed = table["merchant_id"]
    rows = sorted_order(listed)
    repeated = np.ones(len(rows), np.bool_)
    repeated[runs(listed[rows])] = False
    if repeated.any():
        row = int(rows[int(np.argmax(repeated))])
        table.refuse(row, f"merchant {table.told(listed[row])} is listed twice", "give each merchant one mode")
    everyone = np.unique(np.concatenate([counts.merchant, sites.merchant, listed]))
    at = np.searchsorted(everyone, listed)
    mode = np.full(len(everyone), NON_VIRTUAL, np.int64)
    mode[at] = codes_in(table, "mode", MODES)
    settlement = np.full(len(everyone), -1, np.int64)
    settlement[at] = codes_in(table, "settlement_tz", tzids)
    physical = (mode == NON_VIRTUAL) & (settlement >= 0)
    if physical.any():
        row = int(np.flatnonzero(listed == everyone[int(np.argmax(physical))])[0])
        what = f"merchant {table.told(listed[row])} is NON_VIRTUAL and has a settlement_tz"
        table.refuse(row, what, "leave it empty")
    return Merchants(everyone, mode, settlement)


def _check_edges(tables: Mapping[str, Table], merchants: Merchants, edges: Members) -> None:
    table, virtual = tables["edges"], tables["virtual merchants"]
    owners = table["merchant_id"]
    strange = mode_of(merchants, owners) == NON_VIRTUAL
    if strange.any():
        row = int(np.argmax(strange))
        table.refuse(
            row,
            f"merchant {table.told(owners[row])} has edges but is not virtual",
            "list it among --virtual-merchants as HYBRID or VIRTUAL_ONLY, or remove its edges",
        )
    lacking = (codes_in(virtual, "mode", MODES) != NON_VIRTUAL) & ~np.isin(virtual["merchant_id"], edges.merchant)
    if lacking.any():
        row = int(np.argmax(lacking))
        mode = virtual.texts["mode"][virtual["mode"][row]]
        virtual.refuse(
            row,
            f"merchant {virtual.told(virtual['merchant_id'][row])} is {mode} but has no edges",
            "give its edges with --edges, or make it NON_VIRTUAL",
            code=Code.EDGE_RESOLUTION_FAILED,
        )


def _check_routes(table: Table, counted: npt.NDArray[np.bool_], merchants: Merchants, sites: Members) -> None:
    """Refuse merchants with possible physical arrivals and no site."""
    ids = table["merchant_id"]
    lost = counted & (mode_of(merchants, ids) != VIRTUAL_ONLY) & ~np.isin(ids, sites.merchant)
    if lost.any():
        row = int(np.argmax(lost))
        near = alike(table.names, int(ids[row]), sites.merchant)
        table.refuse(
            row,
            f"merchant {table.told(ids[row])} has arrivals but no site",
            f"did you mean {short(near)}, which has sites? Write a merchant the same in every table"
            if near
            else "add its sites to --sites, or list it among --virtual-merchants as VIRTUAL_ONLY with edges",
            code=Code.SITE_RESOLUTION_FAILED,
            merchants=len(np.unique(ids[lost])),
        )


def _group_weights(table: Table, sites: Members, tzids: tuple[str, ...]) -> GroupWeights:
    merchant, zone = table["merchant_id"], codes_in(table, _TZ, tzids)
    place = np.array(one_name_each(tzids), np.int64)[zone]
    rows = sorted_order(merchant, place)
    repeated = np.ones(len(rows), np.bool_)
    repeated[runs(merchant[rows], place[rows])] = False
    if repeated.any():
        at = int(np.argmax(repeated))
        first, row = (tzids[zone[rows[at - 1]]], int(rows[at]))
        again = tzids[zone[row]]
        problem = f"{again} twice" if again == first else f"{first} and {again}, two names of one zone"
        table.refuse(row, f"merchant {table.told(merchant[row])} has {problem}", "give each zone one weight")
    rows = sorted_order(merchant, zone)
    strange = ~np.isin(merchant, sites.merchant)
    if strange.any():
        row = int(np.argmax(strange))
        what = f"merchant {table.told(merchant[row])} has group weights but no site"
        table.refuse(row, what, "add its sites to --sites")
    _check_weights(table, rows, merchant[rows], table["weight"][rows])
    return GroupWeights(merchant[rows], zone[rows], table["weight"][rows])


def _notices(contents: Contents, merged: int, zones: ZoneSource) -> Iterator[Notice]:
    if merged:
        message = f"{merged} count rows repeat a key (merchant, tz, channel, bucket); their counts are added up"
        yield Notice("COUNT_ROWS_MERGED", message, {"rows": merged})
    for names in shared_names(contents.tzids):
        message = f"{' and '.join(names)} are names of one zone: counts under one match sites under the other"
        yield Notice("ONE_ZONE_SEVERAL_NAMES", message, {"tzids": list(names)})
    homeless = homeless_counts(contents) if zones == "counts" else homeless_groups(contents)
    if homeless is not None:
        yield homeless
