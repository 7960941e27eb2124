"""Times in cells of a user's tables: with a zone, as dates, or as numbers since 1970 by an option."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import get_args

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import Code
from arrival_engine.contracts.moments import END_US, FIRST_US, NOT_IN_RANGE
from arrival_engine.contracts.options import EpochUnit
from arrival_engine.engine.importing.values import DAY_US, MICROS, Cell, Instant, Refused, absent, whole

_CODE = Code.TIME_GRID_MISMATCH
# A date stands among instants as its days since 1970-01-01, from here on: below every instant of a grid.
_DATES_US = -(2**62)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6}0{0,3})?)?))?"
    r" ?(Z|z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MIDNIGHT_24 = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]24:00(?::00(?:\.0+)?)?.*")
_SLASHED = re.compile(r"([0-9]{1,2})([./-])([0-9]{1,2})\2([0-9]{4})\b.*")
_NUMBER = re.compile(r"[+-]?[0-9]{1,25}(?:\.[0-9]*)?")
_EXPONENT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]+")

_MICROS_PER: Mapping[EpochUnit, Decimal] = {
    "s": Decimal(1_000_000),
    "ms": Decimal(1000),
    "us": Decimal(1),
    "ns": Decimal("0.001"),
}
_NAMES: Mapping[EpochUnit, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
# Years in which most tables lie: of several readings of a number, those are proposed first.
_USUAL_YEARS = range(1990, 2101)
# Days since the last day of 1899, as spreadsheets store dates, of these years.
_SERIAL_EPOCH = date(1899, 12, 30)
_SERIAL = range((date(1950, 1, 1) - _SERIAL_EPOCH).days, (date(2100, 1, 1) - _SERIAL_EPOCH).days)
_FORM = "give a time such as 2026-03-29T01:00:00Z"


def instant(cell: Cell, assume_utc: bool, epoch: EpochUnit | None = None) -> int:
    """Microseconds since 1970 of a time with a zone; with `assume_utc`, a time without a zone is UTC.

    epoch: the unit of numbers, which count from 1970-01-01T00:00:00Z; without it, numbers are refused.
    """
    if absent(cell):
        raise Refused("is empty", _FORM, _CODE)
    if isinstance(cell, Instant):
        micros, zoned = cell
    elif isinstance(cell, date):
        micros, zoned = _midnight(cell), False
    elif _is_number(cell):
        micros, zoned = _since_1970(cell, epoch), True
    elif isinstance(cell, str):
        micros, zoned = _parsed(cell)
    else:
        raise Refused("is not a time", _FORM, _CODE)
    if not zoned and not assume_utc:
        raise Refused(
            "has no zone",
            "end UTC times with Z and local times with their offset (+02:00), or read all as UTC with --assume-utc",
            _CODE,
        )
    # The end of the range is one of times only where a grid ends.
    if not FIRST_US <= micros <= END_US:
        raise Refused(NOT_IN_RANGE, "check the year", _CODE)
    return micros


def bucket_start(cell: Cell, assume_utc: bool, epoch: EpochUnit | None = None) -> int:
    """The start of a count's bucket as `instant` reads it; a date without a clock is refused as what it may mean."""
    if not assume_utc and _day(cell) is not None:
        raise Refused(
            "has no zone, and may be a day of the row's zone or of UTC",
            "for counts of local days give --bucket local-day, for days of UTC --assume-utc and --bucket 1d",
            _CODE,
        )
    return instant(cell, assume_utc, epoch)


def day_start(cell: Cell, epoch: EpochUnit | None = None) -> int:
    """The start of a local day: microseconds of an instant, or a date, which `dates_of` tells from an instant."""
    day = _day(cell)
    if day is not None:
        midnight = _midnight(day)
        if not FIRST_US <= midnight < END_US:
            raise Refused(NOT_IN_RANGE, "check the year", _CODE)
        return _DATES_US + midnight // DAY_US
    try:
        return instant(cell, assume_utc=False, epoch=epoch)
    except Refused as verdict:
        if verdict.what != "has no zone":
            raise
        hint = "write the date alone, such as 2026-03-29, or add the offset (+02:00)"
        raise Refused("has a clock but no zone", hint, _CODE) from None


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
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def _is_number(cell: Cell) -> bool:
    if isinstance(cell, str):
        return bool(_NUMBER.fullmatch(cell))
    return isinstance(cell, int | float | Decimal) and not isinstance(cell, bool)


