"""The CUDA kernels, which decide which thread owns which array element. The law itself is in `cpu_fallback`.

`prepare_segments` runs once per run. `draw_keys` and `settle` run once per piece, with a radix sort of the keys in
between. Results depend neither on the number of blocks nor on the number of threads.

A key orders a whole piece by (segment, offset, position). The position is the arrival's place in (row, draw) order
within its segment. The keys of a segment of n arrivals begin at (2 * arrivals of the piece before it) << offset_bits
and number less than 2n << offset_bits, because a position takes b bits with 2^b < 2n. So keys are unique: any sort,
stable or not, yields the order of LAW section 5, and no values need to be sorted with them.
"""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback import route
from arrival_engine.cpu_fallback.law import counter_word1, draw_offset
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.route import Clocks, Routed
from arrival_engine.cpu_fallback.tables import I64, NO_TABLE, U64, Columns, RowTotals
from arrival_engine.gpu_kernels.jit import cuda, device, kernel, types
from arrival_engine.gpu_kernels.layout import (
    AT_END,
    AT_START,
    FAILURE,
    FAILURE_CODES,
    LATEST,
    SUM_A,
    SUM_B,
    Output,
    Piece,
    Resident,
    Spans,
)

Flag = bool | np.bool_

_ONE = np.uint64(1)
# Element type of the shared memory: two words per thread (`layout.Kernel`). It is sized at launch because the simulator
# gives threads that declare an array at the same time different arrays.
_WORD = types.uint64

_find_group_table = device(route.find_group_table)
_route_arrival = device(route.route_arrival)
_forbidden_fallback = device(route.forbidden_fallback)
_local_time = device(route.local_time)
_row_digest = device(route.row_digest)


@device
def last_at_most(starts: I64, value: np.int64, low: np.int64, high: np.int64) -> np.int64:
    """Greatest i in [low, high) with starts[i] <= value; starts ascend and starts[low] <= value."""
    while high - low > 1:
        middle = (low + high) >> 1
        if starts[middle] <= value:
            low = middle
        else:
            high = middle
    return np.int64(low)


@device
def _narrow(spans: Spans, piece: Piece, first: np.int64, shared: U64) -> None:
    """Store the segments that a block's tile of arrivals spans in shared[0] and shared[1]; one thread searches."""
    if cuda.threadIdx.x == 0:
        last = min(first + cuda.blockDim.x, piece.arrivals) - 1
        low = last_at_most(spans.arrival_start, piece.first_arrival + first, piece.first_segment, piece.last_segment)
        high = last_at_most(spans.arrival_start, piece.first_arrival + last, low, piece.last_segment)
        shared[0] = np.uint64(low)
        shared[1] = np.uint64(high + 1)
    cuda.syncthreads()


@device
def _segment_of(spans: Spans, arrival: np.int64, shared: U64) -> np.int64:
    return last_at_most(spans.arrival_start, arrival, np.int64(shared[0]), np.int64(shared[1]))


@device
def _first_key(spans: Spans, piece: Piece, segment: np.int64) -> np.uint64:
    before = np.uint64(spans.arrival_start[segment] - piece.first_arrival)
    return (before << _ONE) << piece.offset_bits


@kernel
def prepare_segments(resident: Resident) -> None:
    """Fill `spans.shift` and `spans.group_table`, one thread per segment."""
    tables, rows, spans, switches = resident
    segment = np.int64(cuda.grid(1))
    while segment < spans.arrivals_before.size:
        size = spans.arrival_start[segment + 1] - spans.arrival_start[segment]
        shift = np.int64(0)
        while ((size - 1) >> shift) > 0:
            shift += 1
        spans.shift[segment] = shift
        table = np.int64(NO_TABLE)
        if switches.use_group_weights:
            row = spans.row_start[segment]
            merchant = tables.entities.merchant[rows.entity[row]]
            table = _find_group_table(tables.merchants, tables.groups, merchant, tables.grid.day[rows.bucket[row]])
        spans.group_table[segment] = table
        segment += cuda.gridsize(1)


@kernel
def draw_keys(resident: Resident, piece: Piece, keys: U64) -> None:
    """Write the sort keys of a piece in generation order, one thread per arrival (LAW 4.1)."""
    tables, rows, spans, _ = resident
    shared = cuda.shared.array(0, _WORD)
    first = np.int64(cuda.blockIdx.x) * cuda.blockDim.x
    while first < piece.arrivals:
        _narrow(spans, piece, first, shared)
        at = first + cuda.threadIdx.x
        if at < piece.arrivals:
            arrival = piece.first_arrival + at
            segment = _segment_of(spans, arrival, shared)
            row = last_at_most(spans.row_arrivals, arrival, spans.row_start[segment], spans.row_start[segment + 1])
            entity = rows.entity[row]
            bucket = rows.bucket[row]
            draw = np.uint64(arrival - spans.row_arrivals[row])
            word1 = np.uint64(counter_word1(tables.entities.time_hi[entity], bucket))
            x0, _ = philox2x64(draw, word1, tables.entities.time_key[entity])
            offset = np.uint64(draw_offset(np.uint64(x0), tables.grid.duration_us[bucket]))
            position = np.uint64(arrival - spans.arrival_start[segment])
            within = (offset << np.uint64(spans.shift[segment])) | position
            keys[at] = _first_key(spans, piece, segment) + within
        # The next tile overwrites the bounds, so all threads must be done with them.
        cuda.syncthreads()
        first += np.int64(cuda.gridDim.x) * cuda.blockDim.x


