"""The pages of a column chunk as they stand in a Parquet file, and the page locations that it states.

Readers that use an offset index go to the positions that it names and count rows from the numbers in it, and look at
nothing else. A false one gives them other rows.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts.thrift import Compact
from arrival_engine.engine.validation import parquet_forms as forms

# Enough for a header without long statistics; none is longer than the second.
_HEADER_BYTES = (256, 1 << 20)
_BLOCK_BYTES = 1 << 20
_DATA, _DICTIONARY = 0, 2
_RLE = 3
# Two names of one encoding, which of a dictionary page's means PLAIN.
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8


class Pages(NamedTuple):
    """The data pages of a column chunk, in order.

    places: int64[P, 3], position in the file, bytes with the header, and values of each. statistics: those that each
    header states, by field number; empty if no page has any. encodings: pages by the encoding of their values.
    """

    places: NDArray[np.int64]
    statistics: Sequence[Mapping[int, Any]]
    encodings: Mapping[int, int]

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """The rows of the row group before each page, int64[P], of a column without repetition."""
        return np.cumsum(self.places[:, 2]) - self.places[:, 2]


NO_PAGES = Pages(np.empty((0, 3), np.int64), (), {})


class Extent(NamedTuple):
    """Where a column chunk says that its bytes are: its dictionary page if any, its data pages, and its end.

    compressed: whether pages are stored in another form than they have.
    """

    dictionary_at: int | None
    data_at: int
    end: int
    compressed: bool

    @property
    def begin(self) -> int:
        """The position of the first byte."""
        return self.data_at if self.dictionary_at is None else self.dictionary_at

    @staticmethod
    def of(facts: Mapping[int, Any]) -> Extent:
        """Of a chunk's ColumnMetaData. Some writers state a dictionary at 0 where there is none."""
        dictionary_at = facts.get(forms.DICTIONARY_AT) or None
        data_at = facts[forms.DATA_AT]
        begin = data_at if dictionary_at is None else dictionary_at
        return Extent(dictionary_at, data_at, begin + facts[forms.CHUNK_BYTES], facts[forms.CODEC] != 0)


def read_pages(handle: int, extent: Extent) -> Pages:
    """Follow the pages of a chunk from header to header, in an open file that holds its extent.

    Raises OSError, and ValueError for pages that are not a dictionary page, if the chunk states one, and data pages of
    version 1, one after the other up to the end of the chunk, with a true checksum if they have one.
    """
    at = extent.begin
    if extent.dictionary_at is not None:
        at = _after_dictionary(handle, extent)
    places, statistics, encodings = [], [], Counter[int]()
    while at < extent.end:
        header, size = _page(handle, at, extent, _DATA)
        data = header[forms.DATA_PAGE]
        if data[forms.PAGE_VALUES] <= 0:
            raise ValueError(f"the page at {at} has no values")
        if (data[forms.DEFINITION_LEVELS], data[forms.REPETITION_LEVELS]) != (_RLE, _RLE):
            raise ValueError(f"the page at {at} states levels of another encoding")
        if forms.DISTINCT in data.get(forms.PAGE_STATISTICS, {}):
            raise ValueError(f"the page at {at} states a number of distinct values")
        places.append((at, size, data[forms.PAGE_VALUES]))
        statistics.append(data.get(forms.PAGE_STATISTICS, {}))
        encodings[_encoding(data[forms.PAGE_ENCODING])] += 1
        at += size
    found = np.array(places, np.int64).reshape(-1, 3)
    return Pages(found, statistics if any(statistics) else (), encodings)


def _after_dictionary(handle: int, extent: Extent) -> int:
    header, size = _page(handle, extent.begin, extent, _DICTIONARY)
    dictionary = header[forms.DICTIONARY_PAGE]
    if dictionary.get(forms.DICTIONARY_SORTED) or dictionary[forms.PAGE_ENCODING] not in (_PLAIN, _PLAIN_DICTIONARY):
        raise ValueError("its dictionary is stated to be sorted, or of another encoding than PLAIN")
    # Arrow states data at 0 where a dictionary is all that there is.
    if extent.begin + size not in (extent.data_at, extent.end):
        raise ValueError(f"it states data at {extent.data_at}, its dictionary ends at {extent.begin + size}")
    return extent.begin + size


