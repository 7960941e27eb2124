"""One arrival from the inputs alone, by the law on Python integers over explaining's tables (LAW sections 2 to 5)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence as Seq
from functools import cached_property
from typing import NamedTuple

from arrival_engine.contracts.moments import utc_text, wall_text
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
from arrival_engine.engine.explaining.view import Chosen, View
from arrival_engine.engine.recomputing.kernel_shapes import EDGE, HYBRID, NONE, SITE, STRANDED, TIME, VIRTUAL, Slots
from arrival_engine.engine.recomputing.streams import FAMILIES
from arrival_engine.engine.tz.zones import SENTINEL

_US = 1_000_000
# In the order of TIME, SITE, EDGE.
_FAMILIES = tuple(FAMILIES.values())


class _Route(NamedTuple):
    is_virtual: bool
    place_id: int
    tzid: str
    mode: Mode
    picks: tuple[Pick, ...]
    fallbacks: tuple[Fallback, ...]
    decides: tuple[str, str, str, str]  # what the site and the edge family's words decide


def derive(view: View, chosen: Chosen) -> History:
    """The whole history of one arrival."""
    return _Derivation(view, chosen).history()


class _Derivation:
    def __init__(self, view: View, chosen: Chosen) -> None:
        self.view, self.chosen = view, chosen
        self.law, self.tzids = view.tables.law, view.tables.tzids
        self.row, self.draw = chosen.draw.row, chosen.draw.j
        self.entity = view.entity(self.row)
        self.bucket, self.start_us, self.duration_us = view.bucket(self.row)

    def history(self) -> History:
        route = self._route()
        clocks = self._clocks(route)
        decides = (("the time", "nothing"), route.decides[:2], route.decides[2:])
        families = (TIME, SITE, EDGE)
        return History(
            scenario_id=self.view.scenario_id,
            entity=self._whose(),
            bucket=Bucket(
                index=self.bucket,
                start_utc=utc_text(self.start_us),
                end_utc=utc_text(self.start_us + self.duration_us),
                duration_us=self.duration_us,
                count=self.view.count(self.row),
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

    def _whose(self) -> Entity:
        merchant_id, zone, channel = self.entity.merchant_id, self.entity.zone, self.entity.channel
        merchants = self.view.merchants
        text = None if merchants is None else merchants.text(merchant_id)
        return Entity(merchant_id, zone, channel or None, self.entity.domain, text)

    def _block(self, family: int, x0_decides: str, x1_decides: str) -> Block:
        key, hi0 = self.view.stream(self.row, family)
        word1 = law.counter_word1(hi0, self.bucket)
        x0, x1 = law.philox2x64(self.draw, word1, key)
        words = (Word(key), Word(hi0), self.draw, Word(word1), Word(x0), Word(x1))
        return Block(_FAMILIES[family], *words, x0_decides, x1_decides)

    @cached_property
    def _site_words(self) -> tuple[int, int]:
        block = self._block(SITE, "", "")
        return int(block.x0), int(block.x1)

    @cached_property
    def _edge_words(self) -> tuple[int, int]:
        block = self._block(EDGE, "", "")
        return int(block.x0), int(block.x1)

    def _offset(self) -> Offset:
        x0 = self._block(TIME, "", "").x0
        offset_us = law.offset_us(x0, self.duration_us)
        numerator = x0 * self.duration_us + self.duration_us // 2
        return Offset(x0, self.duration_us, str(numerator), offset_us, utc_text(self.start_us + offset_us))

    def _sequence(self) -> Sequence:
        segment, place, _ = self.chosen
        before, inside = self.view.before(segment), sum(map(self.view.count, self.view.row_span(segment)))
        return Sequence(before, place, inside, before + place, self.view.tables.arrivals)

    # --- LAW 4.2: the merchant's mode ---

    def _route(self) -> _Route:
        merchants = self.law.merchants
        kind, table = int(merchants.kind[0]), int(merchants.edges[0])
        edges = 0 if table == NONE else len(_members(self.law.edge_tables, table))
        fallbacks: list[Fallback] = []
        coin, is_virtual = None, kind == VIRTUAL
        if kind == STRANDED:
            what = "the virtual merchant has no edge table: its arrivals are physical, and no coin is drawn"
            fallbacks.append(self._fallback("missing_edge_table", what))
        elif kind == HYBRID:
            word, threshold = self._edge_words[1], int(self.law.coin[0])
            is_virtual = word < threshold
            coin = Coin(Word(word), Word(threshold), threshold / law.TWO64, is_virtual)
        mode = self.view.inputs.modes[self.view.merchant_id]
        facts = Mode(mode, edges, self.view.settlement, coin, is_virtual)
        coin_word = "the coin" if coin else "nothing"
        if is_virtual:
            return self._virtual(facts, ("nothing", "nothing", "the edge", coin_word))
        return self._physical(facts, fallbacks, coin_word)

    # --- LAW 4.3: virtual ---

    def _fallback(self, name: str, what: str) -> Fallback:
        return Fallback(name, what, self.view.stated.forbidden[name])

    def _virtual(self, mode: Mode, decides: tuple[str, str, str, str]) -> _Route:
        table, edges = int(self.law.merchants.edges[0]), self.law.edges
        members = _members(self.law.edge_tables, table)
        names = [self.view.names.edge(int(edges.id[member])) for member in members]
        pick = _pick("edges of the merchant", self._edge_words[0], _table(self.law.edge_tables, table), names)
        chosen = members[pick.chosen]
        return _Route(True, int(edges.id[chosen]), self.tzids[edges.zone[chosen]], mode, (pick,), (), decides)

    # --- LAW 4.4: physical ---

    def _physical(self, mode: Mode, fallbacks: list[Fallback], coin_word: str) -> _Route:
        group, table = self._group(fallbacks)
        zone = group.chosen_name if group else self.entity.zone
        elsewhere = table == NONE
        if elsewhere:
            what = f"no site of the merchant is in {zone}: the site is picked among all of them"
            fallbacks.append(self._fallback("no_site_in_zone", what))
            table = int(self.law.merchants.sites[0])
        sites, members = self.law.sites, _members(self.law.site_tables, table)
        others = {self.tzids[sites.zone[member]] for member in members} - {zone}
        also = f", also named {', '.join(sorted(others))}" if others else ""
        title = "all sites of the merchant" if elsewhere else f"sites in {zone}{also}"
        names = [self.view.names.site(int(sites.id[member])) for member in members]
        pick = _pick(title, self._site_words[1], _table(self.law.site_tables, table), names)
        chosen = members[pick.chosen]
        decides = ("the tz group" if group else "nothing", "the site", "nothing", coin_word)
        picks = (group, pick) if group else (pick,)
        return _Route(
            False, int(sites.id[chosen]), self.tzids[sites.zone[chosen]], mode, picks, tuple(fallbacks), decides
        )

    def _group(self, fallbacks: list[Fallback]) -> tuple[Pick | None, int]:
        """The tz group picked, if there is a table, and the site table of the zone that results."""
        own = int(self.law.entities.home[self.law.rows.entity[self.row]])
        if not self.view.inputs.use_group_weights:
            return None, own
        table = self.view.group_table(self.bucket)
        utc_day = utc_text(self.start_us)[:10]
        if table is None:
            what = f"no tz group weights on {utc_day}: the count row's zone is used"
            fallbacks.append(self._fallback("missing_group_table", what))
            return None, own
        # A slot of the group tables is a row of the inputs.
        start, stop = self.law.groups.start[table : table + 2].tolist()
        names = self.view.inputs.groups.tzid[start:stop]
        pick = _pick(f"tz groups on {utc_day}", self._site_words[0], _table(self.law.groups, table), names)
        return pick, _members(self.law.groups, table)[pick.chosen]

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
        absent = primary if self.view.stated.mirror_dual_clock else None
        settlement, operational = shown.get("settlement", absent), shown.get("operational", absent)
        return {
            **self.view.receipt.identity.columns(),
            "scenario_id": self.view.scenario_id,
            "merchant_id": self.view.merchant_id,
            "zone_representation": self.entity.zone,
            "channel_group": self.entity.channel or None,
            "bucket_index": self.bucket,
            "arrival_seq": self._sequence().arrival_seq,
            "ts_utc": self._offset().ts_utc,
            "tzid_primary": primary.tzid,
            "ts_local_primary": primary.local,
            "tzid_settlement": settlement.tzid if settlement else None,
            "ts_local_settlement": settlement.local if settlement else None,
            "tzid_operational": operational.tzid if operational else None,
            "ts_local_operational": operational.local if operational else None,
            "routing_universe_hash": self.view.stated.universe_hash,
            "is_virtual": route.is_virtual,
            "s4_spec_version": self.view.stated.spec_version,
            "site_id": None if route.is_virtual else route.place_id,
            "edge_id": route.place_id if route.is_virtual else None,
        }


def _table(slots: Slots, table: int) -> law.Table:
    span = slice(*slots.start[table : table + 2].tolist())
    return law.Table(slots.threshold[span].tolist(), slots.alias[span].tolist())


def _members(slots: Slots, table: int) -> list[int]:
    members: list[int] = slots.member[slice(*slots.start[table : table + 2].tolist())].tolist()
    return members


def _pick(title: str, word: int, table: law.Table, names: Seq[str]) -> Pick:
    slot = law.pick(word, table)
    return Pick(
        table=title,
        size=len(names),
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
        share=law.share(table, slot.taken),
    )
