"""Times as RFC 3339 text, against Python's and numpy's calendars."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts.moments import END_US, FIRST_US
from arrival_engine.cpu_fallback.pages.digits import INSTANT_SIZE, PAIRS, WALL_SIZE
from tests.support import page_parts as parts

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall clocks have no zone
DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
# Years that four digits hold. numpy has a year 0, Python has none.
LEAST = int(np.datetime64("0000-01-01", "us").astype(np.int64))
MOST = int(np.datetime64("9999-12-31T23:59:59.999999", "us").astype(np.int64))


def texts_of(values):
    out = np.empty((len(values), 4), np.uint64)
    parts.put_times(out, np.array(values, np.int64), PAIRS)
    rows = out.view(np.uint8)
    unused = np.array([*range(14, 16), *range(29, 32)])
    assert not rows[:, unused].any()
    whole = np.delete(rows, unused, axis=1)
    return [row.tobytes().decode("ascii") for row in whole]


def microseconds(moment):
    return (moment - EPOCH) // timedelta(microseconds=1)


MOMENTS = st.one_of(
    st.datetimes().map(microseconds),
    # Days at which a calendar changes, and the microseconds next to midnight.
    st.builds(
        lambda year, day, offset: int((np.datetime64(f"{year:04}-{day}", "us")).astype(np.int64)) + offset,
        st.integers(1, 9999),
        st.sampled_from(["01-01", "02-28", "03-01", "12-31"]),
        st.one_of(st.sampled_from([0, -1, 1, DAY_US - 1, DAY_US, HOUR_US, HOUR_US - 1]), st.integers(-DAY_US, DAY_US)),
    ).filter(lambda value: LEAST <= value <= MOST),
)


@given(st.lists(MOMENTS, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_texts_are_those_of_python(values, draw):
    """Neighbours in one hour, and in others, before and after."""
    near = [value + draw.choice((0, 1, -1, draw.randrange(-HOUR_US, HOUR_US))) for value in values]
    values = [value for value in (*values, *near) if LEAST <= value <= MOST]
    stamps = np.array(values, "datetime64[us]")
    assert texts_of(values) == [f"{text}Z" for text in np.datetime_as_string(stamps, "us").tolist()]
    in_python = [value for value in values if value >= microseconds(datetime.min)]  # noqa: DTZ901 - a wall clock
    wanted = [(EPOCH + timedelta(microseconds=value)).isoformat(timespec="microseconds") for value in in_python]
    assert texts_of(in_python) == [f"{text}Z" for text in wanted]


def test_every_day_of_four_hundred_years():
    """After which the calendar repeats itself."""
    days = np.arange(-100 * 365, 300 * 366)
    wanted = np.datetime_as_string(days.astype("datetime64[D]")).tolist()
    found = texts_of(days * DAY_US)
    assert [text[:10] for text in found] == wanted
    assert {text[10:] for text in found} == {"T00:00:00.000000Z"}


def test_every_second_of_two_days():
    seconds = np.arange(-86_400, 86_400) * 1_000_000
    assert texts_of(seconds) == [
        f"{text}Z" for text in np.datetime_as_string(seconds.astype("datetime64[us]")).tolist()
    ]


def test_every_microsecond_of_a_second():
    """The digits come from a multiplication that is exact for these numbers only."""
    micros = np.arange(1_000_000)
    out = np.empty((micros.size, 4), np.uint64)
    parts.put_times(out, micros - 3_600_000_000, PAIRS)
    digits = out.view(np.uint8)[:, [22, 23, 24, 25, 26, 27]] - ord("0")
    assert (digits < 10).all()
    assert np.array_equal(digits.astype(np.int64) @ 10 ** np.arange(5, -1, -1), micros)


@pytest.mark.parametrize("edge", [FIRST_US, END_US])
def test_the_years_of_time_grids_have_four_digits_on_every_clock(edge):
    """So no arrival has a time that these texts could not hold: a clock is at most a day off."""
    for value in (edge - DAY_US, edge, edge + DAY_US):
        assert LEAST <= value <= MOST


def test_sizes():
    (text,) = texts_of([0])
    assert text == "1970-01-01T00:00:00.000000Z"
    assert (len(text), len(text[:-1])) == (INSTANT_SIZE, WALL_SIZE)
