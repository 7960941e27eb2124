"""Writing of alias blobs: Walker and Vose's tables on a 2^-24 mass grid, as in 2B.S2 and 3B.S3.

After a weight is rounded to its integer mass, all arithmetic is exact.
"""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

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
    SliceColumns,
    Slices,
)

if TYPE_CHECKING:
    import pyarrow as pa

_TINY_NEGATIVE = -1e-15
_CERTAIN = 1.0 - 1e-12


@dataclass(frozen=True)
class EncodedBlob:
    """A whole blob with its slices and SHA-256."""

    data: bytes
    slices: Slices
    sha256: str


def encode(
    merchant: npt.NDArray[np.uint64],
    start: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    *,
    layout: AliasLayout = LAYOUT,
    code: Code = Code.SITE_RESOLUTION_FAILED,
) -> EncodedBlob:
    """Alias tables of weights: `merchant` uint64[M] ascending, `start` int64[M+1] into `weight` float64[S].

    Weights are normalised by their left-to-right sum. Raises `code` for merchants out of order or without
    entries, and for weights that are negative, not finite or all zero.
    """
    data = bytearray()
    slices = SliceColumns()
    previous = 0
    for m, merchant_id in enumerate(merchant.tolist()):
        if merchant_id <= previous:
            _refuse(code, merchant_id, f"does not follow merchant {previous} in ascending order")
        previous = merchant_id
        piece = _slice(weight[start[m] : start[m + 1]], merchant_id, layout, code)
        data += bytes(-len(data) % layout.alignment_bytes)
        entries = (len(piece) - HEADER_BYTES) // ENTRY_BYTES
        slices.add(merchant_id, len(data), len(piece), entries, hashlib.sha256(piece).digest())
        data += piece
    return EncodedBlob(bytes(data), slices.slices(), hashlib.sha256(data).hexdigest())


def _refuse(code: Code, merchant_id: int, what: str) -> NoReturn:
    raise ArrivalError(
        code,
        f"alias table of merchant {merchant_id} {what}",
        hint="every merchant needs finite weights >= 0, one of them above 0",
        merchant_id=merchant_id,
    )


def _slice(weight: npt.NDArray[np.float64], merchant_id: int, layout: AliasLayout, code: Code) -> bytes:
    if not len(weight):
        _refuse(code, merchant_id, "has no entries")
    if not np.isfinite(weight).all() or weight.min() < _TINY_NEGATIVE:
        bad = int(np.flatnonzero(~np.isfinite(weight) | (weight < _TINY_NEGATIVE))[0])
        _refuse(code, merchant_id, f"has the weight {weight[bad]!r} at entry {bad}")
    weight = np.maximum(weight, 0.0)
    total = float(np.add.accumulate(weight)[-1])
    if not 0.0 < total < np.inf:
        _refuse(code, merchant_id, f"has weights that sum to {total}")
    thresholds, aliases = _pair(_masses(weight / total, 1 << layout.quantised_bits), 1 << layout.quantised_bits)
    words = np.empty((2 + len(thresholds), 2), np.dtype(f"{WORD_ORDER[layout.endianness]}u4"))
    words[0] = len(thresholds), layout.prob_qbits
    words[1] = 0
    scale = 1 << (layout.prob_qbits - layout.quantised_bits)
    words[2:, 0] = np.clip(np.array(thresholds, np.int64) * scale, 1, (1 << layout.prob_qbits) - 1)
    words[2:, 1] = aliases
    return words.tobytes()


def _masses(p: npt.NDArray[np.float64], grid: int) -> npt.NDArray[np.int64]:
    """Integer masses that sum to `grid`: rounded half to even, then corrected by 1 where errors are largest."""
    certain = np.flatnonzero(p >= _CERTAIN)
    if len(certain):
        mass = np.zeros(len(p), np.int64)
        mass[certain[0]] = grid
        return mass
    exact = p * grid
    mass = np.rint(exact).astype(np.int64)
    missing = grid - int(mass.sum())
    error = exact - mass
    # A stable sort prefers the lower index in a tie.
    worst = np.argsort(-error if missing > 0 else error, kind="stable")[: abs(missing)]
    mass[worst] += 1 if missing > 0 else -1
    return mass


