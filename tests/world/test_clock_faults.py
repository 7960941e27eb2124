"""What a tz cache that disagrees with tzdata costs: against the reference's own chances, and against wrong rows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.tables import Rows
from arrival_engine.engine.world.clock_shares import ClockShares
from arrival_engine.engine.world.load import load_world
from tests.support import reference
from tests.support.law import MICROS, TWO32, TWO64, AliasTable, coin_threshold, local_us, utc_day
from tests.support.model import BEFORE_ALL, HYBRID, VIRTUAL_ONLY, Policy
from tests.support.named_twice import named_twice
from tests.support.product import on_disk, write_sealed
from tests.support.strategies import worlds
from tests.support.worlds import BERLIN, CASABLANCA, NEW_YORK, PARIS, SYDNEY, UTC, VIRTUAL, small_world
from tests.support.zone_names import current_name

# --- The chance that an arrival shows a zone -----------------------------------------------------------


def shares(slots: AliasTable) -> list[Fraction]:
    """The chance of each slot."""
    n = len(slots.thresholds)
    found = [Fraction(threshold, n * TWO32) for threshold in slots.thresholds]
    for threshold, alias in zip(slots.thresholds, slots.aliases, strict=True):
        found[alias] += Fraction(TWO32 - threshold, n * TWO32)
    return found


def chances(world, tables, entity, bucket) -> dict[str, Fraction]:
    """The chance that one arrival of a count row shows each zone, by section 4 of the law."""
    merchant, mode = entity.merchant_id, world.modes[entity.merchant_id]
    virtual = Fraction(0)
    if merchant in tables.edges and mode in (HYBRID, VIRTUAL_ONLY):
        coin = Fraction(coin_threshold(world.policy.p_virtual_hybrid), TWO64)
        virtual = Fraction(1) if mode == VIRTUAL_ONLY else coin
    found: dict[str, Fraction] = defaultdict(Fraction)
    if virtual:
        settlement = world.settlement.get(merchant)
        for edge, share in zip(world.edges[merchant].edges, shares(tables.edges[merchant]), strict=True):
            for tzid in {edge.tzid, settlement or edge.tzid}:
                found[tzid] += virtual * share
    if virtual < 1:
        zones = {entity.zone: Fraction(1)}
        groups = tables.groups.get((merchant, utc_day(world.grid[bucket][0])))
        if world.policy.use_group_weights and groups is not None:
            zones = dict(zip(groups[0], shares(groups[1]), strict=True))
        for zone, weight in zones.items():
            table = tables.by_zone.get((merchant, current_name(zone))) or tables.all_sites[merchant]
            for site, share in zip(table.sites, shares(table.alias), strict=True):
                found[site.tzid] += (1 - virtual) * weight * share
    return {tzid: chance for tzid, chance in found.items() if chance}


def assert_chances(world):
    with on_disk(world) as written:
        loaded = load_world(written.run_root)
    tables = reference._Tables(world)
    expected = []
    counts = sorted(
        ((entity, bucket) for (entity, bucket), n in reference.merge_counts(world).items() if n),
        key=lambda key: (key[0].merchant_id, key[1], key[0].order),
    )
    for row, (entity, bucket) in enumerate(counts):
        expected += [(row, tzid, float(chance)) for tzid, chance in chances(world, tables, entity, bucket).items()]
    shown = ClockShares(loaded.tables, loaded.settings).shown(loaded.rows)
    found = list(zip(shown.row.tolist(), (loaded.tzids[z] for z in shown.zone), shown.chance.tolist(), strict=True))
    assert [entry[:2] for entry in found] == [entry[:2] for entry in sorted(expected)]
    # The threshold of a slot that is always taken is 2^32 - 1 as packed.
    assert [entry[2] for entry in found] == pytest.approx([entry[2] for entry in sorted(expected)], abs=1e-8)


@pytest.mark.parametrize("policy", [Policy(), Policy(use_group_weights=False)], ids=["weights", "counts"])
def test_chances_in_the_small_world(policy):
    assert_chances(small_world(policy=policy))


@pytest.mark.parametrize("weights", [False, True])
def test_chances_where_zones_have_several_names(weights):
    assert_chances(named_twice(weights=weights))


@given(worlds())
@settings(max_examples=25)
def test_chances_in_drawn_worlds(world):
    assert_chances(world)


def test_rows_can_be_weighed_in_pieces():
    with on_disk(small_world()) as written:
        loaded = load_world(written.run_root)
    weigher = ClockShares(loaded.tables, loaded.settings)
    whole = weigher.shown(loaded.rows)
    for row in range(loaded.rows.entity.size):
        one = weigher.shown(Rows(*(column[row : row + 1] for column in loaded.rows)))
        assert one.zone.tolist() == whole.zone[whole.row == row].tolist()
        assert one.chance.tolist() == whole.chance[whole.row == row].tolist()


# --- What a damaged cache costs ------------------------------------------------------------------------

WORLD = small_world()


def late(steps, seconds=27):
    return tuple((at if at == BEFORE_ALL else at + seconds, minutes) for at, minutes in steps)


def cut(steps, at_s):
    return tuple(step for step in steps if step[0] < at_s)


def wrong_rows(zones, world=WORLD):
    """Wrong local times by zone, and rows with one, if the reference reads `zones` in place of the right cache."""
    right, wrong = reference.expand(world).rows, reference.expand(replace(world, zones=zones)).rows
    by_zone: dict[str, int] = defaultdict(int)
    rows = 0
    for a, b in zip(right, wrong, strict=True):
        zones_wrong = {a.tzid_primary} if a.ts_local_primary != b.ts_local_primary else set()
        if a.ts_local_settlement != b.ts_local_settlement:
            zones_wrong.add(a.tzid_settlement)
        rows += bool(zones_wrong)
        for tzid in zones_wrong:
            by_zone[tzid] += 1
    return by_zone, rows


def cost(zones, world=WORLD):
    """Expected wrong local times and arrivals at most, by zone, and arrivals at most in all."""
    tables, expected, at_most, concerned = reference._Tables(world), defaultdict(Fraction), defaultdict(int), 0
    for (entity, bucket), n in reference.merge_counts(world).items():
        start, end = world.grid[bucket]
        hit = False
        for tzid, chance in chances(world, tables, entity, bucket).items() if n else ():
            wrong = wrong_us(world.zones[tzid], zones[tzid], start, end)
            if wrong:
                expected[tzid] += n * chance * Fraction(wrong, end - start)
                at_most[tzid] += n
                hit = True
        concerned += n * hit
    return expected, at_most, concerned


def wrong_us(right, wrong, start, end):
    """Microseconds of [start, end) in which two lists of steps differ."""
    steps = {at * MICROS for at, _ in (*right, *wrong) if start < at * MICROS < end}
    bounds = sorted({start, end, *steps})
    return sum(b - a for a, b in pairwise(bounds) if local_us(right, a) != local_us(wrong, a))


def refusal(tmp_path, zones, world=WORLD):
    """The error of a run with this cache, whose text is also the notice of a run that accepts it."""
    write_sealed(replace(world, zones=zones), tmp_path / "run")
    with pytest.raises(ArrivalError) as caught:
        load_world(tmp_path / "run")
    assert caught.value.code is Code.DST_MAPPING_FAILED
    (notice,) = load_world(tmp_path / "run", accept_tz_cache=True).notices
    assert (notice.code, notice.message) == ("TZ_CACHE_DISAGREES", caught.value.message)
    return caught.value


def assert_costs(error, zones):
    """The error has the reference's numbers, and no more rows are wrong than it says."""
    expected, at_most, concerned = cost(zones)
    total = f"{float(sum(expected.values())):,.1f} wrong local times are expected"
    assert f"{total}, in at most {concerned:,} of 3,279 arrivals (counted exactly)" in error.message
    assert error.context["expected_wrong_local_times"] == round(float(sum(expected.values())), 1)
    assert error.context["arrivals_at_most"] == concerned
    for tzid, arrivals in expected.items():
        assert f"{float(arrivals):,.1f} arrivals expected, {at_most[tzid]:,} at most" in error.message
    by_zone, rows = wrong_rows(zones)
    assert set(by_zone) <= set(expected)
    assert rows <= concerned
    assert all(by_zone[tzid] <= at_most[tzid] for tzid in by_zone)
    return by_zone, rows


