"""Moments in microseconds since 1970, and as text of the contract and its users."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Time grids lie in the years that fit 64-bit nanoseconds, which many readers of arrivals use.
FIRST_YEAR, LAST_YEAR = 1678, 2261
FIRST_US = (datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
END_US = (datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
NOT_IN_RANGE = f"is not between {FIRST_YEAR} and {LAST_YEAR}"
_RFC3339 = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?P<offset>[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def utc_now() -> str:
    """The present moment as the contract's rfc3339_micros."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_text(ts_us: int) -> str:
    """An instant as the contract's rfc3339_micros."""
    return wall_text(ts_us) + "Z"


def wall_text(local_us: int) -> str:
    """Wall-clock microseconds as the contract's local_wall_timestamp_micros; a number outside the calendar's range."""
    try:
        return (_EPOCH + timedelta(microseconds=local_us)).replace(tzinfo=None).isoformat(timespec="microseconds")
    except OverflowError:
        return f"{local_us} us after 1970"


def microseconds(moment: str | datetime) -> int:
    """The first whole microsecond since 1970 at or after a moment: RFC 3339 text, or an aware datetime.

    Fractions of a microsecond are rounded up, so that bounds stay exact. Raises ValueError.
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone; give it one, such as datetime.UTC")
        return (moment - _EPOCH) // _MICROSECOND
    parts = _RFC3339.fullmatch(moment)
    if parts is None:
        raise ValueError(
            f"{moment!r} is not an RFC 3339 moment with a time zone, such as 2026-01-31T09:30:00Z or "
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
