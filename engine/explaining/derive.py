"""One arrival from the inputs alone, by the law on Python integers over the loaded tables (LAW sections 2 to 5)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from arrival_engine.contracts.moments import utc_text, wall_text
from arrival_engine.cpu_fallback.law import HYBRID, MODES, NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.cpu_fallback.streams import (
    EDGE_FAMILY,
    SITE_FAMILY,
    TIME_FAMILY,
    StreamFamily,
    derive_stream,
    domain,
)
from arrival_engine.engine.expand.planning import Plan
from arrival_engine.engine.explaining import law
from arrival_engine.engine.explaining.facts import (
    Block,
    Bucket,
    Clock,
    Coin,
    Entity,
    Fallback,
    History,
    Mode,
    Offset,
    Pick,
    Sequence,
    Word,
)
from arrival_engine.engine.explaining.names import Names
from arrival_engine.engine.tz.zones import SENTINEL, ZoneTable
from arrival_engine.engine.world.load import World

_US = 1_000_000


class Draw(NamedTuple):
    """One draw of a segment; draws of a merchant stand in the order of these fields (LAW section 5)."""

    ts_us: int
    zone: bytes
    channel: bytes
    j: int
    row: int


class Chosen(NamedTuple):
    """The arrival asked for: its segment, its draw and its place in the segment, from 1."""

    segment: int
    place: int
    draw: Draw


class _Route(NamedTuple):
    is_virtual: bool
    place_id: int
    tzid: str
    mode: Mode
    picks: tuple[Pick, ...]
    fallbacks: tuple[Fallback, ...]
    decides: tuple[str, str, str, str]  # what the site and the edge family's words decide


@dataclass(frozen=True)
class View:
    """One merchant's part of a world: the only merchant of its tables is number 0."""

    world: World
    plan: Plan
    zones: ZoneTable
    names: Names

    @property
    def merchant_id(self) -> int:
        """The merchant."""
        return int(self.world.tables.merchants.id[0])

    def row_span(self, segment: int) -> range:
        """Count rows of a segment."""
        starts = self.plan.segments.row_start
        return range(int(starts[segment]), int(starts[segment + 1]))

    def texts(self, row: int) -> tuple[str, str]:
        """Zone and channel of a count row, the null channel as the empty text."""
        entities, entity = self.world.tables.entities, int(self.world.rows.entity[row])
        return self.world.tzids[entities.zone[entity]], self.world.channels[entities.channel[entity]]

    def stream(self, row: int, family: str) -> tuple[int, int]:
        """Key and hi0 of a count row's stream, derived anew from its texts."""
        identity = self.world.receipt.identity
        shared = StreamFamily(
            family,
            identity.manifest_fingerprint,
            identity.parameter_hash,
            identity.seed,
            self.world.scenario_id,
        )
        return derive_stream(shared, domain(self.merchant_id, *self.texts(row)))

    def bucket(self, row: int) -> tuple[int, int, int]:
        """Index of a count row's bucket, its start in microseconds and its duration."""
        index, grid = int(self.world.rows.bucket[row]), self.world.tables.grid
        return index, int(grid.start_us[index]), int(grid.duration_us[index])

    def draws(self, segment: int) -> list[Draw]:
        """Every draw of a segment in output order; only their times are drawn."""
        found = []
        for row in self.row_span(segment):
            index, start_us, duration_us = self.bucket(row)
            key, hi0 = self.stream(row, TIME_FAMILY)
            word1 = law.counter_word1(hi0, index)
            zone, channel = (text.encode() for text in self.texts(row))
            for j in range(int(self.world.rows.arrivals[row])):
                x0, _ = law.philox2x64(j, word1, key)
                found.append(Draw(start_us + law.offset_us(x0, duration_us), zone, channel, j, row))
        return sorted(found)


def derive(view: View, chosen: Chosen) -> History:
    """The whole history of one arrival."""
    return _Derivation(view, chosen).history()


