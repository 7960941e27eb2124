"""What a forger of arrivals starts from: words, alias tables, and the draws of a world as NumPy arrays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.law import build_alias, derive_stream, site_id, utc_day
from tests.support.model import (
    EDGE_FAMILY,
    SITE_FAMILY,
    TIME_FAMILY,
    Edge,
    EdgeTable,
    Entity,
    GroupWeight,
    Site,
    World,
)
from tests.support.reference import edge_alias, merge_counts
from tests.support.zone_names import current_name

FAMILIES = (TIME_FAMILY, SITE_FAMILY, EDGE_FAMILY)
NONE = -1
Array = NDArray[Any]
Slots = tuple[Sequence[int], Sequence[int]]


# --- Words ------------------------------------------------------------------------------------------


def words(*values: int) -> Array:
    return np.array(values, np.uint64)


def product(a: Array, b: Array) -> tuple[Array, Array]:
    """The upper and the lower 64 bits of a · b."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a1, a0, b1, b0 = a >> half, a & low, b >> half, b & low
    ll, lh, hl = a0 * b0, a0 * b1, a1 * b0
    middle = (ll >> half) + (lh & low) + (hl & low)
    return a1 * b1 + (lh >> half) + (hl >> half) + (middle >> half), a * b


def philox(word0: Array, word1: Array, key: Array, rounds: int = 10) -> tuple[Array, Array]:
    for _ in range(rounds):
        high, low = product(words(0xD2B74407B1CE6E93), word0)
        word0, word1 = high ^ key ^ word1, low
        key = key + words(0x9E3779B97F4A7C15)
    return word0, word1