def test_a_late_cache_costs_few_rows(tmp_path):
    zones = {**WORLD.zones, BERLIN: late(WORLD.zones[BERLIN])}
    error = refusal(tmp_path, zones)
    assert assert_costs(error, zones) == ({BERLIN: 14}, 14)
    assert error.message == (
        "the tz cache disagrees with tzdata: 13.7 wrong local times are expected, in at most 3,051 of 3,279 arrivals "
        "(counted exactly). 1 zone with arrivals: Europe/Berlin from 2026-03-29T01:00:00Z: the cache says +60 min, "
        "tzdata 2026f says +120 min; 27 s of the horizon, 13.7 arrivals expected, 3,051 at most"
    )


def test_a_cache_that_ends_early_costs_many(tmp_path):
    zones = {name: cut(steps, 1_772_323_200) for name, steps in WORLD.zones.items()}
    error = refusal(tmp_path, zones)
    by_zone, rows = assert_costs(error, zones)
    assert (dict(by_zone), rows) == ({NEW_YORK: 1229, BERLIN: 969, CASABLANCA: 21, PARIS: 29}, 2233)
    assert "2,232.0 wrong local times are expected, in at most 3,198 of" in error.message
    assert "4 zones with arrivals: America/New_York from 2026-03-08T07:00:00Z" in error.message
    assert "1,875,600 s of the horizon, 1,257.6 arrivals expected, 3,171 at most" in error.message


