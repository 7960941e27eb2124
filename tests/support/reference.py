"""The arrival law, version 2, in slow plain Python: the yardstick for every fast path.

Written from the law alone with the standard library alone, sharing nothing with the product, so that an
error there cannot hide here as well. ``tests.support.law`` holds the laws of single values, ``tests.support.model`` the
records; this module builds the tables of a world and expands it. Section numbers refer to the law.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.support.law import (
    MASK64,
    AliasTable,
    Fault,
    LawError,
    Stream,
    build_alias,
    coin_threshold,
    derive_stream,
    digest_text,
    local_us,
    offset_us,
    pick,
    site_id,
    utc_day,
)
from tests.support.model import (
    EDGE_FAMILY,
    FALLBACKS,
    HYBRID,
    MISSING_EDGE_TABLE,
    MISSING_GROUP_TABLE,
    MODES,
    NO_SITE_IN_ZONE,
    NON_VIRTUAL,
    SITE_FAMILY,
    TIME_FAMILY,
    VIRTUAL_ONLY,
    CountRowUse,
    EdgeTable,
    Entity,
    Expansion,
    Explanation,
    GroupWeight,
    Pick,
    Route,
    Row,
    Site,
    World,
)
from tests.support.zone_names import current_name

__all__ = ["Fault", "LawError", "World", "edge_alias", "expand", "explain", "merge_counts"]

Block = tuple[int, int]


def edge_alias(table: EdgeTable, whose: str = "table") -> AliasTable:
    """The stored 3B slots at 32 bits of threshold; refuses a table that no correct blob can hold."""
    n, qbits = len(table.edges), table.prob_qbits
    ids = [edge.edge_id for edge in table.edges]
    if not 1 <= qbits <= 32 or n == 0 or ids != sorted(set(ids)):
        raise LawError(Fault.BAD_TABLE, f"{whose}: {n} edges, prob_qbits {qbits}, ids must ascend")
    for edge in table.edges:
        if not (0 <= edge.prob_q < 1 << qbits and 0 <= edge.alias < n):
            slot = f"{edge.prob_q}, {edge.alias}"
            raise LawError(Fault.BAD_TABLE, f"{whose}: edge {edge.edge_id} has slot {slot}")
    return AliasTable(
        tuple(edge.prob_q << (32 - qbits) for edge in table.edges), tuple(edge.alias for edge in table.edges)
    )


# --- The tables of a world -------------------------------------------------------------------------


@dataclass(frozen=True)
class _SiteTable:
    sites: tuple[Site, ...]
    alias: AliasTable

    @staticmethod
    def of(sites: Iterable[Site], whose: str) -> _SiteTable | None:
        ordered = tuple(sorted(sites, key=lambda site: (site.country.encode(), site.site_order)))
        alias = build_alias([site.weight for site in ordered], whose)
        return None if alias is None else _SiteTable(ordered, alias)


class _Tables:
    """Every alias table of the world, built and verified once."""

    def __init__(self, world: World) -> None:
        self.by_zone: dict[tuple[int, str], _SiteTable] = {}
        self.all_sites: dict[int, _SiteTable] = {}
        self.groups: dict[tuple[int, str], tuple[tuple[str, ...], AliasTable]] = {}
        _refuse_repeats("site", [(s.merchant_id, s.country, s.site_order) for s in world.sites])
        _refuse_repeats("group weight", [(g.merchant_id, g.utc_day, g.tzid) for g in world.group_weights])
        by_merchant, by_zone = defaultdict(list), defaultdict(list)
        for site in world.sites:
            by_merchant[site.merchant_id].append(site)
            by_zone[site.merchant_id, current_name(site.tzid)].append(site)
        for merchant, sites in by_merchant.items():
            if table := _SiteTable.of(sites, f"sites of merchant {merchant}"):
                self.all_sites[merchant] = table
        for (merchant, tzid), sites in by_zone.items():
            if table := _SiteTable.of(sites, f"sites of merchant {merchant} in {tzid}"):
                self.by_zone[merchant, tzid] = table
        by_day: dict[tuple[int, str], list[GroupWeight]] = defaultdict(list)
        for group in world.group_weights:
            by_day[group.merchant_id, group.utc_day].append(group)
        for key, groups in by_day.items():
            groups.sort(key=lambda g: g.tzid.encode())
            alias = build_alias([g.weight for g in groups], f"groups of merchant {key[0]} on {key[1]}")
            if alias is not None:
                self.groups[key] = (tuple(g.tzid for g in groups), alias)
        self.edges = {m: edge_alias(table, f"edges of merchant {m}") for m, table in world.edges.items()}


def _refuse_repeats(what: str, keys: Sequence[tuple[object, ...]]) -> None:
    repeated = [key for key, times in Counter(keys).items() if times > 1]
    if repeated:
        raise LawError(Fault.BAD_TABLE, f"{what} {repeated[0]} given twice")


def merge_counts(world: World) -> dict[tuple[Entity, int], int]:
    """Repeated keys summed, in the order (merchant, zone bytes, channel bytes, bucket)."""
    merged: Counter[tuple[Entity, int]] = Counter()
    for row in world.counts:
        if row.n < 0:
            raise LawError(Fault.BAD_COUNT, f"{row}")
        if not 0 <= row.bucket < len(world.grid):
            raise LawError(Fault.NO_BUCKET, f"{row}: the grid has buckets 0 to {len(world.grid) - 1}")
        merged[Entity(row.merchant_id, row.zone, row.channel or ""), row.bucket] += row.n
    return dict(sorted(merged.items(), key=lambda item: (item[0][0].order, item[0][1])))


def _check_grid(world: World) -> None:
    for bucket, (start, end) in enumerate(world.grid):
        if end <= start or (bucket and world.grid[bucket - 1][1] > start):
            raise LawError(Fault.BAD_GRID, f"bucket {bucket} is [{start}, {end})")


def _zones_shown(world: World, merchant: int) -> set[str]:
    """Every tzid that a row of this merchant could show, whatever it draws."""
    shown = {site.tzid for site in world.sites if site.merchant_id == merchant}
    if world.modes[merchant] != NON_VIRTUAL and merchant in world.edges:
        shown |= {edge.tzid for edge in world.edges[merchant].edges}
        if merchant in world.settlement:
            shown.add(world.settlement[merchant])
    return shown


def _check_merchants(world: World, tables: _Tables, live: Iterable[Entity]) -> None:
    """The errors of section 4 that no draw can avert, for the merchants that have arrivals."""
    zones_of = defaultdict(set)
    for entity in live:
        zones_of[entity.merchant_id].add(entity.zone)
    for merchant, zones in zones_of.items():
        mode = world.modes.get(merchant)
        if mode not in MODES:
            raise LawError(Fault.UNKNOWN_MODE, f"merchant {merchant} has mode {mode!r}")
        only_virtual = mode == VIRTUAL_ONLY and merchant in world.edges
        if not only_virtual and merchant not in tables.all_sites:
            raise LawError(Fault.NO_SITE, f"merchant {merchant} can route to sites and has none")
        for tzid in sorted(zones | _zones_shown(world, merchant)):
            if _clock(world, tzid) is None:
                raise LawError(Fault.UNKNOWN_TZID, f"merchant {merchant} uses {tzid!r}")


def _clock(world: World, tzid: str) -> tuple[tuple[int, int], ...] | None:
    """The pairs of a zone in the cache: under this name, under its current one, or under the first of its others."""
    others = sorted((name for name in world.zones if current_name(name) == current_name(tzid)), key=str.encode)
    names = (tzid, current_name(tzid), *others)
    return next((world.zones[name] for name in names if name in world.zones), None)


# --- 4. One arrival --------------------------------------------------------------------------------


class _Router:
    def __init__(self, world: World, tables: _Tables) -> None:
        self.world, self.tables = world, tables
        self.threshold = coin_threshold(world.policy.p_virtual_hybrid)

    def route(self, entity: Entity, bucket: int, site_block: tuple[int, int], edge_block: tuple[int, int]) -> Route:
        fallbacks: list[str] = []
        mode, coin, virtual = self.world.modes[entity.merchant_id], None, False
        if mode != NON_VIRTUAL and entity.merchant_id not in self.tables.edges:
            self._fall_back(MISSING_EDGE_TABLE, fallbacks, entity)
        elif mode == HYBRID:
            coin = (edge_block[1], self.threshold)
            virtual = coin[0] < coin[1]
        else:
            virtual = mode == VIRTUAL_ONLY
        if virtual:
            return self._virtual(entity, edge_block[0], coin)
        return self._physical(entity, bucket, site_block, coin, fallbacks)

    def _fall_back(self, name: str, fallbacks: list[str], entity: Entity) -> None:
        if self.world.policy.refuses(name):
            raise LawError(Fault.FALLBACK_REFUSED, f"{name} for {entity}")
        fallbacks.append(name)

    def _virtual(self, entity: Entity, word: int, coin: tuple[int, int] | None) -> Route:
        edges, slots = self.world.edges[entity.merchant_id].edges, self.tables.edges[entity.merchant_id]
        chosen = pick(word, slots)
        picks = (Pick("edge", tuple(edge.edge_id for edge in edges), slots, word, chosen),)
        return Route(True, edges[chosen].tzid, int(edges[chosen].edge_id, 16), picks, (), coin)

    def _physical(
        self,
        entity: Entity,
        bucket: int,
        block: Block,
        coin: tuple[int, int] | None,
        fallbacks: list[str],
    ) -> Route:
        merchant, zone, picks = entity.merchant_id, entity.zone, []
        if self.world.policy.use_group_weights:
            groups = self.tables.groups.get((merchant, utc_day(self.world.grid[bucket][0])))
            if groups is None:
                self._fall_back(MISSING_GROUP_TABLE, fallbacks, entity)
            else:
                chosen = pick(block[0], groups[1])
                zone = groups[0][chosen]
                picks.append(Pick("tz group", groups[0], groups[1], block[0], chosen))
        table = self.tables.by_zone.get((merchant, current_name(zone)))
        if table is None:
            self._fall_back(NO_SITE_IN_ZONE, fallbacks, entity)
            table = self.tables.all_sites[merchant]
        chosen = pick(block[1], table.alias)
        site = table.sites[chosen]
        labels = tuple(f"{s.country}:{s.site_order}" for s in table.sites)
        picks.append(Pick("site", labels, table.alias, block[1], chosen))
        target = site_id(merchant, site.country, site.site_order)
        return Route(False, site.tzid, target, tuple(picks), tuple(fallbacks), coin)


@dataclass(frozen=True)
class _Arrival:
    entity: Entity
    bucket: int
    j: int
    ts_utc: int
    route: Route

    @property
    def order(self) -> tuple[int, bytes, bytes, int]:
        return self.ts_utc, self.entity.zone.encode(), self.entity.channel.encode(), self.j


class _Expander:
    def __init__(self, world: World) -> None:
        _check_grid(world)
        self.world = world
        self.tables = _Tables(world)
        self.counts = merge_counts(world)
        _check_merchants(world, self.tables, [entity for (entity, _), n in self.counts.items() if n])
        self.router = _Router(world, self.tables)
        self.streams: dict[tuple[Entity, str], Stream] = {}

    def stream(self, entity: Entity, family: str) -> Stream:
        if (entity, family) not in self.streams:
            w = self.world
            self.streams[entity, family] = derive_stream(
                family, w.manifest_fingerprint, w.parameter_hash, w.seed, w.scenario_id, entity.domain
            )
        return self.streams[entity, family]

    def arrival(self, entity: Entity, bucket: int, j: int) -> _Arrival:
        start, end = self.world.grid[bucket]
        offset = offset_us(self.stream(entity, TIME_FAMILY).block(bucket, j)[0], end - start)
        route = self.router.route(
            entity,
            bucket,
            self.stream(entity, SITE_FAMILY).block(bucket, j),
            self.stream(entity, EDGE_FAMILY).block(bucket, j),
        )
        return _Arrival(entity, bucket, j, start + offset, route)

    def local(self, tzid: str, ts: int) -> int:
        pairs = _clock(self.world, tzid)
        if pairs is None:
            raise LawError(Fault.UNKNOWN_TZID, f"{tzid!r}")
        return local_us(pairs, ts)

    def row(self, arrival: _Arrival, sequence: int) -> Row:
        w, entity, route, ts = self.world, arrival.entity, arrival.route, arrival.ts_utc
        local = self.local(route.tzid, ts)
        settlement = w.settlement.get(entity.merchant_id, route.tzid) if route.is_virtual else None
        return Row(
            manifest_fingerprint=w.manifest_fingerprint,
            parameter_hash=w.parameter_hash,
            seed=w.seed,
            scenario_id=w.scenario_id,
            merchant_id=entity.merchant_id,
            zone_representation=entity.zone,
            channel_group=entity.channel,
            bucket_index=arrival.bucket,
            draw_index=arrival.j,
            arrival_seq=sequence,
            ts_utc=ts,
            tzid_primary=route.tzid,
            ts_local_primary=local,
            tzid_settlement=settlement,
            ts_local_settlement=None if settlement is None else self.local(settlement, ts),
            tzid_operational=route.tzid if route.is_virtual else None,
            ts_local_operational=local if route.is_virtual else None,
            is_virtual=route.is_virtual,
            site_id=None if route.is_virtual else route.target_id,
            edge_id=route.target_id if route.is_virtual else None,
        )

    def use(self, entity: Entity, bucket: int, n: int, arrivals: Sequence[_Arrival]) -> CountRowUse:
        virtual = sum(arrival.route.is_virtual for arrival in arrivals)
        mode, has_edges = self.world.modes[entity.merchant_id], entity.merchant_id in self.tables.edges
        only_virtual = mode == VIRTUAL_ONLY and has_edges
        coins = n if mode == HYBRID and has_edges else 0
        edge_able = has_edges and mode != NON_VIRTUAL
        families = (TIME_FAMILY, SITE_FAMILY, EDGE_FAMILY)
        word1 = {family: (self.stream(entity, family).hi0 + bucket) & MASK64 for family in families}
        blocks = {TIME_FAMILY: n, SITE_FAMILY: 0 if only_virtual else n, EDGE_FAMILY: n if edge_able else 0}
        words = {TIME_FAMILY: n, SITE_FAMILY: 2 * (n - virtual), EDGE_FAMILY: coins + virtual}
        return CountRowUse(entity, bucket, n, n - virtual, virtual, blocks, words, word1)


# --- 5. Order, and the public entry points ---------------------------------------------------------


def _ordered(expander: _Expander) -> tuple[list[tuple[_Arrival, int]], list[CountRowUse]]:
    by_merchant: dict[int, list[_Arrival]] = defaultdict(list)
    uses = []
    for (entity, bucket), n in expander.counts.items():
        if n == 0:
            continue
        arrivals = [expander.arrival(entity, bucket, j) for j in range(n)]
        uses.append(expander.use(entity, bucket, n, arrivals))
        by_merchant[entity.merchant_id] += arrivals
    numbered = []
    for merchant in sorted(by_merchant):
        ordered = sorted(by_merchant[merchant], key=lambda arrival: arrival.order)
        numbered += [(arrival, k) for k, arrival in enumerate(ordered, start=1)]
    return numbered, uses


def expand(world: World) -> Expansion:
    """Every arrival of the world in dataset order, with its accounting and digest; raises LawError."""
    expander = _Expander(world)
    numbered, uses = _ordered(expander)
    fallbacks = Counter(dict.fromkeys(FALLBACKS, 0))
    for arrival, _ in numbered:
        fallbacks.update(arrival.route.fallbacks)
    rows = tuple(expander.row(arrival, sequence) for arrival, sequence in numbered)
    drawn = sum(row.n > 0 for row in world.counts) - sum(n > 0 for n in expander.counts.values())
    merged = len(world.counts) - len(expander.counts)
    digest = digest_text(row.digest_words() for row in rows)
    return Expansion(rows, merged, drawn, dict(fallbacks), tuple(uses), digest)


def explain(world: World, merchant_id: int, arrival_seq: int) -> Explanation:
    """How one row came about: streams, words, coin, picks, fallbacks; KeyError where there is no such row."""
    expander = _Expander(world)
    for arrival, sequence in _ordered(expander)[0]:
        if (arrival.entity.merchant_id, sequence) == (merchant_id, arrival_seq):
            break
    else:
        raise KeyError((merchant_id, arrival_seq))
    families = (TIME_FAMILY, SITE_FAMILY, EDGE_FAMILY)
    streams = {family: expander.stream(arrival.entity, family) for family in families}
    blocks = {family: stream.block(arrival.bucket, arrival.j) for family, stream in streams.items()}
    offset = arrival.ts_utc - world.grid[arrival.bucket][0]
    return Explanation(expander.row(arrival, arrival_seq), streams, blocks, offset, arrival.route)
