"""Worlds that the law gives no arrivals, and near misses that it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support import worlds
from tests.support.law import Fault, LawError
from tests.support.model import (
    MISSING_EDGE_TABLE,
    MISSING_GROUP_TABLE,
    NO_SITE_IN_ZONE,
    CountRow,
    GroupWeight,
    Policy,
    World,
)
from tests.support.reference import expand
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def world():
    return small_world()


def _with_count(world: World, **changes: Any) -> World:
    return replace(world, counts=(replace(world.counts[0], **changes), *world.counts[1:]))


REFUSALS = {
    "merchant of no known mode": (Fault.UNKNOWN_MODE, lambda w: _with_count(w, merchant_id=12)),
    "mode of another name": (Fault.UNKNOWN_MODE, lambda w: replace(w, modes={**w.modes, 101: "PHYSICAL"})),
    "count row in no known zone": (Fault.UNKNOWN_TZID, lambda w: _with_count(w, zone="Mars/Olympus")),
    "site in no known zone": (
        Fault.UNKNOWN_TZID,
        lambda w: replace(w, sites=(replace(w.sites[0], tzid="Mars/Olympus"), *w.sites[1:])),
    ),
    "settlement in no known zone": (
        Fault.UNKNOWN_TZID,
        lambda w: replace(w, settlement={**w.settlement, worlds.VIRTUAL: "Mars/Olympus"}),
    ),
    "edge in no known zone": (
        Fault.UNKNOWN_TZID,
        lambda w: replace(
            w, edges={**w.edges, worlds.VIRTUAL: worlds.edge_table(worlds.VIRTUAL, [1, 1], ["Mars/Olympus"])}
        ),
    ),
    "merchant without sites": (
        Fault.NO_SITE,
        lambda w: replace(w, sites=tuple(s for s in w.sites if s.merchant_id != worlds.ONE_SLOT)),
    ),
    "hybrid merchant without sites": (
        Fault.NO_SITE,
        lambda w: replace(w, sites=tuple(s for s in w.sites if s.merchant_id != worlds.HALF)),
    ),
    "merchant whose sites weigh nothing": (
        Fault.NO_SITE,
        lambda w: replace(
            w, sites=tuple(replace(s, weight=0.0) if s.merchant_id == worlds.ONE_SLOT else s for s in w.sites)
        ),
    ),
    "bucket beyond the grid": (Fault.NO_BUCKET, lambda w: _with_count(w, bucket=len(w.grid))),
    "negative bucket": (Fault.NO_BUCKET, lambda w: _with_count(w, bucket=-1)),
    "negative count": (Fault.BAD_COUNT, lambda w: _with_count(w, n=-1)),
    "negative site weight": (
        Fault.BAD_WEIGHT,
        lambda w: replace(w, sites=(replace(w.sites[0], weight=-0.1), *w.sites[1:])),
    ),
    "group weight that is no number": (
        Fault.BAD_WEIGHT,
        lambda w: replace(w, group_weights=(replace(w.group_weights[0], weight=float("nan")), *w.group_weights[1:])),
    ),
    "site given twice": (Fault.BAD_TABLE, lambda w: replace(w, sites=(*w.sites, w.sites[0]))),
    "alias beyond the table": (
        Fault.BAD_TABLE,
        lambda w: replace(
            w,
            edges={
                **w.edges,
                worlds.ALONE_ONLINE: replace(
                    w.edges[worlds.ALONE_ONLINE],
                    edges=(replace(w.edges[worlds.ALONE_ONLINE].edges[0], alias=1),),
                ),
            },
        ),
    ),
    "bucket of no length": (
        Fault.BAD_GRID,
        lambda w: replace(w, grid=((w.grid[0][0], w.grid[0][0]), *w.grid[1:])),
    ),
    "overlapping buckets": (
        Fault.BAD_GRID,
        lambda w: replace(w, grid=((w.grid[0][0], w.grid[0][1] + 1), *w.grid[1:])),
    ),
    MISSING_GROUP_TABLE: (
        Fault.FALLBACK_REFUSED,
        lambda w: replace(w, policy=Policy(missing_group_table="fail")),
    ),
    NO_SITE_IN_ZONE: (
        Fault.FALLBACK_REFUSED,
        lambda w: replace(w, policy=Policy(no_site_in_zone="fail")),
    ),
    MISSING_EDGE_TABLE: (
        Fault.FALLBACK_REFUSED,
        lambda w: replace(w, policy=Policy(missing_edge_table="fail")),
    ),
}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_world_is_refused(world, case):
    fault, spoil = REFUSALS[case]
    with pytest.raises(LawError) as caught:
        expand(spoil(world))
    assert caught.value.fault == fault


def test_fallback_that_is_refused_but_never_needed_does_no_harm(world):
    """A refusal stops a world only when an arrival needs the fallback."""
    counts = tuple(row for row in world.counts if row.merchant_id == worlds.TWO_ZONES)
    strict = Policy(missing_group_table="fail", no_site_in_zone="fail", missing_edge_table="fail")
    assert expand(replace(world, counts=counts, policy=strict)).rows == expand(replace(world, counts=counts)).rows


def test_weights_of_another_merchant_are_checked_too(world):
    stray = GroupWeight(worlds.SILENT, "2026-03-01", worlds.BERLIN, -1.0)
    with pytest.raises(LawError, match=str(worlds.SILENT)):
        expand(replace(world, group_weights=(*world.group_weights, stray)))


def test_merchant_with_zero_counts_needs_nothing(world):
    counts = (CountRow(worlds.SILENT, worlds.BERLIN, None, 0, 0),)
    empty = expand(replace(world, counts=counts))
    assert (empty.rows, empty.count_rows) == ((), ())
    assert empty.digest == "0-" + "0" * 32
