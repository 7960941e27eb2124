"""The 64-bit id of a merchant's text, and the search for two texts with one id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.identifiers import text_word

Ids = NDArray[np.uint64]


def id64(text: str) -> int:
    """First 8 bytes, little-endian, of the SHA-256 of the text in UTF-8; 0 becomes 1, as 0 is no id."""
    return text_word(text) or 1


def ids_of(texts: Sequence[str]) -> Ids:
    """`id64` of each text: uint64[len(texts)]."""
    return np.fromiter(map(id64, texts), np.uint64, len(texts))


class Collision(NamedTuple):
    """Two different texts with one id."""

    merchant_id: int
    first: str
    second: str


def collision(ids: Ids, texts: Sequence[str]) -> Collision | None:
    """Two of the texts, which differ from each other, that have the same id; None if no two have.

    ids: uint64[M], one per text. Of several collisions, that with the lowest id; its texts in the order given.
    """
    order = np.argsort(ids, kind="stable")
    ascending = ids[order]
    again = np.flatnonzero(ascending[1:] == ascending[:-1])
    if not again.size:
        return None
    at = int(again[0])
    return Collision(int(ascending[at]), texts[int(order[at])], texts[int(order[at + 1])])
