"""What the columns for people take from a world besides its arrivals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from arrival_engine.engine.merchant_names import MerchantNames, load_merchant_names
from arrival_engine.engine.readable.places import Places, places_of_run
from arrival_engine.engine.rundir.receipt import Receipt

__all__ = ["Facts", "KnownFacts", "RunFacts"]


class Facts(Protocol):
    """Countries of places; texts of merchants, None where their ids are numbers."""

    @property
    def places(self) -> Places:
        """Countries of places."""

    @property
    def names(self) -> MerchantNames | None:
        """Texts of merchants."""


@dataclass(frozen=True)
class KnownFacts:
    """Facts in memory."""

    places: Places
    names: MerchantNames | None = None


class RunFacts:
    """The facts of a run directory's inputs, each read when it is first asked for; errors as of `read_table`.

    With a receipt that is bound to a seal, they are those of the sealed inputs.
    """

    def __init__(self, receipt: Receipt) -> None:
        self._receipt = receipt

    @cached_property
    def places(self) -> Places:
        """Countries of places."""
        return places_of_run(self._receipt)

    @cached_property
    def names(self) -> MerchantNames | None:
        """Texts of merchants."""
        return load_merchant_names(self._receipt)
