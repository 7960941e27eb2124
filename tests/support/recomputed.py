"""What the tests of the recomputation share: its inputs from a world in memory, and stored rows from the reference."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np

from arrival_engine.contracts.identity import Identity
from arrival_engine.engine.recomputing.kernel_shapes import Stored
from arrival_engine.engine.recomputing.tables import CountRows, EdgeRows, GroupRows, Inputs, SiteRows
from tests.support import reference
from tests.support.law import EPOCH, site_id


def inputs_of(world):
    """A world of the reference as the recomputation takes it."""
    counted = {key: n for key, n in reference.merge_counts(world).items() if n}
    entities = sorted({entity for entity, _ in counted}, key=lambda entity: entity.order)
    merchants = {entity.merchant_id for entity in entities}
    return Inputs(
        identity=Identity(
            manifest_fingerprint=world.manifest_fingerprint,
            parameter_hash=world.parameter_hash,
            seed=world.seed,
            run_id=world.run_id,
        ),
        scenario_id=world.scenario_id,
        p_virtual_hybrid=Fraction(world.policy.p_virtual_hybrid),
        use_group_weights=world.policy.use_group_weights,
        bounds_us=np.array(world.grid, np.int64),
        counts=_counts(counted, entities),
        modes={merchant: mode for merchant, mode in world.modes.items() if merchant in merchants},
        sites=_sites(world, merchants),
        groups=_groups(world, merchants),
        edges=_edges(world, merchants),
    )


def _counts(counted, entities):
    number = {entity: at for at, entity in enumerate(entities)}
    rows = sorted((entity.merchant_id, bucket, number[entity], n) for (entity, bucket), n in counted.items())
    return CountRows(
        np.array([entity.merchant_id for entity in entities], np.uint64),
        [entity.zone for entity in entities],
        [entity.channel for entity in entities],
        entity=np.array([entity for _, _, entity, _ in rows], np.int32),
        bucket=np.array([bucket for _, bucket, _, _ in rows], np.int32),
        arrivals=np.array([n for *_, n in rows], np.int32),
    )


def _sites(world, merchants):
    sites = sorted(
        (site for site in world.sites if site.merchant_id in merchants),
        key=lambda site: (site.merchant_id, site.country.encode(), site.site_order),
    )
    return SiteRows(
        np.array([site.merchant_id for site in sites], np.uint64),
        np.array([site_id(site.merchant_id, site.country, site.site_order) for site in sites], np.uint64),
        np.array([site.weight for site in sites], np.float64),
        [site.tzid for site in sites],
    )


def _groups(world, merchants):
    groups = sorted(
        (group for group in world.group_weights if group.merchant_id in merchants),
        key=lambda group: (group.merchant_id, group.utc_day, group.tzid.encode()),
    )
    return GroupRows(
        np.array([group.merchant_id for group in groups], np.uint64),
        np.array([(dt.date.fromisoformat(group.utc_day) - EPOCH).days for group in groups], np.int32),
        [group.tzid for group in groups],
        np.array([group.weight for group in groups], np.float64),
    )


def _edges(world, merchants):
    owners = sorted(merchants & world.edges.keys())
    edges = [(owner, edge) for owner in owners for edge in world.edges[owner].edges]
    blob, slices = b"", {}
    for owner in owners:
        table = world.edges[owner]
        words = [len(table.edges), table.prob_qbits, 0, 0]
        words += [word for edge in table.edges for word in (edge.prob_q, edge.alias)]
        slices[owner] = (len(blob), 4 * len(words))
        blob += np.array(words, "<u4").tobytes()
    return EdgeRows(
        np.array([owner for owner, _ in edges], np.uint64),
        np.array([int(edge.edge_id, 16) for _, edge in edges], np.uint64),
        [edge.tzid for _, edge in edges],
        slices,
        blob,
    )


def stored_rows(rows, tables):
    """Rows of the reference as the comparison takes them."""
    zone = {tzid: code for code, tzid in enumerate(tables.tzids)}
    channel = {text: code for code, text in enumerate(tables.channels)}
    return Stored(
        merchant=np.array([row.merchant_id for row in rows], np.uint64),
        bucket=np.array([row.bucket_index for row in rows], np.uint64),
        seq=np.array([row.arrival_seq for row in rows], np.int64),
        ts_us=np.array([row.ts_utc for row in rows], np.int64),
        is_virtual=np.array([row.is_virtual for row in rows], np.bool_),
        place=np.array([row.edge_id if row.is_virtual else row.site_id for row in rows], np.uint64),
        zone=np.array([zone[row.zone_representation] for row in rows], np.int32),
        channel=np.array([channel[row.channel_group] for row in rows], np.int32),
        primary=np.array([zone[row.tzid_primary] for row in rows], np.int32),
    )


def chosen(stored, rows):
    """The rows of these numbers, in this order."""
    return Stored(*(column[rows] for column in stored))


def fallbacks_by_count_row(world):
    """By (entity, bucket): how many of its arrivals took each fallback."""
    expander = reference._Expander(world)
    found = defaultdict(Counter)
    for arrival, _ in reference._ordered(expander)[0]:
        found[arrival.entity, arrival.bucket].update(arrival.route.fallbacks)
    return found
