"""What a page index and page headers state of the values of pages, against the values.

Readers skip the pages whose stated extremes exclude what they look for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from arrival_engine.engine.validation import parquet_forms as forms
from arrival_engine.engine.validation.bounds import extreme_fault, statistics_faults
from arrival_engine.engine.validation.measures import Measure, Measures, is_text
from arrival_engine.engine.validation.statements import Column

_UNORDERED, _ASCENDING, _DESCENDING = range(3)


def page_faults(column: Column, found: Measures) -> Iterator[str]:
    """What is stated wrongly of pages of a column chunk, in words; of each kind the first."""
    for number, (stated, page) in enumerate(zip(column.pages.statistics, found.pages, strict=False)):
        if faults := list(statistics_faults(stated, page, found.kind)):
            yield from (f"{fault} (header of page {number})" for fault in faults)
            break
    if column.text_bytes is not None and list(column.text_bytes) != [page.text_bytes for page in found.pages]:
        yield "has an offset index that states other sizes of texts than there are"
    if column.column_index:
        yield from (f"has a column index that {fault}" for fault in _index_faults(column, found))


def _index_faults(column: Column, found: Measures) -> Iterator[str]:
    index, rows = column.column_index, column.pages.places[:, 2].tolist()
    lists = (forms.NULL_PAGES, forms.MINS, forms.MAXES, forms.NULL_COUNTS)
    for field in lists:
        if len(index.get(field, rows)) != len(rows):
            yield f"is about {len(index[field])} pages, there are {len(rows)}"
            return
    for number, (page, values) in enumerate(zip(found.pages, rows, strict=False)):
        if fault := _page_fault(column, number, page, page.nulls == values, found.kind):
            yield f"{fault} (page {number})"
            break
    nulls = [page.nulls for page, _ in zip(found.pages, rows, strict=False)]
    if index.get(forms.NULL_COUNTS, nulls) != nulls:
        yield "states other numbers of nulls than there are"
    if fault := _order_fault(column, found):
        yield fault
    values = [count - missing for count, missing in zip(rows, nulls, strict=True)]
    levels = ((forms.REPETITIONS, 0, rows), (forms.DEFINITIONS, column.leaf.levels, values))
    if any(index.get(field) and not _tallies(index[field], most, rows, last) for field, most, last in levels):
        yield "states other numbers of levels than there are"


def _page_fault(column: Column, number: int, page: Measure, empty: bool, kind: pa.DataType) -> str:
    index = column.column_index
    if index[forms.NULL_PAGES][number] != empty:
        return "states that there are only nulls" if not empty else "does not state that there are only nulls"
    ends = {"least": index[forms.MINS][number], "greatest": index[forms.MAXES][number]}
    if empty:
        return "states extremes of nulls" if any(ends.values()) else ""
    return next(filter(None, (extreme_fault(end, stated, page, kind) for end, stated in ends.items())), "")


def _order_fault(column: Column, found: Measures) -> str:
    order = column.column_index[forms.BOUNDARY_ORDER]
    if order not in (_UNORDERED, _ASCENDING, _DESCENDING):
        return f"states the unknown order {order}"
    if order == _UNORDERED:
        return ""
    for ends in _ends(column, found):
        steps = pairwise(ends if order == _ASCENDING else reversed(ends))
        if any(before > after for before, after in steps):
            return f"states that the pages {'ascend' if order == _ASCENDING else 'descend'}"
    return ""


def _ends(column: Column, found: Measures) -> Sequence[Sequence[Any]]:
    """The least, and the greatest values of pages that have values: of texts as stated, which may be bounds."""
    some = [number for number, page in enumerate(found.pages) if page.least is not None]
    if is_text(found.kind):
        return [[column.column_index[field][number] for number in some] for field in (forms.MINS, forms.MAXES)]
    pages = [found.pages[number] for number in some]
    return [page.least for page in pages], [page.greatest for page in pages]


def _tallies(stated: Sequence[int], most: int, rows: Sequence[int], last: Sequence[int]) -> bool:
    """Whether a list has, for each page, tallies of the levels 0 to `most`: `rows` in all, and `last` of the last."""
    width = most + 1
    if len(stated) != width * len(rows):
        return False
    pages = [stated[first : first + width] for first in range(0, len(stated), width)]
    return all(
        min(page) >= 0 and sum(page) == whole and page[-1] == end
        for page, whole, end in zip(pages, rows, last, strict=True)
    )
