"""The arrival law (LAW sections 2 to 5) over whole segments, and the comparison of stored rows with it, compiled.

Written from the law, not from the kernels that expand, with which it shares nothing but the compiler.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.engine.recomputing.kernel_shapes import (
    EDGE,
    HYBRID,
    I32,
    I64,
    NONE,
    SITE,
    TIME,
    U64,
    VIRTUAL,
    Draws,
    Entities,
    Grid,
    Law,
    Merchants,
    Recount,
    Rows,
    Slots,
    Stored,
    Tally,
)

Block = tuple[np.uint64, np.uint64]
Whole = int | np.int64
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_ONE = np.uint64(1)
_MULTIPLIER = np.uint64(0xD2B74407B1CE6E93)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = 10

# Parts of the entry points below, which alone are called from Python.
_part = njit(allocates=False, internal=True)


@njit
def multiply(a: np.uint64, b: np.uint64) -> Block:
    """High and low word of the product, by schoolbook multiplication of halves."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _32, b & _LOW, b >> _32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _32)
    other = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _32) + (other >> _32), (other << _32) | (low & _LOW)


@njit
def block(word0: np.uint64, word1: np.uint64, key: np.uint64) -> Block:
    """Philox2x64-10 (LAW section 2)."""
    for _ in range(_ROUNDS):
        high, low = multiply(_MULTIPLIER, word0)
        word0, word1 = high ^ key ^ word1, low
        key = key + _STEP
    return word0, word1


@njit
def offset(x: np.uint64, duration: np.uint64) -> np.int64:
    """Microseconds from the bucket's start (LAW 4.1)."""
    high, low = multiply(x, duration)
    carry = low + (duration >> _ONE) < low
    return np.int64(high + np.uint64(carry))


@_part
def picked(x: np.uint64, slots: Slots, table: Whole) -> Whole:
    """The slot that a word picks from an alias table (LAW section 3), as an index into `slots`."""
    first = slots.start[table]
    high, low = multiply(x, np.uint64(slots.start[table + 1] - first))
    at = first + np.int64(high)
    taken = low >> _32 < slots.threshold[at]
    return np.int64(at if taken else first + slots.alias[at])


@njit(nogil=True, allocates=False)
def alias_tables(weights: NDArray[np.float64], slots: Slots, scaled: U64, stack: I64) -> int:
    """Fill thresholds and aliases of every table from its weights (LAW section 3); a table without weight has none.

    Stops at a table whose weights add up to infinity, and returns its number; otherwise NONE. scaled, stack: room for
    the largest table.
    """
    for table in range(slots.start.size - 1):
        first, size = slots.start[table], slots.start[table + 1] - slots.start[table]
        total = 0.0
        for i in range(size):
            total += weights[first + i]
        if np.isinf(total):
            return table
        if total > 0.0:
            units = np.uint64(0)
            for i in range(size):
                share = np.uint64(np.floor(weights[first + i] / total * 2147483648.0 + 0.5))
                scaled[i] = share * np.uint64(size)
                units += share
            _settle(slots, first, size, scaled, units, stack)
    return NONE


@_part
def _settle(slots: Slots, first: Whole, size: Whole, scaled: U64, units: np.uint64, stack: I64) -> None:
    # Small ones grow from the left end of `stack`, large ones from the right.
    small, large = 0, size
    for i in range(size):
        slots.threshold[first + i] = np.uint64(1) << _32
        slots.alias[first + i] = i
        if scaled[i] < units:
            stack[small] = i
            small += 1
        else:
            large -= 1
            stack[large] = i
    while small > 0 and large < size:
        small -= 1
        poor, rich = stack[small], stack[large]
        large += 1
        slots.threshold[first + poor] = (scaled[poor] << _32) // units
        slots.alias[first + poor] = rich
        scaled[rich] -= units - scaled[poor]
        if scaled[rich] < units:
            stack[small] = rich
            small += 1
        else:
            large -= 1
            stack[large] = rich


@_part
def _group_table(merchants: Merchants, group_day: I32, merchant: Whole, day: Whole) -> Whole:
    first, end = merchants.groups[merchant], merchants.groups[merchant + 1]
    if first == end:
        return np.int64(NONE)
    # As a rule, every day has a table.
    guess = first + day - group_day[first]
    if first <= guess < end and group_day[guess] == day:
        return np.int64(guess)
    for table in range(first, end):
        if group_day[table] == day:
            return np.int64(table)
    return np.int64(NONE)


