"""The axes of all plots: few lines, few ticks, readable numbers."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from arrival_engine.engine.report.style import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.ticker import Formatter, Locator

# Points between the dots of a line that is a mark, not data.
DOTS = (0, (1, 2))
DASHES = (0, (4, 3))


def count_axis(axis: Axis, most: int = 5, *, whole: bool = False) -> None:
    """At most `most` ticks, with 1500 as '1.5 k'."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=whole))
    axis.set_major_formatter(short)


def log_axis(axis: Axis) -> None:
    """Powers of ten as plain numbers; for an axis that is already logarithmic."""
    from matplotlib.ticker import LogLocator, NullFormatter

    locator: Locator = LogLocator(numticks=7)
    nothing: Formatter = NullFormatter()
    axis.set_major_locator(locator)
    axis.set_major_formatter(short)
    axis.set_minor_formatter(nothing)


def time_axis(axes: Axes, first_day: float, last_day: float) -> None:
    """Days since 1970, UTC, from the first to the last."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8, tz=dt.UTC)  # type: ignore[no-untyped-call]
    axes.set_xlim(first_day, last_day)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=dt.UTC))  # type: ignore[no-untyped-call]


def hour_axis(axes: Axes, label: str) -> None:
    """The 24 hours of a day."""
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 6))
    axes.set_xlabel(label)


def horizontal_lines(axes: Axes) -> None:
    """Horizontal grid lines in place of the line at the left."""
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
