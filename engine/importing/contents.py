"""The contents of an imported world: the user's tables, joined, numbered and ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.merchant_names import MerchantNames

Ids = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Counts:
    """Count rows with N > 0 and unique keys, by (merchant, zone, channel, bucket); the channel "" means none."""

    merchant: Ids
    zone: Ints
    channel: Ints
    channels: tuple[str, ...]
    bucket: Ints
    arrivals: Ints


@dataclass(frozen=True, eq=False)
class Placed:
    """Counts with N > 0 in buckets: the count table's row that each comes from, its bucket and its arrivals.

    Each is int64[P]. merged: rows of the table that were added to another before they were placed.
    """

    row: Ints
    bucket: Ints
    arrivals: Ints
    merged: int = 0


@dataclass(frozen=True, eq=False)
class Members:
    """Sites by (merchant, country, order), or edges by (merchant, order); weights as given."""

    merchant: Ids
    zone: Ints
    country: Ints
    countries: tuple[str, ...]
    order: Ints
    weight: Floats

    def start(self, merchants: Ids) -> Ints:
        """Bounds of the given merchants, which ascend, among the members: int64[M + 1]."""
        return np.append(np.searchsorted(self.merchant, merchants), len(self.merchant)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class GroupWeights:
    """The user's weights of zones, by (merchant, zone)."""

    merchant: Ids
    zone: Ints
    weight: Floats


@dataclass(frozen=True, eq=False)
class Merchants:
    """Every merchant of any table, ascending: mode by `cpu_fallback.law.MODES`, settlement zone or -1."""

    merchant: Ids
    mode: Ints
    settlement: Ints


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything that decides the world. Zones are codes into `tzids`, in byte order; grid_us: B + 1 bucket edges.

    day_rule: the rule by which local days were divided among buckets; empty if counts came in buckets. merchant_names:
    the texts of `merchants`; None if merchant ids are numbers.
    """

    tzids: tuple[str, ...]
    grid_us: Ints
    counts: Counts
    sites: Members
    merchants: Merchants
    edges: Members
    group_weights: GroupWeights
    day_rule: str = ""
    merchant_names: MerchantNames | None = None


def texts_in_use(table: Table, name: str, kept: npt.NDArray[np.bool_] | None = None) -> set[str]:
    """The texts of a column in the kept rows (default: all); null is ""."""
    if not table.has(name):
        return {""} if table.rows else set()
    codes = table[name] if kept is None else table[name][kept]
    return {table.texts[name][code] or "" for code in np.unique(codes).tolist()}


def codes_in(table: Table, name: str, vocabulary: tuple[str, ...]) -> Ints:
    """A text column as codes into a vocabulary, -1 for texts that are not in it: int64[R]."""
    number = {text: code for code, text in enumerate(vocabulary)}
    if not table.has(name):
        return np.full(table.rows, number.get("", -1), np.int64)
    of_text = np.array([number.get(text or "", -1) for text in table.texts[name]], np.int64)
    codes: Ints = of_text[table[name]]
    return codes


def by_bytes(texts: set[str]) -> tuple[str, ...]:
    """The texts in the law's order."""
    return tuple(sorted(texts, key=str.encode))


def sorted_order(*keys: npt.NDArray[Any]) -> Ints:
    """Stable order by the keys, the first being the most significant."""
    return np.lexsort(keys[::-1]).astype(np.int64)


def runs(*keys: npt.NDArray[Any]) -> Ints:
    """The first row of each run of equal keys in sorted columns."""
    if not len(keys[0]):
        return np.empty(0, np.int64)
    changed = np.zeros(len(keys[0]) - 1, np.bool_)
    for key in keys:
        changed |= key[1:] != key[:-1]
    return np.flatnonzero(np.append(True, changed)).astype(np.int64)


def ordered_sums(first: Ints, values: Floats) -> Floats:
    """Plain left-to-right sum of each run, float64[len(first)]: the same bits on every machine."""
    ends = [*first[1:].tolist(), len(values)]
    return np.array(
        [np.add.accumulate(values[a:b])[-1] for a, b in zip(first.tolist(), ends, strict=False)], np.float64
    )
