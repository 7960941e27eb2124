"""The part of a horizon between two moments."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from arrival_engine.contracts.moments import microseconds

__all__ = ["Moment", "Window", "window"]

Moment = str | datetime | None

# Before and after every horizon that fits 64-bit microseconds.
_BEFORE_ALL, _AFTER_ALL = -(1 << 62), 1 << 62


class Window(NamedTuple):
    """Instants from `start_us` up to but not including `end_us`, in microseconds since 1970."""

    start_us: int = _BEFORE_ALL
    end_us: int = _AFTER_ALL

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self == Window()

    @property
    def has_start(self) -> bool:
        """Whether the window has a start."""
        return self.start_us != _BEFORE_ALL


def window(start: Moment, end: Moment) -> Window:
    """The window between two moments; None leaves a side open. Raises ValueError for a start after the end."""
    start_us = _BEFORE_ALL if start is None else microseconds(start)
    end_us = _AFTER_ALL if end is None else microseconds(end)
    if start_us > end_us:
        raise ValueError(f"the start {start} is after the end {end}")
    return Window(start_us, end_us)
