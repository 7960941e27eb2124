"""Stream keys: one SHA-256 per entity and family, never per arrival or bucket (LAW section 2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

DOMAIN_SEPARATOR = "5B.rng.v2"
TIME_FAMILY = "S4.arrival_time_jitter.v2"
SITE_FAMILY = "S4.arrival_site_pick.v2"
EDGE_FAMILY = "S4.arrival_edge_pick.v2"
FAMILIES = (TIME_FAMILY, SITE_FAMILY, EDGE_FAMILY)


def length_prefixed(text: str) -> bytes:
    """U(s): u32 big-endian byte length, then UTF-8."""
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True)
class StreamFamily:
    """The part of a stream's hash that all entities of one run, scenario and family share."""

    family: str
    manifest_fingerprint: str
    parameter_hash: str
    seed: int
    scenario_id: str

    def prefix(self) -> bytes:
        """The bytes that are hashed before the entity's domain."""
        texts = (DOMAIN_SEPARATOR, self.family, self.manifest_fingerprint, self.parameter_hash)
        head = b"".join(length_prefixed(text) for text in texts)
        return head + self.seed.to_bytes(8, "little") + length_prefixed(self.scenario_id)


def domain(merchant_id: int, zone: str, channel_group: str) -> str:
    """Domain text of an entity; a null channel is the empty text."""
    return f"merchant_id={merchant_id}|zone={zone}|channel_group={channel_group}"


def entity_stream(prefix: bytes, domain_text: str) -> tuple[int, int]:
    """(key, hi0) of an entity's stream, both uint64, from the family's prefix."""
    digest = hashlib.sha256(prefix + length_prefixed(domain_text)).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def derive_stream(family: StreamFamily, domain_text: str) -> tuple[int, int]:
    """(key, hi0) of one entity's stream; use `entity_stream` with a shared prefix for many."""
    return entity_stream(family.prefix(), domain_text)
