"""Write an imported world's datasets into a staging directory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrival_engine.contracts.arrow_columns import coded, constant
from arrival_engine.engine.importing.contents import Contents, Floats, Ids, Ints, ordered_sums, runs
from arrival_engine.engine.importing.demand import local_demand
from arrival_engine.engine.importing.identity import IMPORT_VERSION
from arrival_engine.engine.importing.places import places_of
from arrival_engine.engine.importing.policies import Policies
from arrival_engine.engine.importing.values import MICROS
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.tz.pinned import LAST_YEAR, pinned_zones, release
from arrival_engine.engine.world_files.bundles import write_bundles
from arrival_engine.engine.world_files.demand import write_demand, write_scenarios
from arrival_engine.engine.world_files.grid import instant_text, write_time_grid
from arrival_engine.engine.world_files.publish import Target, WorldReport, write_report
from arrival_engine.engine.world_files.shelf import SPEC_VERSION, Shelf, absent
from arrival_engine.engine.world_files.sites import (
    SiteColumns,
    write_site_timezones,
    write_site_weights,
    write_zone_cache,
)
from arrival_engine.engine.world_files.virtual import (
    Edge,
    Labels,
    MerchantEdges,
    write_classification,
    write_edges,
    write_settlement,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US_PER_DAY = 86_400 * MICROS


def write_world(
    shelf: Shelf,
    contents: Contents,
    policies: Policies,
    target: Target,
    statistics: Mapping[str, Any],
    reporter: Reporter,
) -> WorldReport:
    """Write every dataset, policy and bundle of the world, and its report."""
    with reporter.phase("time zones"):
        edges = [_EPOCH + timedelta(microseconds=at) for at in contents.grid_us.tolist()]
        write_zone_cache(pinned_zones(contents.tzids, max(LAST_YEAR, edges[-1].year)), shelf)
        write_time_grid(edges, shelf, policies.weekend_days, "baseline")
    with reporter.phase("sites and routing"):
        _write_sites(contents, policies, shelf)
        _write_group_weights(contents, shelf)
        _write_virtual(contents, shelf)
    with reporter.phase("counts"):
        _write_counts(contents, shelf)
        write_scenarios((instant_text(edges[0]), instant_text(edges[-1])), shelf, "baseline")
        write_demand(*local_demand(contents), shelf)
    with reporter.phase("bundles and report"):
        write_bundles(shelf)
        for policy_id, data in target.policies.items():
            shelf.binary(policy_id, data)
        return write_report(shelf.root, target, {"import_version": IMPORT_VERSION}, statistics, {})


def shares(merchant: npt.NDArray[Any], weight: Floats) -> Floats:
    """Weights of sorted owners, divided by each owner's left-to-right sum."""
    first = runs(merchant)
    totals = np.repeat(ordered_sums(first, weight), np.diff(np.append(first, len(merchant))))
    return np.asarray(weight / totals)


def _write_sites(contents: Contents, policies: Policies, shelf: Shelf) -> None:
    sites = contents.sites
    columns = SiteColumns(sites.merchant, sites.country, sites.countries, sites.order, sites.zone, contents.tzids)
    write_site_timezones(columns, shelf, "override")
    write_site_weights(columns, shares(sites.merchant, sites.weight), shelf, policies.site_weights)


def _constant_groups(contents: Contents) -> tuple[Ids, Ints, Floats]:
    """Merchant, zone and share of every group: as given, else by the merchant's site weights per zone."""
    sites, given = contents.sites, contents.group_weights
    silent = ~np.isin(sites.merchant, given.merchant)
    order = np.lexsort((sites.zone[silent], sites.merchant[silent]))
    merchant, zone = sites.merchant[silent][order], sites.zone[silent][order]
    first = runs(merchant, zone)
    summed = ordered_sums(first, sites.weight[silent][order])
    every = (
        np.concatenate([merchant[first], given.merchant]),
        np.concatenate([zone[first], given.zone]),
        np.concatenate([summed, given.weight]),
    )
    order = np.lexsort((every[1], every[0]))
    return every[0][order], every[1][order], shares(every[0][order], every[2][order])


