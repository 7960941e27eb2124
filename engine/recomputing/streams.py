"""Random-number streams, derived again by LAW section 2, and the proof that no two overlap."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

from arrival_engine.contracts.identity import Identity

MODULE = "5B.S4"
# Family id by substream label.
FAMILIES = {
    "arrival_time_jitter": "S4.arrival_time_jitter.v2",
    "arrival_site_pick": "S4.arrival_site_pick.v2",
    "arrival_edge_pick": "S4.arrival_edge_pick.v2",
}
_WORDS = 1 << 64


class Entity(NamedTuple):
    """The owner of a stream; a null channel is the empty text."""

    merchant_id: int
    zone: str
    channel: str

    @property
    def domain(self) -> str:
        """The text that names the entity where streams are derived."""
        return f"merchant_id={self.merchant_id}|zone={self.zone}|channel_group={self.channel}"


class Stream(NamedTuple):
    """A stream's key and the counter word of bucket 0."""

    key: int
    hi0: int

    def word1(self, bucket: int) -> int:
        """The upper counter word of a bucket."""
        return (self.hi0 + bucket) % _WORDS


def _prefixed(text: str) -> bytes:
    data = text.encode("utf-8")
    return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True)
class Deriver:
    """Derives the streams of one family and scenario."""

    identity: Identity
    scenario_id: str
    family: str

    def stream(self, entity: Entity) -> Stream:
        """The stream of one entity."""
        identity = self.identity
        material = b"".join(map(_prefixed, ("5B.rng.v2", self.family, identity.manifest_fingerprint)))
        material += _prefixed(identity.parameter_hash) + identity.seed.to_bytes(8, "little")
        digest = hashlib.sha256(material + _prefixed(self.scenario_id) + _prefixed(entity.domain)).digest()
        return Stream(int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big"))


class Claim(NamedTuple):
    """Counters that a stream uses: words hi0 to hi0 + buckets - 1 (modulo 2^64) under its key."""

    key: int
    hi0: int
    buckets: int
    owner: str


def overlaps(claims: Iterable[Claim]) -> list[tuple[str, str]]:
    """Pairs of streams that could use the same block: equal keys and intersecting ranges of the upper word.

    The lower word counts draws from 0 within one (stream, bucket) and is below 2^31, so it never wraps; different
    buckets of a stream have different upper words. Hence two blocks are the same only where such a pair exists.
    """
    found: list[tuple[str, str]] = []
    ordered = sorted(claims)
    for _, same_key in groupby(ordered, key=lambda claim: claim.key):
        found += _meeting(list(same_key))
    return found


def _meeting(claims: Sequence[Claim]) -> list[tuple[str, str]]:
    if len(claims) == 1:
        return []
    pairs = [(a, b) for a, b in pairwise(claims) if b.hi0 - a.hi0 < a.buckets]
    first, last = claims[0], claims[-1]
    if first.hi0 + _WORDS - last.hi0 < last.buckets:
        pairs.append((last, first))
    return [(a.owner, b.owner) for a, b in pairs]