def test_zones_without_arrivals_are_told_apart(tmp_path):
    change = 1_771_290_000
    zones = {
        **WORLD.zones,
        UTC: ((BEFORE_ALL, 30),),
        SYDNEY: ((BEFORE_ALL, 660), (change, 600), (change + 86_400, 780)),
    }
    error = refusal(tmp_path, zones)
    assert_costs(error, zones)
    assert "1 zone with arrivals: Australia/Sydney from 2026-02-17T01:00:00Z" in error.message
    assert "(first of 2 stretches, off by -60 to +120 min)" in error.message
    assert error.message.endswith(
        "1 zone without arrivals: Etc/UTC from 2026-02-14T00:00:00Z: the cache says +30 min, "
        "tzdata 2026f says +0 min; 3,801,600 s of the horizon"
    )
    assert (error.context["zones"], error.context["zones_without_arrivals"], error.context["differences"]) == (2, 1, 3)


def test_a_change_after_the_last_arrival_can_be_wrong(tmp_path):
    end = WORLD.grid[-1][1] // MICROS
    write_sealed(replace(WORLD, zones={**WORLD.zones, PARIS: (*WORLD.zones[PARIS], (end, 0))}), tmp_path / "end")
    assert load_world(tmp_path / "end").notices == ()
    zones = {**WORLD.zones, PARIS: (*WORLD.zones[PARIS], (end - 1, 0))}
    error = refusal(tmp_path, zones)
    assert_costs(error, zones)
    assert "; 1 s of the horizon" in error.message


def test_a_zone_that_tzdata_does_not_have_is_counted_apart(tmp_path):
    mars = "Mars/Olympus"
    world = replace(WORLD, settlement={**WORLD.settlement, VIRTUAL: mars})
    error = refusal(tmp_path, {**WORLD.zones, mars: ((BEFORE_ALL, 77),)}, world)
    # Every arrival of the merchant shows its settlement zone.
    assert error.message == (
        "the tz cache has zones that tzdata 2026f does not have and cannot confirm: "
        "Mars/Olympus (42.0 arrivals expected, 42 at most)"
    )
    both = {**WORLD.zones, mars: ((BEFORE_ALL, 77),), BERLIN: late(WORLD.zones[BERLIN])}
    error = refusal(tmp_path / "both", both, world)
    assert error.message.startswith("the tz cache disagrees with tzdata: 13.7 wrong local times")
    assert error.context["arrivals_at_most"] == 3051
    assert (error.context["zones"], error.context["differences"]) == (2, 2)
