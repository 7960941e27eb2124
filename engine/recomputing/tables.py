"""The tables of the law, built from the rows of the sealed inputs (LAW sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts.errors import Code
from arrival_engine.contracts.identity import Identity
from arrival_engine.contracts.zone_names import same_zone
from arrival_engine.engine.recomputing import kernels
from arrival_engine.engine.recomputing.kernel_shapes import (
    HYBRID,
    NONE,
    PHYSICAL,
    STRANDED,
    VIRTUAL,
    Entities,
    Grid,
    Law,
    Merchants,
    Places,
    Rows,
    Slots,
)
from arrival_engine.engine.recomputing.streams import FAMILIES, Deriver, Entity

Codes = NDArray[np.int32]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
Reals = NDArray[np.float64]

_MODES = {"NON_VIRTUAL": PHYSICAL, "VIRTUAL_ONLY": VIRTUAL, "HYBRID": HYBRID}
_HEADER_WORDS = 4
_QBITS_MAX = 32


class LawlessError(Exception):
    """Inputs of which the law makes no arrivals; the message says why, and `code` what a run stops with."""

    def __init__(self, message: str, code: Code = Code.S1_OR_S3_OUTPUT_MISSING) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class CountRows:
    """Entities by (merchant, zone, channel) by bytes, and the count rows above zero by (merchant, bucket, entity)."""

    merchant_id: Words
    zone: Sequence[str]
    channel: Sequence[str]
    entity: Codes
    bucket: Codes
    arrivals: Codes


@dataclass(frozen=True)
class SiteRows:
    """Sites by (merchant, country, number)."""

    merchant_id: Words
    site_id: Words
    weight: Reals
    tzid: Sequence[str | None]


@dataclass(frozen=True)
class GroupRows:
    """Weights of tz groups by (merchant, day, tzid by bytes); days since 1970."""

    merchant_id: Words
    day: Codes
    tzid: Sequence[str]
    weight: Reals


@dataclass(frozen=True)
class EdgeRows:
    """Edges by (merchant, edge_id), and where the 3B blob has each merchant's slice, in bytes."""

    merchant_id: Words
    edge_id: Words
    tzid: Sequence[str]
    slices: Mapping[int, tuple[int, int]]
    blob: bytes


@dataclass(frozen=True)
class Inputs:
    """What the law is applied to. bounds_us: start and end of each bucket, int64[B, 2]."""

    identity: Identity
    scenario_id: str
    p_virtual_hybrid: Fraction
    use_group_weights: bool
    bounds_us: Numbers
    counts: CountRows
    modes: Mapping[int, str]
    sites: SiteRows
    groups: GroupRows
    edges: EdgeRows


@dataclass(frozen=True)
class LawTables:
    """The compiled law's tables, and the texts of its codes: zones in byte order, channels."""

    law: Law
    tzids: Sequence[str]
    channels: Sequence[str]
    first_day: int

    @property
    def arrivals(self) -> int:
        """Exact number of arrivals."""
        return int(self.law.rows.arrivals.sum(dtype=np.int64))