@kernel
def settle(resident: Resident, piece: Piece, keys: U64, output: Output) -> None:
    """Turn sorted keys into arrivals in output order, one thread per arrival (LAW 4.2 to 4.5, 5, 7)."""
    shared = cuda.shared.array(0, _WORD)
    sum_a = np.uint64(0)
    sum_b = np.uint64(0)
    first = np.int64(cuda.blockIdx.x) * cuda.blockDim.x
    while first < piece.arrivals:
        _narrow(resident.spans, piece, first, shared)
        at = first + cuda.threadIdx.x
        if at < piece.arrivals:
            a, b = _settle_one(resident, piece, keys[at], output, at, shared)
            sum_a += np.uint64(a)
            sum_b += np.uint64(b)
        # The next tile overwrites the bounds, so all threads must be done with them.
        cuda.syncthreads()
        first += np.int64(cuda.gridDim.x) * cuda.blockDim.x
    _add_block_sums(output.sums, sum_a, sum_b, shared)


@device
def _settle_one(
    resident: Resident, piece: Piece, key: np.uint64, output: Output, at: np.int64, shared: U64
) -> tuple[np.uint64, np.uint64]:
    """Write the arrival at output position `at` of the piece; return its digest lanes."""
    tables, rows, spans, switches = resident
    segment = _segment_of(spans, piece.first_arrival + at, shared)
    before = spans.arrival_start[segment]
    within = key - _first_key(spans, piece, segment)
    shift = np.uint64(spans.shift[segment])
    arrival = before + np.int64(within & ((_ONE << shift) - _ONE))
    offset = np.int64(within >> shift)
    row = last_at_most(spans.row_arrivals, arrival, spans.row_start[segment], spans.row_start[segment + 1])
    entity = rows.entity[row]
    bucket = rows.bucket[row]
    group_table = np.int64(spans.group_table[segment])
    draw = arrival - spans.row_arrivals[row]
    routed = _route_arrival(tables, switches.coin, entity, bucket, group_table, draw)
    is_virtual, _, primary, settlement, without_site = routed
    without_group = switches.use_group_weights and group_table < 0 and not is_virtual
    batch_row = row - piece.batch_row
    _count(output.row_totals, batch_row, is_virtual, without_group, without_site)
    failure = _forbidden_fallback(switches, without_group, without_site)
    if failure != 0:
        position = np.uint64(piece.batch_position + at)
        cuda.atomic.max(output.sums, FAILURE, LATEST - (position * FAILURE_CODES + np.uint64(failure)))
    if offset == 0:
        cuda.atomic.add(output.sums, AT_START, _ONE)
    if offset == np.int64(tables.grid.duration_us[bucket]) - 1:
        cuda.atomic.add(output.sums, AT_END, _ONE)
    seq = spans.arrivals_before[segment] + (piece.first_arrival + at - before) + 1
    ts_us = tables.grid.start_us[bucket] + offset
    settlement_local_us = np.int64(0)
    if is_virtual:
        settlement_local_us = _local_time(tables.zones, settlement, ts_us)
    clocks = (_local_time(tables.zones, primary, ts_us), settlement_local_us)
    _store(output.columns, at, batch_row, seq, ts_us, routed, clocks)
    return _row_digest(tables, entity, bucket, seq, ts_us, routed, clocks)


@device
def _count(totals: RowTotals, batch_row: np.int64, is_virtual: Flag, without_group: Flag, without_site: Flag) -> None:
    if is_virtual:
        cuda.atomic.add(totals.virtual, batch_row, 1)
    if without_group:
        cuda.atomic.add(totals.without_group, batch_row, 1)
    if without_site:
        cuda.atomic.add(totals.without_site, batch_row, 1)


@device
def _store(
    columns: Columns, at: np.int64, row: np.int64, seq: np.int64, ts_us: np.int64, routed: Routed, clocks: Clocks
) -> None:
    is_virtual, place, primary, settlement, _ = routed
    columns.row[at] = row
    columns.arrival_seq[at] = seq
    columns.ts_us[at] = ts_us
    columns.place[at] = place
    columns.primary[at] = primary
    columns.local_us[at] = clocks[0]
    columns.settlement[at] = settlement
    columns.settlement_local_us[at] = clocks[1]
    columns.is_virtual[at] = is_virtual


@device
def _add_block_sums(sums: U64, sum_a: np.uint64, sum_b: np.uint64, shared: U64) -> None:
    """Add up the threads' lanes in a tree over the block, then one atomic per lane; sums mod 2^64 have no order."""
    thread = cuda.threadIdx.x
    lane_b = cuda.blockDim.x
    shared[thread] = sum_a
    shared[lane_b + thread] = sum_b
    cuda.syncthreads()
    active = cuda.blockDim.x
    while active > 1:
        half = (active + 1) >> 1
        if thread < active - half:
            shared[thread] += shared[thread + half]
            shared[lane_b + thread] += shared[lane_b + thread + half]
        cuda.syncthreads()
        active = half
    if thread == 0:
        cuda.atomic.add(sums, SUM_A, shared[0])
        cuda.atomic.add(sums, SUM_B, shared[lane_b])