def _page(handle: int, at: int, extent: Extent, kind: int) -> tuple[dict[int, Any], int]:
    """The header of the page at a position, and the bytes of both together."""
    header, head = _header(handle, at, extent.end)
    if header[forms.PAGE_TYPE] != kind:
        raise ValueError(f"the page at {at} is of type {header[forms.PAGE_TYPE]} instead of {kind}")
    size, left = header[forms.PAGE_BYTES], extent.end - at - head
    if not 0 <= size <= left:
        raise ValueError(f"the page at {at} states {size} bytes, its chunk has {left} more")
    if not extent.compressed and header[forms.PAGE_PLAIN_BYTES] != size:
        raise ValueError(f"the page at {at} states {size} bytes, and {header[forms.PAGE_PLAIN_BYTES]} not compressed")
    stated = header.get(forms.PAGE_CRC)
    if stated is not None and stated % (1 << 32) != _checksum(handle, at + head, size):
        raise ValueError(f"the page at {at} states another checksum than its bytes have")
    return header, head + size


def _header(handle: int, at: int, end: int) -> tuple[dict[int, Any], int]:
    for most in _HEADER_BYTES:
        thrift = Compact(os.pread(handle, min(most, end - at), at))
        try:
            return thrift.record(forms.PAGE_HEADER), thrift.at
        except ValueError as failure:
            fault = f"the header of the page at {at} is damaged: {failure}"
    raise ValueError(fault)


def _checksum(handle: int, at: int, size: int) -> int:
    found = 0
    for first in range(at, at + size, _BLOCK_BYTES):
        found = zlib.crc32(os.pread(handle, min(_BLOCK_BYTES, at + size - first), first), found)
    return found


def _encoding(code: int) -> int:
    return _RLE_DICTIONARY if code == _PLAIN_DICTIONARY else code


def encoding_faults(facts: Mapping[int, Any], pages: Pages) -> Iterator[str]:
    """What a chunk's ColumnMetaData states wrongly of the encodings of its pages.

    Readers decide by them whether a value that is not in the dictionary can be in the chunk.
    """
    stated, used = {_encoding(code) for code in facts[forms.ENCODINGS]}, set(pages.encodings)
    if missing := used - stated:
        yield f"does not state the encoding {min(missing)} of its pages"
    if further := stated - used - {_PLAIN, _RLE, _RLE_DICTIONARY}:
        yield f"states the encoding {min(further)}, which its pages do not have"
    if forms.ENCODING_STATS in facts:
        found = Counter({(_DATA, code): pages for code, pages in pages.encodings.items()})
        if Extent.of(facts).dictionary_at is not None:
            found[_DICTIONARY, _PLAIN] = 1
        counts = Counter[tuple[int, int]]()
        for entry in facts[forms.ENCODING_STATS]:
            kind, code, number = entry[1], entry[2], entry[3]
            plain = kind == _DICTIONARY and code == _PLAIN_DICTIONARY
            counts[kind, _PLAIN if plain else _encoding(code)] += number
        if counts != found:
            yield "states other encodings of its pages than they have"


def location_fault(stated: Sequence[Mapping[int, Any]], pages: Pages) -> str:
    """What an offset index states wrongly of where the pages are; empty if nothing."""
    if len(stated) != len(pages.places):
        return f"has an offset index of {len(stated)} pages, has {len(pages.places)}"
    found = zip(*(column.tolist() for column in (*pages.places[:, :2].T, pages.first_rows)), strict=True)
    for number, (location, place) in enumerate(zip(stated, found, strict=True)):
        told = location.get(1), location.get(2), location.get(3)
        if told != place:
            return f"has page {number} at {_place(*place)}; its offset index states {_place(*told)}"
    return ""


def _place(at: int | None, size: int | None, row: int | None) -> str:
    return f"{at}, {size} bytes, from row {row} on"