def build(inputs: Inputs) -> LawTables:
    """Build every table. Raises LawlessError, naming the merchant, where the law has no answer."""
    counts = inputs.counts
    tzids = _texts(counts.zone, inputs.sites.tzid, inputs.groups.tzid, inputs.edges.tzid)
    channels = _texts(counts.channel)
    code = {tzid: number for number, tzid in enumerate(tzids)}
    merchant_ids, merchant = np.unique(counts.merchant_id, return_inverse=True)
    sites = _Sites(inputs.sites, merchant_ids)
    groups, group_day, group_bounds = _groups(inputs, merchant_ids, sites)
    edge_tables, edges_of = _edges(inputs.edges, inputs.modes, merchant_ids)
    grid = _grid(inputs.bounds_us)
    rows, segments = _rows(counts, merchant.astype(np.int32), merchant_ids.size)
    kind = _kinds(inputs.modes, merchant_ids, edges_of, sites.of_merchant)
    law = Law(
        merchants=Merchants(merchant_ids, kind, edges_of, sites.of_merchant, group_bounds, segments),
        entities=_entities(inputs, merchant, code, channels, sites),
        group_day=group_day,
        groups=groups,
        site_tables=sites.tables,
        edge_tables=edge_tables,
        sites=Places(inputs.sites.site_id, _coded(inputs.sites.tzid, code)),
        edges=Places(inputs.edges.edge_id, _coded(inputs.edges.tzid, code)),
        grid=grid._replace(day=grid.day - grid.day[0]),
        rows=rows,
        coin=np.array([inputs.p_virtual_hybrid * (1 << 64) // 1], np.uint64),
    )
    return LawTables(law, tzids, channels, int(grid.day[0]))


def _texts(*columns: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({text for column in columns for text in column if text is not None}, key=str.encode))


def _coded(texts: Sequence[str | None], code: Mapping[str, int]) -> Codes:
    return np.array([NONE if text is None else code[text] for text in texts], np.int32)


def _grid(bounds_us: Numbers) -> Grid:
    start_us = bounds_us[:, 0].copy()
    return Grid(start_us, (bounds_us[:, 1] - start_us).astype(np.uint64), (start_us // 86_400_000_000).astype(np.int32))


def _rows(counts: CountRows, merchant_of_entity: Codes, merchants: int) -> tuple[Rows, Numbers]:
    """The count rows with their segments, and each merchant's bounds among these."""
    merchant = merchant_of_entity[counts.entity]
    first = np.append(True, (merchant[1:] != merchant[:-1]) | (counts.bucket[1:] != counts.bucket[:-1]))
    start = np.flatnonzero(first[: merchant.size])
    owner = merchant[start]
    sizes = np.add.reduceat(counts.arrivals, start, dtype=np.int64) if start.size else np.empty(0, np.int64)
    bounds = np.searchsorted(owner, np.arange(merchants + 1, dtype=np.int32)).astype(np.int64)
    total = np.append(0, np.cumsum(sizes))
    before = total[:-1] - total[bounds[owner]]
    ends = np.append(start, merchant.size).astype(np.int64)
    return Rows(counts.entity, counts.bucket, counts.arrivals, ends, owner, before), bounds


def _kinds(modes: Mapping[int, str], merchant_ids: Words, edges_of: Codes, sites_of: Codes) -> NDArray[np.uint8]:
    kinds = np.empty(merchant_ids.size, np.uint8)
    for place, merchant_id in enumerate(merchant_ids.tolist()):
        mode = modes.get(merchant_id)
        if mode not in _MODES:
            raise LawlessError(f"merchant {merchant_id} has the mode {mode}", Code.ROUTING_POLICY_INVALID)
        kind = _MODES[mode]
        kinds[place] = STRANDED if kind != PHYSICAL and edges_of[place] == NONE else kind
        if kinds[place] != VIRTUAL and sites_of[place] == NONE:
            raise LawlessError(f"merchant {merchant_id} has no site with a weight", Code.SITE_RESOLUTION_FAILED)
    return kinds


def _entities(
    inputs: Inputs, merchant: Numbers, code: Mapping[str, int], channels: Sequence[str], sites: _Sites
) -> Entities:
    counts = inputs.counts
    key, hi0 = np.empty((2, counts.merchant_id.size, len(FAMILIES)), np.uint64)
    # In the order of TIME, SITE, EDGE.
    for family, name in enumerate(FAMILIES.values()):
        deriver = Deriver(inputs.identity, inputs.scenario_id, name)
        owners = zip(counts.merchant_id.tolist(), counts.zone, counts.channel, strict=True)
        for entity, owner in enumerate(owners):
            key[entity, family], hi0[entity, family] = deriver.stream(Entity(*owner))
    home = [sites.in_zone(owner, zone) for owner, zone in zip(merchant.tolist(), counts.zone, strict=True)]
    channel = {text: number for number, text in enumerate(channels)}
    return Entities(_coded(counts.zone, code), _coded(counts.channel, channel), np.array(home, np.int32), key, hi0)


class _Sites:
    """Alias tables of sites: first one for each merchant, then one for each (merchant, zone by any of its names)."""

    def __init__(self, rows: SiteRows, merchant_ids: Words) -> None:
        owner = np.searchsorted(merchant_ids, rows.merchant_id)
        for place in np.flatnonzero([tzid is None for tzid in rows.tzid])[:1]:
            owner_id, site = rows.merchant_id[place], rows.site_id[place]
            raise LawlessError(f"site {site} of merchant {owner_id} has no zone", Code.SITE_RESOLUTION_FAILED)
        number = _numbered(rows.tzid)
        zone = _coded([same_zone(tzid or "") for tzid in rows.tzid], number)
        keys, pair = np.unique(owner * len(number) + zone, return_inverse=True)
        members = np.concatenate([np.arange(owner.size), np.argsort(pair, kind="stable")])
        starts = np.concatenate(
            [
                np.searchsorted(owner, np.arange(merchant_ids.size)),
                owner.size + np.append(0, np.cumsum(np.bincount(pair, minlength=keys.size))),
            ]
        )
        self.tables, exists = _alias(
            starts, rows.weight[members], members, lambda table: f"the sites {_of(merchant_ids, table)}"
        )
        numbers = np.where(exists, np.arange(exists.size), NONE).astype(np.int32)
        self.of_merchant = numbers[: merchant_ids.size]
        names = list(number)
        self._in_zone = {
            (key // len(names), names[key % len(names)]): int(numbers[merchant_ids.size + pair])
            for pair, key in enumerate(keys.tolist())
        }

    def in_zone(self, merchant: int, tzid: str) -> int:
        """The table of a merchant's sites in a zone, NONE without any that has a weight."""
        return self._in_zone.get((merchant, same_zone(tzid)), NONE)


def _of(merchant_ids: Words, table: int) -> str:
    return f"of merchant {merchant_ids[table]}" if table < merchant_ids.size else "in one zone"


def _numbered(tzids: Iterable[str | None]) -> dict[str, int]:
    """Zones, each by one name, with numbers."""
    return {tzid: number for number, tzid in enumerate(sorted({same_zone(tzid) for tzid in tzids if tzid}))}


def _groups(inputs: Inputs, merchant_ids: Words, sites: _Sites) -> tuple[Slots, Codes, Numbers]:
    """Tables of tz groups by merchant and day, their days, and each merchant's bounds among them."""
    rows = inputs.groups
    owner = np.searchsorted(merchant_ids, rows.merchant_id)
    first = np.append(True, (owner[1:] != owner[:-1]) | (rows.day[1:] != rows.day[:-1]))[: owner.size]
    starts = np.append(np.flatnonzero(first), owner.size)
    member = [sites.in_zone(merchant, tzid) for merchant, tzid in zip(owner.tolist(), rows.tzid, strict=True)]
    slots, exists = _alias(starts, rows.weight, np.array(member, np.int32), lambda _: "a day's tz groups")
    first_day = inputs.bounds_us[0, 0] // 86_400_000_000
    day = np.where(exists & inputs.use_group_weights, rows.day[starts[:-1]] - first_day, np.iinfo(np.int32).min)
    bounds = np.searchsorted(owner[starts[:-1]], np.arange(merchant_ids.size + 1))
    return slots, day.astype(np.int32), bounds.astype(np.int64)


def _alias(
    starts: Numbers, weights: Reals, members: NDArray[np.integer], name: Callable[[int], str]
) -> tuple[Slots, NDArray[np.bool_]]:
    """Alias tables, and which of them exist: those whose weights do not sum to zero."""
    for place in np.flatnonzero(~(np.isfinite(weights) & (weights >= 0.0)))[:1]:
        table = int(np.searchsorted(starts, place, side="right")) - 1
        raise LawlessError(f"{name(table)} have the weight {weights[place]}", Code.SITE_RESOLUTION_FAILED)
    room = int(np.diff(starts).max(initial=0))
    slots = Slots(
        starts.astype(np.int64),
        np.zeros(weights.size, np.uint64),
        np.zeros(weights.size, np.int32),
        members.astype(np.int32),
    )
    endless = kernels.alias_tables(weights, slots, np.empty(room, np.uint64), np.empty(room, np.int64))
    if endless != NONE:
        raise LawlessError(f"{name(endless)} have weights that add up to infinity", Code.SITE_RESOLUTION_FAILED)
    # Thresholds of zero belong to slots without weight; a table has some other.
    exists = np.add.reduceat(np.append(weights, 0.0), starts[:-1]) > 0.0 if starts.size > 1 else np.empty(0, np.bool_)
    return slots, exists & (np.diff(starts) > 0)


def _edges(rows: EdgeRows, modes: Mapping[int, str], merchant_ids: Words) -> tuple[Slots, Codes]:
    """Alias tables of edges as the blob has them, and each merchant's; a merchant of sites alone needs none."""
    first = np.searchsorted(rows.merchant_id, merchant_ids)
    end = np.searchsorted(rows.merchant_id, merchant_ids, side="right")
    of_merchant = np.full(merchant_ids.size, NONE, np.int32)
    starts = [0]
    thresholds, aliases, members = [np.empty(0, np.uint64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for place, merchant_id in enumerate(merchant_ids.tolist()):
        size = int(end[place] - first[place])
        span = rows.slices.get(merchant_id)
        if _MODES.get(modes.get(merchant_id, "")) == PHYSICAL or (span is None and not size):
            continue
        threshold, alias = _slice(rows.blob, span or (0, 0), size, merchant_id)
        if not size:
            continue
        of_merchant[place] = len(starts) - 1
        starts.append(starts[-1] + size)
        thresholds.append(threshold)
        aliases.append(alias)
        members.append(np.arange(first[place], end[place], dtype=np.int32))
    slots = Slots(
        np.array(starts, np.int64), np.concatenate(thresholds), np.concatenate(aliases), np.concatenate(members)
    )
    return slots, of_merchant


def _slice(blob: bytes, span: tuple[int, int], size: int, merchant_id: int) -> tuple[Words, Codes]:
    """Thresholds and aliases of one slice: n, prob_qbits, 0, 0, then n pairs (probability, alias)."""
    first, length = span
    words = _HEADER_WORDS + 2 * size
    if length != 4 * words or not 0 <= first <= len(blob) - length:
        raise _edge_fault(merchant_id, f"is not of its {size} edges")
    found = np.frombuffer(blob, "<u4", words, first).astype(np.uint64)
    qbits = int(found[1])
    if found[0] != size or not 1 <= qbits <= _QBITS_MAX:
        raise _edge_fault(merchant_id, f"is not of its {size} edges")
    probability, alias = found[_HEADER_WORDS::2], found[_HEADER_WORDS + 1 :: 2]
    if (alias >= size).any():
        raise _edge_fault(merchant_id, f"has an alias beyond its {size} edges")
    if (probability >> np.uint64(qbits)).any():
        raise _edge_fault(merchant_id, f"has a probability of more than {qbits} bits")
    return probability << np.uint64(_QBITS_MAX - qbits), alias.astype(np.int32)


def _edge_fault(merchant_id: int, problem: str) -> LawlessError:
    return LawlessError(f"the edge table of merchant {merchant_id} {problem}", Code.EDGE_RESOLUTION_FAILED)
