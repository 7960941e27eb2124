"""Segments whose arrivals all go to sites: the same law in short loops, at half the cost of one long loop.

These are the segments of merchants that are not virtual, nearly all of a world. Sites are drawn before sorting, so
that an entity's keys and tables are fetched once per count row. Digest terms of a row or a site are computed once.
`expand` does the other segments, arrival by arrival, by the routing that both backends share. Tests require the same
arrivals of both.
"""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback import route
from arrival_engine.cpu_fallback.digest import K1, K2, K3, K4, K5, K6, K8, K9, K10, digest_lanes, fold_word
from arrival_engine.cpu_fallback.draw import Scratch
from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.law import alias_choice, alias_slot, counter_word1
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.tables import Results, Work

_part = njit(allocates=False, internal=True)
_local_time = _part(route.local_time)


@_part
def pick_sites(work: Work, segment: int, group_table: np.int64, space: Scratch, results: Results) -> bool:
    """The site of every arrival by position (LAW section 4.4), and the digest terms that a count row's arrivals share.

    False, without a report, if an arrival needs a fallback that the policy forbids.
    """
    tables, rows, segments, switches = work
    first_row, last_row = segments.row_start[segment], segments.row_start[segment + 1]
    bucket = rows.bucket[first_row]
    merchant = tables.entities.merchant[rows.entity[first_row]]
    shared = fold_word(fold_word(np.uint64(0), tables.merchants.id[merchant], K1), np.uint64(bucket), K4)
    without_group = switches.use_group_weights and group_table < 0
    if without_group and switches.fail_no_group:
        return False
    group_first, group_size = np.int64(0), np.uint64(0)
    if group_table >= 0:
        group_first = np.int64(tables.groups.start[group_table])
        group_size = np.uint64(tables.groups.start[group_table + 1] - group_first)
    position = np.int64(0)
    for row in range(first_row, last_row):
        entity = rows.entity[row]
        row_hash = fold_word(shared, tables.zones.text[tables.entities.zone[entity]], K2)
        space.row_hash[row - first_row] = fold_word(row_hash, tables.channel_text[tables.entities.channel[entity]], K3)
        key = tables.entities.site_key[entity]
        word1 = counter_word1(tables.entities.site_hi[entity], bucket)
        table = tables.entities.site_table[entity]
        without_site = 0
        for draw in range(rows.arrivals[row]):
            x0, x1 = philox2x64(np.uint64(draw), word1, key)
            if group_table >= 0:
                slot = np.int64(alias_slot(x0, group_size))
                packed = tables.groups.packed[group_first + slot]
                chosen = np.int64(alias_choice(x0, group_size, np.uint64(slot), packed))
                table = tables.groups.site_table[group_first + chosen]
            found = table
            if found < 0:
                without_site += 1
                found = tables.merchants.site_table[merchant]
            first = tables.sites.start[found]
            size = np.uint64(tables.sites.start[found + 1] - first)
            slot = np.int64(alias_slot(x1, size))
            space.site[position] = first + np.int64(
                alias_choice(x1, size, np.uint64(slot), tables.sites.packed[first + slot])
            )
            position += 1
        if without_site > 0 and switches.fail_no_site:
            return False
        batch_row = row - results.totals.origin[0]
        results.row_totals.without_site[batch_row] = without_site
        if without_group:
            results.row_totals.without_group[batch_row] = rows.arrivals[row]
    return True


@_part
def store_physical(work: Work, segment: int, shift: np.uint64, space: Scratch, results: Results) -> None:
    """Write one segment with sorted keys and picked sites to the columns and sums."""
    tables, rows, segments, _ = work
    size = segments.arrival_start[segment + 1] - segments.arrival_start[segment]
    out = segments.arrival_start[segment] - results.totals.origin[1]
    first_row = segments.row_start[segment]
    batch_row = np.int32(first_row - results.totals.origin[0])
    start_us = tables.grid.start_us[rows.bucket[first_row]]
    last_us = start_us + np.int64(tables.grid.duration_us[rows.bucket[first_row]]) - 1
    columns = results.columns
    ts_us, local_us = columns.ts_us[out : out + size], columns.local_us[out : out + size]
    primary = columns.primary[out : out + size]
    low_bits = (np.uint64(1) << shift) - np.uint64(1)
    for i in range(size):
        position = np.int64(space.ordered[i] & low_bits)
        owner = space.owner[position]
        site = space.site[position]
        place, zone = tables.sites.id[site], tables.sites.zone[site]
        columns.row[out + i] = batch_row + owner
        ts_us[i] = start_us + np.int64(space.ordered[i] >> shift)
        columns.place[out + i] = place
        primary[i] = zone
        space.hashes[i] = fold_word(fold_word(space.row_hash[owner], place, K8), tables.zones.text[zone], K9)
    for i in range(size):
        local_us[i] = _local_time(tables.zones, primary[i], ts_us[i])
    columns.settlement[out : out + size] = np.int32(-1)
    columns.settlement_local_us[out : out + size] = 0
    columns.is_virtual[out : out + size] = False
    seq = segments.arrivals_before[segment]
    sum_a, sum_b, at_start, at_end = np.uint64(0), np.uint64(0), 0, 0
    for i in range(size):
        seq += 1
        columns.arrival_seq[out + i] = seq
        h = fold_word(space.hashes[i], np.uint64(seq), K5)
        h = fold_word(h, np.uint64(ts_us[i]), K6)
        a, b = digest_lanes(fold_word(h, np.uint64(local_us[i]), K10))
        sum_a += a
        sum_b += b
        at_start += ts_us[i] == start_us
        at_end += ts_us[i] == last_us
    results.totals.digest[0] += sum_a
    results.totals.digest[1] += sum_b
    results.totals.at_start[0] += at_start
    results.totals.at_end[0] += at_end
