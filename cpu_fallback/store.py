"""The arrivals of a segment in output order: times, local times and digest (LAW sections 4.5, 5, 7)."""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.digest import K5, K6, K9, K10, K11, K12, digest_lanes, fold_word
from arrival_engine.cpu_fallback.draw import Times
from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.law import whole_seconds
from arrival_engine.cpu_fallback.places import Places
from arrival_engine.cpu_fallback.segments import Segment
from arrival_engine.cpu_fallback.tables import U64, BatchTotals, Columns, Zones

# What holds of a zone from a look-up on: in the LENGTH microseconds from FROM on, OFFSET is added to UTC. TERMS are the
# digest terms of the zone and the offset. All are modulo 2^64.
FROM, LENGTH, OFFSET, TERMS = range(4)

_ONE = np.uint64(1)
_MICROS = np.int64(1_000_000)
_FAR = np.int64(1 << 42)  # seconds: beyond all times, and in microseconds within 64 bits
# Local time is UTC and the offset, so both of their multipliers apply to UTC.
_K6_K10 = np.uint64((int(K6) + int(K10)) % (1 << 64))

_part = njit(allocates=False, internal=True)


@_part
def prepare(columns: Columns, clocks: U64) -> None:
    """Make every arrival physical, until `store_virtual` knows better, and every look-up void."""
    for i in range(columns.row.size):
        columns.settlement[i] = -1
        columns.settlement_local_us[i] = 0
        columns.is_virtual[i] = False
    for zone in range(clocks.shape[0]):
        clocks[zone, LENGTH] = 0


@_part
def _look_up(clocks: U64, zones: Zones, zone: np.uint32, ts_us: np.uint64) -> None:
    """Find the last pair of a zone at or before ts, which holds until the next one."""
    second = whole_seconds(np.int64(ts_us))
    pair = zones.start[zone + _ONE] - 1
    until = _FAR
    while zones.instant[pair] > second:
        until = zones.instant[pair]
        pair -= 1
    since = max(zones.instant[pair], -_FAR)
    clocks[zone, FROM] = since * _MICROS
    clocks[zone, LENGTH] = (until - since) * _MICROS
    clocks[zone, OFFSET] = zones.offset_us[pair]
    clocks[zone, TERMS] = fold_word(zones.text[zone] * K9, np.uint64(zones.offset_us[pair]), K10)


@_part
def store(
    segment: Segment, shift: np.uint64, times: Times, places: Places, columns: Columns, zones: Zones, clocks: U64
) -> None:
    """Write what all arrivals have, and to `times.keys` the digest terms but that of arrival_seq."""
    low_bits = (_ONE << shift) - _ONE
    for i in range(segment.arrivals):
        out = segment.first + np.uint64(i)
        position = times.ordered[i] & low_bits
        ts_us = segment.start_us + (times.ordered[i] >> shift)
        zone = np.uint32(places.zone[position])
        if ts_us - clocks[zone, FROM] >= clocks[zone, LENGTH]:
            _look_up(clocks, zones, zone, ts_us)
        columns.row[out] = segment.batch_row + times.owner[position]
        columns.ts_us[out] = ts_us
        columns.place[out] = places.place[position]
        columns.primary[out] = zone
        columns.local_us[out] = ts_us + clocks[zone, OFFSET]
        times.keys[i] = fold_word(places.terms[position] + clocks[zone, TERMS], ts_us, _K6_K10)


@_part
def store_virtual(
    segment: Segment, settlement: np.int32, terms: U64, columns: Columns, zones: Zones, clocks: U64
) -> None:
    """Write what only virtual arrivals have, after `store`; settlement: zone, or -1 for the primary one."""
    for i in range(segment.arrivals):
        out = segment.first + np.uint64(i)
        place = columns.place[out]
        if place < 0:
            ts_us = np.uint64(columns.ts_us[out])
            zone = np.uint32(columns.primary[out] if settlement < 0 else settlement)
            if ts_us - clocks[zone, FROM] >= clocks[zone, LENGTH]:
                _look_up(clocks, zones, zone, ts_us)
            local_us = ts_us + clocks[zone, OFFSET]
            columns.place[out] = -1 - place
            columns.settlement[out] = zone
            columns.settlement_local_us[out] = local_us
            columns.is_virtual[out] = True
            terms[i] = fold_word(fold_word(terms[i], zones.text[zone], K11), local_us, K12)


@_part
def number(segment: Segment, before: np.int64, terms: U64, columns: Columns, totals: BatchTotals) -> None:
    """Write arrival_seq and add up the digest; before: arrivals of the merchant in earlier buckets."""
    seq = np.uint64(before) + _ONE
    sum_a, sum_b = np.uint64(0), np.uint64(0)
    for i in range(segment.arrivals):
        columns.arrival_seq[segment.first + np.uint64(i)] = seq + np.uint64(i)
        a, b = digest_lanes(fold_word(terms[i], seq + np.uint64(i), K5))
        sum_a += a
        sum_b += b
    totals.digest[0] += sum_a
    totals.digest[1] += sum_b
