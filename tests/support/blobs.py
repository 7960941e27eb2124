"""Encoders of the contract's binary files, written apart from the product's: few lines, no speed.

TZC1 time zone cache, and the alias slices of 2B and 3B with the slot law that fills them (24-bit masses,
two min-heaps by index).
"""

from __future__ import annotations

import hashlib
import heapq
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MASS_BITS = 24
NEARLY_ONE = 1.0 - 1e-12
FULL_SLOT = 1.0 - 1e-15


def tzc1(zones: Mapping[str, Sequence[tuple[int, int]]]) -> bytes:
    """The TZC1 cache of these zones, in byte order of their tzids."""
    out = [b"TZC1", struct.pack("<HI", 1, len(zones))]
    for tzid, pairs in sorted(zones.items(), key=lambda item: item[0].encode("ascii")):
        name = tzid.encode("ascii")
        out.append(struct.pack("<H", len(name)) + name + struct.pack("<I", len(pairs)))
        out += [struct.pack("<qi", instant, minutes) for instant, minutes in pairs]
    return b"".join(out)


def masses(weights: Sequence[float]) -> list[int]:
    """Weights as integers that sum to 2^24: nearest-even, then the residue by ranked residuals."""
    n, grid = len(weights), 1 << MASS_BITS
    bad = any(not math.isfinite(w) or w < -1e-15 for w in weights)
    total = 0.0 if bad else math.fsum(weights)
    shares = [1.0 / n] * n if total <= 1e-12 else [max(w, 0.0) / total for w in weights]
    if max(shares) >= NEARLY_ONE:
        full = shares.index(max(shares))
        return [grid if i == full else 0 for i in range(n)]
    whole = [round(share * grid) for share in shares]
    residue = grid - sum(whole)
    step = 1 if residue > 0 else -1
    ranked = sorted(range(n), key=lambda i: (-step * (shares[i] * grid - whole[i]), i))
    for i in ranked[: abs(residue)]:
        whole[i] += step
    return whole


def slots(weights: Sequence[float], prob_qbits: int = 32) -> list[tuple[int, int]]:
    """(prob_q, alias) per slot as the blobs of 2B and 3B hold them."""
    n = len(weights)
    scaled = [n * mass / (1 << MASS_BITS) for mass in masses(weights)]
    prob, alias = [1.0] * n, list(range(n))
    small = [i for i in range(n) if scaled[i] < FULL_SLOT]
    large = [i for i in range(n) if scaled[i] >= FULL_SLOT]
    while small and large:
        s, big = heapq.heappop(small), heapq.heappop(large)
        prob[s], alias[s] = scaled[s], big
        scaled[big] -= 1.0 - scaled[s]
        heapq.heappush(small if scaled[big] < FULL_SLOT else large, big)
    top = (1 << prob_qbits) - 1
    return [(min(max(math.floor(p * (top + 1)), 1), top), a) for p, a in zip(prob, alias, strict=True)]


@dataclass(frozen=True)
class Slice:
    """Where one merchant's table lies in its blob, and the digest of those bytes."""

    merchant_id: int
    offset: int
    length: int
    entries: int
    checksum: str


def index_rows(slices: Sequence[Slice]) -> list[dict[str, object]]:
    """The rows of 2B's index over the slices of a blob."""
    return [
        {"merchant_id": piece.merchant_id, "offset": piece.offset, "length": piece.length, "sites": piece.entries}
        | {"quantised_bits": MASS_BITS, "checksum": piece.checksum}
        for piece in slices
    ]


def alias_blob(
    tables: Mapping[int, tuple[int, Sequence[tuple[int, int]]]],
) -> tuple[bytes, list[Slice]]:
    """The blob of {merchant: (prob_qbits, slots)} in ascending merchant order, with its slices."""
    blob, slices = b"", []
    for merchant, (prob_qbits, entries) in sorted(tables.items()):
        data = struct.pack("<4I", len(entries), prob_qbits, 0, 0)
        data += b"".join(struct.pack("<2I", q, alias) for q, alias in entries)
        slices.append(Slice(merchant, len(blob), len(data), len(entries), hashlib.sha256(data).hexdigest()))
        blob += data
    return blob, slices
