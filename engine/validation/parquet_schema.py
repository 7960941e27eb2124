"""The columns of a Parquet schema, by its own words and not by those of Arrow, which it may hold besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from arrival_engine.engine.validation import parquet_forms as forms

_DEPTH_MAX = 16
# ConvertedType, the older word for a LogicalType.
_UTF8, _TIMESTAMP_MILLIS, _TIMESTAMP_MICROS, _UINT_8, _INT_8 = 0, 9, 10, 11, 15
_WIDTHS = (8, 16, 32, 64)
_NO_TREE = "the schema is not a tree of columns without repetition"


class Leaf(NamedTuple):
    """A column: its path, its physical type, and its greatest definition level, 0 if no value can be null."""

    path: tuple[str, ...]
    physical: int
    levels: int

    @property
    def whole_numbers(self) -> bool:
        """Whether values are stored as whole numbers."""
        return self.physical in (forms.INT32, forms.INT64)


def columns_of(elements: Sequence[Mapping[int, Any]]) -> list[Leaf]:
    """The columns of a schema. Raises LookupError and ValueError for one that is not sound or has repeated columns."""
    return list(_leaves(elements))


def _leaves(elements: Sequence[Mapping[int, Any]]) -> Iterator[Leaf]:
    root = elements[0]
    root[forms.NAME].decode()
    if root.get(forms.REPETITION, forms.REQUIRED) != forms.REQUIRED:
        raise ValueError("the root of the schema is not one row")
    above: list[tuple[int, tuple[str, ...], int]] = [(root.get(forms.CHILDREN, 0), (), 0)]
    for element in elements[1:]:
        while above and not above[-1][0]:
            above.pop()
        repetition = element[forms.REPETITION]
        if not 0 < len(above) <= _DEPTH_MAX or repetition not in (forms.REQUIRED, forms.OPTIONAL):
            raise ValueError(_NO_TREE)
        left, path, levels = above[-1]
        above[-1] = left - 1, path, levels
        path = (*path, element[forms.NAME].decode())
        levels += repetition
        if forms.CHILDREN in element:
            above.append((element[forms.CHILDREN], path, levels))
            continue
        _hold_names_of_type(element)
        yield Leaf(path, element[forms.TYPE], levels)
    if any(left for left, _, _ in above):
        raise ValueError(_NO_TREE)


def _hold_names_of_type(element: Mapping[int, Any]) -> None:
    """Raises ValueError for a column whose two words for its type differ: readers take either."""
    logical, converted = element.get(forms.LOGICAL), element.get(forms.CONVERTED)
    if logical and converted is not None and converted != _converted(logical):
        raise ValueError(f"column {element[forms.NAME].decode()!r} has two types")


def _converted(logical: Mapping[int, Any]) -> int | None:
    if forms.STRING in logical:
        return _UTF8
    if forms.TIMESTAMP in logical:
        return _TIMESTAMP_MICROS if forms.MICROSECONDS in logical[forms.TIMESTAMP][2] else _TIMESTAMP_MILLIS
    if forms.INTEGER in logical:
        width, signed = logical[forms.INTEGER][1], logical[forms.INTEGER][2]
        return (_INT_8 if signed else _UINT_8) + _WIDTHS.index(width)
    return None