def _pair(mass: npt.NDArray[np.int64], grid: int) -> tuple[list[int], list[int]]:
    """Walker and Vose's pairing with two min-heaps by index: thresholds in units of 1/grid, aliases.

    The contract's float comparison `scaled < 1 - 1e-15` equals `n * mass < grid` on these integers.
    """
    scaled = (mass * len(mass)).tolist()
    thresholds = [grid] * len(scaled)
    aliases = list(range(len(scaled)))
    small = [i for i, value in enumerate(scaled) if value < grid]
    large = [i for i, value in enumerate(scaled) if value >= grid]
    while small and large:
        s, l = heapq.heappop(small), heapq.heappop(large)  # noqa: E741 - Vose's names
        thresholds[s], aliases[s] = scaled[s], l
        scaled[l] -= grid - scaled[s]
        heapq.heappush(small if scaled[l] < grid else large, l)
    return thresholds, aliases


def encode_2b(
    merchant: npt.NDArray[np.uint64],
    start: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    *,
    policy_digest: str,
    created_utc: str,
    layout: AliasLayout = LAYOUT,
) -> tuple[bytes, SiteIndex]:
    """`alias.bin` and the index of 2B.S2; see `encode` for the weights."""
    blob = encode(merchant, start, weight, layout=layout)
    facts = {
        "layout_version": layout.layout_version,
        "endianness": layout.endianness,
        "alignment_bytes": layout.alignment_bytes,
        "quantised_bits": layout.quantised_bits,
        "created_utc": created_utc,
        "policy_id": layout.policy_id,
        "policy_digest": policy_digest,
        "blob_sha256": blob.sha256,
        "blob_size_bytes": len(blob.data),
        "merchants_count": len(blob.slices),
    }
    return blob.data, SiteIndex(facts, blob.slices, np.full(len(blob.slices), layout.quantised_bits, np.int64))


def encode_3b(
    merchant: npt.NDArray[np.uint64],
    start: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    *,
    seed: int,
    manifest_fingerprint: str,
    layout: AliasLayout = LAYOUT,
) -> tuple[bytes, pa.Table]:
    """The 3B edge blob and its index: MERCHANT rows ascending, GLOBAL row last; weights as in `encode`."""
    import pyarrow as pa

    from arrival_engine.contracts import arrow_schema

    blob = encode(merchant, start, weight, layout=layout, code=Code.EDGE_RESOLUTION_FAILED)
    slices, schema = blob.slices, arrow_schema("edge_alias_index_3B")
    checksums = [bytes(sha256).hex() for sha256 in slices.sha256]
    merchants: dict[str, Any] = {
        "merchant_id": slices.merchant,
        "blob_offset_bytes": slices.offset,
        "blob_length_bytes": slices.length,
        "edge_count_total": slices.entries,
        "alias_table_length": slices.entries,
        "merchant_alias_checksum": checksums,
    }
    whole: dict[str, Any] = {
        "blob_length_bytes": [len(blob.data)],
        "edge_count_total": [int(slices.entries.sum())],
        "blob_sha256_hex": [blob.sha256],
    }

    def table(scope: str, rows: int, columns: dict[str, Any]) -> pa.Table:
        constants = {
            "scope": scope,
            "seed": seed,
            "manifest_fingerprint": manifest_fingerprint,
            "alias_layout_version": layout.layout_version,
        }
        return pa.table(
            [
                pa.array(columns[field.name], field.type)
                if field.name in columns
                else pa.repeat(pa.scalar(constants.get(field.name), field.type), rows)
                for field in schema
            ],
            schema=schema,
        )

    return blob.data, pa.concat_tables([table("MERCHANT", len(slices), merchants), table("GLOBAL", 1, whole)])
