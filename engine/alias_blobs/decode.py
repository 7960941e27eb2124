"""The alias blobs of 2B (sites) and 3B (virtual edges), read and verified: one binary form, two indexes.

A blob is a sequence of slices from byte 0, merchants ascending, each at a multiple of the alignment. A slice is four
u32 words (entries n, prob_qbits, 0, 0), then n pairs of u32 (prob_q, alias). Entry i belongs to the merchant's i-th
site by (country, order), or i-th edge by edge_id. Checksums cover a slice's header and entries.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts.errors import ArrivalError, Code

if TYPE_CHECKING:
    import pyarrow as pa

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


class IndexRow(NamedTuple):
    """Where one merchant's slice lies in the blob, and its SHA-256."""

    merchant_id: int
    offset: int
    length: int
    entries: int
    checksum: str


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


def decode_2b(blob: bytes | memoryview, index_document: Mapping[str, Any], where: str) -> AliasSlices:
    """Verify a 2B blob against its index document and decode it; `where` names the blob in messages.

    Raises SITE_RESOLUTION_FAILED, naming merchant and byte offset, for any disagreement of sizes, counts,
    offsets, headers, checksums or alias indices.
    """
    from arrival_engine.contracts import check_document

    code = Code.SITE_RESOLUTION_FAILED
    check_document("s2_alias_index", index_document, code=code, where=f"index of {where}")
    reader = _Reader(
        memoryview(blob).cast("B"),
        WORD_ORDER[index_document["endianness"]],
        index_document["alignment_bytes"],
        code,
        where,
    )
    sha256 = _checked_whole(reader, index_document["blob_size_bytes"], index_document["blob_sha256"])
    merchants = index_document["merchants"]
    if index_document["merchants_count"] != len(merchants):
        reader.fail(f"the index counts {index_document['merchants_count']} merchants and lists {len(merchants)}", 0)
    bits = index_document["quantised_bits"]
    for row in merchants:
        if row["quantised_bits"] != bits:
            what = f"quantised_bits {row['quantised_bits']} differ from the index's {bits}"
            reader.fail(what, row["offset"], row["merchant_id"])
    return _decode(
        reader,
        [IndexRow(r["merchant_id"], r["offset"], r["length"], r["sites"], r["checksum"]) for r in merchants],
        sha256,
    )


def decode_3b(
    blob: bytes | memoryview, index_table: pa.Table, where: str, *, layout: AliasLayout = LAYOUT
) -> AliasSlices:
    """Verify a 3B edge blob against its index table and decode it; byte order and alignment are `layout`'s.

    Raises EDGE_RESOLUTION_FAILED, naming merchant and byte offset, for any disagreement of sizes, counts,
    offsets, headers, checksums or alias indices.
    """
    from arrival_engine.contracts import conform

    columns = conform("edge_alias_index_3B", index_table, where=f"index of {where}").to_pylist()
    reader = _Reader(
        memoryview(blob).cast("B"),
        WORD_ORDER[layout.endianness],
        layout.alignment_bytes,
        Code.EDGE_RESOLUTION_FAILED,
        where,
    )
    whole = [row for row in columns if row["scope"] == "GLOBAL"]
    if len(whole) != 1:
        reader.fail(f"the index has {len(whole)} GLOBAL rows, not one", 0)
    size, stated = (_given(reader, whole[0], name) for name in ("blob_length_bytes", "blob_sha256_hex"))
    sha256 = _checked_whole(reader, size, stated)
    rows = [_merchant_row(reader, row, layout) for row in columns if row["scope"] == "MERCHANT"]
    edges = sum(row.entries for row in rows)
    if _given(reader, whole[0], "edge_count_total") != edges:
        reader.fail(f"the GLOBAL row counts {whole[0]['edge_count_total']} edges, the merchants' rows {edges}", 0)
    return _decode(reader, rows, sha256)


def _given(reader: _Reader, row: Mapping[str, Any], name: str) -> Any:
    if row[name] is None:
        reader.fail(f"{name} of the index's {row['scope']} row is null", 0, row["merchant_id"])
    return row[name]


def _merchant_row(reader: _Reader, row: Mapping[str, Any], layout: AliasLayout) -> IndexRow:
    names = (
        "merchant_id",
        "blob_offset_bytes",
        "blob_length_bytes",
        "edge_count_total",
        "merchant_alias_checksum",
    )
    result = IndexRow(*(_given(reader, row, name) for name in names))
    if _given(reader, row, "alias_table_length") != result.entries:
        what = f"alias_table_length {row['alias_table_length']} differs from edge_count_total {result.entries}"
        reader.fail(what, result.offset, result.merchant_id)
    if row["alias_layout_version"] not in (None, layout.layout_version):
        what = f"layout {row['alias_layout_version']!r} is not {layout.layout_version!r}"
        reader.fail(what, result.offset, result.merchant_id)
    return result


def _checked_whole(reader: _Reader, size: int, sha256: str) -> str:
    if len(reader.data) != size:
        reader.fail(f"the blob has {len(reader.data)} bytes, its index says {size}", min(len(reader.data), size))
    digest = hashlib.sha256(reader.data).hexdigest()
    if digest != sha256:
        reader.fail(f"the blob's SHA-256 is {digest}, its index says {sha256}", 0)
    return digest


def _decode(reader: _Reader, rows: Sequence[IndexRow], sha256: str) -> AliasSlices:
    header = struct.Struct(reader.order + "4I")
    qbits = [_check_slice(reader, row, after, header) for row, after in zip(rows, [None, *rows], strict=False)]
    end = rows[-1].offset + rows[-1].length if rows else 0
    if len(reader.data) > _aligned(end, reader.alignment) or _not_zero(reader.data[end:]):
        reader.fail(
            f"{len(reader.data) - end} bytes follow the last slice",
            end,
            rows[-1].merchant_id if rows else None,
        )
    sizes = np.array([row.entries for row in rows], np.int64)
    start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(sizes, out=start[1:])
    pairs = _entries(reader, rows)
    slices = AliasSlices(
        merchant=np.array([row.merchant_id for row in rows], np.uint64),
        start=start,
        prob_q=np.ascontiguousarray(pairs[:, 0]),
        alias=np.ascontiguousarray(pairs[:, 1]),
        qbits=np.array(qbits, np.uint8),
        sha256=sha256,
    )
    _check_entries(reader, rows, slices)
    return slices


def _not_zero(data: memoryview) -> bool:
    return bool(data.tobytes().strip(b"\0"))


def _aligned(offset: int, alignment: int) -> int:
    return offset + -offset % alignment


def _check_slice(reader: _Reader, row: IndexRow, before: IndexRow | None, header: struct.Struct) -> int:
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
    digest = hashlib.sha256(reader.data[row.offset : row.offset + row.length]).hexdigest()
    if digest != row.checksum:
        fail(f"the slice's SHA-256 is {digest}, the index says {row.checksum}")
    return int(qbits)


def _entries(reader: _Reader, rows: Iterable[IndexRow]) -> npt.NDArray[np.uint32]:
    pieces = [reader.data[row.offset + HEADER_BYTES : row.offset + row.length] for row in rows]
    words = np.frombuffer(b"".join(pieces), np.dtype(f"{reader.order}u4"))
    return words.astype(np.uint32).reshape(-1, 2)


def _check_entries(reader: _Reader, rows: Sequence[IndexRow], slices: AliasSlices) -> None:
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
