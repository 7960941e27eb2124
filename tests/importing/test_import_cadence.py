"""Counts without the length of their buckets: what is taken for hours, what is refused, and what the refusal offers."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from arrival_engine.engine.importing import import_world
from tests.support.import_refused import TIME_BAD, refused
from tests.support.local_days import days_request
from tests.support.worlds import pinned_zone

BERLIN, YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"


def request_of(folder, rows, **options):
    return days_request(folder, rows, **{"bucket": None, **options})


def times(first, step, number):
    """`number` times in UTC, `step` apart."""
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    return [(start + index * step).isoformat() for index in range(number)]


def clock(tzid, first, step, number):
    """`number` times at which the zone's clock shows `first`, `first` + `step`, ..."""
    start, zone = datetime.fromisoformat(first), pinned_zone(tzid)
    return [(start + index * step).replace(tzinfo=zone).isoformat() for index in range(number)]


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def key(merchant, tzid, starts):
    return [(merchant, tzid, "", start, 5) for start in starts]


NIGHT = [hour for day in times("2026-03-20T21:00", DAY, 10) for hour in times(day[:16], HOUR, 5)]
HOURS = times("2026-03-20T00:00", HOUR, 48)
TAKEN = {
    "every hour": key(1, BERLIN, HOURS),
    "a night shop": key(1, BERLIN, NIGHT),
    "two hours of one key": key(1, BERLIN, ["2026-03-20T07:00Z", "2026-03-20T08:00Z"]),
    "one row per key, at all hours": [(n + 1, BERLIN, "", at, 5) for n, at in enumerate(HOURS)],
    "the two hours around a clock change": key(1, BERLIN, ["2026-03-29T00:00Z", "2026-03-29T01:00Z"]),
    "hours over a clock change": key(1, BERLIN, clock(BERLIN, "2026-03-28T00:00", HOUR, 26)[3:]),
    "few hours, in no pattern": key(1, BERLIN, [HOURS[at] for at in (0, 7, 19, 23, 40)]),
    "a kiosk at noon beside a shop": key(1, BERLIN, HOURS) + key(2, BERLIN, times("2026-03-01T12:00", DAY, 28)),
    "two hours a day beside a shop": key(1, BERLIN, HOURS)
    + key(2, BERLIN, times("2026-03-01T08:00", DAY, 28) + times("2026-03-01T16:00", DAY, 28)),
    "one midnight beside a shop": key(1, BERLIN, HOURS) + key(2, BERLIN, ["2026-03-20T23:00Z"]),
}


@pytest.mark.parametrize("name", TAKEN)
def test_hours_are_taken_for_hours(tmp_path, name):
    result = import_world(request_of(tmp_path, TAKEN[name]))
    assert (result.bucket_seconds, result.local_days) == (3600, None)
    assert result.input_rows == len(TAKEN[name])


@pytest.mark.parametrize("seed", range(5))
def test_sparse_hours_of_many_shops_are_taken_for_hours(tmp_path, seed):
    # 1,500 shops, of which a fourth have arrivals in one to four hours of four weeks, at any hour of day and night.
    draw = random.Random(seed)
    starts = times("2026-03-01T00:00", HOUR, 672)
    rows = []
    for merchant in range(1, 1501):
        number = draw.choice((1, 2, 3, 4, 8, 8, 20, 20, 20, 60, 60, 60, 60, 60, 60, 60))
        rows += key(merchant, draw.choice((BERLIN, YORK)), draw.sample(starts, number))
    result = import_world(request_of(tmp_path, rows))
    assert (result.bucket_seconds, result.notices) == (3600, ())


