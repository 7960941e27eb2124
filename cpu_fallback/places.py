"""The places of a segment's arrivals: picked row by row, before they are put in order (LAW sections 4.2 to 4.4).

An entity's keys and tables are fetched once per count row, digest terms of a row are added once, and a merchant that is
never virtual draws no edge. `route` picks the place of one arrival by the same scalar law; tests require the same
arrivals of both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback import route
from arrival_engine.cpu_fallback.digest import K1, K2, K3, K4, K7, K8, fold_word
from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.law import (
    NON_VIRTUAL,
    VIRTUAL_ONLY,
    alias_choice,
    alias_slot,
    coin_is_virtual,
    counter_word1,
)
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.segments import Segment
from arrival_engine.cpu_fallback.tables import (
    I32,
    NO_TABLE,
    U64,
    Edges,
    Entities,
    Groups,
    Merchants,
    Rows,
    RowTotals,
    Sites,
    Switches,
)

U32 = NDArray[np.uint32]
NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)

_part = njit(allocates=False, internal=True)
_find_group_table = _part(route.find_group_table)


class Places(NamedTuple):
    """Working space for the places of segments of at most n arrivals."""

    place: I32  # [n] by position: index into the sites, or -1 less an index into the edges
    zone: I32  # [n] by position
    terms: U64  # [n] by position: the digest terms that depend on neither time nor order
    every: U32  # [n] 0, 1, 2, ...
    physical: U32  # [n] the draws of a count row that are not virtual


def empty_places(arrivals: int) -> Places:
    """Uninitialised working space for segments of at most `arrivals` arrivals."""
    return Places(
        place=np.empty(arrivals, np.int32),
        zone=np.empty(arrivals, np.int32),
        terms=np.empty(arrivals, np.uint64),
        every=np.empty(arrivals, np.uint32),
        physical=np.empty(arrivals, np.uint32),
    )


class Lists(NamedTuple):
    """The tables that places are picked from: no more of them, because each takes time to compile."""

    entities: Entities
    zone_text: U64
    channel_text: U64
    groups: Groups
    sites: Sites
    edges: Edges


class EdgeTable(NamedTuple):
    """The edges that virtual arrivals are picked from, and which arrivals are virtual."""

    first: np.uint64
    size: np.uint64
    always: bool  # or where the coin says so
    coin: np.uint64


class SiteTables(NamedTuple):
    """The tables that physical arrivals are picked from."""

    group_first: np.uint64
    group_size: np.uint64  # 0: no group is drawn
    own: np.int32  # the sites if no group is drawn
    every: np.int32  # the sites where there are none in the zone


class Choice(NamedTuple):
    """What a segment's merchant and day decide."""

    edges: EdgeTable
    may_be_virtual: bool
    sites: SiteTables
    without_group: bool
    forbids_all: bool  # every physical arrival takes a fallback that the policy forbids
    terms: np.uint64  # digest terms


class Stream(NamedTuple):
    """A count row's draws of one family."""

    key: np.uint64
    word1: np.uint64
    first: np.uint64  # position of draw 0
    terms: np.uint64  # digest terms of the row


@_part
def find_choice(
    merchants: Merchants, groups: Groups, switches: Switches, merchant: np.int32, bucket: np.int32, day: np.int32
) -> Choice:
    """The choice of a merchant in a bucket, which begins on the UTC day `day`."""
    group_first, group_size = np.int64(0), np.int64(0)
    if switches.use_group_weights:
        table = _find_group_table(merchants, groups, merchant, day)
        if table >= 0:
            group_first = groups.start[table]
            group_size = groups.start[table + 1] - group_first
    edge_first = merchants.edge_start[merchant]
    edge_size = merchants.edge_start[merchant + 1] - edge_first
    mode = merchants.mode[merchant]
    all_sites = merchants.site_table[merchant]
    without_group = switches.use_group_weights and group_size == 0
    return Choice(
        EdgeTable(np.uint64(edge_first), np.uint64(edge_size), mode == VIRTUAL_ONLY, switches.coin),
        mode != NON_VIRTUAL and edge_size > 0,
        SiteTables(np.uint64(group_first), np.uint64(group_size), np.int32(NO_TABLE), all_sites),
        without_group,
        without_group and switches.fail_no_group,
        fold_word(fold_word(np.uint64(0), merchants.id[merchant], K1), np.uint64(bucket), K4),
    )


