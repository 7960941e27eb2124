"""Diagnostic plots: offsets of arrivals in their buckets, and time by phase of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from arrival_engine.engine.process import human
from arrival_engine.engine.report.axes import count_axis, horizontal_lines
from arrival_engine.engine.report.measure import BINS, Measures
from arrival_engine.engine.report.plot import NARROW, Panel, Plot
from arrival_engine.engine.report.style import Palette, counted, percent
from arrival_engine.engine.validation.statistics import g_test_uniform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two-sided 99% of a normal distribution.
_BAND = 2.5758293035489004
# With fewer arrivals per bar, a G-test says nothing.
_MEAN_MIN = 5.0
_BAR, _BESIDE_BARS = 24, 40


def offsets(measures: Measures) -> Plot:
    """Arrivals by place in their bucket, as deviations from the mean of all places."""
    found = int(measures.offsets.sum())
    mean = max(found, 1) / BINS
    deviation = measures.offsets / mean - 1.0
    band = _BAND * math.sqrt((1.0 - 1.0 / BINS) / mean)
    beyond = int(np.count_nonzero(np.abs(deviation) > band))

    def draw(axes: Axes, palette: Palette) -> None:
        axes.axhspan(-band, band, color=palette.band, linewidth=0)
        axes.stairs(deviation, np.arange(BINS + 1), fill=True, color=palette.physical, linewidth=0)
        axes.axhline(0, color=palette.ink, linewidth=0.9)
        reach = max(float(np.abs(deviation).max()), band) * 1.3
        axes.set_xlim(0, BINS)
        axes.set_ylim(-reach, reach)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}%")
        count_axis(axes.yaxis)
        axes.yaxis.set_major_formatter(percent)
        horizontal_lines(axes)
        axes.set_xlabel("place in the bucket, from its start to its end")
        axes.set_ylabel("against the mean")

    outside = f" {counted(measures.outside, 'arrival')} outside their buckets." if measures.outside else ""
    return Plot(
        "offsets",
        "Offsets within buckets",
        f"about 99 of the {BINS} bars end inside the grey band, and nothing rises or falls from left to right.",
        (
            Panel(
                "offsets",
                f"{counted(found, 'arrival')} by hundredths of their bucket",
                f"{beyond} of {BINS} bars leave the band.",
                draw,
                (900, 250),
                NARROW,
            ),
        ),
        f"The band holds 99% of what uniform offsets give. {_test(measures)}{outside}",
    )


def _test(measures: Measures) -> str:
    if int(measures.offsets.sum()) < _MEAN_MIN * BINS:
        return "There are too few arrivals for a test."
    statistic, tail = g_test_uniform(measures.offsets)
    return f"G {statistic:.1f} on {BINS - 1} degrees of freedom, p = {tail:.3g}."


def phases(seconds: Mapping[str, float]) -> Plot:
    """Wall seconds by phase, longest first."""
    longest = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    places = np.arange(len(longest))
    values = [value for _, value in longest]

    def draw(axes: Axes, palette: Palette) -> None:
        axes.barh(places, values, 0.66, color=palette.physical)
        for place, value in enumerate(values):
            axes.annotate(
                human.duration(value),
                (value, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=11,
                color=palette.muted,
            )
        axes.set_yticks(places, [phase for phase, _ in longest])
        axes.set_ylim(len(longest) - 0.4, -0.6)
        axes.set_xlim(0, max(values) * 1.2 or 1.0)
        axes.xaxis.set_visible(False)
        for spine in axes.spines.values():
            spine.set_visible(False)

    height = _BAR * len(longest) + _BESIDE_BARS
    first, value = longest[0]
    total = human.duration(sum(values))
    return Plot(
        "speed",
        "Speed by phase",
        "in a large run nearly all time goes to expanding and writing, in a small one to reading.",
        (
            Panel(
                "speed",
                "Wall time by phase",
                f"{total} in all; most of it, {human.duration(value)}, for {first}.",
                draw,
                (900, height),
                (NARROW[0], height),
            ),
        ),
    )
