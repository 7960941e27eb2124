"""Values of cells in a user's tables: one conversion function per kind of column.

A cell holds text, a number, a date or an instant, as CSV or Parquet stores it. Each function raises `Refused` with the
fault of the cell and a hint; the caller knows file, line and column.
"""

from __future__ import annotations

import difflib
import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import Code
from arrival_engine.contracts.moments import END_US, FIRST_US, NOT_IN_RANGE
from arrival_engine.contracts.safe_text import is_line
from arrival_engine.cpu_fallback.law import MODES
from arrival_engine.engine.tz.pinned import known_tzids, release

MICROS = 1_000_000
_U64_MAX = 2**64 - 1
_ORDER_MAX = 2**31 - 1
DAY_US = 86_400 * MICROS
# A date stands among instants as its days since 1970-01-01, from here on: below every instant of a grid.
_DATES_US = -(2**62)

_WHOLE = re.compile(r"-?[0-9]{1,40}")
_WHOLE_WITH_ZEROS = re.compile(r"(-?[0-9]{1,40})\.0+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?))?"
    r" ?(Z|z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_COUNTRY = re.compile(r"[A-Z]{2}")


class Instant(NamedTuple):
    """A moment as Parquet stores it: microseconds of UTC, or of a clock of unknown zone."""

    micros: int
    zoned: bool


class ShortFloat(float):
    """A float32 or a float16, of which whole numbers are exact up to a lower limit than a float64's."""

    exact_below = 2**24


class HalfFloat(ShortFloat):
    """A float16."""

    exact_below = 2**11


_EXACT_BELOW = 2**53

Cell = str | int | float | Decimal | date | Instant | None


class Refused(Exception):  # noqa: N818 - a verdict on a cell, turned into the one error class by the reader
    """Why a cell is refused, what to do, and the error code."""

    def __init__(self, what: str, hint: str, code: Code = Code.SCHEMA_VIOLATION) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code


def absent(cell: Cell) -> bool:
    """Whether the cell is empty."""
    return cell is None or cell == ""


def _whole(cell: Cell) -> int:
    """A whole number, exactly, even if it is written or stored with decimals that are zero."""
    if absent(cell):
        raise Refused("is empty", "every row needs a value here")
    if isinstance(cell, bool | date | Instant):
        raise Refused("is not a number", "give a whole number")
    if isinstance(cell, str):
        if _WHOLE.fullmatch(cell):
            return int(cell)
        match = _WHOLE_WITH_ZEROS.fullmatch(cell)
        if match is None:
            raise Refused("is not a whole number", "give only digits, such as 12")
        # Programs that write 12.0 hold the number as a float64.
        return _exact(int(match[1]), _EXACT_BELOW)
    if isinstance(cell, float | Decimal) and not math.isfinite(cell):
        raise Refused("is not a number", "leave out rows without a value, or write 0")
    value = int(cell or 0)
    if cell != value:
        raise Refused("is not a whole number", "give a number without a fraction")
    if isinstance(cell, float):
        return _exact(value, cell.exact_below if isinstance(cell, ShortFloat) else _EXACT_BELOW)
    return value


def _exact(value: int, below: int) -> int:
    """A number that a float held. Raises `Refused` from the first that may stand for another, rounded."""
    if abs(value) >= below:
        what = f"is a number with decimals, of which {below} and more have lost digits"
        raise Refused(what, "store it as a whole number or a text: the digits that were lost are not in this file")
    return value


def merchant_id(cell: Cell) -> int:
    """1 to 2^64 - 1, exactly as written."""
    hint = "merchant ids are from 1 to 18446744073709551615: number your merchants, and keep the list of their names"
    if absent(cell):
        raise Refused("is empty", "every row needs a merchant")
    if isinstance(cell, str):
        if not (_WHOLE.fullmatch(cell) or _WHOLE_WITH_ZEROS.fullmatch(cell)):
            raise Refused("is not a number", hint)
        if cell.startswith("0") and cell.partition(".")[0] != "0":
            raise Refused("starts with a zero", "write ids without leading zeros, the same in every table")
    value = _whole(cell)
    if not 1 <= value <= _U64_MAX:
        raise Refused("is not a merchant id", hint)
    return value


def count(cell: Cell) -> int:
    """Arrivals of a bucket, 0 or more; the limit applies later, to the sum per bucket."""
    value = _whole(cell)
    if value < 0:
        raise Refused("is negative", "a count of arrivals is 0 or more")
    if value > _ORDER_MAX:
        raise Refused("is too large", "use shorter buckets, with fewer arrivals each")
    return value


def order(cell: Cell) -> int:
    """The number of a site or an edge within its merchant, from 1."""
    value = _whole(cell)
    if not 1 <= value <= _ORDER_MAX:
        raise Refused(f"is not from 1 to {_ORDER_MAX}", "number from 1, or leave the column out")
    return value


def bucket_index(cell: Cell) -> int:
    """A bucket's number, from 0."""
    value = _whole(cell)
    if not 0 <= value <= _ORDER_MAX:
        raise Refused(f"is not from 0 to {_ORDER_MAX}", "buckets are numbered from 0", Code.TIME_GRID_MISMATCH)
    return value


def weight(cell: Cell) -> float:
    """A finite weight, 0 or more."""
    if absent(cell):
        raise Refused("is empty", "give a weight; 0 means never chosen")
    if isinstance(cell, bool | date | Instant):
        raise Refused("is not a number", "give a weight such as 1 or 0.25")
    if isinstance(cell, str) and not _NUMBER.fullmatch(cell):
        raise Refused("is not a number", "give a weight such as 1 or 0.25")
    value = float(cell or 0)
    if not math.isfinite(value):
        raise Refused("is not finite", "give a weight such as 1 or 0.25")
    if value < 0:
        raise Refused("is negative", "a weight is 0 or more")
    return value + 0.0  # -0.0 becomes 0.0


def tzid(cell: Cell) -> str:
    """An IANA time zone that the pinned tzdata knows."""
    if absent(cell):
        raise Refused("is empty", "give an IANA time zone such as Europe/Berlin", Code.DST_MAPPING_FAILED)
    text = str(cell)
    if text not in _known_tzids():
        near = _near_zones(text)
        hint = f"did you mean {' or '.join(near)}?" if near else "give an IANA name such as Europe/Berlin"
        raise Refused(f"is not a time zone of tzdata {release()}", hint, Code.DST_MAPPING_FAILED)
    return text


def optional_tzid(cell: Cell) -> str | None:
    """An IANA time zone, or None for an empty cell."""
    return None if absent(cell) else tzid(cell)


@cache
def _known_tzids() -> frozenset[str]:
    return frozenset(known_tzids())


def _near_zones(text: str) -> list[str]:
    """Up to three similar names: another case, only the city, or a typing error."""
    wanted = text.strip().replace(" ", "_").casefold()
    lowered = {name.casefold(): name for name in known_tzids()}
    if wanted in lowered:
        return [lowered[wanted]]
    cities = [name for name in known_tzids() if name.rpartition("/")[2].casefold() == wanted]
    if cities:
        return cities[:3]
    return [lowered[name] for name in difflib.get_close_matches(wanted, lowered, n=3, cutoff=0.7)]


def country(cell: Cell) -> str:
    """Two capital letters."""
    text = "" if cell is None else str(cell)
    if _COUNTRY.fullmatch(text):
        return text
    hint = "give two capital letters (ISO 3166), such as DE"
    if _COUNTRY.fullmatch(text.strip().upper()):
        hint = f"write {text.strip().upper()}"
    raise Refused("is empty" if absent(cell) else "is not a country code", hint)


def channel(cell: Cell) -> str | None:
    """Any text of one line, or None for an empty cell."""
    if absent(cell):
        return None
    if not isinstance(cell, str | int):
        raise Refused("is not text", "store channels as text")
    text = str(cell)
    if not is_line(text):
        raise Refused(
            "has a control character, a line end or a mark of writing direction",
            "use letters, digits and signs in channel names",
        )
    return text


def mode(cell: Cell) -> str:
    """NON_VIRTUAL, HYBRID or VIRTUAL_ONLY."""
    text = "" if cell is None else str(cell)
    if text in MODES:
        return text
    near = difflib.get_close_matches(text.strip().upper(), MODES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"write {', '.join(MODES[:-1])} or {MODES[-1]}"
    raise Refused("is empty" if absent(cell) else "is not a mode", hint, Code.ROUTING_POLICY_INVALID)


def instant(cell: Cell, assume_utc: bool) -> int:
    """Microseconds since 1970 of a time with a zone; with `assume_utc`, a time without a zone is UTC."""
    code = Code.TIME_GRID_MISMATCH
    if absent(cell):
        raise Refused("is empty", "give a time such as 2026-03-29T01:00:00Z", code)
    if isinstance(cell, Instant):
        micros, zoned = cell
    elif isinstance(cell, date):
        micros, zoned = _midnight(cell), False
    elif isinstance(cell, str):
        micros, zoned = _parsed(cell)
    else:
        raise Refused("is not a time", "give a time such as 2026-03-29T01:00:00Z", code)
    if not zoned and not assume_utc:
        raise Refused(
            "has no zone",
            "end UTC times with Z and local times with their offset (+02:00), or read all as UTC with --assume-utc",
            code,
        )
    # The end of the range is one of times only where a grid ends.
    if not FIRST_US <= micros <= END_US:
        raise Refused(NOT_IN_RANGE, "check the year", code)
    return micros


def bucket_start(cell: Cell, assume_utc: bool) -> int:
    """The start of a count's bucket as `instant` reads it; a date without a clock is refused as what it may mean."""
    if not assume_utc and _day(cell) is not None:
        raise Refused(
            "has no zone",
            "for counts of local days give --bucket local-day, for days of UTC --assume-utc and --bucket 1d",
            Code.TIME_GRID_MISMATCH,
        )
    return instant(cell, assume_utc)


def day_start(cell: Cell) -> int:
    """The start of a local day: microseconds of an instant, or a date, which `dates_of` tells from an instant."""
    day = _day(cell)
    if day is not None:
        midnight = _midnight(day)
        if not FIRST_US <= midnight < END_US:
            raise Refused(NOT_IN_RANGE, "check the year", Code.TIME_GRID_MISMATCH)
        return _DATES_US + midnight // DAY_US
    try:
        return instant(cell, assume_utc=False)
    except Refused as verdict:
        if verdict.what != "has no zone":
            raise
        hint = "write the date alone, such as 2026-03-29, or add the offset (+02:00)"
        raise Refused("has a clock but no zone", hint, Code.TIME_GRID_MISMATCH) from None


def dates_of(values: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which values of `day_start` are dates, and their days since 1970-01-01, 0 for instants."""
    dated = values < FIRST_US
    return dated, np.where(dated, values - _DATES_US, 0)


def _day(cell: Cell) -> date | None:
    """A cell that is a date and nothing else."""
    if isinstance(cell, str) and _DATE.fullmatch(cell):
        try:
            return date.fromisoformat(cell)
        except ValueError:
            return None
    return cell if isinstance(cell, date) else None


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * MICROS


def _parsed(text: str) -> Instant:
    match = _TIME.fullmatch(text)
    if match is None:
        raise Refused(
            "is not a time of the form 2026-03-29T01:00:00Z",
            "write times in this form, with Z or an offset such as +02:00",
            Code.TIME_GRID_MISMATCH,
        )
    day, clock, zone = match[1], match[2] or "00:00", match[3]
    offset = "+00:00" if zone in (None, "Z", "z", "UTC") else f"{zone}:00" if len(zone) == 3 else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset}")
        seconds = int(moment.replace(microsecond=0).timestamp())
    except (ValueError, OverflowError):
        what = "has a day, an hour or an offset that does not exist"
        raise Refused(what, "check day, hour and offset", Code.TIME_GRID_MISMATCH) from None
    return Instant(seconds * MICROS + moment.microsecond, zone is not None)
