"""One recomputation of a scenario: passes over stored rows on several threads, and what they count together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.engine.recomputing import kernel_shapes, kernels
from arrival_engine.engine.recomputing.kernel_shapes import Draws, Law, Recount, Stored, Tally
from arrival_engine.engine.recomputing.tables import LawTables


class Drawn(NamedTuple):
    """Arrivals of a segment: times in microseconds, int64; ids of sites and edges, uint64; whether virtual, bool."""

    ts_us: NDArray[np.int64]
    place: NDArray[np.uint64]
    is_virtual: NDArray[np.bool_]


class Recomputation:
    """The recomputed arrivals of a scenario.

    watched: count rows whose arrivals are also tallied by place in the bucket, in `bins` equal bins. `recount` has, by
    count row, what passes have recomputed so far; passes write the same values where they meet.
    """

    def __init__(self, tables: LawTables, bins: int, watched: Sequence[int] = ()) -> None:
        law = tables.law
        rows, segments = law.rows.arrivals.size, law.rows.merchant.size
        self.tables = tables
        self.recount = Recount(np.zeros(rows, np.int32), np.zeros(rows, np.int32), np.zeros(segments, np.uint8))
        self._bins = bins
        self._watched = np.array(watched, np.int64)
        self._largest = int(np.add.reduceat(law.rows.arrivals, law.rows.start[:-1], dtype=np.int64).max(initial=0))
        self._tallies: list[Tally] = []

    def begin(self) -> Pass:
        """A pass for one thread; its tallies are part of `tally`."""
        tally = _empty_tally(self.tables.law, len(self.tables.tzids), self._bins, self._watched)
        self._tallies.append(tally)
        return Pass(self.tables.law, self.recount, tally, _room(self._largest))

    def finish(self) -> int:
        """Recount the segments that no pass has met; return their arrivals, all of which are missing."""
        seen = self.recount.seen
        # Where none is left, the loop need not even be compiled.
        if seen.all():
            return 0
        return int(kernels.expand(self.tables.law, 0, seen.size, _room(self._largest), self.recount))

    def tally(self) -> Tally:
        """The tallies of all passes together."""
        empty = _empty_tally(self.tables.law, len(self.tables.tzids), self._bins, self._watched)
        sums = [sum(parts) for parts in zip(empty, *self._tallies, strict=True)]
        return Tally(*sums)._replace(watched=empty.watched, least=empty.least)

    def segment(self, number: int) -> Drawn:
        """The arrivals of one segment, in output order."""
        draws, size = self._expanded(number)
        order = draws.order[:size]
        return Drawn(draws.ts_us[order], draws.place[order], draws.is_virtual[order] != 0)

    def arrival(self, merchant_id: int, arrival_seq: int) -> dict[str, Any] | None:
        """The arrival of a key, or None: bucket, zone, channel, instant, route, place and primary zone."""
        law = self.tables.law
        merchant = int(np.searchsorted(law.merchants.id, np.uint64(merchant_id)))
        if merchant == law.merchants.id.size or int(law.merchants.id[merchant]) != merchant_id or arrival_seq < 1:
            return None
        first, end = (int(bound) for bound in law.merchants.segments[merchant : merchant + 2])
        segment = first + int(np.searchsorted(law.rows.before[first:end], arrival_seq)) - 1
        draws, size = self._expanded(segment)
        place = arrival_seq - int(law.rows.before[segment]) - 1
        return self._shown(draws, int(draws.order[place])) if place < size else None

    def _expanded(self, segment: int) -> tuple[Draws, int]:
        draws = _room(self._largest)
        self.recount.seen[segment] = 0
        return draws, int(kernels.expand(self.tables.law, segment, segment + 1, draws, self.recount))

    def _shown(self, draws: Draws, at: int) -> dict[str, Any]:
        law, row = self.tables.law, int(draws.row[at])
        entity = int(law.rows.entity[row])
        return {
            "bucket_index": int(law.rows.bucket[row]),
            "zone_representation": self.tables.tzids[law.entities.zone[entity]],
            "channel_group": self.tables.channels[law.entities.channel[entity]] or None,
            "ts_us": int(draws.ts_us[at]),
            "is_virtual": bool(draws.is_virtual[at]),
            "place": int(draws.place[at]),
            "tzid_primary": self.tables.tzids[draws.zone[at]],
        }


class Pass:
    """Compares stored rows, in any order, with their arrivals; fastest where rows are in order."""

    def __init__(self, law: Law, recount: Recount, tally: Tally, draws: Draws) -> None:
        self._law, self._recount, self._tally, self._draws = law, recount, tally, draws
        self._current = np.array([kernel_shapes.NONE, 0], np.int64)
        self._found = np.empty(0, np.int64)

    def compare(self, stored: Stored) -> NDArray[np.int64]:
        """Numbers of the rows that are not the arrivals of their keys (merchant_id, arrival_seq)."""
        if self._found.size < stored.merchant.size:
            self._found = np.empty(stored.merchant.size, np.int64)
        count = kernels.compare(self._law, stored, self._draws, self._recount, self._tally, self._current, self._found)
        return self._found[:count].copy()


def _room(arrivals: int) -> Draws:
    size = max(arrivals, 1)
    return Draws(
        ts_us=np.empty(size, np.int64),
        place=np.empty(size, np.uint64),
        zone=np.empty(size, np.int32),
        member=np.empty(size, np.int32),
        group=np.empty(size, np.int64),
        row=np.empty(size, np.int64),
        is_virtual=np.empty(size, np.uint8),
        order=np.empty(size, np.int32),
        fill=np.empty(size + 1, np.int32),
    )


def _empty_tally(law: Law, zones: int, bins: int, watched: NDArray[np.int64]) -> Tally:
    days = int(law.grid.day.max(initial=-1)) + 1
    return Tally(
        site=np.zeros(law.sites.id.size, np.int64),
        edge=np.zeros(law.edges.id.size, np.int64),
        group=np.zeros(law.groups.member.size, np.int64),
        zone_day=np.zeros((zones, days), np.int64),
        bins=np.zeros(bins, np.int64),
        ends=np.zeros(2, np.int64),
        watched=watched,
        least=law.rows.arrivals[watched].astype(np.int64).min(initial=np.iinfo(np.int64).max, keepdims=True),
        large=np.zeros((watched.size, bins), np.int64),
    )
