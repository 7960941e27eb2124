"""Value checks of single Arrow columns (bounds, choices, patterns), without loops over rows."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.contracts.columns import Column
from arrival_engine.contracts.schemas import shown

_INT_BOUNDS = {
    pa.uint64(): (0, 2**64 - 1),
    pa.int64(): (-(2**63), 2**63 - 1),
    pa.int32(): (-(2**31), 2**31 - 1),
}


class Fault(NamedTuple):
    """The first invalid value of a column."""

    row: int
    value: object
    what: str


def first_null(array: pa.ChunkedArray) -> int:
    """Row of the first null; -1 if there is none."""
    return _first_true(pc.is_null(array))


def range_fault(column: Column, array: pa.ChunkedArray, target: pa.DataType) -> Fault | None:
    """The first number that is not finite, is out of bounds, or does not fit the declared integer type."""
    if pa.types.is_floating(array.type):
        row = _first_true(pc.invert(pc.is_finite(array)))
        if row >= 0:
            return _fault(array, row, "is not a finite number")
    low, high = column.minimum, column.maximum
    if target in _INT_BOUNDS:
        type_low, type_high = _INT_BOUNDS[target]
        low = type_low if low is None else max(low, type_low)
        high = type_high if high is None else min(high, type_high)
    extremes = pc.min_max(array).as_py()
    least, most = extremes["min"], extremes["max"]
    if least is None:
        return None
    if low is not None and least < low:
        return _fault(array, _first_beyond(array, "less", low), f"is below {low}")
    if high is not None and most > high:
        return _fault(array, _first_beyond(array, "greater", high), f"is above {high}")
    above, below = column.exclusive_minimum, column.exclusive_maximum
    if above is not None and least <= above:
        return _fault(array, _first_beyond(array, "less_equal", above), f"is not above {above}")
    if below is not None and most >= below:
        return _fault(array, _first_beyond(array, "greater_equal", below), f"is not below {below}")
    return None


def text_fault(column: Column, array: pa.ChunkedArray) -> Fault | None:
    """The first text that is not a choice, breaks the pattern or is too short; equal texts are tested once."""
    if not (column.choices or column.pattern or column.min_length) or _dictionaries_are_good(column, array):
        return None
    values = distinct_texts(array)
    good = _good_texts(column, values)
    if pc.all(good, min_count=0).as_py():
        return None
    bad = values.filter(pc.invert(good))
    row = _first_text_in(array, bad)
    if column.choices:
        return _fault(array, row, f"is not one of {', '.join(column.choices)}")
    if column.min_length and not array[row].as_py():
        return _fault(array, row, "is empty")
    return _fault(array, row, column.pattern_fault or f"does not match {column.pattern}")


def _dictionaries_are_good(column: Column, array: pa.ChunkedArray) -> bool:
    """Whether dictionaries hold only valid texts, so that it does not matter which of them rows use."""
    if not pa.types.is_dictionary(array.type):
        return False
    dictionaries = [chunk.dictionary for chunk in array.chunks]
    # This saves a look at every row; longer dictionaries save nothing.
    if sum(len(texts) for texts in dictionaries) > len(array):
        return False
    return all(pc.all(_good_texts(column, pc.cast(texts, pa.string())), min_count=0).as_py() for texts in dictionaries)


def _good_texts(column: Column, values: pa.Array) -> pa.Array:
    good = pc.is_valid(values)
    if column.choices:
        good = pc.and_(good, pc.is_in(values, value_set=pa.array(column.choices, pa.string())))
    if column.pattern:
        good = pc.and_(good, pc.match_substring_regex(values, column.pattern))
    if column.min_length:
        good = pc.and_(good, pc.greater_equal(pc.utf8_length(values), column.min_length))
    return good


def distinct_texts(array: pa.ChunkedArray) -> pa.Array:
    """The distinct non-null texts that rows of `array` use, as a string array."""
    if pa.types.is_dictionary(array.type):
        used = [chunk.dictionary.take(pc.unique(chunk.indices).drop_null()) for chunk in array.chunks]
        texts = [pc.cast(part, pa.string()) for part in used]
    else:
        texts = [pc.cast(pc.unique(_hashable(chunk)), pa.string()) for chunk in array.chunks]
    return pc.unique(pa.chunked_array(texts, type=pa.string())).drop_null()


def _hashable(chunk: pa.Array) -> pa.Array:
    # Arrow has no hash kernel for string views.
    return pc.cast(chunk, pa.string()) if pa.types.is_string_view(chunk.type) else chunk


def _first_text_in(array: pa.ChunkedArray, bad: pa.Array) -> int:
    # Chunk by chunk, so that a dictionary column is never decoded as a whole just to name one row.
    before = 0
    for chunk in array.chunks:
        texts = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        row = _first_true(pc.is_in(pc.cast(texts, pa.string()), value_set=bad))
        if row >= 0:
            return before + row
        before += len(chunk)
    return -1


def _first_beyond(array: pa.ChunkedArray, comparison: str, bound: float) -> int:
    try:
        scalar = pa.scalar(bound, array.type)
    except (pa.ArrowInvalid, OverflowError, ValueError):
        # The bound is outside the column's own type, so every value is beyond it.
        return _first_true(pc.is_valid(array))
    return _first_true(pc.call_function(comparison, [array, scalar]))


def _first_true(mask: pa.ChunkedArray | pa.Array) -> int:
    return int(pc.index(mask, pa.scalar(True)).as_py())


def _fault(array: pa.ChunkedArray, row: int, what: str) -> Fault:
    value = array[row].as_py()
    return Fault(row, value, f"holds {shown(value)}, which {what}")
