"""How far apart the times of counts are, per key: what tells counts of days from counts of hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import Notice
from arrival_engine.engine.importing.contents import Ints, runs, sorted_order
from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.importing.values import MICROS
from arrival_engine.engine.tz.civil_days import civil_days, wall_clock
from arrival_engine.engine.tz.pinned import LAST_YEAR, pinned_zones
from arrival_engine.engine.tz.zones import ZoneTable

Bools = npt.NDArray[np.bool_]

HOUR_US = 3600 * MICROS
DAY_US = 24 * HOUR_US
# Keys at starts of days by chance that are still expected where a single one is taken for counts of days.
_CHANCE_MAX = 0.005
# Where more are expected, so many times more must be found, and at least so many.
_CHANCE_TIMES, _FOUND_MIN = 10, 3
# So many times are multiples of two hours by chance once in 8 million keys.
_ENOUGH_STEPS = 24


@dataclass(frozen=True, eq=False)
class Cadence:
    """The distinct times of every key (merchant, zone, channel), by key and time.

    first: int64[K], each key's first time. row: int64[T], a row of the table with the time. time: int64[T],
    microseconds. wall: int64[T], what the zone's clock shows. local, utc: bool[T], whether a civil day of the zone, or
    of UTC, starts at the time.
    """

    first: Ints
    row: Ints
    time: Ints
    wall: Ints
    local: Bools
    utc: Bools

    @property
    def sizes(self) -> Ints:
        """The number of times of each key: int64[K]."""
        return np.diff(np.append(self.first, len(self.time)))

    def gaps(self, clock: Ints) -> Ints:
        """From the time before to each time of a key, 0 for the first: int64[T]."""
        gaps = np.diff(clock, prepend=clock[:1])
        gaps[self.first] = 0
        return gaps

    def steps(self, clock: Ints) -> Ints:
        """The largest step whose multiples all gaps of a key are, 0 for a key of one time: int64[K]."""
        return np.gcd.reduceat(self.gaps(clock), self.first).astype(np.int64)

    def of_days(self) -> Bools:
        """Keys all of whose times are starts of days, of their zone or of UTC: bool[K]."""
        return np.logical_and.reduceat(self.local, self.first) | np.logical_and.reduceat(self.utc, self.first)


def cadence(counts: Table) -> Cadence:
    """The cadence of counts with times; their time zones are those of the pinned tzdata."""
    keys = [counts["merchant_id"], counts["tz"]]
    if counts.has("channel"):
        keys.append(counts["channel"])
    order = sorted_order(*keys, counts["bucket_start"])
    keys = [key[order] for key in keys]
    time, zone = counts["bucket_start"][order], counts["tz"][order]
    distinct = np.zeros(len(time), np.bool_)
    distinct[runs(*keys, time)] = True
    order, time, zone = order[distinct], time[distinct], zone[distinct]
    first = runs(*(key[distinct] for key in keys))
    zones = zones_of(counts, int(time.max()))
    wall, local = np.empty_like(time), np.empty(len(time), np.bool_)
    for code in np.unique(zone).tolist():
        tzid = counts.texts["tz"][code] or ""
        mine = zone == code
        seconds, micros = np.divmod(time[mine], MICROS)
        wall[mine] = wall_clock(zones, tzid, seconds) * MICROS + micros
        days = civil_days(zones, tzid, int(seconds.min()), int(seconds.max()))
        local[mine] = (days.starting_at(seconds) >= 0) & (micros == 0)
    return Cadence(first, order, time, wall, local, time % DAY_US == 0)


def zones_of(counts: Table, last_us: int) -> ZoneTable:
    """The zones that counts name, complete for some days after an instant."""
    year = datetime.fromtimestamp(last_us // MICROS + 10 * 86_400, UTC).year
    return pinned_zones([text or "" for text in counts.texts["tz"]], max(LAST_YEAR, year))


def longer_than_hours(found: Cadence) -> Bools:
    """Keys whose counts cannot be taken for counts of hours: bool[K].

    All keys, if all their gaps are multiples of one step above an hour and most gaps last longer than an hour (two
    hours over a clock change are two apart on the zone's clock); or if no key has two times and all times are starts of
    days. Else the keys that stand out: all times at starts of days, which chance does not explain; or many
    times on a step above an hour that divides the day.
    """
    by_wall, by_utc = found.steps(found.wall), found.steps(found.time)
    step, sizes, days = np.maximum(by_wall, by_utc), found.sizes, found.of_days()
    common = int(np.gcd.reduce(step))
    gaps = np.delete(found.gaps(found.time), found.first)
    if (common > HOUR_US and 2 * (gaps > HOUR_US).sum() > len(gaps)) or (common == 0 and days.all()):
        return np.ones(len(sizes), np.bool_)
    longer = _beyond_chance(sizes, days)
    for clock, steps in ((found.wall, by_wall), (found.time, by_utc)):
        on_step = found.gaps(clock) == np.repeat(steps, sizes)
        mostly = np.add.reduceat(on_step.astype(np.int64), found.first) > sizes / 2
        longer |= (
            (sizes >= _ENOUGH_STEPS) & (steps > HOUR_US) & (clock[found.first] % np.maximum(steps, 1) == 0) & mostly
        )
    return longer


def _beyond_chance(sizes: Ints, days: Bools) -> Bools:
    """Keys of only starts of days, among keys of as many times, if arrivals at any of 24 hours do not explain them."""
    size, place, alike = np.unique(sizes, return_inverse=True, return_counts=True)
    # Starts of days of the zone, or of UTC.
    expected = 2 * alike / 24.0 ** np.minimum(size, 9)
    observed = np.bincount(place[days], minlength=len(size))
    found = (expected < _CHANCE_MAX) | (observed > np.maximum(_FOUND_MIN - 1, _CHANCE_TIMES * expected))
    return np.asarray(found[place] & days)


def usual_gap(found: Cadence, keys: Bools | None = None) -> int | None:
    """The most common gap within keys (default: all), in microseconds; None if no key has two times.

    Gaps are taken on the clock, the zone's or UTC's, by which they agree best.
    """
    chosen = np.ones(len(found.time), np.bool_) if keys is None else np.repeat(keys, found.sizes)
    chosen[found.first] = False
    if not chosen.any():
        return None
    best: tuple[int, int] = (0, 0)
    for clock in (found.time, found.wall):
        gaps, times = np.unique(found.gaps(clock)[chosen], return_counts=True)
        most = int(np.argmax(times))
        best = max(best, (int(times[most]), int(gaps[most])))
    return best[1]


def far_apart(counts: Table, number: Ints, unit: str, span: str) -> list[Notice]:
    """A notice if most counts are the same number of buckets after the one before of their key, and not the next.

    number: int64[R], a bucket or day of each row, which `unit` names in the plural; span: what one of them is.
    """
    keys = [counts["merchant_id"], counts["tz"]]
    if counts.has("channel"):
        keys.append(counts["channel"])
    order = sorted_order(*keys, number)
    gaps = np.diff(number[order], prepend=number[order][:1])
    gaps[runs(*(key[order] for key in keys))] = 0
    gaps = gaps[gaps > 0]
    if len(gaps) < 2:
        return []
    found, times = np.unique(gaps, return_counts=True)
    usual, share = int(found[np.argmax(times)]), int(times.max())
    if usual < 2 or 2 * share <= len(gaps):
        return []
    message = (
        f"the counts of a merchant, zone and channel are usually {usual} {unit} apart, but each is placed within one "
        f"{span}; if a count covers more, give the --bucket that it covers"
    )
    return [Notice("COUNTS_FAR_APART", message, {"usual_gap": usual, "unit": unit})]