@_part
def _physical(law: Law, draws: Draws, at: Whole, merchant: Whole, home: Whole, group: Whole, words: Block) -> bool:
    """Pick the site of one arrival (LAW 4.4); whether the zone that was drawn had one."""
    x0, x1 = words
    table: Whole = home
    slot: Whole = NONE
    if group != NONE:
        slot = picked(x0, law.groups, group)
        table = law.groups.member[slot]
    had_site = table != NONE
    if not had_site:
        table = law.merchants.sites[merchant]
    member = law.site_tables.member[picked(x1, law.site_tables, table)]
    draws.is_virtual[at], draws.member[at], draws.group[at] = 0, member, slot
    draws.place[at], draws.zone[at] = law.sites.id[member], law.sites.zone[member]
    return had_site


@_part
def _virtual(law: Law, draws: Draws, at: Whole, merchant: Whole, x0: np.uint64) -> None:
    member = law.edge_tables.member[picked(x0, law.edge_tables, law.merchants.edges[merchant])]
    draws.is_virtual[at], draws.member[at], draws.group[at] = 1, member, NONE
    draws.place[at], draws.zone[at] = law.edges.id[member], law.edges.zone[member]


@_part
def _expand(law: Law, segment: Whole, draws: Draws, recount: Recount) -> Whole:
    """Make a segment's arrivals; return their number."""
    rows, merchant = law.rows, law.rows.merchant[segment]
    kind = law.merchants.kind[merchant]
    bucket = law.rows.bucket[rows.start[segment]]
    start_us, duration = law.grid.start_us[bucket], law.grid.duration_us[bucket]
    group = _group_table(law.merchants, law.group_day, merchant, law.grid.day[bucket]) if kind != VIRTUAL else NONE
    at = 0
    for row in range(rows.start[segment], rows.start[segment + 1]):
        entity = rows.entity[row]
        key, hi0, upper = law.entities.key, law.entities.hi0, np.uint64(bucket)
        virtual = homeless = 0
        for j in range(rows.arrivals[row]):
            lower = np.uint64(j)
            x0, _ = block(lower, hi0[entity, TIME] + upper, key[entity, TIME])
            draws.ts_us[at], draws.row[at] = start_us + offset(x0, duration), row
            is_virtual = kind == VIRTUAL
            if kind in (VIRTUAL, HYBRID):
                x0, x1 = block(lower, hi0[entity, EDGE] + upper, key[entity, EDGE])
                is_virtual = is_virtual or x1 < law.coin[0]
            if is_virtual:
                _virtual(law, draws, at, merchant, x0)
                virtual += 1
            else:
                words = block(lower, hi0[entity, SITE] + upper, key[entity, SITE])
                homeless += not _physical(law, draws, at, merchant, law.entities.home[entity], group, words)
            at += 1
        recount.virtual[row], recount.homeless[row] = virtual, homeless
    recount.seen[segment] = 1
    _sort(draws, at, start_us, duration)
    return at


@_part
def _sort(draws: Draws, size: Whole, start_us: Whole, duration: np.uint64) -> None:
    """Order arrivals by time; ties stay in order of zone, channel and j, in which the arrivals were made.

    Times are spread evenly, so that a place in the bucket is nearly a place in the order.
    """
    scale = (size - 1) / np.float64(duration)
    for k in range(size + 1):
        draws.fill[k] = 0
    for i in range(size):
        draws.fill[np.int64((draws.ts_us[i] - start_us) * scale) + 1] += 1
    for k in range(size):
        draws.fill[k + 1] += draws.fill[k]
    for i in range(size):
        nearly = np.int64((draws.ts_us[i] - start_us) * scale)
        draws.order[draws.fill[nearly]] = i
        draws.fill[nearly] += 1
    for i in range(1, size):
        moved = draws.order[i]
        k = i
        while k > 0 and draws.ts_us[draws.order[k - 1]] > draws.ts_us[moved]:
            draws.order[k] = draws.order[k - 1]
            k -= 1
        draws.order[k] = moved


