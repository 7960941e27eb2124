"""A world in memory from an import's contents: what sealing and loading the imported world would give."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from arrival_engine.config.policies import checked_policy
from arrival_engine.cpu_fallback.identifiers import site_id
from arrival_engine.engine.alias_blobs.decode import decode_3b
from arrival_engine.engine.importing.contents import Contents, Ids, Ints, runs
from arrival_engine.engine.importing.derived import daily_groups, edges_of_merchants, shares, virtual_labels
from arrival_engine.engine.importing.prepare import Prepared
from arrival_engine.engine.importing.routes import mode_of
from arrival_engine.engine.importing.values import MICROS
from arrival_engine.engine.readable.facts import KnownFacts
from arrival_engine.engine.readable.places import places_of_members
from arrival_engine.engine.rundir.settings import POLICY_IDS, Settings, settings_from
from arrival_engine.engine.tz.pinned import FIRST_YEAR, pinned_zones
from arrival_engine.engine.tz.zones import ZoneTable
from arrival_engine.engine.world.catalogue import Uncoded, catalogued
from arrival_engine.engine.world.counts import CountRows, DrawnRows, merge_drawn
from arrival_engine.engine.world.grid import grid_of
from arrival_engine.engine.world.groups import NO_GROUP_WEIGHTS, GroupWeights
from arrival_engine.engine.world.join import MerchantFacts, Origin
from arrival_engine.engine.world.load import World, world_in_memory
from arrival_engine.engine.world.sites import SiteList
from arrival_engine.engine.world.virtual import EdgeList, VirtualMerchants, edge_list
from arrival_engine.engine.world_files.shelf import SPEC_VERSION, MemoryShelf
from arrival_engine.engine.world_files.virtual import universe_hash, write_edge_tables


def world_of(prepared: Prepared) -> World:
    """The world of one scenario, with the arrivals and the identity that it has on disk. Raises ArrivalError."""
    contents = prepared.contents
    settings = _settings(prepared)
    grid = grid_of(contents.grid_us[:-1], np.diff(contents.grid_us))
    counts = _counts(contents, settings.max_count)
    merchant_ids = counts.catalogue.merchant_ids
    shelf = MemoryShelf(prepared.identity, prepared.scenario_id)
    digests = write_edge_tables(edges_of_merchants(contents), shelf, virtual_labels())
    virtual = _virtual_merchants(contents, merchant_ids)
    facts = MerchantFacts(
        sites=_sites(contents, merchant_ids),
        weights=_group_weights(contents, merchant_ids) if settings.use_group_weights else NO_GROUP_WEIGHTS,
        virtual=virtual,
        edges=_edges(shelf, merchant_ids, virtual),
        cache=_zones(contents),
        names=contents.merchant_names,
    )
    origin = Origin(
        identity=prepared.identity,
        spec_version=SPEC_VERSION,
        seal_digest=None,
        scenario_id=prepared.scenario_id,
        settings=settings,
        universe_hash=universe_hash(digests),
    )
    return world_in_memory(origin, grid, counts, facts)


def facts_of(contents: Contents) -> KnownFacts:
    """What columns for people need of the contents."""
    return KnownFacts(places_of_members(contents.sites, contents.edges), contents.merchant_names)


def _settings(prepared: Prepared) -> Settings:
    policies = prepared.policies.by_id
    return settings_from(
        {policy_id: checked_policy(policy_id, policies[policy_id], policy_id) for policy_id in POLICY_IDS}
    )


def _zones(contents: Contents) -> ZoneTable:
    """The steps of all zones over the years of the grid."""
    first, last = (int(at) // MICROS for at in (contents.grid_us[0], contents.grid_us[-1] - 1))
    from_year = datetime.fromtimestamp(first, UTC).year if first >= 0 else FIRST_YEAR
    return pinned_zones(contents.tzids, datetime.fromtimestamp(last, UTC).year, from_year)


def _counts(contents: Contents, max_count: int) -> CountRows:
    counts = contents.counts
    first = runs(counts.merchant, counts.zone, counts.channel)
    catalogue, code = catalogued(
        Uncoded(counts.merchant[first], counts.zone[first], contents.tzids, counts.channel[first], counts.channels)
    )
    rows = len(counts.arrivals)
    drawn = DrawnRows(
        catalogue=catalogue,
        entity=np.repeat(code, np.diff(np.append(first, rows))),
        bucket=counts.bucket.astype(np.int32),
        arrivals=counts.arrivals.astype(np.int32),
        input_rows=rows,
    )
    return merge_drawn([drawn], len(contents.grid_us) - 1, max_count)


def _positions(merchant_ids: Ids, owner: Ids) -> tuple[NDArray[np.bool_], Ints]:
    """Which owners are among the ascending ids, and the position of each that is."""
    at = np.minimum(np.searchsorted(merchant_ids, owner), merchant_ids.size - 1)
    kept = merchant_ids[at] == owner
    return kept, at[kept].astype(np.int64)


def _texts(contents: Contents, zone: Ints) -> NDArray[np.object_]:
    texts: NDArray[np.object_] = np.array(contents.tzids, dtype=object)[zone]
    return texts


def _sites(contents: Contents, merchant_ids: Ids) -> SiteList:
    sites = contents.sites
    kept, merchant = _positions(merchant_ids, sites.merchant)
    keys = zip(sites.merchant[kept].tolist(), sites.country[kept].tolist(), sites.order[kept].tolist(), strict=True)
    return SiteList(
        merchant=merchant,
        tzids=_texts(contents, sites.zone[kept]),
        ids=np.array([site_id(owner, sites.countries[country], order) for owner, country, order in keys], np.uint64),
        weights=shares(sites.merchant, sites.weight)[kept],
    )


def _group_weights(contents: Contents, merchant_ids: Ids) -> GroupWeights:
    pieces = []
    for groups in daily_groups(contents):
        kept, merchant = _positions(merchant_ids, groups.merchant)
        pieces.append((merchant, groups.day[kept], _texts(contents, groups.zone[kept]), groups.share[kept]))
    return GroupWeights(*map(np.concatenate, zip(*pieces, strict=True)))


def _virtual_merchants(contents: Contents, merchant_ids: Ids) -> VirtualMerchants:
    merchants = contents.merchants
    settled = merchants.settlement >= 0
    kept, merchant = _positions(merchant_ids, merchants.merchant[settled])
    settlement = np.full(merchant_ids.size, None, dtype=object)
    settlement[merchant] = _texts(contents, merchants.settlement[settled][kept])
    return VirtualMerchants(mode_of(merchants, merchant_ids).astype(np.int8), settlement)


def _edges(shelf: MemoryShelf, merchant_ids: Ids, virtual: VirtualMerchants) -> EdgeList:
    """The alias tables as the blob has them: its thresholds are rounded."""
    slices = decode_3b(shelf.data["edge_alias_blob_3B"], shelf.checked["edge_alias_index_3B"], "edges")
    return edge_list(slices, shelf.checked["edge_catalogue_3B"], merchant_ids, virtual.mode)
