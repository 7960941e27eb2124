"""Sums per count row: what summary, anomalies, random-number logs and run report are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.law import HYBRID, NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.cpu_fallback.tables import I8, I32, Rows, RowTotals, empty_row_totals
from arrival_engine.engine.expand.backend import BatchSums
from arrival_engine.engine.world.load import World

Mask = NDArray[np.bool_]

# Rows accounted for at a time, few enough for the intermediate arrays to stay in cache.
_ACCOUNTED_ROWS = 1 << 16


class ScenarioLedger(Protocol):
    """What reports need to know of a scenario, with all or part of it in memory."""

    @property
    def world(self) -> World:
        """The lookup tables and texts of the scenario; its count rows may be elsewhere."""

    @property
    def digest(self) -> Digest:
        """The digest of all arrivals."""

    @property
    def at_start(self) -> int:
        """Arrivals at the first microsecond of their bucket."""

    @property
    def at_end(self) -> int:
        """Arrivals at the last microsecond of their bucket."""

    @property
    def virtual(self) -> int:
        """Virtual arrivals."""

    @property
    def counted(self) -> int:
        """Arrivals that the count rows ask for."""

    @property
    def count_rows(self) -> int:
        """Count rows with N > 0."""

    def buckets(self) -> NDArray[np.int32]:
        """The buckets with arrivals, ascending."""

    def fallbacks(self) -> Mapping[str, int]:
        """Arrivals that took each fallback of LAW section 4."""

    def accounting(self) -> Mapping[str, FamilyAccount]:
        """Blocks and words per family, by LAW section 6, keyed by substream label."""

    def pieces(self) -> Iterator[Ledger]:
        """Ledgers of whole merchants, in dataset order, that together cover the scenario."""


class Ledger:
    """Sums of batch results, added in any order; R count rows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.row_totals: RowTotals = empty_row_totals(world.rows.arrivals.size)
        self.digest = Digest()
        self.at_start = 0
        self.at_end = 0

    def add(self, result: BatchSums) -> None:
        """Take in one batch."""
        rows = slice(*result.batch.rows)
        for whole, part in zip(self.row_totals, result.row_totals, strict=True):
            whole[rows] = part
        self.digest += result.digest
        self.at_start += result.at_start
        self.at_end += result.at_end

    @property
    def virtual(self) -> int:
        """Virtual arrivals."""
        return int(self.row_totals.virtual.sum(dtype=np.int64))

    @property
    def counted(self) -> int:
        """Arrivals that the count rows ask for."""
        return self.world.arrivals

    @property
    def count_rows(self) -> int:
        """Count rows with N > 0."""
        return self.world.rows.arrivals.size

    def buckets(self) -> NDArray[np.int32]:
        """The buckets with arrivals, ascending."""
        used = np.zeros(self.world.tables.grid.start_us.size, np.bool_)
        used[self.world.rows.bucket] = True
        return np.flatnonzero(used).astype(np.int32)

    def pieces(self) -> Iterator[Ledger]:
        """The ledger itself: it holds every merchant."""
        yield self

    def fallback_rows(self) -> dict[str, I32]:
        """Arrivals of each count row that took a fallback, keyed by the routing policy's switch."""
        mode, has_edges = self._of_entity
        without_edges = ((mode != NON_VIRTUAL) & ~has_edges)[self.world.rows.entity]
        return {
            "missing_group_table": self.row_totals.without_group,
            "no_site_in_zone": self.row_totals.without_site,
            "missing_edge_table": np.where(without_edges, self.world.rows.arrivals, np.int32(0)),
        }

    def fallbacks(self) -> dict[str, int]:
        """Arrivals that took each fallback of LAW section 4."""
        return {switch: int(arrivals.sum(dtype=np.int64)) for switch, arrivals in self.fallback_rows().items()}

    def accounting(self) -> dict[str, FamilyAccount]:
        """Blocks and words per family, by LAW section 6, keyed by substream label."""
        accounts: dict[str, FamilyAccount] = {}
        for first in range(0, max(self.count_rows, 1), _ACCOUNTED_ROWS):
            span = slice(first, first + _ACCOUNTED_ROWS)
            rows = Rows(*(column[span] for column in self.world.rows))
            for label, use in self.uses(span).items():
                account = _account(use, rows)
                accounts[label] = accounts[label].then(account) if label in accounts else account
        return accounts

    def uses(self, span: slice = slice(None)) -> dict[str, FamilyUse]:
        """How each count row (of a span) uses each family, by LAW section 6, keyed by substream label."""
        entities = self.world.tables.entities
        entity = self.world.rows.entity[span]
        mode, has_edges = self._of_entity
        only_virtual = ((mode == VIRTUAL_ONLY) & has_edges)[entity]
        hybrid = ((mode == HYBRID) & has_edges)[entity]
        counts = self.world.rows.arrivals[span].astype(np.int64)
        virtual = self.row_totals.virtual[span].astype(np.int64)
        edge_words = np.where(only_virtual, counts, np.where(hybrid, counts + virtual, 0))
        return {
            "arrival_time_jitter": FamilyUse(np.ones(counts.size, np.bool_), counts, entities.time_hi),
            "arrival_site_pick": FamilyUse(~only_virtual, 2 * (counts - virtual), entities.site_hi),
            "arrival_edge_pick": FamilyUse(only_virtual | hybrid, edge_words, entities.edge_hi),
        }

    @cached_property
    def _of_entity(self) -> tuple[I8, Mask]:
        """Mode of every entity's merchant, and whether that has an edge table."""
        tables = self.world.tables
        merchant = tables.entities.merchant
        return tables.merchants.mode[merchant], (np.diff(tables.merchants.edge_start) > 0)[merchant]


@dataclass(frozen=True)
class FamilyUse:
    """One family by count row: which rows touch it, the words each draws (R of both), and hi0 of each entity."""

    touched: Mask
    words: NDArray[np.int64]
    hi0: NDArray[np.uint64]


@dataclass(frozen=True)
class FamilyAccount:
    """Use of one family: count rows that touch it, blocks reserved, words drawn.

    before, after: counter (word 0, word 1) ahead of the first and behind the last count row, in dataset order.
    """

    events: int
    blocks: int
    words: int
    before: tuple[int, int]
    after: tuple[int, int]

    def then(self, later: FamilyAccount) -> FamilyAccount:
        """This and the account of later count rows as one."""
        if not self.events or not later.events:
            return self if self.events else later
        return FamilyAccount(
            self.events + later.events, self.blocks + later.blocks, self.words + later.words, self.before, later.after
        )


def _account(use: FamilyUse, rows: Rows) -> FamilyAccount:
    touching = np.flatnonzero(use.touched)
    if touching.size == 0:
        return FamilyAccount(0, 0, 0, (0, 0), (0, 0))

    def word1(row: int) -> int:
        return (int(use.hi0[rows.entity[row]]) + int(rows.bucket[row])) % (1 << 64)

    first, last = int(touching[0]), int(touching[-1])
    return FamilyAccount(
        events=int(touching.size),
        blocks=int(rows.arrivals[touching].sum(dtype=np.int64)),
        words=int(use.words[touching].sum()),
        before=(0, word1(first)),
        after=(int(rows.arrivals[last]), word1(last)),
    )