def _write_group_weights(contents: Contents, shelf: Shelf) -> None:
    """Write `s4_group_weights`, with the same weights on every UTC day on which a bucket starts."""
    merchant, zone, share = _constant_groups(contents)
    days = np.unique(contents.grid_us[:-1] // _US_PER_DAY)
    names = [(_EPOCH + timedelta(days=day)).date().isoformat() for day in days.tolist()]
    # By merchant, day and zone: each merchant's groups once per day.
    first = runs(merchant)
    sizes = np.diff(np.append(first, len(merchant)))
    row = np.concatenate(
        [
            np.empty(0, np.int64),
            *(np.tile(np.arange(at, at + n), len(days)) for at, n in zip(first, sizes, strict=True)),
        ]
    )
    day = np.concatenate([np.empty(0, np.int64), *(np.repeat(np.arange(len(days)), n) for n in sizes)])
    rows = len(row)
    shelf.table(
        "s4_group_weights",
        {
            "merchant_id": pa.array(merchant[row]),
            "utc_day": coded(day, names),
            "tz_group_id": coded(zone[row], contents.tzids),
            "p_group": pa.array(share[row]),
            "base_share": pa.array(share[row]),
            "gamma": pa.array(np.ones(rows)),
            **shelf.common(rows, "created_utc"),
            "mass_raw": absent(rows, pa.float64()),
            "denom_raw": absent(rows, pa.float64()),
        },
    )


def _write_virtual(contents: Contents, shelf: Shelf) -> None:
    labels = Labels(
        generator=f"arrival-engine.import|{IMPORT_VERSION}",
        rule_id="imported",
        rules=("virtual_merchants", "1.0.0"),
        coordinates=("tzdata_zone_tab", release()),
        edge_weights=("edges", "1.0.0"),
    )
    merchants, places = contents.merchants, places_of(contents.tzids)
    write_classification(merchants.merchant, merchants.mode, shelf, labels)
    settled = merchants.settlement >= 0
    write_settlement(merchants.merchant[settled], merchants.settlement[settled], places, shelf, labels)
    edges = contents.edges
    weight = shares(edges.merchant, edges.weight).tolist()
    first = runs(edges.merchant).tolist()
    owners = []
    for start, end in zip(first, [*first[1:], len(weight)], strict=False):
        members = [
            Edge(
                seq=int(edges.order[row]) - 1,
                country=edges.countries[edges.country[row]],
                tzid=contents.tzids[edges.zone[row]],
                lat=float(places.lat[edges.zone[row]]) / 1e6,
                lon=float(places.lon[edges.zone[row]]) / 1e6,
                weight=weight[row],
            )
            for row in range(start, end)
        ]
        owners.append(MerchantEdges(int(edges.merchant[start]), members))
    write_edges(owners, shelf, labels)


def _write_counts(contents: Contents, shelf: Shelf) -> None:
    counts = contents.counts
    rows = len(counts.arrivals)
    seconds = np.diff(contents.grid_us) // MICROS
    channels = [text or None for text in counts.channels]
    shelf.table(
        "s3_bucket_counts_5B",
        {
            **shelf.common(rows, "manifest_fingerprint", "parameter_hash", "seed", "scenario_id"),
            "merchant_id": pa.array(counts.merchant),
            "zone_representation": coded(counts.zone, contents.tzids),
            "channel_group": pa.array(channels, pa.string()).take(pa.array(counts.channel)),
            "bucket_index": pa.array(counts.bucket),
            "count_N": pa.array(counts.arrivals),
            "bucket_duration_seconds": pa.array(seconds[counts.bucket]),
            "s3_spec_version": constant(SPEC_VERSION, rows),
        },
    )
