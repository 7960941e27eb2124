"""The alias blobs of 2B (sites) and 3B (virtual edges), read and verified: one binary form, two indexes.

A blob is a sequence of slices from byte 0, merchants ascending, each at a multiple of the alignment. A slice is four
u32 words (entries n, prob_qbits, 0, 0), then n pairs of u32 (prob_q, alias). Entry i belongs to the merchant's i-th
site by (country, order), or i-th edge by edge_id. Checksums cover a slice's header and entries.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.engine.alias_blobs.index import SiteIndex
from arrival_engine.engine.alias_blobs.layout import (
    ENTRY_BYTES,
    HEADER_BYTES,
    LAYOUT,
    WORD_ORDER,
    AliasLayout,
    Slice,
    Slices,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class AliasSlices:
    """Decoded tables: merchant m owns entries start[m] to start[m+1].

    `merchant` uint64[M] ascending; `start` int64[M+1]; `prob_q`, `alias` uint32[S]: entry i is kept with
    probability prob_q / 2^qbits, else its alias (an index in the slice) is taken; `qbits` uint8[M], 1 to 32;
    `sha256` of the whole blob.
    """

    merchant: npt.NDArray[np.uint64]
    start: npt.NDArray[np.int64]
    prob_q: npt.NDArray[np.uint32]
    alias: npt.NDArray[np.uint32]
    qbits: npt.NDArray[np.uint8]
    sha256: str


class _Reader(NamedTuple):
    """A blob under inspection, its name in messages, and the code of its faults."""

    data: memoryview
    order: str
    alignment: int
    code: Code
    where: str

    def fail(self, what: str, byte: int, merchant_id: int | None = None) -> NoReturn:
        of = "" if merchant_id is None else f"merchant {merchant_id}, "
        raise ArrivalError(
            self.code,
            f"{self.where}: {of}byte {byte}: {what}",
            hint="blob and index do not match or are damaged; restore both from the upstream segment",
            file=self.where,
            byte=byte,
            merchant_id=merchant_id,
        )


def decode_2b(blob: bytes | memoryview, index: SiteIndex, where: str) -> AliasSlices:
    """Verify a 2B blob against its index and decode it; `where` names the blob in messages.

    Raises SITE_RESOLUTION_FAILED, naming merchant and byte offset, for any disagreement of sizes, counts,
    offsets, headers, checksums or alias indices.
    """
    facts, slices = index.facts, index.slices
    reader = _Reader(
        memoryview(blob).cast("B"),
        WORD_ORDER[facts["endianness"]],
        facts["alignment_bytes"],
        Code.SITE_RESOLUTION_FAILED,
        where,
    )
    sha256 = _checked_whole(reader, facts["blob_size_bytes"], facts["blob_sha256"])
    if facts["merchants_count"] != len(slices):
        reader.fail(f"the index counts {facts['merchants_count']} merchants and lists {len(slices)}", 0)
    for row in map(int, np.flatnonzero(index.bits != facts["quantised_bits"])):
        what = f"quantised_bits {index.bits[row]} differ from the index's {facts['quantised_bits']}"
        reader.fail(what, slices[row].offset, slices[row].merchant_id)
    return _decode(reader, slices, sha256)


_MERCHANT_COLUMNS = (
    "merchant_id",
    "blob_offset_bytes",
    "blob_length_bytes",
    "edge_count_total",
    "merchant_alias_checksum",
)


def decode_3b(
    blob: bytes | memoryview, index_table: pa.Table, where: str, *, layout: AliasLayout = LAYOUT
) -> AliasSlices:
    """Verify a 3B edge blob against its index table and decode it; byte order and alignment are `layout`'s.

    Raises EDGE_RESOLUTION_FAILED, naming merchant and byte offset, for any disagreement of sizes, counts,
    offsets, headers, checksums or alias indices.
    """
    import pyarrow.compute as pc

    from arrival_engine.contracts import conform

    table = conform("edge_alias_index_3B", index_table, where=f"index of {where}")
    reader = _Reader(
        memoryview(blob).cast("B"),
        WORD_ORDER[layout.endianness],
        layout.alignment_bytes,
        Code.EDGE_RESOLUTION_FAILED,
        where,
    )
    whole = table.filter(pc.equal(table["scope"], "GLOBAL"))
    if len(whole) != 1:
        reader.fail(f"the index has {len(whole)} GLOBAL rows, not one", 0)
    size, stated, total = (
        _given(reader, whole, name)[0].as_py() for name in ("blob_length_bytes", "blob_sha256_hex", "edge_count_total")
    )
    sha256 = _checked_whole(reader, size, stated)
    merchants = table.filter(pc.equal(table["scope"], "MERCHANT"))
    slices = _edge_slices(reader, merchants, layout)
    if total != slices.entries.sum():
        reader.fail(f"the GLOBAL row counts {total} edges, the merchants' rows {slices.entries.sum()}", 0)
    return _decode(reader, slices, sha256)


def _given(reader: _Reader, rows: pa.Table, name: str) -> pa.ChunkedArray:
    column = rows[name]
    if column.null_count:
        row = column.is_null().index(True).as_py()
        scope, merchant_id = (rows[key][row].as_py() for key in ("scope", "merchant_id"))
        reader.fail(f"{name} of the index's {scope} row is null", 0, merchant_id)
    return column


def _edge_slices(reader: _Reader, rows: pa.Table, layout: AliasLayout) -> Slices:
    merchant, offset, length, entries, checksum = (_given(reader, rows, name) for name in _MERCHANT_COLUMNS)
    sha256 = np.frombuffer(bytes.fromhex("".join(checksum.to_pylist())), np.uint8).reshape(-1, 32)
    numbers = [column.to_numpy().astype(np.int64) for column in (offset, length, entries)]
    slices = Slices(merchant.to_numpy(), numbers[0], numbers[1], numbers[2], sha256)
    listed = _given(reader, rows, "alias_table_length").to_numpy()
    for row in map(int, np.flatnonzero(listed != slices.entries)):
        what = f"alias_table_length {listed[row]} differs from edge_count_total {slices.entries[row]}"
        reader.fail(what, slices[row].offset, slices[row].merchant_id)
    for place, version in enumerate(rows["alias_layout_version"].to_pylist()):
        if version not in (None, layout.layout_version):
            what = f"layout {version!r} is not {layout.layout_version!r}"
            reader.fail(what, slices[place].offset, slices[place].merchant_id)
    return slices


def _checked_whole(reader: _Reader, size: int, sha256: str) -> str:
    if len(reader.data) != size:
        reader.fail(f"the blob has {len(reader.data)} bytes, its index says {size}", min(len(reader.data), size))
    digest = hashlib.sha256(reader.data).hexdigest()
    if digest != sha256:
        reader.fail(f"the blob's SHA-256 is {digest}, its index says {sha256}", 0)
    return digest


def _decode(reader: _Reader, rows: Slices, sha256: str) -> AliasSlices:
    header = struct.Struct(reader.order + "4I")
    qbits = np.empty(len(rows), np.uint8)
    before: Slice | None = None
    for at, row in enumerate(rows):
        qbits[at] = _check_slice(reader, row, before, header)
        before = row
    end = before.offset + before.length if before else 0
    if len(reader.data) > _aligned(end, reader.alignment) or _not_zero(reader.data[end:]):
        reader.fail(
            f"{len(reader.data) - end} bytes follow the last slice", end, before.merchant_id if before else None
        )
    start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(rows.entries, out=start[1:])
    pairs = _entries(reader, rows)
    slices = AliasSlices(
        merchant=rows.merchant,
        start=start,
        prob_q=np.ascontiguousarray(pairs[:, 0]),
        alias=np.ascontiguousarray(pairs[:, 1]),
        qbits=qbits,
        sha256=sha256,
    )
    _check_entries(reader, rows, slices)
    return slices


def _not_zero(data: memoryview) -> bool:
    return bool(data.tobytes().strip(b"\0"))


def _aligned(offset: int, alignment: int) -> int:
    return offset + -offset % alignment


def _check_slice(reader: _Reader, row: Slice, before: Slice | None, header: struct.Struct) -> int:
    """Verify an index row against the bytes it points to, without reading outside them; return prob_qbits."""

    def fail(what: str, byte: int = row.offset) -> NoReturn:
        reader.fail(what, byte, row.merchant_id)

    if before is not None and row.merchant_id <= before.merchant_id:
        fail(f"the merchant does not follow {before.merchant_id} in ascending order")
    end = 0 if before is None else before.offset + before.length
    if row.offset != _aligned(end, reader.alignment):
        fail(f"the slice should begin at {_aligned(end, reader.alignment)}, right after the one before it")
    if row.entries < 1 or row.length != HEADER_BYTES + ENTRY_BYTES * row.entries:
        fail(f"the length {row.length} is not {HEADER_BYTES} + {ENTRY_BYTES} x {row.entries} entries")
    if row.offset + row.length > len(reader.data):
        fail(f"the slice of {row.length} bytes ends after the blob's {len(reader.data)} bytes")
    if _not_zero(reader.data[end : row.offset]):
        fail("the padding before the slice is not zero", end)
    entries, qbits, *reserved = header.unpack_from(reader.data, row.offset)
    if entries != row.entries:
        fail(f"the header counts {entries} entries, the index {row.entries}")
    if not 1 <= qbits <= 32:
        fail(f"prob_qbits {qbits} is not from 1 to 32", row.offset + 4)
    if reserved != [0, 0]:
        fail(f"the reserved header words are {reserved}, not zero", row.offset + 8)
    digest = hashlib.sha256(reader.data[row.offset : row.offset + row.length])
    if digest.digest() != row.sha256:
        fail(f"the slice's SHA-256 is {digest.hexdigest()}, the index says {row.sha256.hex()}")
    return int(qbits)


def _entries(reader: _Reader, rows: Slices) -> npt.NDArray[np.uint32]:
    """The pairs of all slices, uint32[S, 2], without headers and padding."""
    inner = np.zeros(len(reader.data) + 1, np.int8)
    inner[rows.offset + HEADER_BYTES] += 1
    inner[rows.offset + rows.length] -= 1
    kept = np.frombuffer(reader.data, np.uint8)[np.cumsum(inner[:-1], dtype=np.int8).view(np.bool_)]
    return kept.view(f"{reader.order}u4").astype(np.uint32).reshape(-1, 2)


def _check_entries(reader: _Reader, rows: Slices, slices: AliasSlices) -> None:
    sizes = np.diff(slices.start)
    limit = np.left_shift(np.uint64(1), slices.qbits.astype(np.uint64))
    for column, bound, what in (
        (slices.alias, sizes, "alias {} is not below the {} entries of the slice"),
        (slices.prob_q, limit, "probability {} is not below 2^prob_qbits = {}"),
    ):
        bad = np.flatnonzero(column >= np.repeat(bound, sizes))
        if len(bad):
            entry = int(bad[0])
            m = int(np.searchsorted(slices.start, entry, side="right")) - 1
            within = entry - int(slices.start[m])
            byte = rows[m].offset + HEADER_BYTES + ENTRY_BYTES * within + (4 if column is slices.alias else 0)
            reader.fail(
                f"entry {within}: " + what.format(int(column[entry]), int(bound[m])),
                byte,
                rows[m].merchant_id,
            )
