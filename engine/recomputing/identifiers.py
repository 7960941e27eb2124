"""Identifiers that are derived from the rows of inputs."""

from __future__ import annotations

import hashlib


def site_id(merchant_id: int, country: str, site_order: int) -> int:
    """The contract's site identifier (docs/reference/layouts.md, "Site identifiers")."""
    digest = hashlib.sha256(f"{merchant_id}:{country}:{site_order}".encode("ascii")).digest()
    return int.from_bytes(digest[24:], "little") or 1
