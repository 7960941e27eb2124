"""Which plots a scenario gets."""

from __future__ import annotations

from engine.overview import check_plots, share_plots, time_plots
from engine.overview.measure import Measures
from engine.overview.plot import Plot


def plots_of(measures: Measures) -> tuple[Plot, ...]:
    """Every plot of a scenario's arrivals, in the order of the page; none without arrivals."""
    if not measures.arrivals:
        return ()
    return (
        time_plots.over_time(measures),
        *([time_plots.clock_change(measures.spotlight)] if measures.spotlight else []),
        time_plots.hours_of_day(measures),
        share_plots.zones(measures),
        share_plots.lorenz(measures),
        share_plots.merchants(measures),
        check_plots.offsets(measures),
    )
