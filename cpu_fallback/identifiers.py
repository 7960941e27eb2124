"""Identifiers that are hashes of names.

Defined in docs/reference/layouts.md, "Site identifiers" and "Edge and settlement identifiers", and in LAW section 7.
"""

from __future__ import annotations

import hashlib


def site_id(merchant_id: int, country: str, site_order: int) -> int:
    """uint64 id of a physical site: last 8 digest bytes, little-endian, of `merchant:country:order`; 0 becomes 1."""
    text = f"{merchant_id}:{country}:{site_order}"
    return int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[24:], "little") or 1


def edge_id(merchant_id: int, edge_seq_index: int) -> int:
    """uint64 id of a virtual edge: last 8 digest bytes, big-endian, over the 3B edge domain."""
    message = b"3B.EDGE\x1f%d\x1f" % merchant_id + edge_seq_index.to_bytes(4, "little")
    return int.from_bytes(hashlib.sha256(message).digest()[24:], "big")


def text_word(text: str) -> int:
    """t(s) of the arrival digest: first 8 digest bytes, little-endian, of the UTF-8 text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