@_part
def _segment(merchants: Merchants, rows: Rows, merchant_id: np.uint64, bucket: np.uint64, near: Whole) -> Whole:
    """The segment of a merchant and bucket, or NONE; `near`, or the next one, is looked at first."""
    for segment in range(max(near, 0), min(near + 2, rows.merchant.size)):
        if merchants.id[rows.merchant[segment]] == merchant_id and _bucket(rows, segment) == bucket:
            return np.int64(segment)
    merchant = np.searchsorted(merchants.id, merchant_id)
    if merchant == merchants.id.size or merchants.id[merchant] != merchant_id:
        return np.int64(NONE)
    low, high = merchants.segments[merchant], merchants.segments[merchant + 1]
    last = high
    while low < high:
        middle = (low + high) // 2
        if _bucket(rows, middle) < bucket:
            low = middle + 1
        else:
            high = middle
    return np.int64(low if low < last and _bucket(rows, low) == bucket else NONE)


@_part
def _bucket(rows: Rows, segment: Whole) -> np.uint64:
    return np.uint64(rows.bucket[rows.start[segment]])


@_part
def _count_place(grid: Grid, rows: Rows, draws: Draws, k: Whole, tally: Tally) -> None:
    """Add one arrival, number k of its segment before sorting, to the tallies of places, groups and zones."""
    member = draws.member[k]
    if draws.is_virtual[k]:
        tally.edge[member] += 1
    else:
        tally.site[member] += 1
        if draws.group[k] != NONE:
            tally.group[draws.group[k]] += 1
    tally.zone_day[draws.zone[k], grid.day[rows.bucket[draws.row[k]]]] += 1


@_part
def _count_time(grid: Grid, rows: Rows, bucket: Whole, row: Whole, ts_us: Whole, tally: Tally) -> None:
    """Add a stored time in its bucket to the tallies of times; `row` is its count row, NONE if it is not known."""
    past, duration = ts_us - grid.start_us[bucket], np.int64(grid.duration_us[bucket])
    if past < 0 or past >= duration:
        return
    bins = tally.bins.size
    place = np.int64(past * (bins / np.float64(duration)))
    # The product is rounded, and so may be one bin off.
    place -= place * duration > past * bins
    place += (place + 1) * duration <= past * bins
    tally.bins[place] += 1
    tally.ends[0] += past == 0
    tally.ends[1] += past == duration - 1
    if row != NONE and rows.arrivals[row] >= tally.least[0]:
        for watched in range(tally.watched.size):
            if tally.watched[watched] == row:
                tally.large[watched, place] += 1


@njit(nogil=True, allocates=False)
def compare(law: Law, stored: Stored, draws: Draws, recount: Recount, tally: Tally, current: I64, found: I64) -> int:
    """Write to `found` the rows that are not the arrivals of their keys (merchant_id, arrival_seq); return how many.

    current: int64[2], the segment in `draws` and its arrivals, for the next call.
    """
    count = 0
    for i in range(stored.merchant.size):
        segment = _segment(law.merchants, law.rows, stored.merchant[i], stored.bucket[i], current[0])
        if segment != NONE and segment != current[0]:
            current[0], current[1] = segment, _expand(law, segment, draws, recount)
        same, row = False, np.int64(NONE)
        if segment != NONE:
            place = stored.seq[i] - law.rows.before[segment] - 1
            if 0 <= place < current[1]:
                k = draws.order[place]
                row = draws.row[k]
                same = _is_same(law.entities, law.rows, stored, i, draws, k)
                if same:
                    _count_place(law.grid, law.rows, draws, k, tally)
            _count_time(law.grid, law.rows, np.int64(stored.bucket[i]), row, stored.ts_us[i], tally)
        if not same:
            found[count] = i
            count += 1
    return count


@_part
def _is_same(entities: Entities, rows: Rows, stored: Stored, i: Whole, draws: Draws, k: Whole) -> bool:
    """Whether a stored row is the arrival number k of its segment before sorting."""
    entity = rows.entity[draws.row[k]]
    return bool(
        stored.ts_us[i] == draws.ts_us[k]
        and stored.place[i] == draws.place[k]
        and stored.is_virtual[i] == (draws.is_virtual[k] != 0)
        and stored.zone[i] == entities.zone[entity]
        and stored.channel[i] == entities.channel[entity]
        and stored.primary[i] == draws.zone[k]
    )


@njit(nogil=True, allocates=False)
def expand(law: Law, first: int, end: int, draws: Draws, recount: Recount) -> Whole:
    """Recount the segments from `first` to before `end` that have not been seen; return their arrivals."""
    arrivals: Whole = 0
    for segment in range(first, end):
        if not recount.seen[segment]:
            arrivals += _expand(law, segment, draws, recount)
    return arrivals
