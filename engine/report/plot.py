"""A plot: one or two drawings under a heading, with a sentence on what a healthy run looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from arrival_engine.engine.report.style import Palette

# CSS pixels: a single panel, one of two in a row, and the first of these on a narrow screen.
WIDE, HALF, NARROW = (900, 280), (430, 310), (400, 280)


class Panel(NamedTuple):
    """One drawing. shows: what it shows of this run, for readers who cannot see it; narrow: a second size, or None."""

    name: str
    title: str
    shows: str
    draw: Callable[[Axes, Palette], None]
    size: tuple[int, int] = HALF
    narrow: tuple[int, int] | None = None


class Plot(NamedTuple):
    """Panels under one heading. healthy: one sentence; note: what else a reader needs to know."""

    name: str
    title: str
    healthy: str
    panels: tuple[Panel, ...]
    note: str = ""
