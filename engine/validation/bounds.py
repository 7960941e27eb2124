"""Stated nulls and extremes of values against measured ones."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from arrival_engine.contracts.schemas import shown
from arrival_engine.engine.validation import parquet_forms as forms
from arrival_engine.engine.validation.measures import Measure, is_text

_SHOWN_BYTES = 64
_FIELDS = {
    "least": (forms.MIN_VALUE, forms.MIN),
    "greatest": (forms.MAX_VALUE, forms.MAX),
}


def statistics_faults(stated: Mapping[int, Any], found: Measure, kind: pa.DataType) -> Iterator[str]:
    """What the statistics of a chunk or page state wrongly, in words."""
    if stated.get(forms.NULLS, found.nulls) != found.nulls:
        yield f"states {stated[forms.NULLS]} nulls, has {found.nulls}"
    # Of texts that are all null, Arrow states the extremes of the dictionary. Bounds of no value hide no row.
    if is_text(kind) and found.least is None:
        return
    for end, fields in _FIELDS.items():
        for field in fields:
            if field in stated and (fault := extreme_fault(end, stated[field], found, kind)):
                yield fault


def extreme_fault(end: str, stated: bytes, found: Measure, kind: pa.DataType) -> str:
    """Whether the stated "least" or "greatest" value may not be stated so; empty if it may.

    It has to be the value as it is. Of texts it may be a bound, which hides no row: Arrow takes a text's extremes from
    the whole dictionary, and other writers cut them off.
    """
    value = found.least if end == "least" else found.greatest
    if value is None:
        return f"states the {end} value 0x{_shown(stated)}, there is none"
    if is_text(kind):
        own = value.encode("utf-8")
        allowed = stated <= own if end == "least" else stated >= own
    else:
        allowed = stated in _encoded(value, kind)
    return "" if allowed else f"states the {end} value 0x{_shown(stated)}, it is {shown(value)}"


def _encoded(value: Any, kind: pa.DataType) -> tuple[bytes, ...]:
    """The plain encodings of a number or truth value; a zero of a float has either sign."""
    if pa.types.is_floating(kind):
        form = "<d" if kind.bit_width == 64 else "<f"
        return struct.pack(form, value), struct.pack(form, -value if value == 0 else value)
    if pa.types.is_boolean(kind):
        return (bytes([value]),)
    if not pa.types.is_integer(kind):
        return ()
    size = 8 if kind.bit_width == 64 else 4
    return ((value % (1 << 8 * size)).to_bytes(size, "little"),)


def _shown(stated: bytes) -> str:
    return stated[:_SHOWN_BYTES].hex()
