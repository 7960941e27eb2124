"""Plots of shares: zones, sites and edges, merchants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from arrival_engine.engine.process import human
from arrival_engine.engine.report.axes import DOTS, count_axis, horizontal_lines, log_axis
from arrival_engine.engine.report.measure import Measures
from arrival_engine.engine.report.plot import Panel, Plot
from arrival_engine.engine.report.style import Palette, counted, percent, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ZONES_SHOWN = 14
_CURVE_POINTS = 200
_TAIL_POINTS = 400
_TALL = (430, 340)
_SQUARE = (430, 370)


# --- Zones -----------------------------------------------------------------------------------------------


def zones(measures: Measures) -> Plot:
    """The zones with the most arrivals, and the concentration of arrivals in few zones."""
    number, first = len(measures.zones), measures.zones[0]
    half = _zones_of_half(measures)
    title = f"The largest of {counted(number, 'zone')}" if number > _ZONES_SHOWN else counted(number, "zone")
    concentration = Panel(
        "zones-concentration",
        "Concentration",
        f"Half of the arrivals lie in {counted(half, 'zone')} of {human.count(number)}.",
        lambda axes, palette: _concentration(axes, palette, measures),
        _TALL,
    )
    return Plot(
        "zones",
        "Zones",
        "the ranking follows where the world has its sites and edges, and a zone holds nearly all arrivals only if "
        "nearly all sites and edges lie in it.",
        (
            Panel(
                "zones-ranking",
                title,
                f"{first.tzid} comes first with {percent(first.arrivals / measures.arrivals)} of the arrivals.",
                lambda axes, palette: _ranking(axes, palette, measures),
                _TALL,
            ),
            *([concentration] if number > 1 else []),
        ),
        "By primary zone: that of the site or the edge.",
    )


def _zone_shares(measures: Measures) -> NDArray[np.float64]:
    """Cumulative shares, largest zones first."""
    counts = np.array([zone.arrivals for zone in measures.zones], np.int64)
    shares: NDArray[np.float64] = np.cumsum(counts) / measures.arrivals
    return shares


def _zones_of_half(measures: Measures) -> int:
    return int(np.searchsorted(_zone_shares(measures), 0.5)) + 1


def _ranking(axes: Axes, palette: Palette, measures: Measures) -> None:
    shown = measures.zones[:_ZONES_SHOWN]
    places = np.arange(len(shown))
    physical = np.array([zone.arrivals - zone.virtual for zone in shown])
    axes.barh(places, physical, 0.7, color=palette.physical, label="physical")
    if measures.virtual:
        virtual = [zone.virtual for zone in shown]
        axes.barh(places, virtual, 0.7, left=physical, color=palette.virtual, label="virtual")
        axes.legend(loc="lower right", frameon=False, fontsize=11)
    axes.set_yticks(places, [zone.tzid for zone in shown])
    axes.set_ylim(max(len(shown), 4) - 0.4, -0.6)
    count_axis(axes.xaxis, 4, whole=True)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("arrivals")


def _concentration(axes: Axes, palette: Palette, measures: Measures) -> None:
    shares, half = _zone_shares(measures), _zones_of_half(measures)
    ranks = np.arange(1, shares.size + 1)
    axes.plot(ranks, shares, color=palette.physical, marker="o" if shares.size < 30 else None, markersize=4)
    axes.axhline(0.5, color=palette.muted, linewidth=1.4, linestyle=DOTS)
    axes.annotate(
        f"half in {counted(half, 'zone')}",
        (half, 0.5),
        xytext=(8, -15),
        textcoords="offset points",
        color=palette.muted,
        fontsize=11,
    )
    axes.set_xlim(0, max(shares.size, 2) * 1.02)
    axes.set_ylim(0, 1.02)
    count_axis(axes.xaxis, 6, whole=True)
    axes.yaxis.set_major_formatter(percent)
    horizontal_lines(axes)
    axes.set_xlabel("number of zones, largest first")
    axes.set_ylabel("share of all arrivals")


# --- Sites and edges -------------------------------------------------------------------------------------


def lorenz(measures: Measures) -> Plot:
    """The inequality of arrivals among the existing sites and edges."""
    # The curve of a single place is the diagonal, whatever its arrivals.
    curves = [_lorenz(measures.sites, "site", "physical")] if _comparable(measures.sites) else []
    curves += [_lorenz(measures.edges, "edge", "virtual")] if _comparable(measures.edges) else []
    without = "" if measures.edges.any() else " No edge has arrivals."
    return Plot(
        "lorenz",
        "Lorenz curves of sites and edges",
        "a smooth curve, as far below the diagonal as weights and merchants are uneven; the diagonal means that all "
        "places are alike, a right angle that one takes everything.",
        tuple(curves),
        f"All that exist are counted; those without arrivals are the flat beginning of a curve.{without}",
    )


def comparable(measures: Measures) -> bool:
    """Whether there are sites or edges to compare."""
    return _comparable(measures.sites) or _comparable(measures.edges)


def _comparable(counts: NDArray[np.int64]) -> bool:
    return counts.size > 1 and bool(counts.any())


def gini(counts: NDArray[np.int64]) -> float:
    """Gini coefficient of counts in ascending order: 0 when all are equal, up to 1 - 1/n; 0 for none."""
    total = int(counts.sum())
    if not total:
        return 0.0
    ranks = np.arange(1, counts.size + 1, dtype=np.float64)
    return float(2.0 * (ranks * counts).sum() / (counts.size * total) - (counts.size + 1) / counts.size)


def _lorenz(counts: NDArray[np.int64], place: str, kind: str) -> Panel:
    coefficient, empty = gini(counts), int(np.count_nonzero(counts == 0))
    curve = np.concatenate([[0], np.cumsum(counts)]) / int(counts.sum())
    picked = np.unique(np.linspace(0, counts.size, _CURVE_POINTS).round().astype(np.int64))

    def draw(axes: Axes, palette: Palette) -> None:
        axes.plot([0, 1], [0, 1], color=palette.muted, linewidth=1.4, linestyle=DOTS)
        colour = palette.physical if kind == "physical" else palette.virtual
        axes.plot(picked / counts.size, curve[picked], color=colour, linewidth=2.0)
        axes.text(0.05, 0.9, f"Gini {coefficient:.3f}", fontsize=12, transform=axes.transAxes)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.01)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
            axis.set_major_formatter(percent)
        axes.grid()
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"share of {place}s, smallest first")
        axes.set_ylabel(f"share of {kind} arrivals")

    number = counted(counts.size, place)
    shows = f"{number}, {human.count(empty)} of them without arrivals; Gini {coefficient:.3f}."
    return Panel(f"lorenz-{place}s", number, shows, draw, _SQUARE)


# --- Merchants -------------------------------------------------------------------------------------------


def merchants(measures: Measures) -> Plot:
    """Arrivals of merchants by rank against the expected numbers, on logarithmic axes, and their ratio."""
    table = measures.merchants
    silent = int(np.count_nonzero(table.arrivals == 0))
    largest = percent(int(table.arrivals[0]) / measures.arrivals)
    number = counted(table.arrivals.size, "merchant")
    shows = f"{number}; the largest has {largest} of the arrivals. {human.count(silent)} have none."
    unseen = f" {counted(silent, 'merchant')} without arrivals have no place on a logarithmic axis." if silent else ""
    return Plot(
        "merchants",
        "Merchant tail",
        _healthy_tail(measures),
        (
            Panel("merchants-tail", "Arrivals by rank", shows, lambda axes, palette: _tail(axes, palette, measures)),
            Panel(
                "merchants-ratio",
                "Found against expected",
                "Each merchant's arrivals over the expected number.",
                lambda axes, palette: _ratio(axes, palette, measures),
            ),
        ),
        f"Expected: the sum of {measures.expected_by}.{unseen}",
    )


def _healthy_tail(measures: Measures) -> str:
    if measures.expected_by.startswith("count_N "):
        return "every merchant has exactly the arrivals of its counts, so all points lie on the lines."
    return (
        "the points lie on the line of what was expected, and scatter around 1 ever more widely the fewer arrivals a "
        "merchant has."
    )


def _by_expected(measures: Measures) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rank, arrivals and expectation of merchants with both, by falling expectation; many are sampled by log rank."""
    table = measures.merchants
    order = np.argsort(-table.expected, kind="stable")
    if order.size > _TAIL_POINTS:
        order = order[np.unique(np.geomspace(1, order.size, _TAIL_POINTS).round().astype(np.int64)) - 1]
    rank = np.empty(table.expected.size, np.int64)
    rank[np.argsort(-table.expected, kind="stable")] = np.arange(1, rank.size + 1)
    order = order[(table.arrivals[order] > 0) & (table.expected[order] > 0)]
    return rank[order], table.arrivals[order], table.expected[order]