SPRING = clock(BERLIN, "2026-03-27T00:00", DAY, 4)
REFUSED = {
    "days over a clock change": (key(1, BERLIN, SPRING), ("usually 1 d apart", "--bucket local-day", "--bucket 1h")),
    "days, some left out": (key(1, BERLIN, [*SPRING[:2], *SPRING[3:]]), ("--bucket local-day",)),
    "days of 24 hours alone": (key(1, BERLIN, SPRING[:2]), ("usually 1 d apart", "--bucket local-day")),
    "days of three zones": (
        key(1, BERLIN, SPRING)
        + key(1, YORK, clock(YORK, "2026-03-27T00:00", DAY, 4))
        + key(1, KOLKATA, clock(KOLKATA, "2026-03-27T00:00", DAY, 4)),
        ("usually 1 d apart", "--bucket local-day"),
    ),
    "days of three zones, one row per key": (
        [
            (1, BERLIN, "", SPRING[0], 5),
            (1, YORK, "", "2026-03-27T00:00-04:00", 5),
            (1, KOLKATA, "", "2026-03-27T00:00+05:30", 5),
        ],
        ("are all starts of days", "--bucket local-day", "--bucket 1h"),
    ),
    "one row at a midnight": (key(1, BERLIN, SPRING[:1]), ("are all starts of days", "--bucket local-day")),
    "days without a midnight": (
        key(1, "America/Santiago", ["2026-09-05T00:00-04:00", "2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00"]),
        ("--bucket local-day",),
    ),
    "days of half-hour changes": (
        key(1, "Australia/Lord_Howe", clock("Australia/Lord_Howe", "2026-04-03T00:00", DAY, 5)),
        ("usually 1 d apart", "--bucket local-day"),
    ),
    "days of UTC": (key(1, BERLIN, times("2026-03-27T00:00", DAY, 4)), ("usually 1 d apart", "--bucket 86400s")),
    "days from six": (
        key(1, BERLIN, clock(BERLIN, "2026-03-27T06:00", DAY, 4)),
        ("usually 1 d apart", "list the buckets with --grid", "--bucket 1h"),
    ),
    "weeks": (key(1, BERLIN, clock(BERLIN, "2026-03-02T00:00", 7 * DAY, 5)), ("usually 7 d apart", "local-day")),
    "weeks of UTC": (key(1, BERLIN, times("2026-03-02T00:00", 7 * DAY, 5)), ("usually 7 d apart", "--bucket 604800s")),
    "first days of months": (
        key(1, BERLIN, [f"2026-{month:02}-01T00:00+0{1 + (3 < month < 11)}:00" for month in range(1, 13)]),
        ("usually 31 d apart", "--bucket local-day"),
    ),
    "six hours over a clock change": (
        key(1, BERLIN, clock(BERLIN, "2026-03-28T00:00", 6 * HOUR, 12)),
        ("usually 6 h apart", "list the buckets with --grid"),
    ),
    "two odd hours over a clock change": (
        key(1, BERLIN, clock(BERLIN, "2026-03-29T01:00", 2 * HOUR, 6)),
        ("usually 2 h apart", "list the buckets with --grid"),
    ),
    "six hours of UTC": (
        key(1, BERLIN, times("2026-03-28T00:00", 6 * HOUR, 12)),
        ("usually 6 h apart", "--bucket 21600s if every count is of 6 h", "--bucket 1h"),
    ),
    "two hours": (key(1, BERLIN, times("2026-03-28T00:00", 2 * HOUR, 12)), ("--bucket 7200s",)),
    "days of one merchant beside hours of another": (
        key(1, BERLIN, HOURS) + key(2, BERLIN, SPRING[:3]),
        ("counts.csv, line 50: the times of merchant 2 in Europe/Berlin are usually 1 d apart", "two worlds"),
    ),
    "two days of one merchant beside hours of another": (
        key(1, BERLIN, HOURS) + key(2, BERLIN, SPRING[:2]),
        ("the times of merchant 2 in Europe/Berlin are usually 1 d apart",),
    ),
    "two days each of several merchants beside hours of another": (
        key(1, BERLIN, HOURS) + [row for merchant in (2, 3, 4) for row in key(merchant, BERLIN, SPRING[:2])],
        ("the times of merchant 2", "those of others are not", "--bucket 1h"),
    ),
    "six hours of one merchant beside hours of another": (
        key(1, BERLIN, HOURS) + key(2, BERLIN, times("2026-03-20T00:00", 6 * HOUR, 28)),
        ("the times of merchant 2 in Europe/Berlin are usually 6 h apart",),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_longer_buckets_are_not_taken_for_hours(tmp_path, name):
    rows, says = REFUSED[name]
    refused(request_of(tmp_path, rows), TIME_BAD, *says)


def test_start_and_end_alone_do_not_say_how_long_buckets_are(tmp_path):
    request = request_of(tmp_path, key(1, BERLIN, SPRING), start=SPRING[0], end="2026-03-31T00:00+02:00")
    refused(request, TIME_BAD, "--bucket local-day")


def test_dates_read_as_utc_may_be_local_days(tmp_path):
    rows = key(1, BERLIN, ["2026-03-27", "2026-03-28", "2026-03-29"])
    refused(request_of(tmp_path, rows), TIME_BAD, "'2026-03-27' has no zone", "give --bucket local-day")
    says = ("--bucket 86400s if every count is of 1 d", "leave out --assume-utc and give --bucket local-day")
    refused(request_of(tmp_path, rows, assume_utc=True), TIME_BAD, *says)
    taken = import_world(request_of(tmp_path, rows, assume_utc=True, bucket="1d"))
    assert (taken.buckets, taken.start_utc) == (3, "2026-03-27T00:00:00Z")


# --- Lengths that were given -------------------------------------------------------------------------


def test_days_in_hours_that_were_asked_for_are_taken_and_said(tmp_path):
    result = import_world(request_of(tmp_path, key(1, BERLIN, SPRING), bucket="1h"))
    (notice,) = result.notices
    assert notice.code == "COUNTS_FAR_APART"
    assert "usually 24 buckets apart, but each is placed within one bucket of 1 h" in notice.message
    assert notice.context == {"usual_gap": 24, "unit": "buckets"}


def test_listed_buckets_that_are_mostly_left_out_are_said(tmp_path):
    edges = times("2026-03-26T23:00", HOUR, 97)
    grid = tmp_path / "grid.csv"
    lines = [f"{start},{end}\n" for start, end in pairwise(edges)]
    grid.write_text("bucket_start,bucket_end\n" + "".join(lines))
    (notice,) = import_world(request_of(tmp_path, key(1, BERLIN, SPRING), grid=[grid])).notices
    assert (notice.code, notice.context["usual_gap"]) == ("COUNTS_FAR_APART", 24)


def test_numbered_buckets_that_are_mostly_left_out_are_said(tmp_path):
    request = request_of(tmp_path, [(1, BERLIN, "", at, 5) for at in (0, 24, 48, 71)], bucket="1h", start="2026-03-27Z")
    counts = request.counts[0]
    counts.write_text(counts.read_text().replace("bucket_start", "bucket_index"))
    (notice,) = import_world(request).notices
    assert notice.context["usual_gap"] == 24


def test_hours_that_were_asked_for_are_taken_without_a_word(tmp_path):
    result = import_world(request_of(tmp_path, TAKEN["a night shop"], bucket="1h"))
    assert result.notices == ()


def test_days_of_24_hours_are_refused_over_a_clock_change(tmp_path):
    request = request_of(tmp_path, key(1, BERLIN, SPRING), bucket="1d")
    refused(request, TIME_BAD, "line 5", "23 h after the bucket", "give --bucket local-day")
    short = import_world(request_of(tmp_path, key(1, BERLIN, SPRING[:2]), bucket="1d"))
    assert (short.buckets, short.start_utc) == (2, "2026-03-26T23:00:00Z")


def test_days_of_24_hours_are_refused_for_two_zones(tmp_path):
    rows = key(1, BERLIN, SPRING[:2]) + key(1, YORK, clock(YORK, "2026-03-27T00:00", DAY, 2))
    refused(request_of(tmp_path, rows, bucket="1d"), TIME_BAD, "give --bucket local-day")


QUARTERS = times("2026-03-20T00:00", timedelta(minutes=15), 12)


def test_quarters_of_an_hour_are_named(tmp_path):
    rows = key(1, BERLIN, QUARTERS)
    refused(request_of(tmp_path, rows), TIME_BAD, "15 min after the bucket", "--bucket 900s, which fits all times")
    assert import_world(request_of(tmp_path, rows, bucket="900s")).buckets == 12


def test_hours_of_zones_that_share_none_are_not_turned_into_half_hours(tmp_path):
    rows = key(1, BERLIN, HOURS) + key(1, KOLKATA, clock(KOLKATA, "2026-03-20T00:00", HOUR, 48))
    says = ("30 min after", "one grid does not fit all times", "usually 1 h apart", "worlds of their own")
    refused(request_of(tmp_path, rows), TIME_BAD, *says, "--bucket 1800s only if every count is of 30 min")


def test_times_of_events_are_not_turned_into_seconds(tmp_path):
    rows = key(1, BERLIN, ["2026-03-20T00:00:00Z", "2026-03-20T00:17:31Z", "2026-03-20T01:44:02Z"])
    error = refused(request_of(tmp_path, rows), TIME_BAD, "1051 s after", "correct the time, or list the buckets")
    assert "--bucket" not in error.hint
