"""A scenario of a run directory, read and checked, as the tables that both backends expand."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.cpu_fallback import alias
from arrival_engine.cpu_fallback.identifiers import text_word
from arrival_engine.cpu_fallback.law import NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.cpu_fallback.streams import FAMILIES, StreamFamily, domain, entity_stream
from arrival_engine.cpu_fallback.tables import Entities, Grid, Merchants, Rows, Tables, owned
from arrival_engine.engine.alias_blobs.inputs import site_slices
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.settings import Settings, load_settings
from arrival_engine.engine.sealing import Seal, verify_seal
from arrival_engine.engine.tz.zones import ZoneTable
from arrival_engine.engine.world.catalogue import Catalogue, united
from arrival_engine.engine.world.counts import CountRows, merge_rows, read_counts
from arrival_engine.engine.world.grid import load_grid
from arrival_engine.engine.world.groups import GroupWeights, build_group_tables, load_group_weights
from arrival_engine.engine.world.sites import SiteList, SiteTables, build_site_tables, load_sites
from arrival_engine.engine.world.virtual import (
    EdgeList,
    VirtualMerchants,
    build_edges,
    load_edges,
    load_virtual_merchants,
    verified_universe_hash,
)
from arrival_engine.engine.world.zones import (
    ZoneUse,
    check_against_tzdata,
    cut_zones,
    load_zone_table,
    refuse_unknown_zones,
)


@dataclass(frozen=True)
class World:
    """One scenario, ready to plan: count rows in law order, lookup tables, and the texts behind their codes.

    rows: count rows with N > 0 (R of them). tzids, channels: texts of zone and channel codes, in byte order; the null
    channel is "". universe_hash: 3B's, verified. input_rows, zero_rows, merged_rows: numbers of count rows read,
    dropped and merged.
    """

    receipt: Receipt
    seal: Seal
    scenario_id: str
    settings: Settings
    universe_hash: str
    tzids: tuple[str, ...]
    channels: tuple[str, ...]
    tables: Tables
    rows: Rows
    input_rows: int
    zero_rows: int
    merged_rows: int
    notices: tuple[Notice, ...]

    @property
    def arrivals(self) -> int:
        """Exact number of arrivals."""
        return int(self.rows.arrivals.sum(dtype=np.int64))


def scenario_ids(receipt: Receipt) -> tuple[str, ...]:
    """Scenarios that have counts for the run's seed and fingerprint, in byte order."""
    return tuple(receipt.partitions("s3_bucket_counts_5B"))


def load_world(
    run_root: Path | str,
    scenario_id: str | None = None,
    *,
    seal: Seal | None = None,
    strict: bool = False,
    accept_tz_cache: bool = False,
    threads: int | None = None,
    merchant_ids: Collection[int] | None = None,
) -> World:
    """Read one scenario of a run directory, or only the given merchants; their arrivals are the same either way.

    `scenario_id` may be omitted if the run has one scenario. `strict` makes every fallback an error;
    `accept_tz_cache` turns a disagreement of the tz cache with tzdata into a notice. Every sealed input is hashed and
    compared first, unless the caller passes the verified `seal`. Raises ArrivalError with the code of the missing or
    invalid input.
    """
    receipt = read_receipt(Path(run_root))
    seal = seal or verify_seal(receipt)
    with ThreadPoolExecutor(2, thread_name_prefix="aside") as aside:
        # numba takes a third of a second to load the first kernel of a process; other threads read meanwhile.
        loading = aside.submit(alias.load_kernel)
        source = read_source(receipt, scenario_id, seal=seal, strict=strict)
        grid = source.grid()
        buckets, max_count = grid.start_us.size, source.settings.max_count
        drawn = read_counts(
            source.receipt, source.scenario_id, buckets, max_count, threads or available_cores(), merchant_ids
        )
        # The other facts about merchants are read while the rows are sorted.
        whole = united([piece.catalogue for piece in drawn])
        facts = aside.submit(read_merchant_facts, source, grid, whole[0].merchant_ids)
        counts = merge_rows(whole, drawn, buckets, max_count)
        loading.result()
        return _joined(source, grid, counts, facts.result(), accept_tz_cache=accept_tz_cache)


def read_source(receipt: Receipt, scenario_id: str | None, *, seal: Seal, strict: bool) -> Source:
    """The source of a world, with its routing universe verified; options and errors as in `load_world`.

    Its receipt is bound to the seal.
    """
    receipt = seal.bind(receipt)
    scenario = _chosen_scenario(receipt, scenario_id)
    settings = load_settings(receipt)
    settings = settings.strict() if strict else settings
    universe_hash = verified_universe_hash(receipt)
    # The law draws sites from weights, not from the blob, but a blob that contradicts its index means damage to 2B.
    site_slices(receipt)
    return Source(receipt, seal, scenario, settings, universe_hash)


def _chosen_scenario(receipt: Receipt, scenario_id: str | None) -> str:
    known = scenario_ids(receipt)
    if scenario_id in known:
        return str(scenario_id)
    if scenario_id is None and len(known) == 1:
        return known[0]
    listed = ", ".join(known) or "none"
    problem = f"scenario {scenario_id!r} has no counts" if scenario_id else "the run has several scenarios"
    raise ArrivalError(
        Code.OPTION_INVALID if known else Code.S1_OR_S3_OUTPUT_MISSING,
        f"{problem if known else 'the run has no bucket counts'}; found: {listed}",
        hint="name one of the scenarios found, and check the seed and manifest_fingerprint of run_receipt.json",
        scenarios=list(known),
    )


