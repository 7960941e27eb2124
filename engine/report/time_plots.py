"""Plots of time: arrivals over the horizon, a clock change by two clocks, and the hours of the day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arrival_engine.engine.process import human
from arrival_engine.engine.report.axes import DASHES, count_axis, horizontal_lines, hour_axis, time_axis
from arrival_engine.engine.report.clock_changes import ClockChange
from arrival_engine.engine.report.measure import HOURS_PER_DAY, Measures, Spotlight
from arrival_engine.engine.report.plot import NARROW, WIDE, Panel, Plot
from arrival_engine.engine.report.style import Palette, counted, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_US_PER_DAY = 86_400_000_000
_CHANGES_MARKED, _SHARE_MARKED = 6, 0.01
_SMOOTH_FROM_DAYS = 10
_DAYS_NAMED = 2
_PARTS = ("weekdays", "weekends")
# Factor by which constrained layout widens axes, after they are drawn on.
_AXES_SHARE = 1.2
# In points: the average width of a letter of a mark, and the distance between two rows of marks.
_LETTER, _ROW = 5.9, 14.0
_TWO_LINES = ("-", (0, (5, 2)))


# --- Over the horizon ------------------------------------------------------------------------------------


def over_time(measures: Measures) -> Plot:
    """Arrivals by UTC hour over the horizon, clock changes marked."""
    per_hour = measures.per_hour.sum(axis=0)
    marked = _marked(measures)
    told = f"Clock changes: {'; '.join(map(_told, marked))}." if marked else "No clock changes."
    shows = (
        f"Between {_day(measures.horizon.start_us)} and {_day(measures.horizon.end_us - 1)} there are "
        f"{human.count(int(per_hour.min()))} to {human.count(int(per_hour.max()))} arrivals per hour. {told}"
    )

    def draw(axes: Axes, palette: Palette) -> None:
        times = (measures.horizon.first_hour + np.arange(per_hour.size + 1)) / HOURS_PER_DAY
        _series(axes, palette, per_hour, times)
        time_axis(axes, float(times[0]), float(times[-1]))
        axes.set_ylim(0, float(per_hour.max()) * 1.18)
        count_axis(axes.yaxis)
        horizontal_lines(axes)
        axes.set_ylabel("arrivals per hour")
        _mark_changes(axes, palette, marked)

    days, whole = divmod(per_hour.size, HOURS_PER_DAY)
    extent = (
        counted(per_hour.size, "hour") if days < _DAYS_NAMED else counted(days + round(whole / HOURS_PER_DAY), "day")
    )
    return Plot(
        "arrivals-over-time",
        "Arrivals over time",
        "a steady rhythm of days and weeks, without lone spikes or a step in the level where clocks change; gaps are "
        "hours when all merchants are closed.",
        (Panel("arrivals-over-time", f"Arrivals per hour over {extent}, UTC", shows, draw, WIDE, NARROW),),
        _about_marks(len(measures.changes), len(marked)),
    )


def _marked(measures: Measures) -> list[ClockChange]:
    """The changes that affect enough arrivals for a line, or the largest one, in order of time."""
    largest = sorted(measures.changes, key=lambda change: (-change.arrivals, change.instant_us))[:_CHANGES_MARKED]
    worth = [change for change in largest if change.arrivals >= _SHARE_MARKED * measures.arrivals]
    return sorted(worth or largest[:1])


def _about_marks(changes: int, marked: int) -> str:
    if not changes:
        return "No zone with arrivals changes its clocks within the horizon."
    text = "Dashed lines: clock changes, named by the zone with the most arrivals."
    rest = changes - marked
    return f"{text} Not marked: {counted(rest, 'change')} of zones with few arrivals." if rest else text


def _series(axes: Axes, palette: Palette, per_hour: NDArray[np.int64], times: NDArray[np.float64]) -> None:
    """The hours and, given enough days, their centred mean over 24 hours."""
    if per_hour.size < _SMOOTH_FROM_DAYS * HOURS_PER_DAY:
        axes.stairs(per_hour, times, color=palette.physical, linewidth=1.8, baseline=None)
        return
    axes.stairs(per_hour, times, color=palette.physical, linewidth=1.1, alpha=0.8, baseline=None, label="each hour")
    sums = np.concatenate([[0], np.cumsum(per_hour)])
    daily = (sums[HOURS_PER_DAY:] - sums[:-HOURS_PER_DAY]) / HOURS_PER_DAY
    axes.plot(times[12:-12], daily, color=palette.ink, linewidth=2.0, label="mean of 24 hours")
    axes.legend(loc="upper left", ncols=2, frameon=False, fontsize=11, borderaxespad=0.2)


def _mark_changes(axes: Axes, palette: Palette, changes: Sequence[ClockChange]) -> None:
    """A line per change with its name above, on the lowest row where it hides no other."""
    left, right = axes.get_xlim()
    width = axes.bbox.width * _AXES_SHARE
    taken: list[float] = []
    for change in changes:
        at = change.instant_us / _US_PER_DAY
        axes.axvline(at, color=palette.change, linewidth=1.6, linestyle=DASHES)
        text = f"{city(change.lead)} {_shift(change.minutes)}"
        text += f", {change.zones} zones" if change.zones > 1 else ""
        place, length = (at - left) / (right - left) * width, len(text) * _LETTER
        begins = max(0.0, place - length) if place + length > width else place
        row = next((row for row, end in enumerate(taken) if end < begins), len(taken))
        taken[row : row + 1] = [begins + length]
        axes.annotate(
            text,
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(begins - place, 4 + _ROW * row),
            textcoords="offset points",
            fontsize=10.5,
            color=palette.change,
            annotation_clip=False,
        )


# --- A clock change --------------------------------------------------------------------------------------


def clock_change(spot: Spotlight) -> Plot:
    """One zone's hours of the day before and after its clock change, by UTC and by its own clock."""
    top = max(float(_shares(table).max()) for table in (spot.utc, spot.local)) * 1.25

    def panel(clock: str, title: str, table: NDArray[np.int64], label: str) -> Panel:
        def draw(axes: Axes, palette: Palette) -> None:
            lines = zip(_shares(table), _TWO_LINES, (palette.muted, palette.change), ("before", "after"), strict=True)
            for shares, line, colour, when in lines:
                axes.stairs(
                    shares,
                    np.arange(HOURS_PER_DAY + 1),
                    baseline=None,
                    color=colour,
                    linestyle=line,
                    linewidth=2.0,
                    label=f"{counted(spot.days, 'day')} {when}",
                )
            hour_axis(axes, label)
            _share_axis(axes, top)

        apart = np.abs(np.diff(_shares(table), axis=0)).sum() / 2
        shows = f"By the {clock} clock, {percent(float(apart))} of the arrivals lie in other hours after the change."
        return Panel(f"clock-change-{clock}", title, shows, draw)

    return Plot(
        "clock-change",
        f"A clock change by two clocks: {city(spot.change.lead)}",
        "in UTC the busy hours move with the change; by the local clock both curves lie on each other.",
        (
            panel("utc", f"{spot.change.lead}, UTC", spot.utc, "hour of UTC"),
            panel("local", f"{spot.change.lead}, local clock", spot.local, "hour of the local clock"),
        ),
        f"Arrivals in {spot.change.lead} in the {counted(spot.days, 'day')} before and after "
        f"{minute(spot.change.instant_us)} UTC, when clocks there move by {_shift(spot.change.minutes)}. It is the "
        "zone with the most arrivals of those with a change well within the horizon.",
    )


