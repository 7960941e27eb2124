"""Countries and sites of merchants, and the entities that have counts.

An entity is a (merchant, legal country, tzid) with one row per bucket. As in 3A, a merchant's country
includes all the country's zones. Zones without a site have no arrivals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arrival_engine.cpu_fallback.law import NON_VIRTUAL
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.geography import Geography
from arrival_engine.engine.synth.kernels import log_portable
from arrival_engine.engine.synth.population import Population
from arrival_engine.engine.synth.presets import WorldSpec

Ints = npt.NDArray[np.int64]

# Countries per merchant and their share per 1000.
_COUNTRY_COUNTS = ((1, 780), (2, 60), (4, 40), (8, 40), (14, 40), (22, 40))
# Additional countries are mostly neighbours.
_SAME_REGION = 20
_HOME_SITES, _ABROAD_SITES = 6, 2
# Share of sites in the zone of their country's first site: merchants cluster more than populations do.
_FOLLOW = 0.8
# Share of merchants with sites in one zone under two legal countries, if their countries allow it.
_SHARED_ZONE = 0.1
_NO_WEIGHTS_EVER, _NO_WEIGHTS_SOMETIMES = 0.01, 0.02


@dataclass(frozen=True, eq=False)
class Placement:
    """Sites and entities, both ordered by (merchant, country, then site order or tzid).

    Pairs (merchant, country): `pair_merchant`, `pair_country`, `pair_sites` int64[P]. Sites: `site_pair`,
    `site_order` (from 1 in its pair), `site_zone` int64[S]. Entities of merchants with counts: `entity_pair`,
    `entity_zone`, `entity_sites` int64[E], the last as 3A allots them. `never` and `sometimes` are the
    merchants without group weights on all or some days; if possible, each has a zone in which 3A puts a site
    and 2A does not.
    """

    pair_merchant: Ints
    pair_country: Ints
    pair_sites: Ints
    site_pair: Ints
    site_order: Ints
    site_zone: Ints
    entity_pair: Ints
    entity_zone: Ints
    entity_sites: Ints
    never: Ints
    sometimes: Ints

    @property
    def site_merchant(self) -> Ints:
        """int64[S]: index of each site's merchant."""
        return self.pair_merchant[self.site_pair]

    @property
    def entity_merchant(self) -> Ints:
        """int64[E]: index of each entity's merchant."""
        return self.pair_merchant[self.entity_pair]


