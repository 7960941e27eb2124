"""Handmade worlds: one that touches every feature of the law, and the pieces that other tests build from."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.blobs import slots
from tests.support.law import EPOCH, MICROS, edge_id
from tests.support.model import (
    BEFORE_ALL,
    HYBRID,
    NON_VIRTUAL,
    VIRTUAL_ONLY,
    CountRow,
    Edge,
    EdgeTable,
    GroupWeight,
    Policy,
    Site,
    World,
)
from tests.support.world_files import WrittenWorld, write_world

__all__ = [
    "WrittenWorld",
    "edge_table",
    "grid_of",
    "instant_us",
    "pinned_zone",
    "small_world",
    "utc_days",
    "write_world",
    "zone_table",
    "zones_for",
]

BERLIN, PARIS, NEW_YORK = "Europe/Berlin", "Europe/Paris", "America/New_York"
CASABLANCA, SYDNEY, KATHMANDU, UTC = "Africa/Casablanca", "Australia/Sydney", "Asia/Kathmandu", "Etc/UTC"

TWO_ZONES, BIG_ID, VIRTUAL, HALF, HALF_NO_EDGES, VIRTUAL_NO_EDGES = 101, 2**63 + 12345, 303, 404, 505, 606
ALONE_ONLINE, ONE_SLOT, ZERO_WEIGHTS, SILENT = 2**64 - 1, 1, 808, 909


def instant_us(text: str) -> int:
    """µs since 1970 of an ISO time, UTC where it says nothing else."""
    moment = dt.datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def grid_of(start_us: int, durations_s: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Contiguous buckets of these lengths."""
    edges = list(itertools.accumulate(durations_s, lambda at, d: at + d * MICROS, initial=start_us))
    return tuple(itertools.pairwise(edges))


def utc_days(grid: Sequence[tuple[int, int]]) -> list[str]:
    """Every UTC day that some bucket touches."""
    day = 86_400 * MICROS
    first, last = grid[0][0] // day, (grid[-1][1] - 1) // day
    return [(EPOCH + dt.timedelta(days=d)).isoformat() for d in range(first, last + 1)]


# --- Time zones: the pinned tzdata, read by the standard library -----------------------------------


@cache
def pinned_zone(tzid: str) -> ZoneInfo:
    """The zone as the pinned tzdata package has it, whatever the host's own files say."""
    with files("tzdata.zoneinfo").joinpath(*tzid.split("/")).open("rb") as handle:
        return ZoneInfo.from_file(handle, key=tzid)


def _minutes(zone: ZoneInfo, at_s: int) -> int:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=at_s)
    offset = moment.astimezone(zone).utcoffset()
    if offset is None or offset % dt.timedelta(minutes=1):
        raise ValueError(f"{zone.key} is not at a whole minute at {at_s}")
    return offset // dt.timedelta(minutes=1)


