"""What the codes of a world's columns stand for, in the PLAIN encoding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.pages.layout import Dictionary
from arrival_engine.engine.expand.assemble import constant_texts
from arrival_engine.engine.world.load import World

_PAD = b"\0" * 8


def words_dictionary(values: NDArray[np.uint64] | NDArray[np.int64]) -> Dictionary:
    """Entries of 64 bits, in order."""
    data = np.frombuffer(np.ascontiguousarray(values).tobytes() + _PAD, np.uint8).copy()
    return Dictionary(data, np.arange(values.size + 1, dtype=np.int64) * 8, np.int64(1))


def texts_dictionary(texts: Iterable[str]) -> Dictionary:
    """Entries of text, each behind its length in four bytes."""
    plain = [len(data).to_bytes(4, "little") + data for data in (text.encode() for text in texts)]
    data = np.frombuffer(b"".join(plain) + _PAD, np.uint8).copy()
    return Dictionary(data, np.cumsum([0, *map(len, plain)], dtype=np.int64), np.int64(0))


@dataclass(frozen=True)
class Dictionaries:
    """The dictionaries that the columns of a world share; `constants` by column, with one entry each."""

    zones: Dictionary
    channels: Dictionary
    merchants: Dictionary
    buckets: Dictionary
    sites: Dictionary
    edges: Dictionary
    constants: dict[str, Dictionary]

    @property
    def longest(self) -> int:
        """No dictionary has more entries."""
        found = (self.zones, self.channels, self.merchants, self.buckets, self.sites, self.edges)
        return max(dictionary.start.size for dictionary in found)


def dictionaries_of(world: World) -> Dictionaries:
    """The dictionaries of a world; codes are indices into its tables."""
    tables = world.tables
    constants = {name: texts_dictionary([text]) for name, text in constant_texts(world).items()}
    seed = np.array([world.identity.seed], np.uint64)
    return Dictionaries(
        zones=texts_dictionary(world.tzids),
        channels=texts_dictionary(world.channels),
        merchants=words_dictionary(tables.merchants.id),
        buckets=words_dictionary(np.arange(tables.grid.start_us.size)),
        sites=words_dictionary(tables.sites.id),
        edges=words_dictionary(tables.edges.id),
        constants={**constants, "seed": words_dictionary(seed)},
    )
