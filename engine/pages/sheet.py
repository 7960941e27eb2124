"""The pages of some row groups, laid column by column into one buffer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.pages import layout
from arrival_engine.cpu_fallback.pages.codes import lay_codes, lay_runs
from arrival_engine.cpu_fallback.pages.layout import (
    Cut,
    Described,
    Dictionary,
    Frame,
    Laid,
    Runs,
    Twin,
    new_room,
)
from arrival_engine.cpu_fallback.pages.numbers import lay_deltas, lay_words
from arrival_engine.cpu_fallback.pages.texts import lay_texts, new_texts
from arrival_engine.cpu_fallback.tables import I32, I64, U8, Index
from arrival_engine.engine.pages.cuts import cut_by_row_group, largest_page
from arrival_engine.engine.pages.framing import FileBuffer

# Bytes that a value takes at most, with its level: a code and its dictionary entry, or a PLAIN word; a delta with its
# share of the head of a block; a text with its lengths.
_CODE_BYTES, _NUMBER_BYTES, _TEXT_BYTES = 16, 10, 56
# What a page takes besides: levels as a run, heads of delta lists, a miniblock of one value, words past the end.
_PAGE_BYTES = 1024

_ARROW_CODECS = {"lz4": "lz4_raw", "zstd": "zstd", "snappy": "snappy"}


class Form(NamedTuple):
    """What the sheets of a scenario have in common: its columns in order, and how they are stored.

    single, bounded: as in `Laid`. codec: that of the output policy. packed: columns whose pages it compresses. texts:
    the characters of each time, by column of times as texts. deltas: whether integers are DELTA_BINARY_PACKED, else
    PLAIN, and texts DELTA_BYTE_ARRAY.
    """

    names: tuple[str, ...]
    single: I32
    bounded: I32
    codec: str
    packed: frozenset[str]
    texts: Mapping[str, int]
    deltas: bool
    frame: Frame


class Same(NamedTuple):
    """A column, and which of its pages hold the values of another column too. pages: bool[P]."""

    name: str
    pages: NDArray[np.bool_]


class Workspace:
    """Memory of one thread, for one part after the other: fresh memory costs a page fault per page."""

    def __init__(self, group_rows: int, page_rows: int, codes: int, form: Form) -> None:
        self._group_rows = group_rows
        self.codec = None if form.codec == "none" else pa.Codec(_ARROW_CODECS[form.codec])
        self.room = new_room(group_rows, codes)
        sizes = set(form.texts.values())
        self.texts = {size: new_texts(size, plain=not form.deltas, values=largest_page(page_rows)) for size in sizes}
        self.body = np.empty(0, np.uint8)
        self.file = FileBuffer()

    def fits(self, group_rows: int) -> bool:
        """Whether there is room for row groups of so many rows."""
        return self._group_rows >= group_rows


class Sheet:
    """The pages of some row groups. Columns are laid in any order, each once.

    groups: int64[R + 1], rows before each row group; fine: the same rows cut into pages, coarse: into row groups.
    """

    def __init__(self, form: Form, groups: I64, fine: Cut, space: Workspace) -> None:
        self.fine, self.coarse = fine, cut_by_row_group(groups)
        self._form, self._space = form, space
        self._end: Index = 0
        columns, row_groups, pages = len(form.names), groups.size - 1, fine.row.size - 1
        self._pages = np.zeros((columns, pages, layout.PAGE_FIELDS), np.int64)
        self._dictionaries = np.full((columns, row_groups, layout.DICT_FIELDS), -1, np.int64)
        self._page_start = np.stack([fine.group, np.arange(groups.size)])
        self._described = {
            name: Described(self._pages[column], self._dictionaries[column]) for column, name in enumerate(form.names)
        }
        self._missing = set(form.names)
        self._first = Twin(np.empty(0, np.int64), np.empty((pages, 2), np.int64))

    def codes(self, name: str, values: I32, cut: Cut, dictionary: Dictionary) -> None:
        """A column of codes. values: int32[n], those of nulls left out."""
        body = self._reserve(values.size * _CODE_BYTES, cut, dictionary)
        self._end = lay_codes(values, cut, dictionary, body, self._end, self._space.room, self._describing(name))

    def runs(self, name: str, runs: Runs, cut: Cut, dictionary: Dictionary) -> None:
        """A column of runs."""
        body = self._reserve(int(cut.row[-1]) * _CODE_BYTES, cut, dictionary)
        self._end = lay_runs(runs, cut, dictionary, body, self._end, self._space.room, self._describing(name))

    def numbers(self, name: str, values: I64, cut: Cut, twin: Twin | None = None) -> Twin:
        """A column of integers. values: int64[n], those of nulls left out; twin: a column laid earlier.

        Returns the twin for later columns.
        """
        begin, found = self._end, self._describing(name)
        body = self._reserve(values.size * _NUMBER_BYTES, cut)
        blocks = twin or self._first
        if self._form.deltas:
            self._end = lay_deltas(values, cut, blocks, body, self._end, self._space.room, found)
        else:
            self._end = lay_words(values, cut, body, self._end, found)
            self._compress(name, found.pages, begin)
        return blocks._replace(values=values)

    def texts(self, name: str, values: I64, cut: Cut, twin: Same | None = None) -> None:
        """A column of times as texts. values: int64[n] microseconds, those of nulls left out.

        twin: a column laid earlier with the same cut; its pages that hold the same values are used again.
        """
        found = self._describing(name)
        if twin is None:
            self._lay_texts(name, values, cut, found)
            return
        found.pages[:] = self._described[twin.name].pages
        other = np.flatnonzero(~twin.pages)
        kept = [values[cut.value[page] : cut.value[page + 1]] for page in other]
        rows = np.append(0, np.cumsum(np.diff(cut.row)[other]))
        some = cut._replace(row=rows, value=np.append(0, np.cumsum([part.size for part in kept], dtype=np.int64)))
        laid = Described(np.zeros((other.size, layout.PAGE_FIELDS), np.int64), found.dictionaries)
        self._lay_texts(name, np.concatenate([values[:0], *kept]), some, laid)
        found.pages[other] = laid.pages

    def _lay_texts(self, name: str, values: I64, cut: Cut, found: Described) -> None:
        begin, text = self._end, self._space.texts[self._form.texts[name]]
        body = self._reserve(values.size * _TEXT_BYTES, cut)
        self._end = lay_texts(values, cut, text, body, self._end, self._space.room, found)
        self._compress(name, found.pages, begin)

    def flags(self, name: str, values: NDArray[np.bool_], cut: Cut) -> None:
        """A column of PLAIN booleans without nulls. values: bool[n]."""
        rows, pages, begin = cut.row.tolist(), self._describing(name).pages, self._end
        packed = [np.packbits(values[first:last], bitorder="little") for first, last in pairwise(rows)]
        sizes = np.array([page.size for page in packed], np.int64)
        pages[:, layout.SIZE] = pages[:, layout.PLAIN_SIZE] = sizes
        pages[:, layout.BEGIN] = begin + np.cumsum(sizes) - sizes
        pages[:, layout.VALUES], pages[:, layout.ENCODING] = np.diff(cut.row), layout.PLAIN
        self._append(b"".join(page.tobytes() for page in packed), cut)
        self._compress(name, pages, begin)

    def _describing(self, name: str) -> Described:
        """Where the pages of a column are to be described; from now on it counts as laid."""
        self._missing.remove(name)
        return self._described[name]

    def _reserve(self, size: int, cut: Cut, dictionary: Dictionary | None = None) -> U8:
        """The buffer, with room for `size` bytes of values and what goes with them."""
        repeated = 0 if dictionary is None or dictionary.words else dictionary.data.size * (cut.group.size - 1)
        needed = self._end + size + repeated + _PAGE_BYTES * cut.row.size
        body = self._space.body
        if body.size < needed:
            self._space.body = np.empty(needed + needed // 4, np.uint8)
            self._space.body[: self._end] = body[: self._end]
        return self._space.body

    def _append(self, data: bytes, cut: Cut) -> None:
        body = self._reserve(len(data), cut)
        body[self._end : self._end + len(data)] = np.frombuffer(data, np.uint8)
        self._end += len(data)

    def _compress(self, name: str, pages: I64, begin: Index) -> None:
        """Compress pages of a column that has a codec; they begin at `begin` and end the buffer."""
        codec = self._space.codec
        if codec is None or name not in self._form.packed:
            return
        body = self._space.body
        spans = zip(pages[:, layout.BEGIN].tolist(), pages[:, layout.SIZE].tolist(), strict=True)
        packed = [codec.compress(body[first : first + size], asbytes=True) for first, size in spans]
        sizes = np.array([len(page) for page in packed], np.int64)
        pages[:, layout.SIZE], pages[:, layout.BEGIN] = sizes, begin + np.cumsum(sizes) - sizes
        # A codec adds less to a page that it cannot compress than was reserved for the page.
        data = b"".join(packed)
        body[begin : begin + len(data)] = np.frombuffer(data, np.uint8)
        self._end = begin + len(data)

    def laid(self) -> Laid:
        """The tables of the pages, and the buffer that holds them until the next sheet of the workspace."""
        if self._missing:
            raise ValueError(f"no pages were laid for the columns {sorted(self._missing)}")
        form, space = self._form, self._space
        return Laid(space.body, self._pages, self._dictionaries, self._page_start, form.single, form.bounded)
