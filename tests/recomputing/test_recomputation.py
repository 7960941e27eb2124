"""Every recomputed arrival and count, against the reference, on the small world, drawn worlds and worlds of ties."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings

from arrival_engine.engine.recomputing.kernel_shapes import STRANDED
from arrival_engine.engine.recomputing.recount import Recomputation
from arrival_engine.engine.recomputing.tables import build
from tests.support import reference
from tests.support.model import (
    HYBRID,
    MISSING_EDGE_TABLE,
    MISSING_GROUP_TABLE,
    MODES,
    NO_SITE_IN_ZONE,
    NON_VIRTUAL,
    CountRow,
    Entity,
    GroupWeight,
    Policy,
    Site,
)
from tests.support.recomputed import fallbacks_by_count_row, inputs_of, stored_rows
from tests.support.strategies import worlds
from tests.support.worlds import BERLIN, NEW_YORK, PARIS, ZERO_WEIGHTS, edge_table, small_world

GUARDRAIL = 50_000
LARGEST_ID = 2**64 - 1


def recomputation_of(world):
    return Recomputation(build(inputs_of(world)), bins=10)


def shown(row):
    """A row of the reference in the form of `Recomputation.arrival`."""
    return {
        "bucket_index": row.bucket_index,
        "zone_representation": row.zone_representation,
        "channel_group": row.channel_group or None,
        "ts_us": row.ts_utc,
        "is_virtual": row.is_virtual,
        "place": row.edge_id if row.is_virtual else row.site_id,
        "tzid_primary": row.tzid_primary,
    }


def keys_of_count_rows(tables):
    """Entity and bucket of each count row."""
    rows, entities = tables.law.rows, tables.law.entities
    owner = np.repeat(rows.merchant, np.diff(rows.start))
    for merchant, entity, bucket in zip(owner.tolist(), rows.entity.tolist(), rows.bucket.tolist(), strict=True):
        zone, channel = tables.tzids[entities.zone[entity]], tables.channels[entities.channel[entity]]
        yield Entity(int(tables.law.merchants.id[merchant]), zone, channel), bucket


def check_arrivals(world, expansion):
    """Every arrival by its key, and none beside them."""
    recomputation = recomputation_of(world)
    assert recomputation.tables.arrivals == len(expansion.rows)
    for row in expansion.rows:
        assert recomputation.arrival(row.merchant_id, row.arrival_seq) == shown(row)
    for merchant, size in Counter(row.merchant_id for row in expansion.rows).items():
        assert recomputation.arrival(merchant, 0) is None
        assert recomputation.arrival(merchant, size + 1) is None
    assert recomputation.arrival(4242424242, 1) is None


def check_segments(world, expansion):
    """The same in bulk: segments one after another are the rows in order."""
    recomputation = recomputation_of(world)
    drawn = [recomputation.segment(number) for number in range(recomputation.tables.law.rows.merchant.size)]
    found = [
        row
        for part in drawn
        for row in zip(part.ts_us.tolist(), part.place.tolist(), part.is_virtual.tolist(), strict=True)
    ]
    wanted = [(row.ts_utc, row.edge_id if row.is_virtual else row.site_id, row.is_virtual) for row in expansion.rows]
    assert found == wanted


def check_recount(world, expansion):
    """Virtual arrivals and fallbacks by count row; arrivals by slot of the group tables."""
    recomputation = recomputation_of(world)
    tables, recount = recomputation.tables, recomputation.recount
    assert recomputation.finish() == len(expansion.rows)
    assert recount.seen.all()
    fallbacks = fallbacks_by_count_row(world)
    virtual = {(use.entity, use.bucket): use.virtual for use in expansion.count_rows}
    kinds = dict(zip(tables.law.merchants.id.tolist(), tables.law.merchants.kind.tolist(), strict=True))
    keys = list(keys_of_count_rows(tables))
    assert set(keys) == virtual.keys()
    for row, key in enumerate(keys):
        arrivals = int(tables.law.rows.arrivals[row])
        assert recount.virtual[row] == virtual[key]
        assert recount.homeless[row] == fallbacks[key][NO_SITE_IN_ZONE]
        stranded = kinds[key[0].merchant_id] == STRANDED
        assert fallbacks[key][MISSING_EDGE_TABLE] == (arrivals if stranded else 0)


def check_tally(world, expansion):
    """The tallies of a pass that compares all rows, all of which are the law's."""
    recomputation = recomputation_of(world)
    tables = recomputation.tables
    found = recomputation.begin().compare(stored_rows(expansion.rows, tables))
    assert found.tolist() == []
    assert recomputation.finish() == 0
    tally, law = recomputation.tally(), tables.law
    for places, counts, virtual in ((law.sites, tally.site, False), (law.edges, tally.edge, True)):
        wanted = Counter(row.edge_id or row.site_id for row in expansion.rows if row.is_virtual == virtual)
        assert {key: n for key, n in zip(places.id.tolist(), counts.tolist(), strict=True) if n} == wanted
    days: Counter[tuple[str, int]] = Counter()
    bins = [0] * 10
    ends = [0, 0]
    for row in expansion.rows:
        start, end = world.grid[row.bucket_index]
        days[row.tzid_primary, start // 86_400_000_000] += 1
        bins[(row.ts_utc - start) * 10 // (end - start)] += 1
        ends[0] += row.ts_utc == start
        ends[1] += row.ts_utc == end - 1
    zone, day = np.nonzero(tally.zone_day)
    counts = tally.zone_day[zone, day].tolist()
    keys = [(tables.tzids[z], int(d) + tables.first_day) for z, d in zip(zone, day, strict=True)]
    assert dict(zip(keys, counts, strict=True)) == days
    assert tally.bins.tolist() == bins
    assert tally.ends.tolist() == ends
    physical = sum(not row.is_virtual for row in expansion.rows)
    without = expansion.fallbacks[MISSING_GROUP_TABLE]
    assert tally.group.sum() == (physical - without if world.policy.use_group_weights else 0)


CHECKS = (check_arrivals, check_segments, check_recount, check_tally)


@pytest.mark.parametrize("check", CHECKS[1:])
def test_the_small_world(check):
    world = small_world()
    check(world, reference.expand(world))


@given(worlds())
@settings(max_examples=60)
def test_drawn_worlds(world):
    expansion = reference.expand(world)
    if expansion.rows:
        for check in CHECKS:
            check(world, expansion)


# --- Ties -------------------------------------------------------------------------------------------


def tied_world(modes=MODES, n=60):
    """Buckets of a few microseconds, so that most draws share theirs with others; ids on both sides of 2^63."""
    merchants = dict(zip((5, 2**63, LARGEST_ID), modes, strict=True))
    grid = ((0, 1), (1, 3), (3, 10), (10, 11))
    channels = (None, "card_present", "Card")
    return small_world(
        grid=grid,
        counts=tuple(
            CountRow(merchant, zone, channel, bucket, n)
            for merchant in merchants
            for zone in (NEW_YORK, BERLIN)
            for channel in channels
            for bucket in range(len(grid))
        ),
        sites=tuple(
            Site(merchant, "DE", number, zone, 0.25)
            for merchant in merchants
            for number, zone in ((1, BERLIN), (2, NEW_YORK), (3, PARIS), (4, BERLIN))
        ),
        group_weights=tuple(
            GroupWeight(merchant, "1970-01-01", zone, 0.5) for merchant in merchants for zone in (BERLIN, PARIS)
        ),
        modes=merchants,
        settlement={},
        edges={merchant: edge_table(merchant, [0.2, 0.5, 0.3], [BERLIN, PARIS]) for merchant in merchants},
    )


def test_ties_stand_in_the_order_of_zone_channel_and_draw():
    world = tied_world()
    expansion = reference.expand(world)
    times = Counter((row.merchant_id, row.ts_utc) for row in expansion.rows)
    # The worst microsecond holds a whole segment, the best still a crowd.
    assert max(times.values()) == 360
    assert min(times.values()) > 20
    for check in CHECKS[1:]:
        check(world, expansion)


def test_arrivals_by_key_among_ties():
    world = tied_world(n=3)
    check_arrivals(world, reference.expand(world))


@pytest.mark.parametrize("duration_us", [1, 2, 1_000_000, 86_400_000_000])
def test_a_count_row_at_the_guardrail(duration_us):
    """As many arrivals as a policy allows in one count row, with ties in short buckets and none in long ones."""
    counts = (CountRow(ZERO_WEIGHTS, PARIS, None, 0, GUARDRAIL),)
    site = Site(ZERO_WEIGHTS, "FR", 1, PARIS, 1.0)
    world = small_world(grid=((0, duration_us),), counts=counts, sites=(site,), group_weights=(), edges={})
    world = dataclasses.replace(world, modes={ZERO_WEIGHTS: NON_VIRTUAL})
    recomputation = recomputation_of(world)
    drawn = recomputation.segment(0)
    stream = reference._Expander(world).stream(Entity(ZERO_WEIGHTS, PARIS, ""), "S4.arrival_time_jitter.v2")
    wanted = sorted((stream.block(0, j)[0] * duration_us + duration_us // 2) >> 64 for j in range(GUARDRAIL))
    assert drawn.ts_us.tolist() == wanted
    assert not drawn.is_virtual.any()
    assert recomputation.recount.homeless.tolist() == [0]


# --- Groups and fallbacks ---------------------------------------------------------------------------


def test_group_weights_can_be_switched_off():
    world = small_world(policy=Policy(use_group_weights=False))
    expansion = reference.expand(world)
    for check in CHECKS[1:]:
        check(world, expansion)
    assert recomputation_of(world).tables.law.group_day.max() < 0


def test_days_of_groups_in_gaps_and_outside_the_horizon():
    """Tables for the first and the third day of four, and for days that no bucket is on."""
    day = 86_400_000_000
    grid = tuple((n * day, (n + 1) * day) for n in range(4))
    merchants = (7, 2**63 + 1)
    days = ("1969-12-31", "1970-01-01", "1970-01-03", "1970-01-09")
    world = small_world(
        grid=grid,
        counts=tuple(CountRow(merchant, BERLIN, "c", bucket, 40) for merchant in merchants for bucket in range(4)),
        sites=tuple(Site(m, "DE", n, zone, 1.0) for m in merchants for n, zone in enumerate((BERLIN, PARIS), 1)),
        group_weights=tuple(GroupWeight(merchants[1], utc_day, PARIS, 0.5) for utc_day in days),
        modes={merchants[0]: NON_VIRTUAL, merchants[1]: HYBRID},
        settlement={},
        edges={},
    )
    expansion = reference.expand(world)
    assert expansion.fallbacks[MISSING_GROUP_TABLE] == 40 * 4 + 40 * 2
    zones = defaultdict(set)
    for row in expansion.rows:
        zones[row.merchant_id, row.bucket_index].add(row.tzid_primary)
    assert [zones[merchants[1], bucket] for bucket in range(4)] == [{PARIS}, {BERLIN}, {PARIS}, {BERLIN}]
    for check in CHECKS:
        check(world, expansion)