@_part
def _pick_edges(stream: Stream, count: np.int32, table: EdgeTable, edges: Edges, places: Places) -> np.int64:
    """Write the places of a row's virtual arrivals; list the draws that are physical and return their number.

    What is written of physical arrivals has no meaning: no branch on the coin, which cannot be predicted.
    """
    terms = fold_word(stream.terms, _ONE, K7)
    physical = np.int64(0)
    for draw in range(count):
        x0, x1 = philox2x64(np.uint64(draw), stream.word1, stream.key)
        slot = alias_slot(x0, table.size)
        edge = table.first + alias_choice(x0, table.size, slot, edges.packed[table.first + slot])
        position = stream.first + np.uint64(draw)
        places.place[position] = -1 - np.int64(edge)
        places.zone[position] = edges.zone[edge]
        places.terms[position] = fold_word(terms, edges.id[edge], K8)
        places.physical[physical] = draw
        physical += not (table.always or coin_is_virtual(x1, table.coin))
    return physical


@_part
def _pick_sites(
    stream: Stream, draws: U32, tables: SiteTables, groups: Groups, sites: Sites, places: Places, keys: U64
) -> tuple[np.int64, np.uint64]:
    """Write the places of a row's physical arrivals.

    Returns how many drew a zone in which the merchant has no site, and the least key among these.
    """
    without_site, least = np.int64(0), NO_KEY
    for i in range(draws.size):
        draw = np.uint64(draws[i])
        position = stream.first + draw
        x0, x1 = philox2x64(draw, stream.word1, stream.key)
        table = tables.own
        if tables.group_size > 0:
            slot = alias_slot(x0, tables.group_size)
            slot = alias_choice(x0, tables.group_size, slot, groups.packed[tables.group_first + slot])
            table = groups.site_table[tables.group_first + slot]
        if table < 0:
            without_site += 1
            least = min(least, keys[position])
            table = tables.every
        site = np.uint64(sites.start[np.uint32(table)])
        size = np.uint64(sites.start[np.uint32(table) + _ONE]) - site
        slot = alias_slot(x1, size)
        site += alias_choice(x1, size, slot, sites.packed[site + slot])
        places.place[position] = site
        places.zone[position] = sites.zone[site]
        places.terms[position] = fold_word(stream.terms, sites.id[site], K8)
    return without_site, least


@_part
def pick_places(
    segment: Segment, choice: Choice, lists: Lists, rows: Rows, keys: U64, places: Places, row_totals: RowTotals
) -> tuple[np.int64, np.uint64]:
    """Write the places of a segment's arrivals by position, and the totals of its count rows; keys: by position.

    Returns how many arrivals took a fallback that the policy may forbid, and the least key among these: of these
    arrivals, the first in output order. If the policy forbids it, the totals have no meaning.
    """
    entities, zone_text, channel_text, groups, sites, edges = lists
    first = np.uint64(0)
    fallbacks, least = np.int64(0), NO_KEY
    for row in range(segment.first_row, segment.last_row):
        batch_row = segment.batch_row + row - segment.first_row
        entity = rows.entity[row]
        terms = fold_word(choice.terms, zone_text[entities.zone[entity]], K2)
        terms = fold_word(terms, channel_text[entities.channel[entity]], K3)
        draws = places.every[: rows.arrivals[row]]
        if choice.may_be_virtual:
            word1 = counter_word1(entities.edge_hi[entity], segment.bucket)
            stream = Stream(entities.edge_key[entity], word1, first, terms)
            draws = places.physical[: _pick_edges(stream, rows.arrivals[row], choice.edges, edges, places)]
            row_totals.virtual[batch_row] = rows.arrivals[row] - draws.size
        # Without a table every arrival counts as one without a site, which is what finds the first that is forbidden.
        own = np.int32(NO_TABLE) if choice.forbids_all else entities.site_table[entity]
        tables = SiteTables(choice.sites.group_first, choice.sites.group_size, own, choice.sites.every)
        word1 = counter_word1(entities.site_hi[entity], segment.bucket)
        stream = Stream(entities.site_key[entity], word1, first, terms)
        without_site, key = _pick_sites(stream, draws, tables, groups, sites, places, keys)
        row_totals.without_site[batch_row] = without_site
        if choice.without_group:
            row_totals.without_group[batch_row] = draws.size
        fallbacks += without_site
        least = min(least, key)
        first += np.uint64(rows.arrivals[row])
    return fallbacks, least