def mixed(z: Array) -> Array:
    """The finaliser of splitmix64."""
    z = (z ^ (z >> np.uint64(30))) * words(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * words(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


# --- Tables -----------------------------------------------------------------------------------------


def law_alias(weights: Sequence[float]) -> Slots | None:
    table = build_alias(weights)
    return None if table is None else (table.thresholds, table.aliases)


def law_edges(table: EdgeTable) -> Slots | None:
    slots = edge_alias(table)
    return slots.thresholds, slots.aliases


class Slotted:
    """Alias tables end to end; `pick` draws a value from a table by number."""

    def __init__(self) -> None:
        self._start, self._size = [0], list[int]()
        self._threshold, self._alias, self._value = list[int](), list[int](), list[int]()

    def add(self, slots: Slots | None, values: Sequence[int]) -> int:
        """The number of the new table; NONE where there is none."""
        if slots is None:
            return NONE
        self._threshold += slots[0]
        self._alias += slots[1]
        self._value += values
        self._size.append(len(values))
        self._start.append(len(self._value))
        return len(self._size) - 1

    @cached_property
    def _arrays(self) -> tuple[Array, ...]:
        kinds = (np.int64, np.uint64, np.uint64, np.int64, np.int64)
        lists = (self._start[:-1], self._size, self._threshold, self._alias, self._value)
        return tuple(np.array(values, kind) for values, kind in zip(lists, kinds, strict=True))

    def size(self, table: Array) -> Array:
        return self._arrays[1][table]

    def pick(self, x: Array, table: Array) -> Array:
        """The value that each word picks from its table; every table number must be one."""
        start, size, threshold, alias, value = self._arrays
        if not x.size:
            return np.zeros(0, np.int64)
        slot, rest = product(x, size[table])
        slot = slot.astype(np.int64)
        at = start[table] + slot
        chosen = np.where(rest >> np.uint64(32) < threshold[at], slot, alias[at])
        return value[start[table] + chosen]


class Tables:
    """The world's tables, built by an alias rule; places are numbered, sites first."""

    def __init__(
        self,
        ground: Ground,
        alias: Callable[[Sequence[float]], Slots | None],
        edge_slots: Callable[[EdgeTable], Slots | None],
    ) -> None:
        world, merchants, zones = ground.world, ground.merchant_number, ground.zone_number
        self.sites, self.groups, self.edges = Slotted(), Slotted(), Slotted()
        self.in_zone = np.full((len(merchants), len(zones)), NONE)
        self.of_merchant = np.full(len(merchants), NONE)
        self.of_day = np.full((len(merchants), len(ground.days)), NONE)
        self.of_edges = np.full(len(merchants), NONE)
        number = {site: place for place, site in enumerate(ground.sites)}

        def add(sites: Sequence[Site]) -> int:
            return self.sites.add(alias([site.weight for site in sites]), [number[site] for site in sites])

        by_merchant, by_zone = defaultdict(list), defaultdict(list)
        for site in sorted(ground.sites, key=lambda s: (s.country.encode(), s.site_order)):
            by_merchant[site.merchant_id].append(site)
            by_zone[site.merchant_id, current_name(site.tzid)].append(site)
        for merchant, sites in by_merchant.items():
            self.of_merchant[merchants[merchant]] = add(sites)
        for (merchant, name), sites in by_zone.items():
            table = add(sites)
            for tzid, zone in zones.items():
                if current_name(tzid) == name:
                    self.in_zone[merchants[merchant], zone] = table
        by_day: dict[tuple[int, str], list[GroupWeight]] = defaultdict(list)
        for group in world.group_weights:
            if group.merchant_id in merchants and group.utc_day in ground.days:
                by_day[group.merchant_id, group.utc_day].append(group)
        for (merchant, day), groups in by_day.items():
            groups.sort(key=lambda g: g.tzid.encode())
            slots = alias([group.weight for group in groups])
            table = self.groups.add(slots, [zones[group.tzid] for group in groups])
            self.of_day[merchants[merchant], ground.days[day]] = table
        for merchant, first in ground.first_edge.items():
            edges = world.edges[merchant]
            values = range(first, first + len(edges.edges))
            self.of_edges[merchants[merchant]] = self.edges.add(edge_slots(edges), [*values])


# --- The ground -------------------------------------------------------------------------------------


class Ground:
    """What every law starts from: entities, count rows in segment order, and the draws of each, as arrays."""

    def __init__(self, world: World) -> None:
        self.world = world
        counts = {key: n for key, n in merge_counts(world).items() if n}
        self.entities: list[Entity] = list(dict.fromkeys(entity for entity, _ in counts))
        self.merchants = sorted({entity.merchant_id for entity in self.entities})
        self.merchant_number = {merchant: number for number, merchant in enumerate(self.merchants)}
        self.sites = [site for site in world.sites if site.merchant_id in self.merchant_number]
        self.first_edge: dict[int, int] = {}
        at = len(self.sites)
        for merchant in self.merchants:
            if merchant in world.edges:
                self.first_edge[merchant] = at
                at += len(world.edges[merchant].edges)
        names = {entity.zone for entity in self.entities} | {site.tzid for site in self.sites}
        names |= {group.tzid for group in world.group_weights} | set(world.settlement.values())
        names |= {edge.tzid for merchant in self.first_edge for edge in world.edges[merchant].edges}
        self.zones = sorted(names, key=str.encode)
        self.zone_number = {tzid: number for number, tzid in enumerate(self.zones)}
        self._places()
        self._rows(counts)
        self._draws()

    def _places(self) -> None:
        world = self.world
        edges = [edge for merchant in self.first_edge for edge in world.edges[merchant].edges]
        ids = [site_id(site.merchant_id, site.country, site.site_order) for site in self.sites]
        self.place_id = words(*ids, *(int(edge.edge_id, 16) for edge in edges))
        places: list[Site | Edge] = [*self.sites, *edges]
        self.place_zone = np.array([self.zone_number[place.tzid] for place in places], np.int64)
        self.place_weight = np.array([place.weight for place in places])
        self.place_merchant = np.array(
            [self.merchant_number[site.merchant_id] for site in self.sites]
            + [self.merchant_number[m] for m in self.first_edge for _ in world.edges[m].edges],
            np.int64,
        )
        numbers = (self.zone_number.get(world.settlement.get(merchant, ""), NONE) for merchant in self.merchants)
        self.settlement = np.array([*numbers], np.int64)

    def _rows(self, counts: Mapping[tuple[Entity, int], int]) -> None:
        number = {entity: at for at, entity in enumerate(self.entities)}
        keyed = sorted((self.merchant_number[e.merchant_id], bucket, number[e], n) for (e, bucket), n in counts.items())
        table = np.array(keyed, np.int64).reshape(-1, 4)
        self.row_bucket, self.row_entity, self.row_n = table[:, 1], table[:, 2], table[:, 3]
        self.entity_merchant = np.array([self.merchant_number[e.merchant_id] for e in self.entities], np.int64)
        self.entity_zone = np.array([self.zone_number[e.zone] for e in self.entities], np.int64)
        grid = np.array(self.world.grid, np.int64)
        self.bucket_start, self.bucket_length = grid[:, 0], grid[:, 1] - grid[:, 0]
        named = [utc_day(start) for start, _ in self.world.grid]
        self.days = {day: at for at, day in enumerate(dict.fromkeys(named))}
        self.bucket_day = np.array([self.days[day] for day in named], np.int64)

    def _draws(self) -> None:
        self.row = np.repeat(np.arange(self.row_n.size), self.row_n)
        first = np.cumsum(self.row_n) - self.row_n
        self.j = np.arange(self.row.size) - first[self.row]
        self.n = self.row_n[self.row]
        self.entity, self.bucket = self.row_entity[self.row], self.row_bucket[self.row]
        self.merchant = self.entity_merchant[self.entity]
        self.start, self.length = self.bucket_start[self.bucket], self.bucket_length[self.bucket]
        self.day = self.bucket_day[self.bucket]
        modes = [self.world.modes[merchant] for merchant in self.merchants]
        self.merchant_mode = np.array(modes)
        self.has_edges = np.array([merchant in self.first_edge for merchant in self.merchants])

    @property
    def shown(self) -> list[str]:
        """The zone that a row at each place shows."""
        return [self.zones[zone] for zone in self.place_zone.tolist()]

    def renamed(self, tzid: str, name: str) -> Ground:
        """The same draws, the places of a zone under another name of it."""
        other = copy(self)
        other.zones = [*self.zones, name]
        zones = self.world.zones
        other.world = replace(self.world, zones={**zones, name: zones[tzid]})
        other.place_zone = np.where(self.place_zone == self.zone_number[tzid], len(self.zones), self.place_zone)
        return other

    @cached_property
    def merchant_days(self) -> Array:
        """Arrivals of each draw's merchant on its UTC day."""
        key = self.merchant * len(self.days) + self.day
        return np.bincount(key)[key]

    @cached_property
    def streams(self) -> dict[str, tuple[Array, Array]]:
        """Key and upper counter word of each entity, by family."""
        return {family: self.derived(family) for family in FAMILIES}

    def derived(self, family: str, domain: Callable[[Entity], str] = lambda entity: entity.domain) -> Any:
        """The streams of one family, of entities whose domain may be told otherwise."""
        w = self.world
        found = [
            derive_stream(family, w.manifest_fingerprint, w.parameter_hash, w.seed, w.scenario_id, domain(entity))
            for entity in self.entities
        ]
        return words(*(stream.key for stream in found)), words(*(stream.hi0 for stream in found))
