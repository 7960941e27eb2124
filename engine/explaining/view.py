"""One merchant's part of a scenario, by tables of explaining's own: count rows, streams and draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from arrival_engine.engine.explaining import law
from arrival_engine.engine.explaining.names import Names
from arrival_engine.engine.merchant_names import MerchantNames
from arrival_engine.engine.recomputing.kernel_shapes import STRANDED, TIME
from arrival_engine.engine.recomputing.recount import Recomputation
from arrival_engine.engine.recomputing.streams import Entity
from arrival_engine.engine.recomputing.tables import Inputs, LawTables
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.tz.zones import ZoneTable


class Draw(NamedTuple):
    """One draw of a segment; draws of a merchant stand in the order of these fields (LAW section 5)."""

    ts_us: int
    zone: bytes
    channel: bytes
    j: int
    row: int


class Chosen(NamedTuple):
    """The arrival asked for: its segment, its draw and its place in the segment, from 1."""

    segment: int
    place: int
    draw: Draw


class Stated(NamedTuple):
    """What documents state: whether each fallback is forbidden, the form of physical rows, constants of all rows."""

    forbidden: Mapping[str, bool]
    mirror_dual_clock: bool
    universe_hash: str
    spec_version: str


@dataclass(frozen=True)
class View:
    """One merchant of one scenario: the only merchant of its tables is number 0.

    settlement: the merchant's settlement zone, None without one. names: of its sites and edges. merchants: the texts of
    merchants, None if merchant ids are numbers.
    """

    receipt: Receipt
    inputs: Inputs
    tables: LawTables
    merchant_id: int
    settlement: str | None
    stated: Stated
    zones: ZoneTable
    names: Names
    merchants: MerchantNames | None

    @property
    def scenario_id(self) -> str:
        """The scenario."""
        return self.inputs.scenario_id

    @property
    def segments(self) -> int:
        """The number of segments."""
        return int(self.tables.law.rows.merchant.size)

    @cached_property
    def recomputation(self) -> Recomputation:
        """The merchant's arrivals by compiled code, for questions about many of them."""
        return Recomputation(self.tables, bins=1)

    def row_span(self, segment: int) -> range:
        """Count rows of a segment."""
        starts = self.tables.law.rows.start
        return range(int(starts[segment]), int(starts[segment + 1]))

    def count(self, row: int) -> int:
        """Arrivals of a count row."""
        return int(self.tables.law.rows.arrivals[row])

    def before(self, segment: int) -> int:
        """The merchant's arrivals in the segments before."""
        return int(self.tables.law.rows.before[segment])

    def entity(self, row: int) -> Entity:
        """The entity of a count row."""
        entities, number = self.tables.law.entities, self.tables.law.rows.entity[row]
        zone, channel = self.tables.tzids[entities.zone[number]], self.tables.channels[entities.channel[number]]
        return Entity(self.merchant_id, zone, channel)

    def stream(self, row: int, family: int) -> tuple[int, int]:
        """Key and hi0 of a count row's stream in a family, TIME, SITE or EDGE."""
        entities, number = self.tables.law.entities, self.tables.law.rows.entity[row]
        return int(entities.key[number, family]), int(entities.hi0[number, family])

    def bucket(self, row: int) -> tuple[int, int, int]:
        """Index of a count row's bucket, its start in microseconds and its duration."""
        index, grid = int(self.tables.law.rows.bucket[row]), self.tables.law.grid
        return index, int(grid.start_us[index]), int(grid.duration_us[index])

    def group_table(self, bucket: int) -> int | None:
        """The table of tz groups of a bucket's day, None without one."""
        own, day = self.tables.law.merchants.groups[:2].tolist(), self.tables.law.grid.day[bucket]
        return next((table for table in range(*own) if self.tables.law.group_day[table] == day), None)

    def stops(self, segment: int) -> bool:
        """Whether the policy forbids a fallback of an arrival of a segment, so that a run stops."""
        forbidden, recount = self.stated.forbidden, self.recomputation.recount
        if not any(forbidden.values()):
            return False
        rows, arrivals = self.row_span(segment), self.recomputation.segment(segment)
        span = slice(rows.start, rows.stop)
        ungrouped = self.inputs.use_group_weights and self.group_table(self.bucket(rows.start)[0]) is None
        return (
            (forbidden["no_site_in_zone"] and bool(recount.homeless[span].any()))
            or (forbidden["missing_group_table"] and ungrouped and not arrivals.is_virtual.all())
            or (forbidden["missing_edge_table"] and self.tables.law.merchants.kind[0] == STRANDED)
        )

    def draws(self, segment: int) -> list[Draw]:
        """Every draw of a segment in output order; only their times are drawn."""
        found = []
        for row in self.row_span(segment):
            index, start_us, duration_us = self.bucket(row)
            key, hi0 = self.stream(row, TIME)
            word1 = law.counter_word1(hi0, index)
            _, zone, channel = self.entity(row)
            for j in range(self.count(row)):
                x0, _ = law.philox2x64(j, word1, key)
                ts_us = start_us + law.offset_us(x0, duration_us)
                found.append(Draw(ts_us, zone.encode(), channel.encode(), j, row))
        return sorted(found)