def _since_1970(cell: Cell, epoch: EpochUnit | None) -> int:
    """Microseconds of a number of units since 1970."""
    if epoch is None:
        raise Refused("is not a time, but a number", "; ".join(_readings(Decimal(str(cell)))) or _FORM, _CODE)
    try:
        number = whole(cell)
    except Refused as verdict:
        raise Refused(f"is not a whole number of {_NAMES[epoch]} since 1970", verdict.hint, _CODE) from None
    micros = number * _MICROS_PER[epoch]
    if micros != int(micros):
        raise Refused("has a fraction of a microsecond", "round the times to the starts of their buckets", _CODE)
    if not FIRST_US <= micros <= END_US:
        what = f"is not between 1678 and 2261 as {_NAMES[epoch]} since 1970"
        raise Refused(what, "; ".join(_readings(Decimal(number))) or "check the number", _CODE)
    return int(micros)


def _readings(number: Decimal) -> Iterator[str]:
    """What to do to have the number read, for each time that it may stand for: the usual years first."""
    if not number.is_finite():
        return
    found: list[tuple[bool, str]] = []
    for unit in get_args(EpochUnit):
        micros = number * _MICROS_PER[unit]
        if FIRST_US <= micros < END_US:
            moment = _EPOCH + timedelta(microseconds=math.floor(micros))
            text = moment.isoformat().removesuffix("+00:00")
            found.append((moment.year not in _USUAL_YEARS, f"--epoch {unit} to read {text}Z"))
    if int(number) in _SERIAL:
        day = _SERIAL_EPOCH + timedelta(days=int(number))
        yield f"write dates as texts: as a serial number of a spreadsheet this is {day}"
    elif number == int(number) and (day_of_digits := _compact(str(int(number)))):
        yield f"write dates with hyphens: {day_of_digits}"
    elif found:
        yield "give " + ", ".join(text for _, text in sorted(found, key=lambda item: item[0]))


def _compact(digits: str) -> str:
    """A date of eight digits with hyphens; empty if there is no such date."""
    if len(digits) != 8:
        return ""
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).isoformat()
    except ValueError:
        return ""


def _parsed(text: str) -> Instant:
    match = _TIME.fullmatch(text)
    if match is None:
        raise _not_a_time(text)
    # Later Python versions would read 24:00, earlier ones would not.
    if _MIDNIGHT_24.fullmatch(text):
        raise Refused("has the clock 24:00", "write 00:00 of the next day", _CODE)
    day, clock, zone = match[1], match[2] or "00:00", match[3]
    offset = "+00:00" if zone in (None, "Z", "z", "UTC") else f"{zone}:00" if len(zone) == 3 else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset}")
        seconds = int(moment.replace(microsecond=0).timestamp())
    except (ValueError, OverflowError):
        what = "has a day, an hour or an offset that does not exist"
        raise Refused(what, "check day, hour and offset", _CODE) from None
    return Instant(seconds * MICROS + moment.microsecond, zone is not None)


def _not_a_time(text: str) -> Refused:
    what = "is not a time of the form 2026-03-29T01:00:00Z"
    hint = "write times in this form, with Z or an offset such as +02:00"
    if _EXPONENT.fullmatch(text):
        return Refused("is a number with an exponent", "write all its digits, which are lost in this form", _CODE)
    parts = _SLASHED.fullmatch(text)
    if parts is None:
        return Refused(what, hint, _CODE)
    first, second, year = int(parts[1]), int(parts[3]), parts[4]
    days = [f"{year}-{month:02}-{day:02}" for month, day in ((second, first), (first, second)) if month <= 12]
    if not days:
        return Refused(what, hint, _CODE)
    return Refused(what, f"write the year first: {' or '.join(dict.fromkeys(days))}; {hint}", _CODE)
