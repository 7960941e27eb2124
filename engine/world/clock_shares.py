"""The chance that an arrival of a count row shows each zone, from the tables that it is drawn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.law import HYBRID, VIRTUAL_ONLY
from arrival_engine.cpu_fallback.tables import NO_TABLE, Rows, Tables
from arrival_engine.engine.rundir.settings import Settings

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_FULL = 2.0**32
_TWO64 = 2.0**64

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Shown(NamedTuple):
    """Zones that arrivals of some rows may show: each (row, zone) once, `chance` above zero."""

    row: Ints
    zone: Ints
    chance: Floats


class _Mixes(NamedTuple):
    """Zones and shares of alias tables in compressed rows; each zone of a table once."""

    start: Ints
    zone: Ints
    share: Floats


class ClockShares:
    """The zones that arrivals of a world's count rows may show, primary and settlement alike.

    The tables of sites, those of tz groups (each zone's sites included) and those of edges are numbered in this order.
    """

    def __init__(self, tables: Tables, settings: Settings) -> None:
        self._tables, self._settings = tables, settings
        self._zones = tables.zones.text.size
        groups, merchants, edges = tables.groups, tables.merchants, tables.edges
        sites = self._mixed(
            tables.sites.start, tables.sites.zone, _slot_shares(tables.sites.packed, tables.sites.start)
        )
        owner = np.repeat(np.arange(merchants.id.size), np.diff(merchants.group_start))
        self._site_tables, self._group_tables = tables.sites.start.size - 1, groups.day.size
        everywhere = merchants.site_table[np.repeat(owner, np.diff(groups.start))]
        through = np.where(groups.site_table < 0, everywhere, groups.site_table).astype(np.int64)
        slot, at = _members(sites.start, through)
        by_slot = _slot_shares(groups.packed, groups.start)[slot] * sites.share[at]
        grouped = self._mixed_of(_table_of(groups.start)[slot], sites.zone[at], by_slot, self._group_tables)
        online = self._mixed(merchants.edge_start, edges.zone, _slot_shares(edges.packed, merchants.edge_start))
        self._mixes = _joined((sites, grouped, online))
        self._group_key = self._key(owner, groups.day.astype(np.int64))
        with_edges = np.diff(merchants.edge_start) > 0
        coin = np.where(merchants.mode == HYBRID, settings.coin / _TWO64, 0.0)
        self._virtual = np.where(with_edges, np.where(merchants.mode == VIRTUAL_ONLY, 1.0, coin), 0.0)

    def shown(self, rows: Rows) -> Shown:
        """The zones of these count rows, which are numbered from 0."""
        merchant = self._tables.entities.merchant[rows.entity].astype(np.int64)
        virtual = self._virtual[merchant]
        settlement = self._tables.merchants.settlement[merchant].astype(np.int64)
        physical_rows, virtual_rows = np.flatnonzero(virtual < 1.0), np.flatnonzero(virtual > 0.0)
        place, at = _members(self._mixes.start, self._physical_table(rows, merchant)[physical_rows])
        site_row = physical_rows[place]
        place, edge_at = _members(self._mixes.start, merchant[virtual_rows] + self._site_tables + self._group_tables)
        edge_row = virtual_rows[place]
        # An arrival whose edge is in the settlement zone shows that zone once.
        other = self._mixes.zone[edge_at] != settlement[edge_row]
        edge_row, edge_at = edge_row[other], edge_at[other]
        settled = virtual_rows[settlement[virtual_rows] >= 0]
        return self._each_once(
            np.concatenate([site_row, edge_row, settled]),
            np.concatenate([self._mixes.zone[at], self._mixes.zone[edge_at], settlement[settled]]),
            np.concatenate(
                [
                    (1.0 - virtual[site_row]) * self._mixes.share[at],
                    virtual[edge_row] * self._mixes.share[edge_at],
                    virtual[settled],
                ]
            ),
        )

    def _physical_table(self, rows: Rows, merchant: Ints) -> Ints:
        """The table that decides the zone of each row's physical arrivals."""
        own = self._tables.entities.site_table[rows.entity].astype(np.int64)
        table = np.where(own < 0, self._tables.merchants.site_table[merchant], own)
        if not self._settings.use_group_weights or not self._group_key.size:
            return table
        key = self._key(merchant, self._tables.grid.day[rows.bucket].astype(np.int64))
        at = np.minimum(np.searchsorted(self._group_key, key), self._group_key.size - 1)
        return np.where(self._group_key[at] == key, self._site_tables + at, table)

    def _key(self, merchant: Ints, day: Ints) -> Ints:
        """One number per (merchant, day of the grid), ascending like the pair."""
        first, last = int(self._tables.grid.day[0]), int(self._tables.grid.day[-1])
        return merchant * (last - first + 1) + (day - first)

    def _mixed(self, start: Ints, zone: NDArray[np.int32], share: Floats) -> _Mixes:
        return self._mixed_of(_table_of(start), zone.astype(np.int64), share, start.size - 1)

    def _mixed_of(self, table: Ints, zone: Ints, share: Floats, tables: int) -> _Mixes:
        table, zone, share = self._each_once(table, zone, share)
        return _Mixes(np.searchsorted(table, np.arange(tables + 1)).astype(np.int64), zone, share)

    def _each_once(self, owner: Ints, zone: Ints, share: Floats) -> Shown:
        """Add up the shares of equal pairs, in order of the pairs; without those of nothing."""
        keys, place = np.unique(owner * self._zones + zone, return_inverse=True)
        total = np.bincount(place, share, keys.size).astype(np.float64)
        owner, zone = np.divmod(keys[total > 0.0], self._zones)
        return Shown(owner, zone, total[total > 0.0])


def _table_of(start: Ints) -> Ints:
    """The table of each slot."""
    return np.repeat(np.arange(start.size - 1), np.diff(start))


def _slot_shares(packed: NDArray[np.uint64], start: Ints) -> Floats:
    """The chance of each slot of alias tables in compressed rows."""
    table = _table_of(start)
    first, size = start[table], np.diff(start)[table]
    threshold = (packed & _LOW).astype(np.float64)
    # A slot that is always taken is packed with a threshold of 2^32 - 1, and is its own alias.
    units = threshold + np.bincount(first + (packed >> _SHIFT).astype(np.int64), _FULL - threshold, packed.size)
    return np.asarray(units / (_FULL * size))


def _members(start: Ints, table: Ints) -> tuple[Ints, Ints]:
    """For every member of the given tables: the place of its table among them, and its own position.

    NO_TABLE has no members.
    """
    first, sizes = start[table], np.where(table == NO_TABLE, 0, start[table + 1] - start[table])
    place = np.repeat(np.arange(table.size), sizes)
    before = np.cumsum(sizes) - sizes
    return place, np.arange(place.size) - before[place] + first[place]


def _joined(mixes: tuple[_Mixes, ...]) -> _Mixes:
    starts, before = [np.zeros(1, np.int64)], 0
    for mix in mixes:
        starts.append(mix.start[1:] + before)
        before += int(mix.start[-1])
    return _Mixes(
        np.concatenate(starts),
        np.concatenate([mix.zone for mix in mixes]),
        np.concatenate([mix.share for mix in mixes]),
    )
