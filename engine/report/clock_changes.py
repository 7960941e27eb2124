"""Clock changes within a horizon in the zones of its arrivals, by the pinned tzdata."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from arrival_engine.engine.tz.pinned import pinned_zones, unknown_tzids

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY_S = 86_400
_MICROS = 1_000_000
_DAYS_MIN, _DAYS_MAX = 3, 28


class ZoneArrivals(NamedTuple):
    """A primary zone and the arrivals found in it."""

    tzid: str
    arrivals: int
    virtual: int


class ClockChange(NamedTuple):
    """Zones that move their clocks by the same minutes on one UTC day; `lead` has the most arrivals of them.

    instant_us: when the leading zone changes, µs since 1970.
    """

    instant_us: int
    minutes: int
    lead: str
    zones: int
    arrivals: int


class Window(NamedTuple):
    """One zone's change, and the number of days to show on either side, without another change."""

    change: ClockChange
    days: int


def clock_changes(zones: Iterable[ZoneArrivals], start_us: int, end_us: int) -> tuple[ClockChange, ...]:
    """Every change in [start_us, end_us), grouped by day and direction, in order of time.

    Zones that tzdata does not know are left out: their changes are unknown.
    """
    found: dict[tuple[int, int], list[tuple[ZoneArrivals, int]]] = defaultdict(list)
    for zone in zones:
        for instant_s, minutes in changes_of(zone.tzid, start_us, end_us):
            found[instant_s // _DAY_S, minutes].append((zone, instant_s))
    merged = []
    for (_, minutes), members in found.items():
        lead, instant_s = min(members, key=lambda member: (-member[0].arrivals, member[0].tzid))
        arrivals = sum(zone.arrivals for zone, _ in members)
        merged.append(ClockChange(instant_s * _MICROS, minutes, lead.tzid, len(members), arrivals))
    return tuple(sorted(merged))


def changes_of(tzid: str, start_us: int, end_us: int) -> list[tuple[int, int]]:
    """(Unix second, minutes forward) of each change of one zone in [start_us, end_us)."""
    if unknown_tzids([tzid]):
        return []
    first, last = (_EPOCH + dt.timedelta(microseconds=at) for at in (start_us, end_us))
    instants, offsets = pinned_zones([tzid], last.year, first.year - 1).steps(tzid)
    pairs = zip(instants[1:].tolist(), (offsets[1:] - offsets[:-1]).tolist(), strict=True)
    return [(at, minutes) for at, minutes in pairs if start_us <= at * _MICROS < end_us]


def spotlight(zones: Iterable[ZoneArrivals], start_us: int, end_us: int) -> Window | None:
    """The change with enough days on either side in the zone with the most arrivals; None if there is none."""
    for zone in sorted(zones, key=lambda zone: (-zone.arrivals, zone.tzid)):
        changes = changes_of(zone.tzid, start_us, end_us)
        edges = [start_us, *(at * _MICROS for at, _ in changes), end_us]
        for (at, minutes), before, after in zip(changes, edges, edges[2:], strict=False):
            instant = at * _MICROS
            days = min(instant - before, after - instant) // (_DAY_S * _MICROS)
            if days >= _DAYS_MIN:
                # Whole weeks, so that both sides have the same days of the week.
                days = min(days - days % 7, _DAYS_MAX) if days >= 7 else days
                return Window(ClockChange(instant, minutes, zone.tzid, 1, zone.arrivals), days)
    return None