class _Derivation:
    def __init__(self, view: View, chosen: Chosen) -> None:
        self.view, self.chosen = view, chosen
        self.world, self.tables = view.world, view.world.tables
        self.row, self.draw = chosen.draw.row, chosen.draw.j
        self.zone, self.channel = view.texts(self.row)
        self.bucket, self.start_us, self.duration_us = view.bucket(self.row)

    def history(self) -> History:
        route = self._route()
        clocks = self._clocks(route)
        decides = (("the time", "nothing"), route.decides[:2], route.decides[2:])
        families = (TIME_FAMILY, SITE_FAMILY, EDGE_FAMILY)
        return History(
            scenario_id=self.world.scenario_id,
            entity=Entity(
                self.view.merchant_id,
                self.zone,
                self.channel or None,
                domain(self.view.merchant_id, self.zone, self.channel),
            ),
            bucket=Bucket(
                index=self.bucket,
                start_utc=utc_text(self.start_us),
                end_utc=utc_text(self.start_us + self.duration_us),
                duration_us=self.duration_us,
                count=int(self.world.rows.arrivals[self.row]),
                draw=self.draw,
            ),
            blocks=tuple(self._block(family, *words) for family, words in zip(families, decides, strict=True)),
            offset=self._offset(),
            sequence=self._sequence(),
            mode=route.mode,
            picks=route.picks,
            fallbacks=route.fallbacks,
            clocks=clocks,
            row=self._columns(route, clocks),
        )

    def _block(self, family: str, x0_decides: str, x1_decides: str) -> Block:
        key, hi0 = self.view.stream(self.row, family)
        word1 = law.counter_word1(hi0, self.bucket)
        x0, x1 = law.philox2x64(self.draw, word1, key)
        words = (Word(key), Word(hi0), self.draw, Word(word1), Word(x0), Word(x1))
        return Block(family, *words, x0_decides, x1_decides)

    @cached_property
    def _site_words(self) -> tuple[int, int]:
        block = self._block(SITE_FAMILY, "", "")
        return int(block.x0), int(block.x1)

    @cached_property
    def _edge_words(self) -> tuple[int, int]:
        block = self._block(EDGE_FAMILY, "", "")
        return int(block.x0), int(block.x1)

    def _offset(self) -> Offset:
        x0 = self._block(TIME_FAMILY, "", "").x0
        offset_us = law.offset_us(x0, self.duration_us)
        numerator = x0 * self.duration_us + self.duration_us // 2
        return Offset(x0, self.duration_us, str(numerator), offset_us, utc_text(self.start_us + offset_us))

    def _sequence(self) -> Sequence:
        segments, (segment, place, _) = self.view.plan.segments, self.chosen
        before = int(segments.arrivals_before[segment])
        inside = int(segments.arrival_start[segment + 1] - segments.arrival_start[segment])
        return Sequence(before, place, inside, before + place, self.view.plan.arrivals)

    # --- LAW 4.2: the merchant's mode ---

    def _route(self) -> _Route:
        merchants = self.tables.merchants
        mode, edges = int(merchants.mode[0]), int(merchants.edge_start[1] - merchants.edge_start[0])
        fallbacks: list[Fallback] = []
        coin, is_virtual = None, False
        if mode != NON_VIRTUAL and edges == 0:
            forbidden = self.world.settings.fallbacks.missing_edge_table
            what = "the virtual merchant has no edge table: its arrivals are physical, and no coin is drawn"
            fallbacks.append(Fallback("missing_edge_table", what, forbidden))
        elif mode == HYBRID:
            word, threshold = self._edge_words[1], self.world.settings.coin
            is_virtual = word < threshold
            coin = Coin(Word(word), Word(threshold), threshold / law.TWO64, is_virtual)
        else:
            is_virtual = mode == VIRTUAL_ONLY
        settlement = int(merchants.settlement[0])
        facts = Mode(MODES[mode], edges, self.world.tzids[settlement] if settlement >= 0 else None, coin, is_virtual)
        coin_word = "the coin" if coin else "nothing"
        if is_virtual:
            return self._virtual(facts, ("nothing", "nothing", "the edge", coin_word))
        return self._physical(facts, fallbacks, coin_word)

    # --- LAW 4.3: virtual ---

    def _virtual(self, mode: Mode, decides: tuple[str, str, str, str]) -> _Route:
        edges = self.tables.edges
        first, last = (int(bound) for bound in self.tables.merchants.edge_start[:2])
        ids = [int(identifier) for identifier in edges.id[first:last]]
        names = [self.view.names.edge(identifier) for identifier in ids]
        pick = _pick("edges of the merchant", self._edge_words[0], edges.packed[first:last].tolist(), names, False)
        tzid = self.world.tzids[edges.zone[first + pick.chosen]]
        return _Route(True, ids[pick.chosen], tzid, mode, (pick,), (), decides)

    # --- LAW 4.4: physical ---

    def _physical(self, mode: Mode, fallbacks: list[Fallback], coin_word: str) -> _Route:
        group, table = self._group(fallbacks)
        zone = group.chosen_name if group else self.zone
        elsewhere = table < 0
        if elsewhere:
            what = f"no site of the merchant is in {zone}: the site is picked among all of them"
            fallbacks.append(Fallback("no_site_in_zone", what, self.world.settings.fallbacks.no_site_in_zone))
            table = int(self.tables.merchants.site_table[0])
        sites = self.tables.sites
        span = slice(int(sites.start[table]), int(sites.start[table + 1]))
        ids = [int(identifier) for identifier in sites.id[span]]
        others = {self.world.tzids[code] for code in sites.zone[span].tolist()} - {zone}
        also = f", also named {', '.join(sorted(others))}" if others else ""
        title = "all sites of the merchant" if elsewhere else f"sites in {zone}{also}"
        names = [self.view.names.site(identifier) for identifier in ids]
        pick = _pick(title, self._site_words[1], sites.packed[span].tolist(), names)
        tzid = self.world.tzids[sites.zone[span.start + pick.chosen]]
        decides = ("the tz group" if group else "nothing", "the site", "nothing", coin_word)
        picks = (group, pick) if group else (pick,)
        return _Route(False, ids[pick.chosen], tzid, mode, picks, tuple(fallbacks), decides)

    def _group(self, fallbacks: list[Fallback]) -> tuple[Pick | None, int]:
        """The tz group picked, if there is a table, and the site table of the zone that results."""
        own = int(self.tables.entities.site_table[self.world.rows.entity[self.row]])
        if not self.world.settings.use_group_weights:
            return None, own
        groups, day = self.tables.groups, int(self.tables.grid.day[self.bucket])
        table = next((t for t in range(groups.day.size) if int(groups.day[t]) == day), None)
        if table is None:
            what = f"no tz group weights on {utc_text(self.start_us)[:10]}: the count row's zone is used"
            fallbacks.append(Fallback("missing_group_table", what, self.world.settings.fallbacks.missing_group_table))
            return None, own
        span = slice(int(groups.start[table]), int(groups.start[table + 1]))
        names = [self.world.tzids[zone] for zone in groups.zone[span]]
        title = f"tz groups on {utc_text(self.start_us)[:10]}"
        pick = _pick(title, self._site_words[0], groups.packed[span].tolist(), names)
        return pick, int(groups.site_table[span.start + pick.chosen])

    # --- LAW 4.5: local times ---

    def _clocks(self, route: _Route) -> tuple[Clock, ...]:
        if not route.is_virtual:
            return (self._clock(("primary",), route.tzid),)
        settlement = route.mode.settlement_tzid or route.tzid
        if settlement == route.tzid:
            return (self._clock(("primary", "operational", "settlement"), route.tzid),)
        return self._clock(("primary", "operational"), route.tzid), self._clock(("settlement",), settlement)

    def _clock(self, roles: tuple[str, ...], tzid: str) -> Clock:
        ts_us = self.chosen.draw.ts_us
        instants, offsets = (part.tolist() for part in self.view.zones.steps(tzid))
        step = bisect_right(instants, ts_us // _US) - 1
        until = instants[step + 1] if step + 1 < len(instants) else None
        return Clock(
            roles=roles,
            tzid=tzid,
            utc_second=ts_us // _US,
            since_utc=None if instants[step] == SENTINEL else utc_text(instants[step] * _US),
            until_utc=None if until is None else utc_text(until * _US),
            offset_minutes=offsets[step],
            local=wall_text(ts_us + offsets[step] * 60 * _US),
        )

    def _columns(self, route: _Route, clocks: tuple[Clock, ...]) -> dict[str, object]:
        """The row as the run's output policy has it, in contract order."""
        shown = {role: clock for clock in clocks for role in clock.roles}
        primary = shown["primary"]
        absent = primary if self.world.settings.output.mirror_dual_clock else None
        settlement, operational = shown.get("settlement", absent), shown.get("operational", absent)
        return {
            **self.world.receipt.identity.columns(),
            "scenario_id": self.world.scenario_id,
            "merchant_id": self.view.merchant_id,
            "zone_representation": self.zone,
            "channel_group": self.channel or None,
            "bucket_index": self.bucket,
            "arrival_seq": self._sequence().arrival_seq,
            "ts_utc": self._offset().ts_utc,
            "tzid_primary": primary.tzid,
            "ts_local_primary": primary.local,
            "tzid_settlement": settlement.tzid if settlement else None,
            "ts_local_settlement": settlement.local if settlement else None,
            "tzid_operational": operational.tzid if operational else None,
            "ts_local_operational": operational.local if operational else None,
            "routing_universe_hash": self.world.universe_hash,
            "is_virtual": route.is_virtual,
            "s4_spec_version": self.world.seal.spec_version,
            "site_id": None if route.is_virtual else route.place_id,
            "edge_id": route.place_id if route.is_virtual else None,
        }


def _pick(table: str, word: int, packed: Seq[int], names: Seq[str], from_weights: bool = True) -> Pick:
    slot = law.pick(word, packed, from_weights=from_weights)
    return Pick(
        table=table,
        size=len(packed),
        word=Word(word),
        slot=slot.slot,
        slot_name=names[slot.slot],
        fraction=slot.fraction,
        threshold=slot.threshold,
        alias=slot.alias,
        alias_name=names[slot.alias],
        taken="slot" if slot.taken == slot.slot else "alias",
        chosen=slot.taken,
        chosen_name=names[slot.taken],
        share=law.share(packed, slot.taken),
    )
