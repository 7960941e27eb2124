"""The laws of single values in plain Python: streams, alias tables, times, identifiers, digest words.

Written from the arrival law, version 2, with the standard library alone. Everything is an exact Python
integer except the weight quantisation of section 3, which the law itself states in binary64. Section
numbers refer to the law.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

TWO32 = 1 << 32
TWO64 = 1 << 64
MASK64 = TWO64 - 1
MICROS = 1_000_000
EPOCH = dt.date(1970, 1, 1)


class Fault(StrEnum):
    """Why the law gives a world no arrivals."""

    BAD_COUNT = "bad_count"
    BAD_GRID = "bad_grid"
    BAD_TABLE = "bad_table"
    BAD_WEIGHT = "bad_weight"
    FALLBACK_REFUSED = "fallback_refused"
    NO_BUCKET = "no_bucket"
    NO_SITE = "no_site"
    UNKNOWN_MODE = "unknown_mode"
    UNKNOWN_TZID = "unknown_tzid"


class LawError(Exception):
    """The law refuses this world; ``fault`` says which rule does."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(f"{fault}: {message}")
        self.fault = fault


# --- 2. Streams ------------------------------------------------------------------------------------


def philox2x64(word0: int, word1: int, key: int, rounds: int = 10) -> tuple[int, int]:
    for _ in range(rounds):
        product = 0xD2B74407B1CE6E93 * word0
        word0, word1 = (product >> 64) ^ key ^ word1, product & MASK64
        key = (key + 0x9E3779B97F4A7C15) & MASK64
    return word0, word1


@dataclass(frozen=True)
class Stream:
    key: int
    hi0: int

    def block(self, bucket: int, j: int) -> tuple[int, int]:
        return philox2x64(j, (self.hi0 + bucket) & MASK64, self.key)


def _length_prefixed(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack(">I", len(raw)) + raw


def derive_stream(
    family: str, manifest_fingerprint: str, parameter_hash: str, seed: int, scenario_id: str, domain: str
) -> Stream:
    head = b"".join(map(_length_prefixed, ("5B.rng.v2", family, manifest_fingerprint, parameter_hash)))
    tail = struct.pack("<Q", seed) + _length_prefixed(scenario_id) + _length_prefixed(domain)
    digest = hashlib.sha256(head + tail).digest()
    return Stream(*struct.unpack(">QQ", digest[:16]))


# --- 3. Alias tables -------------------------------------------------------------------------------


@dataclass(frozen=True)
class AliasTable:
    thresholds: tuple[int, ...]
    aliases: tuple[int, ...]


def build_alias(weights: Sequence[float], whose: str = "table") -> AliasTable | None:
    """The table of these weights, or None where they sum to zero."""
    total = 0.0
    for weight in weights:  # a plain loop: sum() compensates from Python 3.12 on, the law does not
        if not (math.isfinite(weight) and weight >= 0):
            raise LawError(Fault.BAD_WEIGHT, f"{whose}: weight {weight!r}")
        total += weight
    if total == 0.0:
        return None
    if math.isinf(total):
        raise LawError(Fault.BAD_WEIGHT, f"{whose}: the weights sum to infinity")
    n = len(weights)
    quantised = [math.floor((weight / total) * 2147483648.0 + 0.5) for weight in weights]
    mass = sum(quantised)
    scaled = [w * n for w in quantised]
    thresholds, aliases = [TWO32] * n, list(range(n))
    small = [i for i in range(n) if scaled[i] < mass]
    large = [i for i in range(n) if scaled[i] >= mass]
    while small and large:
        s, big = small.pop(), large.pop()
        thresholds[s], aliases[s] = scaled[s] * TWO32 // mass, big
        scaled[big] -= mass - scaled[s]
        (small if scaled[big] < mass else large).append(big)
    return AliasTable(tuple(thresholds), tuple(aliases))


def pick(x: int, table: AliasTable) -> int:
    scaled = x * len(table.thresholds)
    i, f = scaled >> 64, (scaled & MASK64) >> 32
    return i if f < table.thresholds[i] else table.aliases[i]


# --- 4. Pieces of one arrival ----------------------------------------------------------------------


def offset_us(x0: int, duration_us: int) -> int:
    return (x0 * duration_us + duration_us // 2) >> 64


def coin_threshold(p: str) -> int:
    return math.floor(Fraction(p) * TWO64)


def utc_day(instant_us: int) -> str:
    return (EPOCH + dt.timedelta(days=instant_us // (86_400 * MICROS))).isoformat()


def offset_minutes(transitions: Sequence[tuple[int, int]], ts_us: int) -> int:
    at = bisect_right([instant for instant, _ in transitions], ts_us // MICROS) - 1
    if at < 0:
        raise LawError(Fault.UNKNOWN_TZID, f"no UTC offset in force at {ts_us} us")
    return transitions[at][1]


def local_us(transitions: Sequence[tuple[int, int]], ts_us: int) -> int:
    return ts_us + 60 * MICROS * offset_minutes(transitions, ts_us)


def site_id(merchant_id: int, country: str, site_order: int) -> int:
    digest = hashlib.sha256(f"{merchant_id}:{country}:{site_order}".encode("ascii")).digest()
    return int.from_bytes(digest[24:32], "little") or 1


def edge_id(merchant_id: int, sequence: int) -> int:
    text = b"3B.EDGE\x1f" + str(merchant_id).encode("ascii") + b"\x1f" + struct.pack("<I", sequence)
    return int.from_bytes(hashlib.sha256(text).digest()[24:32], "big")


# --- 7. Digest -------------------------------------------------------------------------------------


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


DIGEST_FACTORS = tuple(mix(k * 0x9E3779B97F4A7C15 & MASK64) | 1 for k in range(1, 13))


def text_word(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "little")


def row_hash(words: Sequence[int]) -> int:
    return sum(word * factor for word, factor in zip(words, DIGEST_FACTORS, strict=True)) & MASK64


def digest_text(rows: Iterable[Sequence[int]]) -> str:
    """The digest of rows given as their twelve words."""
    hashes = [row_hash(words) for words in rows]
    a = sum(map(mix, hashes)) & MASK64
    b = sum(mix(h ^ 0xD6E8FEB86659FD93) for h in hashes) & MASK64
    return f"{len(hashes)}-{a:016x}{b:016x}"
