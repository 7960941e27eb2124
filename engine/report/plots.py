"""The plots of a scenario."""

from __future__ import annotations

from arrival_engine.engine.report import check_plots, share_plots, time_plots
from arrival_engine.engine.report.measure import Measures
from arrival_engine.engine.report.plot import Plot

# With fewer arrivals on either side of a clock change, their hours say nothing.
_COMPARABLE = 240


def plots_of(measures: Measures) -> tuple[Plot, ...]:
    """Every plot of a scenario's arrivals, in the order of the page; none without arrivals."""
    if not measures.arrivals:
        return ()
    spot = measures.spotlight
    comparable = spot is not None and int(spot.utc.sum(axis=1).min()) >= _COMPARABLE
    return (
        time_plots.over_time(measures),
        *([time_plots.clock_change(spot)] if spot and comparable else []),
        time_plots.hours_of_day(measures),
        share_plots.zones(measures),
        *([share_plots.lorenz(measures)] if share_plots.comparable(measures) else []),
        *([share_plots.merchants(measures)] if int((measures.merchants.arrivals > 0).sum()) > 1 else []),
        check_plots.offsets(measures),
    )