@dataclass(frozen=True)
class Source:
    """The run and scenario of a world, and its settings."""

    receipt: Receipt
    seal: Seal
    scenario_id: str
    settings: Settings
    universe_hash: str

    def grid(self) -> Grid:
        """The scenario's time grid."""
        return load_grid(self.receipt, self.scenario_id, self.settings.max_bucket_seconds)


class MerchantFacts(NamedTuple):
    """Facts about merchants with arrivals from all inputs but the counts, and the tz cache."""

    sites: SiteList
    weights: GroupWeights
    virtual: VirtualMerchants
    edges: EdgeList
    cache: ZoneTable


def read_merchant_facts(source: Source, grid: Grid, merchant_ids: NDArray[np.uint64]) -> MerchantFacts:
    """Read and check everything but the counts; errors as in `load_world`."""
    receipt = source.receipt
    sites = load_sites(receipt, merchant_ids)
    weights = load_group_weights(receipt, merchant_ids, grid)
    virtual = load_virtual_merchants(receipt, merchant_ids)
    edges = load_edges(receipt, merchant_ids, virtual.mode)
    return MerchantFacts(sites, weights, virtual, edges, load_zone_table(receipt))


def assemble_world(source: Source, grid: Grid, counts: CountRows, *, accept_tz_cache: bool) -> World:
    """The world of these counts: lookup tables of their merchants, read and checked."""
    facts = read_merchant_facts(source, grid, counts.catalogue.merchant_ids)
    return _joined(source, grid, counts, facts, accept_tz_cache=accept_tz_cache)


def _joined(source: Source, grid: Grid, counts: CountRows, facts: MerchantFacts, *, accept_tz_cache: bool) -> World:
    sites, weights, virtual, edges, cache = facts
    receipt, catalogue = source.receipt, counts.catalogue
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
    _check_merchants(merchants, virtual, edges, source.settings)
    tables = Tables(
        grid=grid,
        entities=_entities(receipt, source.scenario_id, catalogue, zone_code, site_tables),
        merchants=merchants,
        groups=groups,
        sites=site_tables.tables,
        edges=build_edges(edges, tzids),
        zones=cut_zones(cache, tzids, grid),
        channel_text=np.array([text_word(text) for text in catalogue.channels], np.uint64),
    )
    return World(
        **vars(source),
        tzids=tzids,
        channels=catalogue.channels,
        tables=owned(tables),
        rows=owned(counts.rows),
        input_rows=counts.input_rows,
        zero_rows=counts.zero_rows,
        merged_rows=counts.merged_rows,
        notices=check_against_tzdata(cache, tzids, tables, counts.rows, source.settings, accept=accept_tz_cache),
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


def _check_merchants(merchants: Merchants, virtual: VirtualMerchants, edges: EdgeList, settings: Settings) -> None:
    """Refuse merchants whose arrivals are certain to fail, before the first arrival is drawn."""
    without_edges = np.diff(edges.start) == 0
    if settings.fallbacks.missing_edge_table:
        _refuse(
            merchants,
            (virtual.mode != NON_VIRTUAL) & without_edges,
            Code.EDGE_RESOLUTION_FAILED,
            "is virtual but has no edge table",
            "give it edges and an alias slice, or set fallbacks.missing_edge_table to physical",
        )
    may_be_physical = (virtual.mode != VIRTUAL_ONLY) | without_edges
    _refuse(
        merchants,
        may_be_physical & (merchants.site_table < 0),
        Code.SITE_RESOLUTION_FAILED,
        "can have physical arrivals but has no site with a positive weight",
        "add its sites to s1_site_weights and site_timezones; a site is never invented",
    )


def _refuse(merchants: Merchants, bad: NDArray[np.bool_], code: Code, problem: str, hint: str) -> None:
    if bad.any():
        merchant = int(merchants.id[int(np.argmax(bad))])
        raise ArrivalError(
            code,
            f"merchant {merchant} {problem} ({int(bad.sum())} such merchants)",
            hint=hint,
            merchant_id=merchant,
            merchants=int(bad.sum()),
        )


def _entities(
    receipt: Receipt, scenario_id: str, catalogue: Catalogue, zone_code: dict[str, int], sites: SiteTables
) -> Entities:
    zone = np.array([zone_code[tzid] for tzid in catalogue.zones], np.int64)[catalogue.zone]
    merchant = catalogue.merchant.astype(np.int64)
    streams = _streams(receipt, scenario_id, catalogue)
    return Entities(
        catalogue.merchant,
        zone.astype(np.int32),
        catalogue.channel,
        sites.of_pair(merchant, zone),
        *streams,
    )


def _streams(receipt: Receipt, scenario_id: str, catalogue: Catalogue) -> list[NDArray[np.uint64]]:
    """Key and hi0 of every entity for the time, site and edge families, in this order: six uint64[E]."""
    identity = receipt.identity
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
            family, identity.manifest_fingerprint, identity.parameter_hash, identity.seed, scenario_id
        ).prefix()
        pairs = np.array([entity_stream(prefix, text) for text in domains], np.uint64).reshape(-1, 2)
        columns += [np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])]
    return columns
