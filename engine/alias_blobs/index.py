"""The index of 2B's alias blob: a JSON document with an object per merchant, in memory as columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import Code, check_document, indented_json
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.alias_blobs.layout import SliceColumns, Slices
from arrival_engine.engine.rundir.strict_json import Opener, opened_file, read_json_rows

_ROWS = "merchants"
_CODE = Code.SITE_RESOLUTION_FAILED
_PIECE_ROWS = 8192
_NUMBERS = ("merchant_id", "offset", "length", "sites", "quantised_bits")


@dataclass(frozen=True, eq=False)
class SiteIndex:
    """`facts`: the document's other keys, of the blob as a whole; `slices` of M merchants; their `bits`, int64[M]."""

    facts: Mapping[str, Any]
    slices: Slices
    bits: npt.NDArray[np.int64]


class _Columns:
    """Rows of the document on their way into columns, checked piece by piece."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._slices = SliceColumns()
        self._bits = array("q")

    def take(self, rows: list[Any]) -> None:
        check_document("s2_alias_index_merchants", rows, code=_CODE, where=f"{self._where}, from row {len(self._bits)}")
        for row in rows:
            # A JSON Schema's integer may be written 4.0.
            merchant_id, offset, length, sites, bits = (int(row[name]) for name in _NUMBERS)
            self._slices.add(merchant_id, offset, length, sites, bytes.fromhex(row["checksum"]))
            self._bits.append(bits)

    def index(self, document: Any) -> SiteIndex:
        check_document("s2_alias_index", document, code=_CODE, where=self._where)
        facts = {name: value for name, value in document.items() if name != _ROWS}
        return SiteIndex(facts, self._slices.slices(), np.array(self._bits))


def read_site_index(path: InsidePath, opened: Opener = opened_file) -> SiteIndex:
    """The index at `path`, of any size; `opened` gives its bytes.

    Raises SITE_RESOLUTION_FAILED for what its schema refuses, IO_READ_FAILED.
    """
    columns = _Columns(f"index {path}")
    hint = "restore the file and seal again"
    document = read_json_rows(path, _ROWS, columns.take, what="s2_alias_index", code=_CODE, hint=hint, opened=opened)
    return columns.index(document)


def site_index(document: object, where: str) -> SiteIndex:
    """The same of a document in memory; `where` names it in messages."""
    columns = _Columns(where)
    if not isinstance(document, dict) or not isinstance(document.get(_ROWS), list):
        return columns.index(document)
    columns.take(document[_ROWS])
    return columns.index({**document, _ROWS: []})


def site_index_json(index: SiteIndex) -> Iterator[bytes]:
    """The document in its form on disk, `indented_json`, in pieces."""
    head, tail = indented_json({**index.facts, _ROWS: []}).split(b'"merchants": []')
    yield head + b'"merchants": ['
    for first in range(0, len(index.slices), _PIECE_ROWS):
        rows = range(first, min(first + _PIECE_ROWS, len(index.slices)))
        # A list alone is indented by two spaces less than within the document.
        text = indented_json([_row(index, row) for row in rows])[1:-3].replace(b"\n", b"\n  ")
        yield (b"," if first else b"") + text
    yield (b"\n  ]" if len(index.slices) else b"]") + tail


def _row(index: SiteIndex, row: int) -> dict[str, Any]:
    place = index.slices[row]
    return {
        "merchant_id": place.merchant_id,
        "offset": place.offset,
        "length": place.length,
        "sites": place.entries,
        "quantised_bits": int(index.bits[row]),
        "checksum": place.sha256.hex(),
    }
