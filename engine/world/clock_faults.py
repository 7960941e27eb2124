"""What a tz cache that disagrees with tzdata costs a run: seconds, zones and arrivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.tables import Grid, Rows, Tables
from arrival_engine.engine.rundir.settings import Settings
from arrival_engine.engine.tz.agreement import Disagreement
from arrival_engine.engine.world.clock_shares import ClockShares

_MICROS = 1_000_000
_ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class ZoneFault:
    """The wrong stretches of one zone, by time.

    seconds: how much of the grid's buckets they cover. shown: whether any arrival of the scenario can show the zone.
    expected: expected number of arrivals with a wrong local time in the zone. at_most: arrivals of the count rows that
    can have one, exactly: those in buckets with a wrong stretch, of merchants with a place in the zone.
    """

    tzid: str
    stretches: tuple[Disagreement, ...]
    seconds: float
    shown: bool
    expected: float
    at_most: int


class ClockFaults(NamedTuple):
    """The faults by expected arrivals, most first; at_most: arrivals of count rows that any of them can concern."""

    zones: tuple[ZoneFault, ...]
    at_most: int


def clock_faults(
    differences: Sequence[Disagreement], tzids: Sequence[str], tables: Tables, rows: Rows, settings: Settings
) -> ClockFaults:
    """Weigh the differences with the arrivals of the given count rows."""
    if not differences:
        return ClockFaults((), 0)
    stretches: dict[str, list[Disagreement]] = {}
    for difference in differences:
        stretches.setdefault(difference.tzid, []).append(difference)
    wrong_us = np.array([_wrong_us(tables.grid, mine) for mine in stretches.values()], np.int64)
    wrong_us = wrong_us.reshape(len(stretches), tables.grid.start_us.size)
    fault_of_zone = np.full(len(tzids), -1, np.int64)
    fault_of_zone[[tzids.index(tzid) for tzid in stretches]] = np.arange(len(stretches))
    weighed = _weigh(ClockShares(tables, settings), rows, fault_of_zone, wrong_us / tables.grid.duration_us)
    faults = [
        ZoneFault(
            tzid=tzid,
            stretches=tuple(mine),
            seconds=int(wrong_us[fault].sum()) / _MICROS,
            shown=bool(weighed.shown[fault]),
            expected=float(weighed.expected[fault]),
            at_most=int(weighed.at_most[fault]),
        )
        for fault, (tzid, mine) in enumerate(stretches.items())
    ]
    faults.sort(key=lambda fault: (-fault.expected, -fault.at_most, -fault.seconds, fault.tzid))
    return ClockFaults(tuple(faults), weighed.concerned)


def _wrong_us(grid: Grid, stretches: Sequence[Disagreement]) -> NDArray[np.int64]:
    """Microseconds of each bucket in the stretches, which do not overlap: int64[B]."""
    end_us = grid.start_us + grid.duration_us.astype(np.int64)
    found = np.zeros(grid.start_us.size, np.int64)
    for stretch in stretches:
        low = np.maximum(grid.start_us, stretch.instant * _MICROS)
        found += np.maximum(np.minimum(end_us, stretch.until * _MICROS) - low, 0)
    return found


class _Weighed(NamedTuple):
    shown: NDArray[np.bool_]
    expected: NDArray[np.float64]
    at_most: NDArray[np.int64]
    concerned: int


def _weigh(shares: ClockShares, rows: Rows, fault_of_zone: NDArray[np.int64], wrong: NDArray[np.float64]) -> _Weighed:
    """Sums by fault; wrong: float64[faults, B], the part of each bucket that is wrong."""
    faults = wrong.shape[0]
    shown = np.zeros(faults, np.bool_)
    expected, at_most, concerned = np.zeros(faults), np.zeros(faults, np.int64), 0
    for first in range(0, rows.entity.size, _ROWS_AT_ONCE):
        piece = Rows(*(column[first : first + _ROWS_AT_ONCE] for column in rows))
        row, zone, chance = shares.shown(piece)
        fault = fault_of_zone[zone]
        known = fault >= 0
        row, fault, chance = row[known], fault[known], chance[known]
        shown[fault] = True
        part = wrong[fault, piece.bucket[row]]
        hit = part > 0.0
        row, fault, arrivals = row[hit], fault[hit], piece.arrivals[row[hit]].astype(np.int64)
        expected += np.bincount(fault, arrivals * chance[hit] * part[hit], faults)
        np.add.at(at_most, fault, arrivals)
        concerned += int(piece.arrivals[np.unique(row)].sum(dtype=np.int64))
    return _Weighed(shown, expected, at_most, concerned)
