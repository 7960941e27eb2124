"""Arrivals of one scenario, wherever they come from: what readers and exports take."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import pyarrow as pa

from arrival_engine.contracts import Identity
from arrival_engine.engine.readable.facts import Facts

__all__ = ["Source"]


class Source(Protocol):
    """The arrivals of one scenario; each call of `batches` is a new pass over them."""

    @property
    def rows(self) -> int:
        """Exact number of arrivals."""

    @property
    def scenario_id(self) -> str:
        """Scenario."""

    @property
    def identity(self) -> Identity:
        """Identity of the run."""

    @property
    def seal_digest(self) -> str | None:
        """Digest of the sealed inputs; None for a world that was never sealed."""

    @property
    def facts(self) -> Facts:
        """What columns for people take from the world."""

    def digest(self) -> str:
        """The digest of all arrivals, as text (LAW section 7)."""

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """All arrivals in output order, in the contract's 21 columns, times as timestamps or as the contract's texts.

        Memory is bounded. Closing the generator ends what runs for it.
        """
