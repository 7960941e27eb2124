"""The entities of count rows, (merchant, zone, channel), as codes. Each distinct text is compared once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.tables import I32, I64, U64


class Catalogue(NamedTuple):
    """Distinct entities, E of them, ordered by (merchant, zone bytes, channel bytes).

    merchant_ids: uint64[M] ascending. zones, channels: the texts used, in byte order (LAW section 5), the null
    channel being "". merchant, zone, channel: int32[E] indices into these three.
    """

    merchant_ids: U64
    zones: tuple[str, ...]
    channels: tuple[str, ...]
    merchant: I32
    zone: I32
    channel: I32

    def entity(self, index: int) -> tuple[int, str, str]:
        """Merchant id, tzid and channel of one entity."""
        return (
            int(self.merchant_ids[self.merchant[index]]),
            self.zones[self.zone[index]],
            self.channels[self.channel[index]],
        )


class Uncoded(NamedTuple):
    """Entities in any order, with repetitions: uint64[K] ids, and integer[K] indices into any texts; None is ""."""

    merchant: U64
    zone: NDArray[np.integer]
    zones: Sequence[str]
    channel: NDArray[np.integer]
    channels: Sequence[str | None]


def catalogued(entities: Uncoded) -> tuple[Catalogue, I32]:
    """The distinct entities, and the index of each of the K among them."""
    merchant_ids, merchant = np.unique(entities.merchant, return_inverse=True)
    zones, zone = _used(entities.zone, entities.zones)
    channels, channel = _used(entities.channel, entities.channels)
    widths = len(zones), len(channels)
    keys, index = np.unique((merchant * widths[0] + zone) * widths[1] + channel, return_inverse=True)
    pairs, channel = np.divmod(keys, max(widths[1], 1))
    merchant, zone = np.divmod(pairs, max(widths[0], 1))
    codes = (column.astype(np.int32) for column in (merchant, zone, channel))
    return Catalogue(merchant_ids, zones, channels, *codes), index.astype(np.int32)


def _used(codes: NDArray[np.integer], texts: Sequence[str | None]) -> tuple[tuple[str, ...], I64]:
    """The distinct texts that have a code, in byte order, and each code's index among them."""
    used = np.unique(codes).tolist()
    vocabulary = tuple(sorted({texts[code] or "" for code in used}, key=str.encode))
    index = {text: at for at, text in enumerate(vocabulary)}
    table = np.zeros(len(texts), np.int64)
    table[used] = [index[texts[code] or ""] for code in used]
    return vocabulary, table[codes]


def united(parts: Sequence[Catalogue]) -> tuple[Catalogue, list[I32]]:
    """The entities of all catalogues, and per catalogue the indices of its entities among them."""
    sizes = [part.merchant.size for part in parts]
    whole, index = catalogued(
        Uncoded(
            _joined([part.merchant_ids[part.merchant] for part in parts], np.uint64),
            *_shifted([part.zone for part in parts], [part.zones for part in parts]),
            *_shifted([part.channel for part in parts], [part.channels for part in parts]),
        )
    )
    return whole, [index[first:end] for first, end in pairwise(accumulate(sizes, initial=0))]


def _shifted(codes: Sequence[I32], texts: Sequence[tuple[str, ...]]) -> tuple[I64, list[str]]:
    """Codes into several lists of texts as codes into one that holds them all."""
    shifts = accumulate(map(len, texts), initial=0)
    joined = _joined([column + shift for column, shift in zip(codes, shifts, strict=False)], np.int64)
    return joined, [text for part in texts for text in part]


def _joined(columns: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, kind), *columns])