@cache
def zone_table(tzid: str, start_s: int, end_s: int) -> tuple[tuple[int, int], ...]:
    """The (instant, minutes) pairs in force from start to end, found by bisection between hourly probes."""
    zone = pinned_zone(tzid)
    pairs = [(BEFORE_ALL, _minutes(zone, start_s))]
    for probe in range(start_s, end_s, 3600):
        low, high = probe, min(probe + 3600, end_s)
        if _minutes(zone, high) == pairs[-1][1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _minutes(zone, middle) == pairs[-1][1] else (low, middle)
        pairs.append((high, _minutes(zone, high)))
    return tuple(pairs)


def zones_for(tzids: Sequence[str], grid: Sequence[tuple[int, int]]) -> Mapping[str, tuple[tuple[int, int], ...]]:
    """A cache for these zones that is right from two days before the grid to two days after it."""
    first, last = grid[0][0] // MICROS - 2 * 86_400, grid[-1][1] // MICROS + 2 * 86_400
    return {tzid: zone_table(tzid, first, last) for tzid in sorted(set(tzids))}


# --- Edges -----------------------------------------------------------------------------------------


def edge_table(merchant_id: int, weights: Sequence[float], tzids: Sequence[str], prob_qbits: int = 32) -> EdgeTable:
    """As many edges as weights, the zones dealt out in turn, slots filled by 3B's law in edge_id order."""
    ids = sorted(f"{edge_id(merchant_id, sequence):016x}" for sequence in range(len(weights)))
    dealt = itertools.cycle(tzids)
    return EdgeTable(
        prob_qbits,
        tuple(
            Edge(key, next(dealt), prob_q, alias, weight)
            for key, weight, (prob_q, alias) in zip(ids, weights, slots(weights, prob_qbits), strict=True)
        ),
    )


# --- The small world -------------------------------------------------------------------------------

# 14 Feb to 30 Mar 2026: Casablanca leaves and resumes +01 (15 Feb fold, 22 Mar gap), New York (8 Mar) and
# Berlin (29 Mar) go forward. Day-long buckets, cut up around each change and once into an odd length.
_START = "2026-02-14T00:00:00"
_CUT_DAYS = {1: (6300, 1801, 78_299), 22: (21_600, 7200, 57_600), 36: (6300, 3600, 76_500)}
_BERLIN_DAY = (1800, 3601, 1801, 1, 79_197)
_GRID = grid_of(
    instant_us(_START),
    [d for day in range(43) for d in _CUT_DAYS.get(day, (86_400,))] + list(_BERLIN_DAY),
)


def bucket_at(text: str) -> int:
    """The bucket of the small world's grid that holds this UTC instant."""
    at = instant_us(text)
    return next(b for b, (start, end) in enumerate(_GRID) if start <= at < end)


BERLIN_GAP = bucket_at("2026-03-29T01:00")
ODD_BUCKET, ONE_SECOND_BUCKET = BERLIN_GAP + 1, BERLIN_GAP + 2
NEW_YORK_GAP = bucket_at("2026-03-08T07:00")
CASABLANCA_FOLD, CASABLANCA_GAP = bucket_at("2026-02-15T02:00"), bucket_at("2026-03-22T02:00")


def _sites() -> tuple[Site, ...]:
    return (
        Site(TWO_ZONES, "DE", 1, BERLIN, 0.30),
        Site(TWO_ZONES, "DE", 2, BERLIN, 0.15),
        Site(TWO_ZONES, "DE", 3, BERLIN, 0.05),
        Site(TWO_ZONES, "AT", 1, BERLIN, 0.10),  # another country, the same zone: AT:1 comes before DE:1
        Site(TWO_ZONES, "US", 1, NEW_YORK, 0.25),
        Site(TWO_ZONES, "US", 2, NEW_YORK, 0.15),
        Site(BIG_ID, "MA", 1, CASABLANCA, 0.75),
        Site(BIG_ID, "DE", 10, BERLIN, 0.20),
        Site(BIG_ID, "DE", 9, BERLIN, 0.05),  # 9 before 10: site_order is a number, not a text
        Site(HALF, "NP", 1, KATHMANDU, 0.5),
        Site(HALF, "FR", 1, PARIS, 0.5),
        Site(HALF_NO_EDGES, "US", 1, NEW_YORK, 1.0),
        Site(VIRTUAL_NO_EDGES, "AU", 1, SYDNEY, 0.6),
        Site(VIRTUAL_NO_EDGES, "AU", 2, SYDNEY, 0.4),
        Site(ONE_SLOT, "NP", 1, KATHMANDU, 1.0),
        Site(ZERO_WEIGHTS, "FR", 1, PARIS, 0.0),  # the whole zone weighs nothing: no table
        Site(ZERO_WEIGHTS, "DE", 1, BERLIN, 0.0),  # a zero inside a table
        Site(ZERO_WEIGHTS, "DE", 2, BERLIN, 1.0),
    )


def _group_weights(days: Sequence[str]) -> tuple[GroupWeight, ...]:
    shares = {
        TWO_ZONES: {BERLIN: 0.6, NEW_YORK: 0.4},
        BIG_ID: {CASABLANCA: 0.7, BERLIN: 0.2, SYDNEY: 0.1},  # no site in Sydney
        HALF: {KATHMANDU: 0.3, PARIS: 0.7},
        VIRTUAL_NO_EDGES: {SYDNEY: 1.0},
        ONE_SLOT: {KATHMANDU: 1.0},
        ZERO_WEIGHTS: {PARIS: 0.5, BERLIN: 0.5},
    }
    missing = {(BIG_ID, "2026-03-08"), (HALF, "2026-03-29")}
    zero = {(ZERO_WEIGHTS, "2026-02-15")}  # rows that sum to zero are no table either
    return tuple(
        GroupWeight(merchant, day, tzid, 0.0 if (merchant, day) in zero else share)
        for day in days
        for merchant, groups in shares.items()
        if (merchant, day) not in missing
        for tzid, share in groups.items()
    )


def _counts() -> tuple[CountRow, ...]:
    gap = BERLIN_GAP
    rows = [
        CountRow(TWO_ZONES, BERLIN, "card_present", gap, 3000),
        CountRow(TWO_ZONES, BERLIN, "card_present", ODD_BUCKET, 7),
        CountRow(TWO_ZONES, BERLIN, "card_not_present", gap, 5),
        CountRow(TWO_ZONES, NEW_YORK, "card_present", gap, 4),
        CountRow(TWO_ZONES, BERLIN, "card_present", ODD_BUCKET, 6),  # the same key again
        CountRow(TWO_ZONES, NEW_YORK, "card_present", NEW_YORK_GAP, 20),
        CountRow(TWO_ZONES, NEW_YORK, "card_present", 0, 0),
        CountRow(TWO_ZONES, BERLIN, "card_present", ONE_SECOND_BUCKET, 9),  # a bucket of one second
        CountRow(BIG_ID, CASABLANCA, "mixed", CASABLANCA_FOLD, 25),
        CountRow(BIG_ID, CASABLANCA, "mixed", NEW_YORK_GAP, 10),  # a day without group weights
        CountRow(BIG_ID, SYDNEY, "mixed", NEW_YORK_GAP, 5),  # that day, and a zone without sites
        CountRow(BIG_ID, CASABLANCA, "mixed", CASABLANCA_GAP, 15),
        CountRow(VIRTUAL, PARIS, "card_not_present", gap, 30),
        CountRow(VIRTUAL, PARIS, "card_not_present", NEW_YORK_GAP, 12),
        CountRow(HALF, PARIS, "mixed", gap, 40),  # a day without group weights
        CountRow(HALF, KATHMANDU, "mixed", NEW_YORK_GAP, 30),
        CountRow(HALF_NO_EDGES, NEW_YORK, "mixed", NEW_YORK_GAP, 8),  # no group weights at all
        CountRow(VIRTUAL_NO_EDGES, SYDNEY, "card_present", 3, 9),
        CountRow(ALONE_ONLINE, UTC, None, gap, 6),
        CountRow(ALONE_ONLINE, UTC, "", gap, 3),  # the same entity as the null channel
        CountRow(ALONE_ONLINE, UTC, None, 0, 0),
        CountRow(ONE_SLOT, KATHMANDU, "card_present", 5, 11),
        CountRow(ZERO_WEIGHTS, PARIS, "card_present", gap, 12),
        CountRow(ZERO_WEIGHTS, PARIS, "card_present", CASABLANCA_FOLD, 12),
        CountRow(SILENT, BERLIN, "card_present", gap, 0),
    ]
    return tuple(rows)


def small_world(**overrides: Any) -> World:
    """The world that touches every feature, about 3300 arrivals; keywords replace its fields."""
    tzids = (BERLIN, PARIS, NEW_YORK, CASABLANCA, SYDNEY, KATHMANDU, UTC)
    world = World(
        manifest_fingerprint="a" * 64,
        parameter_hash="b" * 64,
        seed=42,
        scenario_id="baseline_v1",
        run_id="c" * 32,
        grid=_GRID,
        counts=_counts(),
        sites=_sites(),
        group_weights=_group_weights(utc_days(_GRID)),
        modes={
            TWO_ZONES: NON_VIRTUAL,
            BIG_ID: NON_VIRTUAL,
            VIRTUAL: VIRTUAL_ONLY,
            HALF: HYBRID,
            HALF_NO_EDGES: HYBRID,
            VIRTUAL_NO_EDGES: VIRTUAL_ONLY,
            ALONE_ONLINE: VIRTUAL_ONLY,
            ONE_SLOT: NON_VIRTUAL,
            ZERO_WEIGHTS: NON_VIRTUAL,
            SILENT: NON_VIRTUAL,
        },
        settlement={VIRTUAL: PARIS, HALF: NEW_YORK, VIRTUAL_NO_EDGES: SYDNEY},  # ALONE_ONLINE has none
        edges={
            VIRTUAL: edge_table(VIRTUAL, [0.4, 0.3, 0.2, 0.1, 0.0], [NEW_YORK, CASABLANCA, BERLIN]),
            HALF: edge_table(HALF, [0.2, 0.5, 0.3], [SYDNEY, PARIS]),
            ALONE_ONLINE: edge_table(ALONE_ONLINE, [1.0], [KATHMANDU]),
        },
        zones=zones_for(tzids, _GRID),
        policy=Policy(),
    )
    return replace(world, **overrides)
