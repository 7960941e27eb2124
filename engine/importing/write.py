"""Write an imported world's datasets into a staging directory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from arrival_engine.contracts.arrow_columns import coded, constant
from arrival_engine.engine.importing.contents import Contents
from arrival_engine.engine.importing.demand import local_demand
from arrival_engine.engine.importing.derived import (
    DailyGroups,
    daily_groups,
    edges_of_merchants,
    shares,
    virtual_labels,
)
from arrival_engine.engine.importing.identity import IMPORT_VERSION
from arrival_engine.engine.importing.places import places_of
from arrival_engine.engine.importing.policies import Policies
from arrival_engine.engine.importing.values import MICROS
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.tz.pinned import LAST_YEAR, pinned_zones
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
    write_classification,
    write_edges,
    write_settlement,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        _write_names(contents, shelf)
    with reporter.phase("counts"):
        _write_counts(contents, shelf)
        write_scenarios((instant_text(edges[0]), instant_text(edges[-1])), shelf, "baseline")
        write_demand(*local_demand(contents), shelf)
    with reporter.phase("bundles and report"):
        write_bundles(shelf)
        for policy_id, data in target.policies.items():
            shelf.binary(policy_id, data)
        return write_report(shelf.root, target, {"import_version": IMPORT_VERSION}, statistics, {})


def _write_sites(contents: Contents, policies: Policies, shelf: Shelf) -> None:
    sites = contents.sites
    columns = SiteColumns(sites.merchant, sites.country, sites.countries, sites.order, sites.zone, contents.tzids)
    write_site_timezones(columns, shelf, "override")
    write_site_weights(columns, shares(sites.merchant, sites.weight), shelf, policies.site_weights)


def _write_group_weights(contents: Contents, shelf: Shelf) -> None:
    pieces = (_group_weights(groups, contents, shelf) for groups in daily_groups(contents))
    first, second = next(pieces), next(pieces, None)
    if second is None:
        shelf.table("s4_group_weights", first)
    else:
        shelf.tables("s4_group_weights", chain([first, second], pieces))


def _group_weights(groups: DailyGroups, contents: Contents, shelf: Shelf) -> Mapping[str, pa.Array]:
    rows = len(groups.merchant)
    days, day = np.unique(groups.day, return_inverse=True)
    return {
        "merchant_id": pa.array(groups.merchant),
        "utc_day": coded(day, days.astype("datetime64[D]").astype(str).tolist()),
        "tz_group_id": coded(groups.zone, contents.tzids),
        "p_group": pa.array(groups.share),
        "base_share": pa.array(groups.share),
        "gamma": pa.array(np.ones(rows)),
        **shelf.common(rows, "created_utc"),
        "mass_raw": absent(rows, pa.float64()),
        "denom_raw": absent(rows, pa.float64()),
    }


def _write_virtual(contents: Contents, shelf: Shelf) -> None:
    labels = virtual_labels()
    merchants, places = contents.merchants, places_of(contents.tzids)
    write_classification(merchants.merchant, merchants.mode, shelf, labels)
    settled = merchants.settlement >= 0
    write_settlement(merchants.merchant[settled], merchants.settlement[settled], places, shelf, labels)
    write_edges(edges_of_merchants(contents), shelf, labels)


def _write_names(contents: Contents, shelf: Shelf) -> None:
    """Write `merchant_names_5B`, which a world whose merchant ids are numbers does not have."""
    names = contents.merchant_names
    if names is not None:
        common = shelf.common(len(names.ids), "manifest_fingerprint")
        shelf.table("merchant_names_5B", {**common, "merchant_id": pa.array(names.ids), "merchant": names.texts})


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