def place(spec: WorldSpec, geography: Geography, population: Population, draws: Draws) -> Placement:
    """Draw countries and sites, with exactly `spec.entities` entities if the countries' sizes allow it."""
    countries = _Countries(spec, geography, population, draws).choose()
    pairs = [(m, c, n) for m, mine in enumerate(countries) for c, n in _share_sites(population, m, mine)]
    pair_merchant, pair_country, pair_sites = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    site_pair = np.repeat(np.arange(len(pairs)), pair_sites)
    first = np.cumsum(pair_sites) - pair_sites
    site_order = np.arange(len(site_pair)) - np.repeat(first, pair_sites) + 1

    with_counts = np.flatnonzero(population.counted[pair_merchant])
    sizes = geography.sizes()[pair_country[with_counts]]
    entity_pair = np.repeat(with_counts, sizes)
    within = np.arange(len(entity_pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    entity_row = geography.start[pair_country[entity_pair]] + within

    site_row = _site_rows(geography, pair_country[site_pair], draws)
    follows = draws.uniforms("site follows the first", len(site_row)) < _FOLLOW
    site_row = np.where(follows, np.repeat(site_row[first], pair_sites), site_row)
    _reach_every_zone(geography, site_row, site_pair, population.counted[pair_merchant[site_pair]])
    _share_zones(spec, geography, _Pairs(with_counts, pair_merchant, pair_country, first, pair_sites), site_row, draws)
    allotted = np.zeros((len(pairs), int(geography.sizes().max())), np.int64)
    np.add.at(allotted, (site_pair, site_row - geography.start[pair_country[site_pair]]), 1)
    placement = Placement(
        pair_merchant=pair_merchant,
        pair_country=pair_country,
        pair_sites=pair_sites,
        site_pair=site_pair,
        site_order=site_order,
        site_zone=geography.zone[site_row],
        entity_pair=entity_pair,
        entity_zone=geography.zone[entity_row],
        entity_sites=allotted[entity_pair, within],
        never=np.empty(0, np.int64),
        sometimes=np.empty(0, np.int64),
    )
    return _with_gaps(spec, population, placement, draws)


class _Countries:
    """Choose each merchant's countries, home first, within the budget of entities."""

    def __init__(self, spec: WorldSpec, geography: Geography, population: Population, draws: Draws) -> None:
        self.budget = spec.entities
        self.size: list[int] = geography.sizes().tolist()
        self.room = np.minimum(population.sites, len(self.size)).tolist()
        self.wishes = _wishes(geography, population, draws)
        self.counted = population.counted.tolist()
        self.inside = np.flatnonzero(population.counted).tolist()
        order = draws.order("country adjustment", len(self.inside)).tolist()
        self.queue = [self.inside[i] for i in order]
        self.chosen = self._first_choice(draws)

    def _first_choice(self, draws: Draws) -> list[list[int]]:
        counts = np.array([count for count, _ in _COUNTRY_COUNTS], np.int64)
        shares = np.cumsum([share for _, share in _COUNTRY_COUNTS])
        picks = draws.below("countries per merchant", np.full(len(self.wishes), shares[-1], np.int64))
        wanted = counts[np.searchsorted(shares, picks, side="right")].tolist()
        return [
            wishes[: min(count, room) if counted else 1]
            for wishes, count, room, counted in zip(self.wishes, wanted, self.room, self.counted, strict=True)
        ]

    def choose(self) -> list[list[int]]:
        self._drop_surplus()
        self._cover_countries()
        self._drop_surplus()
        self._fill()
        return self.chosen

    def _missing(self) -> int:
        return self.budget - sum(self.size[c] for m in self.inside for c in self.chosen[m])

    def _drop_surplus(self) -> None:
        """Drop last choices in turn, then move to smaller home countries, until the budget holds."""
        missing = self._missing()
        while missing < 0:
            before = missing
            for m in self.queue:
                if missing < 0 and len(self.chosen[m]) > 1:
                    missing += self.size[self.chosen[m].pop()]
            if missing == before:
                break
        for m in self.queue:
            if missing >= 0:
                return
            home = self.chosen[m][0]
            smaller = next((c for c in self.wishes[m] if self.size[c] < self.size[home]), home)
            self.chosen[m] = [smaller]
            missing += self.size[home] - self.size[smaller]

    def _cover_countries(self) -> None:
        """Add countries that no merchant chose, while the budget allows."""
        missing = self._missing()
        seen = {c for m in self.inside for c in self.chosen[m]}
        takers = iter(m for m in self.queue if self.room[m] > len(self.chosen[m]))
        for c in range(len(self.size)):
            if c not in seen and self.size[c] <= missing:
                m = next(takers, None)
                if m is None:
                    return
                self.chosen[m].append(c)
                missing -= self.size[c]

    def _fill(self) -> None:
        """Add countries, one per merchant and round, until the budget is used up or nothing fits."""
        missing = self._missing()
        grown = True
        while missing > 0 and grown:
            grown = False
            for m in self.queue:
                if self.room[m] <= len(self.chosen[m]):
                    continue
                mine = set(self.chosen[m])
                new = next((c for c in self.wishes[m] if c not in mine and self.size[c] <= missing), None)
                if new is not None:
                    self.chosen[m].append(new)
                    missing -= self.size[new]
                    grown = True


def _wishes(geography: Geography, population: Population, draws: Draws) -> list[list[int]]:
    """All countries per merchant, home first, the others by weighted sampling without replacement."""
    everyone, countries = len(population.merchant), len(geography.countries)
    edges = np.cumsum(geography.weight)
    # Systematic sampling: homes follow the weights as closely as whole numbers allow.
    step = draws.below("home country", np.array([int(edges[-1])], np.int64))[0]
    points = (np.arange(everyone) * edges[-1] + step) // everyone
    home = np.searchsorted(edges, points, side="right")[draws.order("home order", everyone)]
    home = np.minimum(home, countries - 1)
    uniform = draws.uniforms("country wishes", everyone * countries).reshape(everyone, countries)
    waits = np.array([-log_portable(u) for u in uniform.ravel().tolist()]).reshape(everyone, countries)
    near = geography.region[None, :] == geography.region[home][:, None]
    waits /= geography.weight[None, :] * np.where(near, _SAME_REGION, 1)
    waits[np.arange(everyone), home] = -1.0
    wishes: list[list[int]] = np.argsort(waits, axis=1, kind="stable").tolist()
    return wishes


def _share_sites(population: Population, m: int, countries: list[int]) -> list[tuple[int, int]]:
    """(country, sites) of one merchant, by country: at least one site each, most at home."""
    spare = int(population.sites[m]) - len(countries)
    weights = [_HOME_SITES] + [_ABROAD_SITES] * (len(countries) - 1)
    extra = [spare * weight // sum(weights) for weight in weights]
    extra[0] += spare - sum(extra)
    return sorted((c, 1 + more) for c, more in zip(countries, extra, strict=True))


def _site_rows(geography: Geography, country: Ints, draws: Draws) -> Ints:
    """One row of the country's zones per site, drawn by zone weight."""
    edges = np.concatenate([[0], np.cumsum(geography.zone_weight)])
    low = edges[geography.start[country]]
    picks = draws.below("site zone", edges[geography.start[country + 1]] - low)
    return np.searchsorted(edges, low + picks, side="right") - 1


def _reach_every_zone(geography: Geography, row: Ints, pair: Ints, counted: npt.NDArray[np.bool_]) -> None:
    """Move single sites in `row` so that each zone of a country with enough sites has one."""
    used = set(geography.zone[row[counted]].tolist())
    for wanted in range(len(geography.zone)):
        zone = int(geography.zone[wanted])
        if zone in used:
            continue
        country = int(np.searchsorted(geography.start, wanted, side="right")) - 1
        inside = (row >= geography.start[country]) & (row < geography.start[country + 1]) & counted
        # From the pair with most sites in one zone, which will not miss one.
        found = np.flatnonzero(inside)
        if not len(found):
            continue
        crowd = np.unique(np.stack([pair[found], row[found]]), axis=1, return_counts=True)
        best = int(np.argmax(crowd[1]))
        if crowd[1][best] > 1:
            mover = found[(pair[found] == crowd[0][0, best]) & (row[found] == crowd[0][1, best])][0]
            row[mover] = wanted
            used.add(zone)


class _Pairs(NamedTuple):
    """Pairs (merchant, country): pairs of merchants with counts, and all pairs with their runs of sites."""

    counted: Ints
    merchant: Ints
    country: Ints
    first_site: Ints
    sites: Ints


def _share_zones(spec: WorldSpec, geography: Geography, pairs: _Pairs, row: Ints, draws: Draws) -> None:
    """Move single sites in `row` into a zone that the merchant also has in another country.

    If both countries' entities have arrivals, count keys repeat with counts above zero.
    """
    wanted = max(1, round(_SHARED_ZONE * spec.merchants))
    by_merchant: dict[int, list[int]] = {}
    for p in pairs.counted.tolist():
        by_merchant.setdefault(int(pairs.merchant[p]), []).append(p)
    several = [mine for mine in by_merchant.values() if len(mine) > 1]
    for i in draws.order("shared zones", len(several)).tolist():
        if wanted == 0:
            return
        move = next(_shared_zone_moves(geography, pairs, row, several[i]), None)
        if move is not None:
            site, new_row = move
            row[site] = new_row
            wanted -= 1


def _shared_zone_moves(geography: Geography, pairs: _Pairs, row: Ints, mine: list[int]) -> Iterator[tuple[int, int]]:
    """(site, row of its country) per zone in which one of a merchant's pairs has sites and another may have."""
    for host in mine:
        zones = set(geography.zone[row[_run(pairs, host)]].tolist())
        for guest in mine:
            sites = row[_run(pairs, guest)]
            country = int(pairs.country[guest])
            # The last site moves, and the first one stays where the others follow it.
            if guest == host or len(sites) < 2 or sites[-1] != sites[0]:
                continue
            for new_row in range(int(geography.start[country]), int(geography.start[country + 1])):
                if int(geography.zone[new_row]) in zones and new_row not in sites:
                    yield int(pairs.first_site[guest] + pairs.sites[guest]) - 1, new_row


def _run(pairs: _Pairs, p: int) -> slice:
    return slice(int(pairs.first_site[p]), int(pairs.first_site[p] + pairs.sites[p]))


def _with_gaps(spec: WorldSpec, population: Population, placement: Placement, draws: Draws) -> Placement:
    """Choose merchants without group weights; 3A gives each a site in a zone where 2A puts none."""
    merchant = placement.entity_merchant
    present = {
        (int(m), int(z)) for m, z in zip(placement.site_merchant.tolist(), placement.site_zone.tolist(), strict=True)
    }
    vacant: dict[int, int] = {}
    for e, (m, z) in enumerate(zip(merchant.tolist(), placement.entity_zone.tolist(), strict=True)):
        if (m, z) not in present and population.mode[m] == NON_VIRTUAL:
            vacant.setdefault(m, e)
    eligible = np.flatnonzero(population.counted & (population.mode == NON_VIRTUAL))
    order = eligible[draws.order("no group weights", len(eligible))].tolist()
    order.sort(key=lambda m: m not in vacant)
    never = max(1, round(_NO_WEIGHTS_EVER * spec.merchants))
    sometimes = max(1, round(_NO_WEIGHTS_SOMETIMES * spec.merchants))
    chosen = order[: never + sometimes]
    sites = placement.entity_sites.copy()
    for m in chosen:
        if m in vacant:
            e = vacant[m]
            mates = np.flatnonzero(placement.entity_pair == placement.entity_pair[e])
            sites[mates[np.argmax(sites[mates])]] -= 1
            sites[e] += 1
    values = {name: getattr(placement, name) for name in placement.__dataclass_fields__}
    values |= {
        "entity_sites": sites,
        "never": np.array(sorted(chosen[:never]), np.int64),
        "sometimes": np.array(sorted(chosen[never:]), np.int64),
    }
    return Placement(**values)
