"""The comparison of a time zone cache with the pinned tzdata package."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.engine.tz.pinned import FIRST_YEAR, pinned_zones, release, unknown_tzids
from arrival_engine.engine.tz.zones import Instants, Minutes, ZoneTable


class Disagreement(NamedTuple):
    """From `instant` to `until`, exclusive (Unix seconds), the sources differ in minutes east of UTC for `tzid`."""

    tzid: str
    instant: int
    until: int
    cache_minutes: int
    tzdata_minutes: int

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            f"{self.tzid} from {when}: the cache says {self.cache_minutes:+d} min, "
            f"tzdata {release()} says {self.tzdata_minutes:+d} min"
        )


def _at(steps: tuple[Instants, Minutes], instants: Instants) -> Minutes:
    return np.asarray(steps[1][np.searchsorted(steps[0], instants, side="right") - 1])


def _compare(
    tzid: str, cached: tuple[Instants, Minutes], exact: tuple[Instants, Minutes], bounds: tuple[int, int]
) -> list[Disagreement]:
    # Two step functions agree on an interval if they agree at its start and at every step of either.
    points = np.concatenate([np.array([bounds[0]], np.int64), cached[0], exact[0]])
    points = np.unique(points[(points >= bounds[0]) & (points <= bounds[1])])
    ours, theirs = _at(cached, points), _at(exact, points)
    # One entry per stretch of constant disagreement, not one per step inside it.
    starts = np.flatnonzero(np.append(True, (ours[1:] != ours[:-1]) | (theirs[1:] != theirs[:-1])))
    ends = np.append(points[starts[1:]], bounds[1] + 1)
    return [
        Disagreement(tzid, int(points[at]), int(end), int(ours[at]), int(theirs[at]))
        for at, end in zip(starts, ends, strict=True)
        if ours[at] != theirs[at]
    ]


def _year(end_s: int) -> int:
    """The UTC year of a Unix second: the last year that needs exact steps."""
    try:
        return datetime.fromtimestamp(end_s, UTC).year
    except (ValueError, OverflowError, OSError):
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"Unix second {end_s} is beyond the calendar",
            hint="check the last bucket of the time grid",
            end_s=end_s,
        ) from None


def disagreements(cache: ZoneTable, tzids: Iterable[str], start_s: int, end_s: int) -> list[Disagreement]:
    """Differences of the cache from the pinned tzdata on [start_s, end_s] (Unix seconds, both included).

    Ordered by zone, then instant; each entry is a stretch of constant disagreement, cut to the interval. Raises
    DST_MAPPING_FAILED for zones that the cache or the package lacks (all at once), and for an interval that ends before
    it starts.
    """
    if end_s < start_s:
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"the interval to check ends ({end_s}) before it starts ({start_s})",
            hint="check the first and the last bucket of the time grid",
            start_s=start_s,
            end_s=end_s,
        )
    wanted = sorted(set(tzids))
    absent = [tzid for tzid in wanted if cache.find(tzid) is None]
    if absent:
        foreign = unknown_tzids(absent)
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"the time zone cache lacks {', '.join(map(repr, absent))}",
            hint=f"correct the names that tzdata {release()} does not know either: {', '.join(foreign)}"
            if foreign
            else "rebuild it with `arrivals tz build RUN_ROOT --replace`",
            tzids=absent,
        )
    exact = pinned_zones(wanted, until_year=_year(end_s), from_year=_year(start_s) if start_s >= 0 else FIRST_YEAR)
    found: list[Disagreement] = []
    for tzid in wanted:
        found += _compare(tzid, cache.steps(tzid), exact.steps(tzid), (start_s, end_s))
    return found
