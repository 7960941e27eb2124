"""Civil days of a zone, against the calendar of `zoneinfo` over the pinned tzdata."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from arrival_engine.engine.tz.civil_days import DAY_S, civil_days, wall_clock
from arrival_engine.engine.tz.pinned import pinned_zones
from tests.support.worlds import pinned_zone

FIRST = date(1970, 1, 1)


def seconds(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def days_of(tzid, first, last):
    return civil_days(pinned_zones([tzid]), tzid, seconds(first), seconds(last))


def listed(tzid, first, last):
    """(date, hours, whether it is only a part) of every stretch that overlaps the two UTC days and those between."""
    found = days_of(tzid, first, last)
    low, high = seconds(first), seconds(last)
    return [
        ((FIRST + timedelta(days=int(day))).isoformat(), (end - start) / 3600, bool(part))
        for (start, end), day, part in zip(pairwise(found.start.tolist()), found.day, found.interrupted, strict=True)
        if start < high and end > low
    ]


@pytest.mark.parametrize(
    ("tzid", "first", "last"),
    [
        ("Europe/Berlin", "2026-01-01", "2027-01-01"),
        ("America/New_York", "2026-01-01", "2027-01-01"),
        ("Asia/Kolkata", "2026-01-01", "2026-03-01"),
        ("Asia/Kathmandu", "1985-06-01", "1986-06-01"),
        ("Australia/Lord_Howe", "2026-01-01", "2027-01-01"),
        ("America/Santiago", "2026-01-01", "2027-01-01"),
        ("Asia/Beirut", "2026-01-01", "2027-01-01"),
        ("America/Sao_Paulo", "2018-01-01", "2019-12-31"),
        ("Africa/Casablanca", "2026-01-01", "2027-01-01"),
        ("Pacific/Apia", "2011-06-01", "2012-06-01"),
        ("America/St_Johns", "2010-01-01", "2011-01-01"),
        ("Europe/Berlin", "2045-01-01", "2046-01-01"),
    ],
)
def test_each_stretch_has_one_date_of_the_zones_clock_and_the_next_another(tzid, first, last):
    zone = pinned_zone(tzid)
    year = max(2037, int(last[:4]) + 1)
    found = civil_days(pinned_zones([tzid], year), tzid, seconds(first), seconds(last))

    def shown(at):
        return (datetime.fromtimestamp(at, zone).date() - FIRST).days

    for (start, end), day in zip(pairwise(found.start.tolist()), found.day.tolist(), strict=True):
        # The clock turns back within a stretch at most; so its date is the same at both ends and in the middle.
        assert {shown(start), shown((start + end) // 2), shown(end - 1)} == {day}
        assert shown(end) != day
    assert found.start[0] <= seconds(first) - DAY_S
    assert found.start[-1] >= seconds(last) + DAY_S


def test_days_of_odd_lengths():
    assert listed("Europe/Berlin", "2026-03-29", "2026-03-30")[0] == ("2026-03-29", 23, False)
    assert ("2026-10-25", 25, False) in listed("Europe/Berlin", "2026-10-24", "2026-10-26")
    assert ("2026-04-05", 24.5, False) in listed("Australia/Lord_Howe", "2026-04-04", "2026-04-06")
    assert ("2026-10-04", 23.5, False) in listed("Australia/Lord_Howe", "2026-10-03", "2026-10-05")


def test_a_day_without_midnight_starts_at_one():
    found = days_of("America/Santiago", "2026-09-05", "2026-09-07")
    (at,) = np.flatnonzero(found.day == (date(2026, 9, 6) - FIRST).days)
    assert found.start[at] == seconds("2026-09-06T04:00:00")
    assert wall_clock(pinned_zones(["America/Santiago"]), "America/Santiago", found.start[[at]])[0] == seconds(
        "2026-09-06T01:00:00"
    )


def test_a_skipped_date_is_absent_and_one_that_is_interrupted_repeated():
    apia = [name for name, _, _ in listed("Pacific/Apia", "2011-12-29", "2012-01-02")]
    assert apia == ["2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01", "2012-01-02"]
    skipped = np.array([(date(2011, 12, 30) - FIRST).days], np.int64)
    assert days_of("Pacific/Apia", "2011-12-29", "2012-01-02").of_date(skipped).tolist() == [-1]
    johns = listed("America/St_Johns", "2010-11-06", "2010-11-08")
    assert [(name, part) for name, _, part in johns] == [
        ("2010-11-05", False),
        ("2010-11-06", True),
        ("2010-11-07", True),
        ("2010-11-06", True),
        ("2010-11-07", True),
    ]


def test_look_ups_outside_the_window_find_nothing():
    found = days_of("Europe/Berlin", "2026-03-28", "2026-03-30")
    far = np.array([0, 2**40], np.int64)
    assert found.starting_at(far).tolist() == [-1, -1]
    assert found.of_date(far).tolist() == [-1, -1]
    assert found.starting_at(found.start[-1:]).tolist() == [-1], "the window's end starts no stretch of it"
