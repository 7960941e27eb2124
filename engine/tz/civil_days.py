"""Civil days of a time zone: the stretches of UTC over which the local date stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from arrival_engine.engine.tz.zones import Instants, ZoneTable

DAY_S = 86_400
# More than any clock change together with any offset, so that the days at both ends are complete.
_MARGIN_S = 3 * DAY_S


@dataclass(frozen=True, eq=False)
class CivilDays:
    """Consecutive stretches of one local date each.

    start: int64[D + 1], Unix seconds; stretch i is [start[i], start[i + 1]). day: int64[D], its date as days since
    1970-01-01. A date that the zone skips is absent. A date that a clock set back over midnight interrupts is repeated.
    """

    start: Instants
    day: Instants

    @cached_property
    def interrupted(self) -> npt.NDArray[np.bool_]:
        """Whether the stretch is only part of its date: bool[D]."""
        _, place, times = np.unique(self.day, return_inverse=True, return_counts=True)
        return np.asarray(times[place] > 1)

    def starting_at(self, instants: Instants) -> Instants:
        """The stretch that starts at each instant (Unix seconds), -1 if none does: int64[N]."""
        at = np.clip(np.searchsorted(self.start, instants), 0, len(self.day) - 1)
        return np.where(self.start[at] == instants, at, -1)

    def containing(self, instant: int) -> int:
        """The stretch that contains an instant of the window."""
        return int(np.searchsorted(self.start, instant, side="right")) - 1

    def of_date(self, days: Instants) -> Instants:
        """The first stretch of each date, -1 if the zone has no such date: int64[N]."""
        dates, first = np.unique(self.day, return_index=True)
        at = np.clip(np.searchsorted(dates, days), 0, len(dates) - 1)
        return np.where(dates[at] == days, first[at], -1)


def civil_days(zones: ZoneTable, tzid: str, first_s: int, last_s: int) -> CivilDays:
    """The civil days of a zone from two days before `first_s` to two days after `last_s` (Unix seconds), or more.

    Raises DST_MAPPING_FAILED if the table lacks the zone.
    """
    instants, minutes = zones.steps(tzid)
    low, high = first_s - _MARGIN_S, last_s + _MARGIN_S
    inside = (instants > low) & (instants < high)
    bounds = [low, *instants[inside].tolist(), high]
    starts, days = [], []
    for begin, end in pairwise(bounds):
        offset = 60 * int(minutes[np.searchsorted(instants, begin, side="right") - 1])
        dates = np.arange((begin + offset) // DAY_S, (end - 1 + offset) // DAY_S + 1, dtype=np.int64)
        starts.append(np.maximum(dates * DAY_S - offset, begin))
        days.append(dates)
    start, day = np.concatenate(starts), np.concatenate(days)
    new = np.append(True, day[1:] != day[:-1])
    # The first and the last stretch are cut by the window.
    return CivilDays(start[new][1:], day[new][1:-1])


def wall_clock(zones: ZoneTable, tzid: str, instants: Instants) -> Instants:
    """What a clock of the zone shows at each instant, as if it were UTC: int64[N], both in Unix seconds.

    Raises DST_MAPPING_FAILED if the table lacks the zone.
    """
    steps, minutes = zones.steps(tzid)
    offset = minutes[np.searchsorted(steps, instants, side="right") - 1]
    return np.asarray(instants + 60 * offset.astype(np.int64))
