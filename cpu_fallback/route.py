"""The place of one arrival and its local times (LAW sections 4.2 to 4.5, 7).

These plain functions load from tables and leave every decision to the scalar law. Each backend compiles those it needs
itself: `numba.njit` here, `numba.cuda.jit(device=True)` on the device. None calls another, because a plain function
compiled twice must not refer to only one of the compiled forms. CUDA threads route their arrivals by them. The CPU
kernel makes the same decisions row by row (`places`, `store`), and tests hold it to these functions.
"""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.digest import (
    K1,
    K2,
    K3,
    K4,
    K5,
    K6,
    K7,
    K8,
    K9,
    K10,
    K11,
    K12,
    digest_lanes,
    fold_word,
)
from arrival_engine.cpu_fallback.law import (
    HYBRID,
    VIRTUAL_ONLY,
    alias_choice,
    alias_slot,
    coin_is_virtual,
    counter_word1,
    whole_seconds,
)
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.tables import (
    FAILED_NO_GROUP,
    FAILED_NO_SITE,
    NO_TABLE,
    Groups,
    Merchants,
    Switches,
    Tables,
    Zones,
)

Routed = tuple[bool, np.int64, np.int32, np.int32, bool]
Clocks = tuple[np.int64, np.int64]


def find_group_table(merchants: Merchants, groups: Groups, merchant: np.int32, day: np.int32) -> np.int64:
    """Index of the tz group table of (merchant, UTC day), or NO_TABLE; binary search over the merchant's days."""
    low = merchants.group_start[merchant]
    high = merchants.group_start[merchant + 1]
    while low < high:
        middle = (low + high) // 2
        if groups.day[middle] < day:
            low = middle + 1
        else:
            high = middle
    if low < merchants.group_start[merchant + 1] and groups.day[low] == day:
        return np.int64(low)
    return np.int64(NO_TABLE)


def route_arrival(
    tables: Tables, coin: np.uint64, entity: np.int32, bucket: np.int32, group_table: np.int64, draw: np.int64
) -> Routed:
    """Route draw `draw` of (entity, bucket): (is_virtual, place, primary zone, settlement zone, without_site).

    The place is an index into the edges if virtual, else into the sites. `group_table` is the merchant-day's tz group
    table or NO_TABLE. Settlement is -1 on physical arrivals.
    """
    merchant = tables.entities.merchant[entity]
    edge_first = tables.merchants.edge_start[merchant]
    edge_count = tables.merchants.edge_start[merchant + 1] - edge_first
    mode = tables.merchants.mode[merchant]
    # Not `in`: a device would get a loop over the tuple of it, with a way out of the kernel that misses its barriers.
    has_edges_for = mode == VIRTUAL_ONLY or mode == HYBRID  # noqa: PLR1714
    if edge_count > 0 and has_edges_for:
        word1 = np.uint64(counter_word1(tables.entities.edge_hi[entity], bucket))
        x0, x1 = philox2x64(np.uint64(draw), word1, tables.entities.edge_key[entity])
        x0 = np.uint64(x0)
        if mode == VIRTUAL_ONLY or coin_is_virtual(np.uint64(x1), coin):
            slot = np.int64(alias_slot(x0, np.uint64(edge_count)))
            packed = tables.edges.packed[edge_first + slot]
            chosen = edge_first + np.int64(alias_choice(x0, np.uint64(edge_count), np.uint64(slot), packed))
            zone = tables.edges.zone[chosen]
            settlement = tables.merchants.settlement[merchant]
            if settlement < 0:
                settlement = zone
            return True, chosen, zone, settlement, False

    word1 = np.uint64(counter_word1(tables.entities.site_hi[entity], bucket))
    x0, x1 = philox2x64(np.uint64(draw), word1, tables.entities.site_key[entity])
    x0 = np.uint64(x0)
    x1 = np.uint64(x1)
    table = tables.entities.site_table[entity]
    if group_table >= 0:
        first = tables.groups.start[group_table]
        size = np.uint64(tables.groups.start[group_table + 1] - first)
        slot = np.int64(alias_slot(x0, size))
        chosen = first + np.int64(alias_choice(x0, size, np.uint64(slot), tables.groups.packed[first + slot]))
        table = tables.groups.site_table[chosen]
    without_site = table < 0
    if without_site:
        table = tables.merchants.site_table[merchant]
    first = tables.sites.start[table]
    size = np.uint64(tables.sites.start[table + 1] - first)
    slot = np.int64(alias_slot(x1, size))
    chosen = first + np.int64(alias_choice(x1, size, np.uint64(slot), tables.sites.packed[first + slot]))
    return False, chosen, tables.sites.zone[chosen], np.int32(-1), without_site


def forbidden_fallback(switches: Switches, without_group: bool | np.bool_, without_site: bool | np.bool_) -> int:
    """The failure of an arrival whose fallbacks the policy forbids: 0, FAILED_NO_GROUP or FAILED_NO_SITE."""
    if without_group and switches.fail_no_group:
        return FAILED_NO_GROUP
    if without_site and switches.fail_no_site:
        return FAILED_NO_SITE
    return 0


def local_time(zones: Zones, zone: np.int32, ts_us: np.int64) -> np.int64:
    """Wall-clock microseconds of ts under a zone: the last pair at or before floor(ts / 10^6)."""
    second = np.int64(whole_seconds(np.int64(ts_us)))
    pair = zones.start[zone + 1] - 1
    while zones.instant[pair] > second:
        pair -= 1
    return np.int64(ts_us + zones.offset_us[pair])


def row_digest(
    tables: Tables,
    entity: np.int32,
    bucket: np.int32,
    seq: np.int64,
    ts_us: np.int64,
    routed: Routed,
    clocks: Clocks,
) -> tuple[np.uint64, np.uint64]:
    """The two digest lanes of one row. routed: from `route_arrival`; clocks: primary and settlement local time."""
    local_us, settlement_local_us = clocks
    is_virtual, place, primary, settlement, _ = routed
    h = np.uint64(fold_word(np.uint64(0), tables.merchants.id[tables.entities.merchant[entity]], K1))
    h = np.uint64(fold_word(h, tables.zones.text[tables.entities.zone[entity]], K2))
    h = np.uint64(fold_word(h, tables.channel_text[tables.entities.channel[entity]], K3))
    h = np.uint64(fold_word(h, np.uint64(bucket), K4))
    h = np.uint64(fold_word(h, np.uint64(seq), K5))
    h = np.uint64(fold_word(h, np.uint64(ts_us), K6))
    h = np.uint64(fold_word(h, np.uint64(is_virtual), K7))
    h = np.uint64(fold_word(h, tables.edges.id[place] if is_virtual else tables.sites.id[place], K8))
    h = np.uint64(fold_word(h, tables.zones.text[primary], K9))
    h = np.uint64(fold_word(h, np.uint64(local_us), K10))
    if is_virtual:
        h = np.uint64(fold_word(h, tables.zones.text[settlement], K11))
        h = np.uint64(fold_word(h, np.uint64(settlement_local_us), K12))
    return digest_lanes(h)
