"""Moments as users write them, and the part of a horizon between two of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

__all__ = ["Moment", "Window", "microseconds", "window"]

Moment = str | datetime | None

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Before and after every horizon that 64-bit microseconds can hold.
_BEFORE_ALL, _AFTER_ALL = -(1 << 62), 1 << 62
_RFC3339 = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?P<offset>[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


class Window(NamedTuple):
    """Instants from `start_us` up to, not including, `end_us`: microseconds since 1970."""

    start_us: int = _BEFORE_ALL
    end_us: int = _AFTER_ALL

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self == Window()

    @property
    def has_start(self) -> bool:
        """Whether a start was asked for."""
        return self.start_us != _BEFORE_ALL


def window(start: Moment, end: Moment) -> Window:
    """The window between two moments, None being open. Raises ValueError for a start after the end."""
    start_us = _BEFORE_ALL if start is None else microseconds(start)
    end_us = _AFTER_ALL if end is None else microseconds(end)
    if start_us > end_us:
        raise ValueError(f"the start {start} is after the end {end}")
    return Window(start_us, end_us)


def microseconds(moment: str | datetime) -> int:
    """The first whole microsecond since 1970 at or after a moment: RFC 3339 text, or an aware datetime.

    Digits beyond the sixth of a fraction count: whatever is not on a microsecond is rounded up, so that a window's
    bounds stay exact. Raises ValueError.
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone; give it one, such as datetime.UTC")
        return (moment - _EPOCH) // _MICROSECOND
    parts = _RFC3339.fullmatch(moment)
    if parts is None:
        raise ValueError(
            f"{moment!r} is no RFC 3339 moment with a time zone, such as 2026-01-31T09:30:00Z or "
            "2026-01-31T10:30:00.25+01:00"
        )
    offset = "+00:00" if parts["offset"] in "Zz" else parts["offset"]
    try:
        whole = datetime.fromisoformat(parts["second"].upper() + offset)
    except ValueError as failure:
        raise ValueError(f"{moment!r} does not exist: {failure}") from None
    fraction = (parts["fraction"] or "").ljust(6, "0")
    beyond = fraction[6:].strip("0") != ""
    return (whole - _EPOCH) // _MICROSECOND + int(fraction[:6]) + beyond