def _tail(axes: Axes, palette: Palette, measures: Measures) -> None:
    rank, found, expected = _by_expected(measures)
    axes.plot(rank, expected, color=palette.ink, linewidth=1.6, label="expected")
    axes.plot(rank, found, label="found", **_rings(palette))
    _rank_axis(axes, rank)
    axes.set_yscale("log")
    log_axis(axes.yaxis, *axes.get_ylim())
    axes.set_ylabel("arrivals per merchant")
    axes.legend(loc="lower left", frameon=False, fontsize=11)


def _ratio(axes: Axes, palette: Palette, measures: Measures) -> None:
    rank, found, expected = _by_expected(measures)
    ratio = found / expected
    axes.axhline(1.0, color=palette.ink, linewidth=1.2)
    axes.plot(rank, ratio, **_rings(palette))
    reach = max([0.02, *(np.abs(ratio - 1.0) * 1.1)])
    axes.set_ylim(max(0.0, 1.0 - reach), 1.0 + reach)
    _rank_axis(axes, rank)
    axes.yaxis.set_major_formatter(short)
    axes.set_ylabel("found / expected")


def _rank_axis(axes: Axes, rank: NDArray[np.int64]) -> None:
    low, high = 1.0, float(max(rank.max(), 2))
    margin = (high / low) ** 0.05
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    log_axis(axes.xaxis, low, high, whole=True)
    horizontal_lines(axes)
    axes.set_xlabel("rank of the merchant, by what was expected")


def _rings(palette: Palette) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": "o",
        "markersize": 5,
        "markerfacecolor": "none",
        "markeredgecolor": palette.physical,
        "markeredgewidth": 1.2,
    }
