"""The same expansion as usually written with NumPy: whole batches, one array operation after another.

It draws from numpy's Philox instead of the law's streams, decides by floating point, and leaves out what only this
project promises (the arrival digest and the checks of every batch); columns, order and sequence numbers are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.law import HYBRID, VIRTUAL_ONLY
from arrival_engine.cpu_fallback.tables import Columns, Tables, empty_row_totals
from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.expand.planning import Batch, Plan

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Index = NDArray[np.integer[Any]]

_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(32)
_HALF = 4294967296.0
_WORD = 18446744073709551616.0
_DAY_BITS = 32


class NumpyExpander:
    """Expands batches of one plan; look-up keys are prepared once. Threads may share it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        tables = plan.world.tables
        self._tables = tables
        merchants = np.repeat(np.arange(tables.merchants.id.size), np.diff(tables.merchants.group_start))
        self._group_key = (merchants << _DAY_BITS) + tables.groups.day
        zones = tables.zones
        # Rule changes of all zones in one ascending array: a zone's first one holds since the beginning of time.
        self._span = int(tables.grid.start_us.max(initial=0)) // 1_000_000 + (1 << 32)
        zone = np.repeat(np.arange(zones.text.size), np.diff(zones.start))
        self._change_key = zone * self._span + np.maximum(zones.instant, 0)
        self._edge_count = np.diff(tables.merchants.edge_start)

    def __call__(self, batch: Batch) -> BatchResult:
        """Arrivals of one batch in output order; totals and digest stay zero."""
        columns = self._columns(batch, np.random.Generator(np.random.Philox(key=batch.index)))
        return BatchResult(batch, empty_row_totals(0), Digest(batch.arrivals), 0, 0, columns)

    def _columns(self, batch: Batch, rng: np.random.Generator) -> Columns:
        tables, segments = self._tables, self._plan.segments
        rows = self._plan.world.rows
        row, offset = self._ordered(batch, rng)
        first, last = batch.segments
        sizes = np.diff(segments.arrival_start[first : last + 1])
        starts = segments.arrival_start[first:last] - segments.arrival_start[first]
        seq = np.arange(1, row.size + 1) + np.repeat(segments.arrivals_before[first:last] - starts, sizes)
        segment_bucket = rows.bucket[segments.row_start[first:last]]
        ts_us = np.repeat(tables.grid.start_us[segment_bucket], sizes) + offset
        entity = rows.entity[batch.rows[0] + row]
        virtual = self._is_virtual(tables.entities.merchant[entity], rng)
        place, primary = np.empty(row.size, np.int32), np.empty(row.size, np.int32)
        settlement = np.full(row.size, -1, np.int32)
        settlement_local = np.zeros(row.size, np.int64)
        at = np.flatnonzero(virtual)
        place[at], primary[at], settlement[at] = self._edges(tables.entities.merchant[entity[at]], rng)
        settlement_local[at] = self._local(settlement[at], ts_us[at])
        at = np.flatnonzero(~virtual)
        group_table = np.repeat(self._group_tables(batch), sizes)[at]
        place[at], primary[at] = self._sites(entity[at], group_table, rng)
        local = self._local(primary, ts_us)
        return Columns(row, seq, ts_us, place, primary, local, settlement, settlement_local, virtual)

    def _ordered(self, batch: Batch, rng: np.random.Generator) -> tuple[NDArray[np.int32], I64]:
        """Count row (within the batch) and offset of each arrival, by (segment, offset)."""
        segments, rows = self._plan.segments, self._plan.world.rows
        first, last = batch.segments
        counts = rows.arrivals[slice(*batch.rows)]
        row = np.repeat(np.arange(counts.size, dtype=np.int32), counts)
        duration = self._tables.grid.duration_us[rows.bucket[slice(*batch.rows)]].astype(np.float64)
        offset = (rng.random(row.size) * np.repeat(duration, counts)).astype(np.int64)
        segment = np.repeat(np.arange(last - first), np.diff(segments.arrival_start[first : last + 1]))
        order = np.argsort((segment << int(duration.max(initial=1)).bit_length()) | offset)
        return row[order], offset[order]

    def _is_virtual(self, merchant: Index, rng: np.random.Generator) -> NDArray[np.bool_]:
        mode = np.where(self._edge_count > 0, self._tables.merchants.mode, 0)[merchant]
        virtual: NDArray[np.bool_] = mode == VIRTUAL_ONLY
        hybrid = np.flatnonzero(mode == HYBRID)
        virtual[hybrid] = rng.random(hybrid.size) < float(self._plan.switches.coin) / _WORD
        return virtual

    def _edges(self, merchant: Index, rng: np.random.Generator) -> tuple[I64, NDArray[np.int32], NDArray[np.int32]]:
        merchants, edges = self._tables.merchants, self._tables.edges
        chosen = _pick(merchants.edge_start[merchant], self._edge_count[merchant], edges.packed, rng)
        zone = edges.zone[chosen]
        settlement = merchants.settlement[merchant]
        return chosen, zone, np.where(settlement < 0, zone, settlement)

    def _group_tables(self, batch: Batch) -> I64:
        """Group table of each segment, -1 where there is none."""
        tables, rows = self._tables, self._plan.world.rows
        row = self._plan.segments.row_start[slice(*batch.segments)]
        if not self._plan.switches.use_group_weights or not self._group_key.size:
            return np.full(row.size, -1)
        merchant = tables.entities.merchant[rows.entity[row]].astype(np.int64)
        wanted = (merchant << _DAY_BITS) + tables.grid.day[rows.bucket[row]]
        found = np.minimum(np.searchsorted(self._group_key, wanted), self._group_key.size - 1)
        return np.where(self._group_key[found] == wanted, found, -1)

    def _sites(self, entity: Index, group_table: I64, rng: np.random.Generator) -> tuple[I64, NDArray[np.int32]]:
        tables: Tables = self._tables
        table = tables.entities.site_table[entity]
        at = np.flatnonzero(group_table >= 0)
        start = tables.groups.start[group_table[at]]
        chosen = _pick(start, tables.groups.start[group_table[at] + 1] - start, tables.groups.packed, rng)
        table[at] = tables.groups.site_table[chosen]
        table = np.where(table < 0, tables.merchants.site_table[tables.entities.merchant[entity]], table)
        start = tables.sites.start[table]
        chosen = _pick(start, tables.sites.start[table + 1] - start, tables.sites.packed, rng)
        return chosen, tables.sites.zone[chosen]

    def _local(self, zone: Index, ts_us: I64) -> I64:
        wanted = zone.astype(np.int64) * self._span + ts_us // 1_000_000
        return ts_us + self._tables.zones.offset_us[np.searchsorted(self._change_key, wanted, side="right") - 1]


def _pick(start: I64, size: I64, packed: NDArray[np.uint64], rng: np.random.Generator) -> I64:
    """Slots of alias tables, drawn by weight."""
    drawn = rng.random(start.size) * size
    slot = drawn.astype(np.int64)
    word = packed[start + slot]
    alias = (word >> _HALF_WORD).astype(np.int64)
    taken = (drawn - slot) * _HALF < (word & _LOW_HALF).astype(np.float64)
    return start + np.where(taken, slot, alias)
