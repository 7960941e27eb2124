"""The measures of validation, each against a plain computation."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts import Code, Identity, arrow_schema
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.recomputing.streams import FAMILIES, Claim, Deriver, Entity, overlaps
from arrival_engine.engine.validation.civil import clock, clock_table
from arrival_engine.engine.validation.database import Database, text
from arrival_engine.engine.validation.file_order import RUN, stream_part
from arrival_engine.engine.validation.findings import Book, outcome
from arrival_engine.engine.validation.judge_events import sequence_faults
from arrival_engine.engine.validation.judge_realism import least_likely
from arrival_engine.engine.validation.judge_rng import judge_overlap
from arrival_engine.engine.validation.policy import Rules
from arrival_engine.engine.validation.statistics import (
    chi_square_tail,
    g_test,
    g_test_uniform,
    kolmogorov_tail,
    rounded,
    share_tail,
    uniform_distance,
)
from tests.support.law import derive_stream
from tests.support.paths import ROOT
from tests.support.validated import read_policy

# --- Parts --------------------------------------------------------------------------------------------


def test_the_digest_has_the_laws_vectors(tmp_path: Path) -> None:
    schema = arrow_schema("arrival_events_5B")
    common = {
        "manifest_fingerprint": "a" * 64,
        "parameter_hash": "b" * 64,
        "seed": 42,
        "scenario_id": "baseline_v1",
        "merchant_id": 123456789,
        "zone_representation": "Europe/Berlin",
        "channel_group": "card_present",
        "bucket_index": 7,
        "ts_utc": 1767250800000000,
        "tzid_primary": "Europe/Berlin",
        "ts_local_primary": 1767254400000000,
        "routing_universe_hash": "c" * 64,
        "s4_spec_version": "1.0.0",
    }
    physical = {**common, "arrival_seq": 1, "is_virtual": False, "site_id": 17703884111212252855}
    virtual = {
        **common,
        "arrival_seq": 2,
        "is_virtual": True,
        "edge_id": 3039714863727559346,
        "tzid_settlement": "Europe/Paris",
        "ts_local_settlement": 1767254400000000,
    }
    for rows, expected in (
        ([physical], "1-c7489d0e298bd3b3a9752e25474755de"),
        ([physical, virtual], "2-4370dffd3b433bffde9a660782058bfc"),
    ):
        import pyarrow as pa

        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, tmp_path / "part-000000.parquet")
        assert stream_part(InsidePath(tmp_path) / "part-000000.parquet").digest == expected


@pytest.mark.parametrize(
    ("runs", "missing", "repeated"),
    [
        ([(5, 1, 10)], 0, 0),
        ([(5, 1, 4), (5, 5, 6), (7, 1, 1)], 0, 0),
        ([(5, 2, 4)], 1, 0),
        ([(5, 1, 4), (5, 6, 4)], 1, 0),
        ([(5, 1, 4), (5, 4, 4)], 0, 1),
        ([(5, 1, 9), (5, 3, 2)], 0, 2),
        ([(5, 1, 4), (5, 1, 4), (2**64 - 1, 3, 1)], 2, 4),
        ([], 0, 0),
    ],
)
def test_sequence_faults_are_counted_exactly(runs: list[tuple[int, int, int]], missing: int, repeated: int) -> None:
    found = sequence_faults(np.array(runs, RUN))
    assert found[:2] == (missing, repeated)
    assert bool(found[2]) == bool(missing or repeated)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12)), max_size=40))
def test_sequence_faults_agree_with_plain_counting(keys: list[tuple[int, int]]) -> None:
    runs = np.array([(merchant, seq, 1) for merchant, seq in keys], RUN)
    missing, repeated, _ = sequence_faults(runs)
    expected_missing = sum(
        max(seq for m, seq in keys if m == merchant) - len({seq for m, seq in keys if m == merchant})
        for merchant in {m for m, _ in keys}
    )
    assert (missing, repeated) == (expected_missing, len(keys) - len(set(keys)))


def test_streams_are_derived_as_the_reference_derives_them() -> None:
    identity = Identity("a" * 64, "b" * 64, 42, "c" * 32)
    for family in FAMILIES.values():
        found = Deriver(identity, "baseline_v1", family).stream(Entity(123456789, "Europe/Berlin", "card_present"))
        expected = derive_stream(
            family,
            "a" * 64,
            "b" * 64,
            42,
            "baseline_v1",
            "merchant_id=123456789|zone=Europe/Berlin|channel_group=card_present",
        )
        assert (found.key, found.hi0) == (expected.key, expected.hi0)
    time = Deriver(identity, "baseline_v1", "S4.arrival_time_jitter.v2")
    vector = time.stream(Entity(123456789, "Europe/Berlin", "card_present"))
    assert (vector.key, vector.hi0) == (0x586A61783CC1B02C, 0x96B1E729921C7369)


TOP = 2**64 - 1


@pytest.mark.parametrize(
    ("claims", "pairs"),
    [
        ([Claim(1, 0, 10, "a"), Claim(1, 10, 10, "b")], 0),
        ([Claim(1, 0, 10, "a"), Claim(1, 9, 10, "b")], 1),
        ([Claim(1, 0, 10, "a"), Claim(2, 5, 10, "b")], 0),
        ([Claim(1, TOP, 10, "a"), Claim(1, 8, 10, "b")], 1),
        ([Claim(1, TOP, 10, "a"), Claim(1, 9, 10, "b")], 0),
        ([Claim(1, 5, 10, "a"), Claim(1, 5, 10, "b"), Claim(1, 5, 10, "c")], 2),
    ],
)
def test_overlapping_counters_are_found(claims: list[Claim], pairs: int) -> None:
    assert len(overlaps(claims)) == pairs
    book = Book()
    judge_overlap(claims, Rules(read_policy(ROOT)["rng_accounting_checks"]), book)
    result = outcome([book], 0)
    assert result.passed == (pairs == 0)
    if pairs:
        assert result.error is not None
        assert result.error[0] == str(Code.S5_RNG_ACCOUNTING_MISMATCH)


def test_the_clock_says_what_zoneinfo_says(tmp_path: Path) -> None:
    start = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
    end = int(dt.datetime(2026, 12, 31, tzinfo=dt.UTC).timestamp())
    zones = clock(start, end)
    assert len(zones) > 500
    table = clock_table(start * 10**6, end * 10**6)
    database = Database(InsidePath(tmp_path) / "spill", 1)
    with database.cursor() as cursor:
        cursor.store("clock", table.content)
        from tests.support.worlds import pinned_zone

        for tzid in ("Europe/Berlin", "Africa/Casablanca", "Asia/Kathmandu", "America/St_Johns", "Antarctica/Troll"):
            zone = pinned_zone(tzid)
            changes = [change.instant_us // 10**6 for change in zones[tzid][1:]]
            assert all(start < instant <= end for instant in changes)
            for at in (start, end, *changes, *(instant - 1 for instant in changes)):
                exact = dt.datetime.fromtimestamp(at, zone).replace(tzinfo=dt.UTC).timestamp()
                local = table.local("clock", str(at * 10**6))
                (found,) = cursor.row(f"FROM clock SELECT {local} WHERE tzid = {text(tzid)}")
                assert found == exact * 10**6, (tzid, at)
    database.close()


# --- Statistics ---------------------------------------------------------------------------------------


@given(st.floats(1e-12, 1 - 1e-9), st.integers(1, 100_000))
def test_the_chi_square_tail_is_scipys(p: float, freedom: int) -> None:
    statistic = scipy.stats.chi2.isf(p, freedom)
    assert chi_square_tail(statistic, freedom) == pytest.approx(scipy.stats.chi2.sf(statistic, freedom), rel=1e-8)


def test_the_ends_of_the_chi_square_tail() -> None:
    assert chi_square_tail(0.0, 5) == 1.0
    assert chi_square_tail(1e6, 5) == 0.0
    assert chi_square_tail(2e6, 1e6) == 0.0
    assert chi_square_tail(1e6, 1e6) == pytest.approx(scipy.stats.chi2.sf(1e6, 1e6), rel=1e-6)


@given(st.integers(20, 5000), st.floats(0.3, 3.0))
def test_the_kolmogorov_tail_is_near_scipys(size: int, scaled: float) -> None:
    distance = scaled / np.sqrt(size)
    assert kolmogorov_tail(distance, size) == pytest.approx(scipy.stats.kstwo.sf(distance, size), rel=0.12, abs=0.02)


@given(st.integers(1, 10**6), st.floats(1e-6, 1 - 1e-6), st.floats(-9, 9))
def test_the_tail_of_a_share_is_never_too_small(draws: int, chance: float, z: float) -> None:
    expected = draws * chance
    found = min(draws, max(0, round(expected + z * np.sqrt(expected * (1 - chance)))))
    law = scipy.stats.binom(draws, chance)
    beyond = law.sf(found - 1) if found >= expected else law.cdf(found)
    assert share_tail(found, draws, expected) >= min(1.0, 2 * beyond) * (1 - 1e-6)


def test_the_tail_of_a_share_is_small_where_it_must_be() -> None:
    # A wrong chance of 0.34 or 0.33 instead of 0.35, over enough draws.
    assert share_tail(340_000, 1_000_000, 350_000.0) < 1e-60
    assert share_tail(33_000, 100_000, 35_000.0) < 1e-30
    assert share_tail(3, 1000, 0.0) == 0.0
    assert share_tail(0, 1000, 0.0) == 1.0
    assert share_tail(1000, 1000, 1000.0) == 1.0
    # Eight hits where one is expected happen once in 10^5 times; seven standard deviations are not a billionth.
    assert share_tail(8, 1000, 1.0) > 1e-5


def test_a_right_country_of_one_half_is_in_range() -> None:
    # Beyond the allowance of 0.05 at its least support, 4.5 standard deviations: seven times in a million.
    assert least_likely([("DE", 1101, 1000.0), ("FR", 899, 1000.0)], 0.05)[2] > 1e-4
    country, deviation, p_value = least_likely([("DE", 1200, 1000.0), ("FR", 800, 1000.0)], 0.05)
    assert (country, deviation) == ("FR", 0.1)
    assert p_value < 1e-15
    # An improbable deviation within the allowance is not a breach, and neither is a probable one beyond it.
    assert least_likely([("DE", 510_000, 500_000.0), ("FR", 490_000, 500_000.0)], 0.05)[2] == 1.0
    assert least_likely([("DE", 51, 50.0), ("FR", 49, 50.0)], 0.0)[2] == 1.0


def test_offsets_of_a_right_run_are_in_range_as_often_as_stated() -> None:
    """The probability of the rarest uniform counts, by importance sampling, beside the level they are judged at."""
    generator = np.random.Generator(np.random.PCG64(3))
    cells, draws, level, spread = 10, 200, 5e-11, 4.0
    chances = generator.dirichlet([spread] * cells, size=20_000)
    counts = np.array([generator.multinomial(draws, row) for row in chances])
    lgamma = scipy.special.gammaln
    same = lgamma(cells * spread) - lgamma(draws + cells * spread)
    ratio = -draws * np.log(cells) - same - (lgamma(counts + spread) - lgamma(spread)).sum(axis=1)
    rare = np.array([g_test_uniform(row)[1] < level for row in counts])
    # Pearson's statistic gives ten times the level.
    assert 0.5 * level < np.where(rare, np.exp(ratio), 0.0).mean() < 1.5 * level


def test_a_sum_of_many_g_tests_is_not_biased_by_rare_members() -> None:
    generator = np.random.Generator(np.random.PCG64(11))
    # One common member and many that expect little more than 25 draws.
    weights = np.array([2600.0] + [26.0] * 100)
    tables = 20_000
    draws = generator.multinomial(int(weights.sum()), weights / weights.sum(), size=tables)
    excess = sum(g - freedom for g, freedom in filter(None, (g_test(row, weights, 25.0) for row in draws)))
    # With the correction for equal chances, the sum exceeds its mean by more than three standard deviations.
    assert abs(excess) < 2 * np.sqrt(2 * 100 * tables)


def test_g_tests_of_right_draws_have_uniform_p_values() -> None:
    generator = np.random.Generator(np.random.PCG64(7))
    weights = np.array([0.5, 0.3, 0.15, 0.04, 0.01, 0.0])
    p_values = []
    for _ in range(2000):
        observed = generator.multinomial(4000, weights)
        test = g_test(observed.astype(np.int64), weights, 25.0)
        assert test is not None
        p_values.append(chi_square_tail(*test))
    assert kolmogorov_tail(uniform_distance(p_values), len(p_values)) > 1e-3
    skewed = generator.multinomial(40_000, [0.48, 0.32, 0.15, 0.04, 0.01, 0.0])
    test = g_test(skewed.astype(np.int64), weights, 25.0)
    assert test is not None
    assert chi_square_tail(*test) < 1e-9


def test_g_tests_pool_what_is_rare_and_refuse_what_is_too_little() -> None:
    weights = np.array([1.0] + [0.001] * 40)
    observed = np.array([960] + [1] * 40)
    test = g_test(observed, weights, 25.0)
    assert test is not None
    assert test[1] == 1
    assert g_test(np.array([9, 1]), np.array([0.9, 0.1]), 25.0) is None


def test_numbers_are_reported_to_six_digits() -> None:
    assert rounded(0.123456789) == 0.123457
    assert rounded(123456789.0) == 123457000.0
    assert rounded(0.0) == 0.0
