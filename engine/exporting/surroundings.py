"""What lies beside a target: its description, and in a store also files that are being made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.exporting.beside import Neighbourhood
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.storage.carrier import Carrier
from arrival_engine.engine.storage.store import Store
from arrival_engine.engine.storage.url import Place, StoreUrl

__all__ = ["StoreNeighbourhood", "surroundings"]

_DESCRIPTION_MAX = 1 << 28


class StoreNeighbourhood:
    """The prefix around a target in a store. Nothing is contacted before a method asks for it."""

    def __init__(self, place: StoreUrl) -> None:
        """Raises OPTION_INVALID for a whole bucket."""
        above, slash, self.name = place.prefix.rpartition("/")
        if not self.name:
            raise ArrivalError(
                Code.OPTION_INVALID,
                f"{place} is a whole bucket, beside which nothing can lie",
                hint=f"name a place in it: {place}/arrivals",
            )
        self._store = Store(replace(place, prefix=above))
        self._aside = f".{self.name}.arrivals-export"
        self._description = f"{self.name}.croissant.json"
        # No reader of the target looks there: for the lock, and for files that are being made.
        self.aside = Store(replace(place, prefix=f"{above}{slash}{self._aside}"))

    @property
    def root(self) -> str:
        """What names of files have before them, seen from the description."""
        return f"{self.name}/"

    def place(self, folder: str, names: Sequence[str]) -> None:
        """Copy files from a folder aside into the target, within the store."""
        pairs = [(f"{self._aside}/{folder}/{name}", f"{self.name}/{name}") for name in names]
        Carrier(self._store, Reporter()).copy_all(pairs)

    def description(self) -> bytes | None:
        """The description beside the target. Raises IO_READ_FAILED."""
        if self._store.stat(self._description) is None:
            return None
        return self._store.read_bytes(self._description, _DESCRIPTION_MAX)

    def describe(self, document: bytes) -> str:
        """Write the description by one request; return its URL. Raises IO_WRITE_FAILED."""
        if document != self.description():
            self._store.write_bytes(self._description, document)
        return self._store.url(self._description)

    def close(self) -> None:
        """Nothing is kept."""


def surroundings(place: Place) -> Neighbourhood | StoreNeighbourhood:
    """What lies beside a path or a URL."""
    return Neighbourhood(place) if isinstance(place, Path) else StoreNeighbourhood(place)
