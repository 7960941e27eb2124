"""Counts of local days: the day that each row names, and the grid of the days of all zones.

docs/reference/layouts.md, "Local days", has the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import NoReturn

import numpy as np

from arrival_engine.contracts import Code
from arrival_engine.contracts.moments import END_US, FIRST_US, NOT_IN_RANGE
from arrival_engine.engine.importing.cadence import zones_of
from arrival_engine.engine.importing.contents import Ints
from arrival_engine.engine.importing.grid import told
from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.importing.times import dates_of
from arrival_engine.engine.importing.values import MICROS
from arrival_engine.engine.tz.civil_days import DAY_S, CivilDays, civil_days, wall_clock
from arrival_engine.engine.tz.zones import ZoneTable

_CODE = Code.TIME_GRID_MISMATCH
_FIRST_DATE = date(1970, 1, 1)
# The longest bucket of a day; part of the rule of local days.
_MOST_US = DAY_S * MICROS


@dataclass(frozen=True, eq=False)
class RowDays:
    """The civil day of every count row: its start and end in microseconds, its date as days since 1970-01-01.

    Each is int64[R]. zones: the civil days of each zone by its code in the table.
    """

    start: Ints
    end: Ints
    date: Ints
    zones: dict[int, CivilDays]


def date_text(day: int) -> str:
    """A date by its days since 1970-01-01."""
    return (_FIRST_DATE + timedelta(days=day)).isoformat()


def row_days(counts: Table) -> RowDays:
    """The day that each row's `bucket_start` names: a date (`times.day_start`), or the instant at which a day starts.

    Raises TIME_GRID_MISMATCH for the first row that names no day, or a day that a clock interrupts.
    """
    value, zone = counts["bucket_start"], counts["tz"]
    dated, number = dates_of(value)
    # A date's day starts less than a day away from the same date's start in UTC.
    seconds = np.where(dated, number * DAY_S, value // MICROS)
    low, high = int(seconds.min()), int(seconds.max())
    table = zones_of(counts, high * MICROS)
    found = np.full(counts.rows, -1, np.int64)
    broken = np.zeros(counts.rows, np.bool_)
    rows = RowDays(np.zeros_like(value), np.zeros_like(value), np.zeros_like(value), {})
    for code in np.unique(zone).tolist():
        days = civil_days(table, _tzid(counts, code), low, high)
        mine = np.flatnonzero(zone == code)
        at = np.where(dated[mine], days.of_date(number[mine]), days.starting_at(seconds[mine]))
        at[~dated[mine] & (value[mine] % MICROS != 0)] = -1
        found[mine], broken[mine] = at, (at >= 0) & days.interrupted[at]
        rows.start[mine], rows.end[mine] = days.start[at] * MICROS, days.start[at + 1] * MICROS
        rows.date[mine] = days.day[at]
        rows.zones[code] = days
    bad = (found < 0) | broken | (rows.start < FIRST_US) | (rows.end > END_US)
    if bad.any():
        row = int(np.argmax(bad))
        _refuse(counts, row, rows, table, named=bool(found[row] >= 0), broken=bool(broken[row]))
    return rows


def _tzid(counts: Table, code: int) -> str:
    return counts.texts["tz"][code] or ""


def _refuse(counts: Table, row: int, rows: RowDays, table: ZoneTable, *, named: bool, broken: bool) -> NoReturn:
    value, code = int(counts["bucket_start"][row]), int(counts["tz"][row])
    tzid, days = _tzid(counts, code), rows.zones[code]
    if broken:
        day = date_text(int(rows.date[row]))
        what = f"{day} is not one stretch of time in {tzid}: its clock is set back over midnight"
        counts.refuse(
            row, what, "leave out the days on both sides of that midnight, or count them by hours", code=_CODE
        )
    if named:
        counts.refuse(row, f"the day {NOT_IN_RANGE}", "check the year", code=_CODE)
    (dated,), (number,) = dates_of(np.array([value], np.int64))
    if dated:
        what = f"{date_text(int(number))} does not exist in {tzid}: its calendar skips that day"
        counts.refuse(row, what, "leave the row out, or correct its date", code=_CODE)
    at = days.containing(value // MICROS)
    day, start = date_text(int(days.day[at])), _on_clock(table, tzid, int(days.start[at]))
    of_utc = "; for days of UTC give --bucket 1d" if value % (DAY_S * MICROS) == 0 else ""
    counts.refuse(
        row,
        f"bucket_start {told(value)} is not the start of a day in {tzid}, where {day} starts at {start}",
        f"write the date alone, such as {day}, or the time {start}{of_utc}",
        code=_CODE,
    )


def _on_clock(table: ZoneTable, tzid: str, instant_s: int) -> str:
    """An instant as the zone's clock shows it, with the offset, in whole minutes."""
    offset = int(wall_clock(table, tzid, np.array([instant_s], np.int64))[0]) - instant_s
    zone = timezone(timedelta(seconds=offset))
    return datetime.fromtimestamp(instant_s, UTC).astimezone(zone).isoformat(timespec="minutes")


def day_edges(counts: Table, rows: RowDays) -> Ints:
    """The starts of all days, from the first to the end of the last day of the counts: int64[B + 1], microseconds.

    The days are those of every zone with arrivals. A day of more than 24 hours is cut after each 24.
    """
    low, high = int(rows.start.min()), int(rows.end.max())
    used = np.unique(counts["tz"][counts["count"] > 0]).tolist()
    starts = np.unique(np.concatenate([[low, high], *(rows.zones[code].start * MICROS for code in used)]))
    edges = starts[(starts >= low) & (starts <= high)]
    long = np.flatnonzero(np.diff(edges) > _MOST_US).tolist()
    cuts = [np.arange(edges[at] + _MOST_US, edges[at + 1], _MOST_US) for at in long]
    return np.unique(np.concatenate([edges, *cuts])).astype(np.int64)
