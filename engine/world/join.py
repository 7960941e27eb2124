"""Grid, counts and facts about merchants, joined into the tables that both backends expand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code, Identity, Notice
from arrival_engine.cpu_fallback.identifiers import text_word
from arrival_engine.cpu_fallback.law import NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.cpu_fallback.streams import FAMILIES, StreamFamily, domain, entity_stream
from arrival_engine.cpu_fallback.tables import Entities, Grid, Merchants, Rows, Tables, owned
from arrival_engine.engine.merchant_names import MerchantNames, known_as, told
from arrival_engine.engine.rundir.settings import Settings
from arrival_engine.engine.tz.zones import ZoneTable
from arrival_engine.engine.world.catalogue import Catalogue
from arrival_engine.engine.world.counts import CountRows
from arrival_engine.engine.world.groups import GroupWeights, build_group_tables
from arrival_engine.engine.world.sites import SiteList, SiteTables, build_site_tables
from arrival_engine.engine.world.virtual import EdgeList, VirtualMerchants, build_edges
from arrival_engine.engine.world.zones import ZoneUse, check_against_tzdata, cut_zones, refuse_unknown_zones


@dataclass(frozen=True)
class Origin:
    """What a scenario's arrivals are drawn under.

    seal_digest: of the sealed inputs; None for a world that was never sealed. universe_hash: 3B's, verified.
    """

    identity: Identity
    spec_version: str
    seal_digest: str | None
    scenario_id: str
    settings: Settings
    universe_hash: str


class MerchantFacts(NamedTuple):
    """Facts about merchants with arrivals from all inputs but the counts, and the tz cache."""

    sites: SiteList
    weights: GroupWeights
    virtual: VirtualMerchants
    edges: EdgeList
    cache: ZoneTable
    names: MerchantNames | None


@dataclass(frozen=True)
class Joined:
    """Count rows in law order, lookup tables, and the texts behind their codes; fields as in `World`."""

    tzids: tuple[str, ...]
    channels: tuple[str, ...]
    tables: Tables
    rows: Rows
    input_rows: int
    zero_rows: int
    merged_rows: int
    notices: tuple[Notice, ...]
    names: MerchantNames | None


def join(origin: Origin, grid: Grid, counts: CountRows, facts: MerchantFacts, *, accept_tz_cache: bool) -> Joined:
    """The lookup tables of count rows and the facts about their merchants; errors as in `load_world`."""
    sites, weights, virtual, edges, cache, names = facts
    catalogue = counts.catalogue
    merchant_ids = catalogue.merchant_ids
    tzids = _all_tzids(catalogue.zones, sites.tzids, weights.tzids, virtual.settlement, edges.tzids)
    refuse_unknown_zones(cache, _zone_uses(catalogue, sites, weights, virtual, edges), merchant_ids)
    site_tables = build_site_tables(sites, tzids, merchant_ids)
    groups, group_start = build_group_tables(weights, tzids, merchant_ids, site_tables)
    zone_code = {tzid: code for code, tzid in enumerate(tzids)}
    merchants = Merchants(
        id=merchant_ids,
        mode=virtual.mode,
        site_table=site_tables.of_merchant,
        edge_start=edges.start,
        settlement=np.array([zone_code.get(tzid, -1) for tzid in virtual.settlement.tolist()], np.int32),
        group_start=group_start,
    )
    _check_merchants(merchants, facts, origin.settings)
    tables = Tables(
        grid=grid,
        entities=_entities(origin, catalogue, zone_code, site_tables),
        merchants=merchants,
        groups=groups,
        sites=site_tables.tables,
        edges=build_edges(edges, tzids),
        zones=cut_zones(cache, tzids, grid),
        channel_text=np.array([text_word(text) for text in catalogue.channels], np.uint64),
    )
    return Joined(
        tzids=tzids,
        channels=catalogue.channels,
        tables=owned(tables),
        rows=owned(counts.rows),
        input_rows=counts.input_rows,
        zero_rows=counts.zero_rows,
        merged_rows=counts.merged_rows,
        notices=check_against_tzdata(cache, tzids, tables, counts.rows, origin.settings, accept=accept_tz_cache),
        names=names,
    )


def _all_tzids(count_zones: tuple[str, ...], *columns: NDArray[np.object_]) -> tuple[str, ...]:
    found: set[str] = set(count_zones)
    for column in columns:
        found.update(tzid for tzid in set(column.tolist()) if tzid is not None)
    return tuple(sorted(found, key=str.encode))


def _zone_uses(
    catalogue: Catalogue, sites: SiteList, weights: GroupWeights, virtual: VirtualMerchants, edges: EdgeList
) -> tuple[ZoneUse, ...]:
    merchants = np.arange(virtual.settlement.size)
    counted = np.array(catalogue.zones, dtype=object)[catalogue.zone]
    return (
        ZoneUse("s3_bucket_counts_5B", catalogue.merchant.astype(np.int64), counted),
        ZoneUse("site_timezones", sites.merchant, sites.tzids),
        ZoneUse("s4_group_weights", weights.merchant, weights.tzids),
        ZoneUse("virtual_settlement_3B", merchants, virtual.settlement),
        ZoneUse("edge_catalogue_3B", np.repeat(merchants, np.diff(edges.start)), edges.tzids),
    )


def _check_merchants(merchants: Merchants, facts: MerchantFacts, settings: Settings) -> None:
    """Refuse merchants whose arrivals are certain to fail, before the first arrival is drawn."""
    mode, without_edges = facts.virtual.mode, np.diff(facts.edges.start) == 0

    def refuse(bad: NDArray[np.bool_], code: Code, problem: str, hint: str) -> None:
        if bad.any():
            merchant = int(merchants.id[int(np.argmax(bad))])
            raise ArrivalError(
                code,
                f"merchant {told(facts.names, merchant)} {problem} ({int(bad.sum())} such merchants)",
                hint=hint,
                **known_as(facts.names, merchant),
                merchants=int(bad.sum()),
            )

    if settings.fallbacks.missing_edge_table:
        refuse(
            (mode != NON_VIRTUAL) & without_edges,
            Code.EDGE_RESOLUTION_FAILED,
            "is virtual but has no edge table",
            "give it edges and an alias slice, or set fallbacks.missing_edge_table to physical",
        )
    may_be_physical = (mode != VIRTUAL_ONLY) | without_edges
    refuse(
        may_be_physical & (merchants.site_table < 0),
        Code.SITE_RESOLUTION_FAILED,
        "can have physical arrivals but has no site with a positive weight",
        "add its sites to s1_site_weights and site_timezones; a site is never invented",
    )


def _entities(origin: Origin, catalogue: Catalogue, zone_code: dict[str, int], sites: SiteTables) -> Entities:
    zone = np.array([zone_code[tzid] for tzid in catalogue.zones], np.int64)[catalogue.zone]
    merchant = catalogue.merchant.astype(np.int64)
    streams = _streams(origin, catalogue)
    return Entities(
        catalogue.merchant,
        zone.astype(np.int32),
        catalogue.channel,
        sites.of_pair(merchant, zone),
        *streams,
    )


def _streams(origin: Origin, catalogue: Catalogue) -> list[NDArray[np.uint64]]:
    """Key and hi0 of every entity for the time, site and edge families, in this order: six uint64[E]."""
    identity = origin.identity
    merchant = catalogue.merchant_ids[catalogue.merchant].tolist()
    domains = [
        domain(merchant_id, catalogue.zones[zone], catalogue.channels[channel])
        for merchant_id, zone, channel in zip(
            merchant, catalogue.zone.tolist(), catalogue.channel.tolist(), strict=True
        )
    ]
    columns: list[NDArray[Any]] = []
    for family in FAMILIES:
        prefix = StreamFamily(
            family, identity.manifest_fingerprint, identity.parameter_hash, identity.seed, origin.scenario_id
        ).prefix()
        pairs = np.array([entity_stream(prefix, text) for text in domains], np.uint64).reshape(-1, 2)
        columns += [np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])]
    return columns
