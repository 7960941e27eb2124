"""What a run states of a part file that it wrote."""

from __future__ import annotations

from dataclasses import dataclass

from arrival_engine.cpu_fallback.digest import Digest


@dataclass(frozen=True)
class PartReceipt:
    """What one part file holds; `name` is that of the staged file, `sha256` is empty until the file is on disk."""

    name: str
    rows: int
    bytes: int
    digest: Digest
    sha256: str = ""
