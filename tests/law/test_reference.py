"""The reference expansion against the published vectors, an independent Philox, and the law's own claims."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import randomgen

from tests.support import worlds
from tests.support.blobs import masses, slots, tzc1
from tests.support.known_answers import law_vectors, philox_answers
from tests.support.law import (
    DIGEST_FACTORS,
    MASK64,
    TWO32,
    TWO64,
    LawError,
    build_alias,
    coin_threshold,
    derive_stream,
    digest_text,
    edge_id,
    offset_minutes,
    offset_us,
    philox2x64,
    pick,
    site_id,
    utc_day,
)
from tests.support.model import (
    BEFORE_ALL,
    EDGE_FAMILY,
    FALLBACKS,
    MISSING_GROUP_TABLE,
    SITE_FAMILY,
    TIME_FAMILY,
    Policy,
    Row,
)
from tests.support.reference import expand, explain
from tests.support.worlds import small_world

LAW = law_vectors()


@pytest.fixture(scope="module")
def world():
    return small_world()


@pytest.fixture(scope="module")
def expansion(world):
    return expand(world)


# --- Published vectors -----------------------------------------------------------------------------


@pytest.mark.parametrize("answer", philox_answers(), ids=lambda a: f"{a.word0:x}-{a.word1:x}")
def test_philox_known_answers(answer):
    assert philox2x64(answer.word0, answer.word1, answer.key) == (answer.x0, answer.x1)


def test_philox_equals_randomgen_on_random_counters():
    rng = random.Random(20260329)
    for _ in range(300):
        word0, word1, key = (rng.getrandbits(64) for _ in range(3))
        before = ((word1 << 64 | word0) - 1) % (1 << 128)  # randomgen counts up before it generates
        other = randomgen.Philox(counter=before, key=key, number=2, width=64).random_raw(2)
        assert philox2x64(word0, word1, key) == (int(other[0]), int(other[1]))


@pytest.mark.parametrize("vector", LAW["streams"], ids=lambda v: v["family"])
def test_streams_and_blocks(vector):
    who = LAW["identity"]
    stream = derive_stream(
        vector["family"],
        who["manifest_fingerprint"],
        who["parameter_hash"],
        who["seed"],
        who["scenario_id"],
        who["domain"],
    )
    assert (f"{stream.key:016x}", f"{stream.hi0:016x}") == (vector["key"], vector["hi0"])
    for j, block in enumerate(vector["blocks"]):
        assert [f"{word:016x}" for word in stream.block(who["bucket"], j)] == block


def test_offsets_of_the_time_stream():
    who, wanted = LAW["identity"], LAW["offsets_of_time_stream"]
    stream = derive_stream(
        TIME_FAMILY, who["manifest_fingerprint"], who["parameter_hash"], 42, who["scenario_id"], who["domain"]
    )
    got = [offset_us(stream.block(who["bucket"], j)[0], wanted["duration_us"]) for j in range(4)]
    assert got == wanted["offsets_us"]


@pytest.mark.parametrize("vector", LAW["offsets"], ids=lambda v: f"{v['x0']}-{v['duration_us']}")
def test_offset_edges(vector):
    assert offset_us(int(vector["x0"], 16), vector["duration_us"]) == vector["offset_us"]


@pytest.mark.parametrize("vector", LAW["alias_tables"], ids=lambda v: str(v["weights"]))
def test_alias_tables(vector):
    table = build_alias(vector["weights"])
    assert (list(table.thresholds), list(table.aliases)) == (vector["thresholds"], vector["aliases"])


def test_coin_factors_and_identifiers():
    for coin in LAW["coins"]:
        assert f"{coin_threshold(coin['p']):016x}" == coin["threshold"]
    for position, factor in LAW["digest_factors"].items():
        assert f"{DIGEST_FACTORS[int(position) - 1]:016x}" == factor
    for site in LAW["site_ids"]:
        assert site_id(site["merchant_id"], site["country"], site["site_order"]) == site["site_id"]
    for edge in LAW["edge_ids"]:
        assert edge_id(edge["merchant_id"], edge["sequence"]) == edge["edge_id"] == int(edge["hex"], 16)


def _row(facts: dict[str, Any]) -> Row:
    virtual = facts["is_virtual"]
    return Row(
        **facts,
        manifest_fingerprint="a" * 64,
        parameter_hash="b" * 64,
        seed=42,
        scenario_id="baseline_v1",
        draw_index=0,
        tzid_operational=facts["tzid_primary"] if virtual else None,
        ts_local_operational=facts["ts_local_primary"] if virtual else None,
    )


@pytest.mark.parametrize("vector", LAW["digests"], ids=lambda v: f"{v['rows']}-rows")
def test_arrival_digests(vector):
    rows = [_row(facts) for facts in LAW["digest_rows"][: vector["rows"]]]
    assert digest_text(row.digest_words() for row in rows) == vector["digest"]


def test_tz_cache_bytes():
    assert tzc1(LAW["tz_cache"]["zones"]).hex() == LAW["tz_cache"]["hex"]


# --- The laws' own claims --------------------------------------------------------------------------


def test_offset_is_the_exact_floor_of_u_times_duration():
    rng = random.Random(7)
    words = [rng.getrandbits(64) for _ in range(200)] + [0, 1, MASK64, MASK64 - 1, 1 << 63]
    for x0 in words:
        for duration in (1, 2, 3, 7, 1801 * 10**6, 3600 * 10**6, 86_400 * 10**6):
            u = (Fraction(x0) + Fraction(1, 2)) / TWO64
            assert offset_us(x0, duration) == u * duration // 1 < duration


def test_alias_table_gives_each_slot_its_quantised_share():
    rng = random.Random(11)
    for n in (1, 2, 3, 17, 250):
        weights = [rng.random() ** 4 for _ in range(n)]
        table, total = build_alias(weights), sum(map(Fraction, weights))
        mass = Counter()
        for i, (threshold, alias) in enumerate(zip(table.thresholds, table.aliases, strict=True)):
            mass[i] += threshold
            mass[alias] += TWO32 - threshold
        for i, weight in enumerate(weights):
            # half a quantum of 2^-31 each, and one 2^-32 of a slot for each floor
            assert abs(Fraction(mass[i], n * TWO32) - Fraction(weight) / total) < Fraction(n, 1 << 30)


def test_pick_at_the_borders_of_a_slot():
    table = build_alias([0.7, 0.2, 0.1])
    slot_1 = -(-TWO64 // 3)  # the least word that falls in slot 1
    assert [pick(x, table) for x in (0, slot_1 - 1, slot_1, MASK64)] == [0, 0, 1, 0]


def test_weights_that_no_table_can_have():
    assert build_alias([]) is None
    assert build_alias([0.0, -0.0]) is None
    for bad in (-1e-300, float("nan"), float("inf")):
        with pytest.raises(LawError, match="weight"):
            build_alias([1.0, bad])


def test_coin_takes_the_decimal_exactly_as_written():
    assert coin_threshold("0.05") == TWO64 * 5 // 100
    assert coin_threshold("0.3500000000000000000000001") == TWO64 * 35 // 100
    assert coin_threshold("0.5") == 1 << 63
    assert coin_threshold("3.5e-1") == coin_threshold("0.35")


def test_local_time_steps_at_the_second_of_the_change():
    pairs = ((BEFORE_ALL, 60), (1774746000, 120))
    assert offset_minutes(pairs, 1774746000 * 10**6 - 1) == 60
    assert offset_minutes(pairs, 1774746000 * 10**6) == 120
    assert offset_minutes(((BEFORE_ALL, 1), (-1, 2)), -1) == 2  # -1 us lies in second -1
    assert offset_minutes(((BEFORE_ALL, 1), (0, 2)), -1) == 1


def test_utc_day_before_1970():
    assert (utc_day(-1), utc_day(0), utc_day(-86_400 * 10**6)) == ("1969-12-31", "1970-01-01", "1969-12-31")


def test_blob_slots_hold_the_weights_they_were_built_from():
    weights = [0.4, 0.3, 0.2, 0.1, 0.0]
    assert sum(masses(weights)) == 1 << 24
    share: dict[int, float] = defaultdict(float)
    for i, (q, alias) in enumerate(slots(weights)):
        share[i] += q / TWO32
        share[alias] += 1 - q / TWO32
    assert all(abs(share[i] / 5 - weight) < 1.2e-7 for i, weight in enumerate(weights))
    assert slots([2.0]) == [(TWO32 - 1, 0)]
    assert slots([0.0, 0.0], prob_qbits=1) == [(1, 0), (1, 1)]


# --- The expansion of the small world --------------------------------------------------------------


def test_every_count_becomes_arrivals(world, expansion):
    wanted = Counter()
    for row in world.counts:
        wanted[row.merchant_id, row.zone, row.channel or "", row.bucket] += row.n
    got = Counter((r.merchant_id, r.zone_representation, r.channel_group, r.bucket_index) for r in expansion.rows)
    assert got == +wanted
    assert expansion.merged_rows == len(world.counts) - len(wanted) == 2


def test_rows_are_in_order_and_numbered(world, expansion):
    keys = [(row.merchant_id, row.arrival_seq) for row in expansion.rows]
    assert keys == sorted(set(keys))
    for merchant in {row.merchant_id for row in expansion.rows}:
        own = [row for row in expansion.rows if row.merchant_id == merchant]
        assert [row.arrival_seq for row in own] == list(range(1, len(own) + 1))
        assert [row.ts_utc for row in own] == sorted(row.ts_utc for row in own)
    for row in expansion.rows:
        start, end = world.grid[row.bucket_index]
        assert start <= row.ts_utc < end


def test_local_times_agree_with_tzdata(expansion):
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    offsets_seen = Counter()
    for row in expansion.rows:
        moment = epoch + dt.timedelta(microseconds=row.ts_utc)
        clocks = [(row.tzid_primary, row.ts_local_primary), (row.tzid_settlement, row.ts_local_settlement)]
        for tzid, local in clocks:
            if tzid is None:
                continue
            wall = moment.astimezone(worlds.pinned_zone(tzid)).replace(tzinfo=dt.UTC)
            assert (wall - epoch) // dt.timedelta(microseconds=1) == local
            offsets_seen[tzid, local - row.ts_utc] += 1
    berlin = [minutes for tzid, minutes in offsets_seen if tzid == "Europe/Berlin"]
    assert len(berlin) == 2  # both sides of the change are there


def test_every_feature_occurs(world, expansion):
    assert all(expansion.fallbacks[name] > 0 for name in FALLBACKS)
    assert {row.is_virtual for row in expansion.rows if row.merchant_id == worlds.HALF} == {True, False}
    only_operational = [row for row in expansion.rows if row.merchant_id == worlds.ALONE_ONLINE]
    assert {(row.tzid_settlement, row.tzid_operational) for row in only_operational} == {(worlds.KATHMANDU,) * 2}
    ids = {site_id(site.merchant_id, site.country, site.site_order) for site in world.sites}
    edges = {int(edge.edge_id, 16) for table in world.edges.values() for edge in table.edges}
    assert {row.site_id for row in expansion.rows if not row.is_virtual} <= ids
    assert {row.edge_id for row in expansion.rows if row.is_virtual} <= edges


def test_large_count_row_spreads_over_its_sites(expansion):
    """Six sites in their shares from one count row of 3000, where a reused word would reach one or two."""
    large = (worlds.TWO_ZONES, worlds.BERLIN_GAP, "card_present", worlds.BERLIN)
    rows = [
        row
        for row in expansion.rows
        if (row.merchant_id, row.bucket_index, row.channel_group, row.zone_representation) == large
    ]
    seen = Counter(row.site_id for row in rows)
    wanted = {
        ("AT", 1): 0.1,
        ("DE", 1): 0.3,
        ("DE", 2): 0.15,
        ("DE", 3): 0.05,
        ("US", 1): 0.25,
        ("US", 2): 0.15,
    }
    chi2 = sum(
        (seen[site_id(worlds.TWO_ZONES, *key)] - len(rows) * share) ** 2 / (len(rows) * share)
        for key, share in wanted.items()
    )
    assert (len(rows), len(seen)) == (3000, 6)
    assert chi2 < 20.5  # the 0.999 quantile of chi-square with 5 degrees


def test_draw_accounting(expansion):
    uses = {(use.entity.merchant_id, use.entity.zone, use.bucket): use for use in expansion.count_rows}
    assert sum(use.n for use in expansion.count_rows) == len(expansion.rows) == expansion.words(TIME_FAMILY)
    assert all(use.physical + use.virtual == use.n for use in expansion.count_rows)

    def spent(merchant, zone, bucket):
        use = uses[merchant, zone, bucket]
        families = (TIME_FAMILY, SITE_FAMILY, EDGE_FAMILY)
        return [use.blocks[family] for family in families], [use.words[family] for family in families]

    gap = worlds.BERLIN_GAP
    virtual = uses[worlds.HALF, worlds.PARIS, gap].virtual
    assert 0 < virtual < 40
    assert spent(worlds.HALF, worlds.PARIS, gap) == ([40, 40, 40], [40, 2 * (40 - virtual), 40 + virtual])
    assert spent(worlds.VIRTUAL, worlds.PARIS, gap) == ([30, 0, 30], [30, 0, 30])
    assert spent(worlds.HALF_NO_EDGES, worlds.NEW_YORK, worlds.NEW_YORK_GAP) == ([8, 8, 0], [8, 16, 0])
    assert spent(worlds.VIRTUAL_NO_EDGES, worlds.SYDNEY, 3) == ([9, 9, 0], [9, 18, 0])
    assert spent(worlds.ONE_SLOT, worlds.KATHMANDU, 5) == ([11, 11, 0], [11, 22, 0])


def test_input_order_changes_nothing(world, expansion):
    rng = random.Random(3)
    tables = {name: getattr(world, name) for name in ("counts", "sites", "group_weights")}
    shuffled = {name: tuple(rng.sample(rows, k=len(rows))) for name, rows in tables.items()}
    assert expand(replace(world, **shuffled)) == expansion


def test_run_id_is_no_input_and_seed_is(world, expansion):
    assert expand(replace(world, run_id="d" * 32)).digest == expansion.digest
    assert expand(replace(world, seed=43)).digest != expansion.digest


def test_digests_of_shards_add(expansion):
    def split(rows):
        count, rest = digest_text(row.digest_words() for row in rows).split("-")
        return int(count), int(rest[:16], 16), int(rest[16:], 16)

    parts = [split(expansion.rows[:1000]), split(expansion.rows[1000:])]
    total = [sum(column) & MASK64 for column in zip(*parts, strict=True)]
    assert f"{total[0]}-{total[1]:016x}{total[2]:016x}" == expansion.digest


def test_switching_group_weights_off_routes_by_the_count_rows_zone(world):
    off = expand(replace(world, policy=Policy(use_group_weights=False)))
    assert off.fallbacks[MISSING_GROUP_TABLE] == 0
    rows = [row for row in off.rows if row.merchant_id == worlds.TWO_ZONES]
    assert all(row.tzid_primary == row.zone_representation for row in rows)


def test_explanation_ends_in_the_row(world, expansion):
    half = [row for row in expansion.rows if row.merchant_id == worlds.HALF]
    for row in (expansion.rows[0], expansion.rows[-1], *half[:6]):
        told = explain(world, row.merchant_id, row.arrival_seq)
        assert told.row == row
        assert world.grid[row.bucket_index][0] + told.offset_us == row.ts_utc
        assert told.route.target_id == (row.edge_id if row.is_virtual else row.site_id)
        assert f"{told.route.target_id:016x}" in str(told)
    with pytest.raises(KeyError):
        explain(world, worlds.SILENT, 1)
