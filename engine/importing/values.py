"""Values of cells in a user's tables: one conversion function per kind of column.

A cell holds text, a number, a date or an instant, as CSV or Parquet stores it. Each function raises `Refused` with the
fault of the cell and a hint; the caller knows file, line and column.
"""

from __future__ import annotations

import difflib
import math
import re
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from arrival_engine.contracts import Code
from arrival_engine.contracts.safe_text import is_line
from arrival_engine.cpu_fallback.law import MODES

MICROS = 1_000_000
_U64_MAX = 2**64 - 1
_ORDER_MAX = 2**31 - 1
DAY_US = 86_400 * MICROS

_WHOLE = re.compile(r"-?[0-9]{1,40}")
_WHOLE_WITH_ZEROS = re.compile(r"(-?[0-9]{1,40})\.0+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TOTALS = {"total", "totals", "sum", "all", "grand total", "subtotal", "gesamt", "summe"}
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


def whole(cell: Cell) -> int:
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
            bare = cell.strip()
            spaced = bare != cell and _WHOLE.fullmatch(bare)
            raise Refused(
                "is not a whole number",
                f"remove the spaces around the number: {bare}" if spaced else "give only digits, such as 12",
            )
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
    hint = "merchant ids are from 1 to 18446744073709551615; for names and UUIDs as ids, give --merchant-ids text"
    if absent(cell):
        raise Refused("is empty", "every row needs a merchant: leave out rows without values")
    if isinstance(cell, str):
        if cell.strip().rstrip(":").casefold() in _TOTALS:
            raise Refused("is not a number", "leave out rows of totals")
        if not (_WHOLE.fullmatch(cell) or _WHOLE_WITH_ZEROS.fullmatch(cell)):
            raise Refused("is not a number", hint)
        if cell.startswith("0") and cell.partition(".")[0] != "0":
            hint = "write ids without leading zeros, the same in every table, or give --merchant-ids text"
            raise Refused("starts with a zero", hint)
    value = whole(cell)
    if not 1 <= value <= _U64_MAX:
        raise Refused("is not a merchant id", hint)
    return value


def merchant_text(cell: Cell) -> str:
    """A merchant's text, exactly as written; a whole number in decimal digits."""
    if absent(cell):
        raise Refused("is empty", "every row needs a merchant")
    if isinstance(cell, bool | float | date | Instant):
        raise Refused("is not a text or a whole number", "store merchant ids as texts, UUIDs or whole numbers")
    text = cell if isinstance(cell, str) else str(whole(cell))
    if not is_line(text):
        what = "has a control character, a line end or a mark of writing direction"
        raise Refused(what, "use letters, digits and signs in merchant ids")
    if text != text.strip():
        raise Refused("begins or ends with a blank", "remove it: in another table, the same merchant may be without it")
    return text


def count(cell: Cell) -> int:
    """Arrivals of a bucket, 0 or more; the limit applies later, to the sum per bucket."""
    value = whole(cell)
    if value < 0:
        raise Refused("is negative", "a count of arrivals is 0 or more")
    if value > _ORDER_MAX:
        raise Refused("is too large", f"a count row can hold {_ORDER_MAX}: use shorter buckets")
    return value


def order(cell: Cell) -> int:
    """The number of a site or an edge within its merchant, from 1."""
    value = whole(cell)
    if not 1 <= value <= _ORDER_MAX:
        raise Refused(f"is not from 1 to {_ORDER_MAX}", "number from 1, or leave the column out")
    return value


def bucket_index(cell: Cell) -> int:
    """A bucket's number, from 0."""
    value = whole(cell)
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
