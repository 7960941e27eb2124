"""The axes of all plots: few lines, few ticks, readable numbers."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

from arrival_engine.engine.report.style import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Points between the dots of a line that is a mark, not data.
DOTS = (0, (1, 2))
DASHES = (0, (4, 3))

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY = 1440
_MONDAY = 4.0
_TICKS_MIN, _TICKS_MAX = 3, 7
# Minutes between dates, while there are not too many of them; then months.
_STEPS = (10, 15, 30, 60, 120, 180, 360, 720, _DAY, 2 * _DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY)
# CSS pixels from which a figure has room for more dates.
_WIDE, _DATES_WIDE, _DATES_NARROW = 600, 9, 5


def count_axis(axis: Axis, most: int = 5, *, whole: bool = False) -> None:
    """At most `most` ticks, with 1500 as '1.5 k'."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=whole))
    axis.set_major_formatter(short)


def log_axis(axis: Axis, low: float, high: float, *, whole: bool = False) -> None:
    """Labels from `low` to `high` as plain numbers; for an axis that is already logarithmic."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(log_ticks(low, high, whole=whole)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(short)


def log_ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Three to seven values from `low` to `high`: powers of ten, or finer steps within a narrow range.

    whole: only whole numbers, of which a narrow range may have fewer.
    """
    from matplotlib.ticker import MaxNLocator

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for leading in ((1,), (1, 3), (1, 2, 5)):
        ticks = [digit * 10.0**decade for decade in decades for digit in leading]
        ticks = [tick for tick in ticks if low <= tick <= high and not (whole and tick < 1)]
        if len(ticks) >= _TICKS_MIN:
            return ticks[:: -(-len(ticks) // _TICKS_MAX)]
    even = MaxNLocator(_TICKS_MAX - 1, integer=whole).tick_values(low, high)
    return [float(tick) for tick in even if low <= tick <= high]


def time_axis(axes: Axes, first_day: float, last_day: float) -> None:
    """Days since 1970, UTC, from the first to the last, with ticks at equal distances."""
    from matplotlib.ticker import FixedLocator

    axes.set_xlim(first_day, last_day)
    figure = axes.get_figure(root=True)
    wide = figure is not None and figure.get_figwidth() * figure.dpi >= _WIDE
    ticks = time_ticks(first_day, last_day, _DATES_WIDE if wide else _DATES_NARROW)
    axes.xaxis.set_major_locator(FixedLocator([at for at, _ in ticks]))
    axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
    axes.set_xlabel(f"UTC, {_period(_moment(first_day), _moment(last_day - 1 / 86_400))}")


def time_ticks(first_day: float, last_day: float, most: int) -> list[tuple[float, str]]:
    """Two to `most` instants at equal distances, in days since 1970, with labels; months for a long horizon.

    A day's label is its date, also beside those of its hours.
    """
    minutes = next((step for step in _STEPS if _number(first_day, last_day, step) <= most), 0)
    if not minutes:
        return _months(first_day, last_day, most)
    step = minutes / _DAY
    # Weeks begin on Mondays; the epoch was a Thursday.
    origin = _MONDAY if minutes % (7 * _DAY) == 0 else 0.0
    place = math.ceil((first_day - origin) / step - 1e-9)
    ticks = []
    while (at := origin + place * step) <= last_day + 1e-9:
        moment = _moment(at)
        ticks.append((at, _date(moment) if (moment.hour, moment.minute) == (0, 0) else f"{moment:%H:%M}"))
        place += 1
    return ticks


def _number(first_day: float, last_day: float, minutes: int) -> int:
    return int((last_day - first_day) * _DAY / minutes + 1e-9) + 1


def _months(first_day: float, last_day: float, most: int) -> list[tuple[float, str]]:
    first, last = _moment(first_day), _moment(last_day)
    months = 12 * (last.year - first.year) + last.month - first.month + 1
    step = next((step for step in (1, 2, 3, 6, 12) if months / step <= most), 12 * -(-months // (12 * most)))
    ticks = []
    for number in range(12 * first.year, 12 * (last.year + 1), step):
        begin = dt.datetime(number // 12, number % 12 + 1, 1, tzinfo=dt.UTC)
        at = (begin - _EPOCH) / dt.timedelta(days=1)
        if first_day <= at <= last_day:
            ticks.append((at, f"{begin:%b %Y}" if step < 12 else f"{begin:%Y}"))
    return ticks


def _moment(day: float) -> dt.datetime:
    return _EPOCH + dt.timedelta(seconds=round(day * 86_400))


def _period(first: dt.datetime, last: dt.datetime) -> str:
    """What the labels of ticks leave out: the date of a single day, else the years."""
    if first.date() == last.date():
        return f"{_date(first)} {first.year}"
    return str(first.year) if first.year == last.year else f"{first.year} to {last.year}"


def _date(moment: dt.datetime) -> str:
    return f"{moment.day} {moment:%b}"


def hour_axis(axes: Axes, label: str) -> None:
    """The 24 hours of a day."""
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 6))
    axes.set_xlabel(label)


def horizontal_lines(axes: Axes) -> None:
    """Horizontal grid lines in place of the line at the left."""
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
