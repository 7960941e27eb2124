"""What a Parquet file states of itself: its footer, its page headers and its page index, read without Arrow.

Arrow ends the process when it is asked about chunks that are not sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.thrift import MAGIC, Compact, read_footer
from arrival_engine.engine.validation import parquet_forms as forms
from arrival_engine.engine.validation.pages import NO_PAGES, Extent, Pages, encoding_faults, location_fault, read_pages
from arrival_engine.engine.validation.parquet_schema import Leaf, columns_of

# What a run never writes is refused: nothing would check it.
_CHUNK_EXTRAS = {1: "values in another file"}
_COLUMN_EXTRAS = {10: "pages of another kind", 14: "a Bloom filter"}
_GROUP_EXTRAS = {4: "a sort order of its own"}


class Column(NamedTuple):
    """A column chunk, and what is stated of it.

    values: their number. statistics: of the chunk, and column_index: of its pages, by field number, empty if there are
    none. pages: where they are; none if they cannot be followed. text_bytes: of each page, by the offset index.
    """

    leaf: Leaf
    values: int
    statistics: Mapping[int, Any]
    pages: Pages = NO_PAGES
    column_index: Mapping[int, Any] = MappingProxyType({})
    text_bytes: Sequence[int] | None = None

    @property
    def name(self) -> str:
        """The dotted path."""
        return ".".join(self.leaf.path)

    @property
    def stated(self) -> bool:
        """Whether anything is stated that has to be compared with the values."""
        return bool(self.statistics or self.stated_by_page)

    @property
    def stated_by_page(self) -> bool:
        """Whether anything is stated of single pages."""
        return bool(self.pages.statistics or self.column_index or self.text_bytes is not None)

    @property
    def bounds(self) -> bool:
        """Whether more than nulls is stated of the values."""
        stated = {*self.statistics, *(field for page in self.pages.statistics for field in page)}
        return bool(self.column_index) or self.text_bytes is not None or not stated <= {forms.NULLS}

    @property
    def counts_distinct(self) -> bool:
        """Whether a number of distinct values is stated."""
        return forms.DISTINCT in self.statistics

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """The rows of the row group before each page that something is stated of; one page if nothing is."""
        return self.pages.first_rows if self.stated_by_page and self.pages.places.size else np.zeros(1, np.int64)


class Group(NamedTuple):
    """A row group: its rows, as stated, and its column chunks."""

    rows: int
    columns: Sequence[Column]


class Fault(NamedTuple):
    """A statement that does not hold, of a column of a row group; the column is empty if it is about all."""

    group: int
    column: str
    words: str


class Statements(NamedTuple):
    """The statements of a file: its rows, row groups, key-value metadata.

    extras: what runs never write, in words. faults: what its pages contradict.
    """

    rows: int
    groups: Sequence[Group]
    pairs: Sequence[tuple[str, str]]
    extras: Sequence[str]
    faults: Sequence[Fault]


def read_statements(path: InsidePath) -> Statements:
    """The statements of a Parquet file. Raises OSError, and ArrowInvalid for one whose footer is not sound."""
    with path.open("rb") as source:
        try:
            end, data = read_footer(source)
            return _Reader(source.fileno(), end, Compact(data).record(forms.FILE, further=True)).statements()
        except (AttributeError, IndexError, LookupError, TypeError, ValueError) as failure:
            raise pa.ArrowInvalid(f"the Parquet footer is damaged: {failure}") from failure


def as_text(stated: bytes) -> str:
    """A text of the footer."""
    return stated.decode("utf-8", "replace")


class _Reader:
    """Reads what a footer points to.

    handle: the open file. end: the position of its footer, which everything else has to lie before.
    """

    def __init__(self, handle: int, end: int, footer: Mapping[int, Any]) -> None:
        self._handle, self._footer = handle, footer
        self._extents = [
            [Extent.of(chunk[forms.COLUMN]) for chunk in group[forms.CHUNKS]] for group in footer[forms.GROUPS]
        ]
        self._faults: list[Fault] = []
        self._own = self._apart(end)

    def statements(self) -> Statements:
        stated = self._footer
        leaves, extras, groups = columns_of(stated[forms.SCHEMA]), set[str](), []
        for number, group in enumerate(stated[forms.GROUPS]):
            chunks = group[forms.CHUNKS]
            extras |= _named(group, _GROUP_EXTRAS)
            for chunk in chunks:
                extras |= _named(chunk, _CHUNK_EXTRAS) | _named(chunk[forms.COLUMN], _COLUMN_EXTRAS)
            found = [(_path(chunk), chunk[forms.COLUMN][forms.PHYSICAL]) for chunk in chunks]
            if found != [(leaf.path, leaf.physical) for leaf in leaves]:
                raise ValueError(f"row group {number} has other columns than the schema")
            columns = [self._column((number, place), chunk, leaves[place]) for place, chunk in enumerate(chunks)]
            groups.append(Group(int(group[forms.GROUP_ROWS]), columns))
            self._faults += [Fault(number, "", fault) for fault in _group_faults(group, self._extents[number])]
        pairs = [(as_text(pair[1]), as_text(pair.get(2, b""))) for pair in stated.get(forms.PAIRS, ())]
        return Statements(int(stated[forms.FILE_ROWS]), groups, pairs, sorted(extras), self._faults)

    def _apart(self, end: int) -> set[tuple[int, int, int]]:
        """The regions that begin after all that begin before them, by row group, column and field.

        Only these are read, so that a file is read once however often its footer names the same bytes.
        """
        regions = sorted(
            (*region, (number, place, field))
            for number, group in enumerate(self._footer[forms.GROUPS])
            for place, chunk in enumerate(group[forms.CHUNKS])
            for field, region in _regions(chunk, self._extents[number][place])
        )
        reached, own = len(MAGIC), set()
        for first, last, name in regions:
            if reached <= first <= last <= end or 0 <= first == last:
                own.add(name)
                reached = max(reached, last)
                continue
            chunk = self._footer[forms.GROUPS][name[0]][forms.CHUNKS][name[1]]
            why = "others have them too" if len(MAGIC) <= first <= last <= end else "the file has none there"
            fault = f"states {last - first} bytes at {first} as its own, {why}"
            self._faults.append(Fault(name[0], ".".join(_path(chunk)), fault))
        return own

    def _column(self, name: tuple[int, int], chunk: Mapping[int, Any], leaf: Leaf) -> Column:
        facts = chunk[forms.COLUMN]
        known = Column(leaf, int(facts[forms.VALUES]), facts.get(forms.CHUNK_STATISTICS, {}))
        try:
            followed = self._followed(name, chunk, known)
        except ValueError as failure:
            self._faults.append(Fault(name[0], known.name, str(failure)))
            return known
        self._faults += [Fault(name[0], known.name, fault) for fault in encoding_faults(facts, followed.pages)]
        return followed

    def _followed(self, name: tuple[int, int], chunk: Mapping[int, Any], known: Column) -> Column:
        """A column chunk with its pages and what its page index states. Raises ValueError where they do not agree."""
        offsets = self._index(name, chunk, forms.OFFSET_INDEX_AT, forms.OFFSET_INDEX)
        index = self._index(name, chunk, forms.COLUMN_INDEX_AT, forms.COLUMN_INDEX)
        if index and not offsets:
            raise ValueError("has a column index without an offset index")
        if (*name, forms.DATA_AT) not in self._own:
            return known
        pages = self._pages(chunk[forms.COLUMN], self._extents[name[0]][name[1]])
        if offsets and (fault := location_fault(offsets[forms.LOCATIONS], pages)):
            raise ValueError(fault)
        return known._replace(pages=pages, column_index=index, text_bytes=offsets.get(forms.TEXT_BYTES))

    def _pages(self, facts: Mapping[int, Any], extent: Extent) -> Pages:
        try:
            pages = read_pages(self._handle, extent)
        except (LookupError, ValueError) as failure:
            raise ValueError(f"has pages that cannot be followed: {failure}") from failure
        values = int(pages.places[:, 2].sum())
        if values != facts[forms.VALUES]:
            raise ValueError(f"states {facts[forms.VALUES]} values, its pages have {values}")
        return pages

    def _index(self, name: tuple[int, int], chunk: Mapping[int, Any], at: int, form: dict[int, Any]) -> dict[int, Any]:
        """The struct at the position in field `at`, of the length in the next one; empty if there is none."""
        absent = at not in chunk and at + 1 not in chunk
        if absent or (at in chunk and at + 1 in chunk and (*name, at) not in self._own):
            return {}
        try:
            return _struct(os.pread(self._handle, chunk[at + 1], chunk[at]), form, _REQUIRED[at])
        except (LookupError, ValueError) as failure:
            kind = "an offset index" if at == forms.OFFSET_INDEX_AT else "a column index"
            raise ValueError(f"has {kind} that is damaged: {failure}") from failure


_REQUIRED = {
    forms.OFFSET_INDEX_AT: {forms.LOCATIONS},
    forms.COLUMN_INDEX_AT: {forms.NULL_PAGES, forms.MINS, forms.MAXES, forms.BOUNDARY_ORDER},
}


def _struct(data: bytes, form: dict[int, Any], required: set[int]) -> dict[int, Any]:
    """The bytes of a struct, no more and no fewer."""
    thrift = Compact(data)
    stated = thrift.record(form)
    if thrift.at != len(data):
        raise ValueError(f"{len(data) - thrift.at} bytes are left over")
    if missing := sorted(required - set(stated)):
        raise ValueError(f"there is no field {missing[0]}")
    return stated


def _regions(chunk: Mapping[int, Any], extent: Extent) -> Iterator[tuple[int, tuple[int, int]]]:
    """Begin and end of each stretch of the file that a chunk states as its own, by the field that states it."""
    yield forms.DATA_AT, (extent.begin, extent.end)
    for at in (forms.OFFSET_INDEX_AT, forms.COLUMN_INDEX_AT):
        if at in chunk and at + 1 in chunk:
            yield at, (chunk[at], chunk[at] + chunk[at + 1])


def _group_faults(group: Mapping[int, Any], extents: Sequence[Extent]) -> Iterator[str]:
    """What is stated wrongly of where a row group and its chunks are; readers deal out a file among them by that."""
    found = {
        forms.GROUP_AT: ("begins at", extents[0].begin if extents else None),
        forms.GROUP_BYTES: ("has bytes", sum(extent.end - extent.begin for extent in extents)),
    }
    for field, (words, value) in found.items():
        if field in group and group[field] != value:
            yield f"states that it {words} {group[field]}, not {value}"
    for chunk, extent in zip(group[forms.CHUNKS], extents, strict=True):
        # The position of another copy of what the footer states, which writers have given up.
        if chunk[forms.CHUNK_AT] not in (0, extent.begin, extent.end):
            yield f"states a chunk at {chunk[forms.CHUNK_AT]}, it is at {extent.begin}"


def _path(chunk: Mapping[int, Any]) -> tuple[str, ...]:
    return tuple(name.decode() for name in chunk[forms.COLUMN][forms.PATH])


def _named(entry: Mapping[int, Any], extras: Mapping[int, str]) -> set[str]:
    return {words for number, words in extras.items() if number in entry}
