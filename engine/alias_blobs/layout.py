"""The binary form of both alias blobs, and where the slices of a blob lie."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 16
ENTRY_BYTES = 8
WORD_ORDER = {"little": "<", "big": ">"}


@dataclass(frozen=True)
class AliasLayout:
    """The values of alias_layout_policy_v1: byte order, alignment, mass grid 2^-quantised_bits, prob_qbits."""

    layout_version: str = "2B.alias.blob.v1"
    policy_id: str = "alias_layout_policy_v1"
    endianness: str = "little"
    alignment_bytes: int = 8
    quantised_bits: int = 24
    prob_qbits: int = 32


LAYOUT = AliasLayout()
_PIECE_ROWS = 8192


class Slice(NamedTuple):
    """Where one merchant's slice lies in the blob, and its SHA-256."""

    merchant_id: int
    offset: int
    length: int
    entries: int
    sha256: bytes


@dataclass(frozen=True, eq=False)
class Slices:
    """Where the slices of M merchants lie: a million of them take 64 MB.

    `merchant` uint64[M]; `offset` and `length` in bytes, and `entries`, int64[M]; `sha256` uint8[M, 32].
    """

    merchant: npt.NDArray[np.uint64]
    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int64]
    sha256: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.merchant)

    def __iter__(self) -> Iterator[Slice]:
        for first in range(0, len(self), _PIECE_ROWS):
            piece = slice(first, first + _PIECE_ROWS)
            numbers = (self.merchant, self.offset, self.length, self.entries)
            hashes = map(bytes, self.sha256[piece])
            yield from map(Slice, *(column[piece].tolist() for column in numbers), hashes)

    def __getitem__(self, row: int) -> Slice:
        numbers = (self.merchant, self.offset, self.length, self.entries)
        merchant_id, offset, length, entries = (int(column[row]) for column in numbers)
        return Slice(merchant_id, offset, length, entries, self.sha256[row].tobytes())


class SliceColumns:
    """Columns under way: `add` rows in the order of the blob, then `slices`."""

    def __init__(self) -> None:
        self._numbers = (array("Q"), array("q"), array("q"), array("q"))
        self._sha256 = bytearray()

    def add(self, merchant_id: int, offset: int, length: int, entries: int, sha256: bytes) -> None:
        """One more slice."""
        for column, value in zip(self._numbers, (merchant_id, offset, length, entries), strict=True):
            column.append(value)
        self._sha256 += sha256

    def slices(self) -> Slices:
        """What was added."""
        merchant, offset, length, entries = (np.array(column) for column in self._numbers)
        return Slices(merchant, offset, length, entries, np.frombuffer(self._sha256, np.uint8).reshape(-1, 32))