# --- Hours of the day ------------------------------------------------------------------------------------


def hours_of_day(measures: Measures) -> Plot:
    """Shares of the 24 local hours, physical against virtual, weekdays and weekends."""
    shares = _shares(measures.profile)
    top = float(shares.max()) * 1.25

    def panel(place: int, name: str) -> Panel:
        def draw(axes: Axes, palette: Palette) -> None:
            kinds = zip(_TWO_LINES, (palette.physical, palette.virtual), ("physical", "virtual"), strict=True)
            for kind, (line, colour, label) in enumerate(kinds):
                if measures.profile[kind, place].any():
                    axes.stairs(
                        shares[kind, place],
                        np.arange(HOURS_PER_DAY + 1),
                        baseline=None,
                        color=colour,
                        linestyle=line,
                        linewidth=2.0,
                        label=label,
                    )
            hour_axis(axes, "hour of the local clock")
            _share_axis(axes, top)

        return Panel(f"hour-of-day-{name}", name.capitalize(), _profile_text(measures, place, name), draw)

    return Plot(
        "hour-of-day",
        "Hours of the day, by the local clock",
        "physical arrivals keep the hours of their shops, with few or none at night and when the shops are closed; "
        "virtual ones keep those of their customers; no single hour stands out.",
        tuple(panel(place, name) for place, name in enumerate(_PARTS) if measures.profile[:, place].any()),
        "Shares of each kind's own arrivals, Monday to Friday and Saturday to Sunday, by the stored local time."
        + ("" if measures.virtual else " There are no virtual arrivals.")
        + "".join(
            f" No arrivals lie on {name}." for place, name in enumerate(_PARTS) if not measures.profile[:, place].any()
        ),
    )


def _share_axis(axes: Axes, top: float) -> None:
    axes.set_ylim(0, top)
    count_axis(axes.yaxis)
    axes.yaxis.set_major_formatter(percent)
    horizontal_lines(axes)
    axes.set_ylabel("share of arrivals")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", ncols=2, frameon=False, fontsize=11, borderaxespad=0.2)


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts of 24 hours as shares of their sum; zeros if the sum is 0."""
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return shares


def _profile_text(measures: Measures, place: int, name: str) -> str:
    parts = []
    for kind, label in enumerate(("physical", "virtual")):
        hours = measures.profile[kind, place]
        if hours.any():
            parts.append(f"{label} arrivals peak in hour {int(hours.argmax())} and are fewest in {int(hours.argmin())}")
    return f"On {name}, {' and '.join(parts)}." if parts else f"No arrivals on {name}."


# --- Words -----------------------------------------------------------------------------------------------


def city(tzid: str) -> str:
    """'America/New_York' -> 'New York'."""
    return tzid.rpartition("/")[2].replace("_", " ")


def minute(instant_us: int) -> str:
    """An instant to the minute, in UTC."""
    return (_EPOCH + dt.timedelta(microseconds=instant_us)).strftime("%Y-%m-%d %H:%M")


def _day(instant_us: int) -> str:
    return minute(instant_us)[:10]


def _shift(minutes: int) -> str:
    text = f"{abs(minutes) / 60:g} h" if minutes % 30 == 0 else f"{abs(minutes)} min"
    return f"+{text}" if minutes > 0 else f"\N{MINUS SIGN}{text}"


def _told(change: ClockChange) -> str:
    more = f" and {counted(change.zones - 1, 'more zone')}" if change.zones > 1 else ""
    return f"{_day(change.instant_us)} {change.lead}{more}, {_shift(change.minutes)}"
