"""The figures of `arrivals report` are those of a plain reading of the files."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import dataset
from arrival_engine.contracts.options import FileFormat
from arrival_engine.engine.report.clock_changes import ClockChange, ZoneArrivals, clock_changes, spotlight
from arrival_engine.engine.report.measure import BINS, HOUR_US
from arrival_engine.engine.report.published import find_published
from arrival_engine.engine.report.share_plots import gini
from arrival_engine.engine.report.style import counted, percent, share, short
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.product import write_sealed
from tests.support.reported import DAY_US, EPOCH, SCENARIO, measured
from tests.support.validating import copied, proof_world
from tests.support.worlds import (
    BERLIN,
    CASABLANCA,
    SILENT,
    instant_us,
    pinned_zone,
)

MINUS = "\N{MINUS SIGN}"


class TestWhatIsCounted:
    def test_totals_and_horizon(self, found, rows):
        grid = proof_world().grid
        assert (found.arrivals, found.virtual) == (len(rows), sum(row["is_virtual"] for row in rows))
        assert found.physical + found.virtual == found.arrivals > 10_000
        assert found.horizon == (grid[0][0], grid[-1][1], len(grid))

    def test_hours_of_utc(self, found, rows):
        hours = Counter((row["is_virtual"], row["ts_utc"] // HOUR_US) for row in rows)
        first = found.horizon.first_hour
        assert found.per_hour.shape == (2, found.horizon.hours) == (2, 44 * 24)
        listed = {
            (bool(kind), first + hour): count
            for kind in (0, 1)
            for hour, count in enumerate(found.per_hour[kind].tolist())
            if count
        }
        assert listed == hours

    def test_hours_of_the_local_clock_by_kind_and_day_type(self, found, rows):
        expected = np.zeros((2, 2, 24), np.int64)
        for row in rows:
            moment = EPOCH + dt.timedelta(microseconds=row["ts_local_primary"])
            expected[int(row["is_virtual"]), int(moment.weekday() >= 5), moment.hour] += 1
        assert np.array_equal(found.profile, expected)
        assert expected[:, 0].sum() > 0

    def test_zones_by_size_then_name(self, found, rows):
        zones = Counter(row["tzid_primary"] for row in rows)
        virtual = Counter(row["tzid_primary"] for row in rows if row["is_virtual"])
        ranked = sorted(zones, key=lambda tzid: (-zones[tzid], tzid))
        assert found.zones == tuple((tzid, zones[tzid], virtual[tzid]) for tzid in ranked)

    def test_sites_and_edges_with_those_that_got_nothing(self, found, rows):
        world = proof_world()
        for counts, column, known in (
            (found.sites, "site_id", len(world.sites)),
            (found.edges, "edge_id", sum(len(table.edges) for table in world.edges.values())),
        ):
            seen = sorted(Counter(row[column] for row in rows if row[column] is not None).values())
            assert counts.tolist() == [0] * (known - len(seen)) + seen
            assert 0 < len(seen) < known

    def test_merchants_against_what_was_expected_of_them(self, found, rows):
        counts = Counter(row["merchant_id"] for row in rows)
        expected = Counter()
        for count in proof_world().counts:
            expected[count.merchant_id] += count.n
        table = found.merchants
        assert found.expected_by == "mu of s3_bucket_counts_5B"
        assert dict(zip(table.merchant_id.tolist(), table.arrivals.tolist(), strict=True)) == {
            merchant: counts[merchant] for merchant in expected
        }
        assert dict(zip(table.merchant_id.tolist(), table.expected.tolist(), strict=True)) == expected
        assert counts[SILENT] == 0
        assert all(before >= after for before, after in pairwise(table.arrivals.tolist()))
        for place, merchant in enumerate(table.merchant_id.tolist()):
            own = [row for row in rows if row["merchant_id"] == merchant]
            assert table.virtual[place] == sum(row["is_virtual"] for row in own)
            assert table.sites[place] == len({row["site_id"] for row in own} - {None})
            assert table.edges[place] == len({row["edge_id"] for row in own} - {None})
            assert table.zones[place] == len({row["tzid_primary"] for row in own})

    def test_offsets_within_buckets(self, found, rows):
        grid = proof_world().grid
        bins = [0] * BINS
        for row in rows:
            start, end = grid[row["bucket_index"]]
            bins[(row["ts_utc"] - start) * BINS // (end - start)] += 1
        assert found.offsets.tolist() == bins
        assert found.outside == 0

    def test_clock_changes_of_the_zones_found(self, found, rows):
        zones = Counter(row["tzid_primary"] for row in rows)
        spring = instant_us("2026-03-29T01:00")
        paris = zones["Europe/Paris"]
        assert found.changes == (
            ClockChange(instant_us("2026-02-15T02:00"), -60, CASABLANCA, 1, zones[CASABLANCA]),
            ClockChange(instant_us("2026-03-08T07:00"), 60, "America/New_York", 1, zones["America/New_York"]),
            ClockChange(instant_us("2026-03-22T02:00"), 60, CASABLANCA, 1, zones[CASABLANCA]),
            ClockChange(spring, 60, BERLIN, 2, zones[BERLIN] + paris),
        )

    def test_the_days_around_a_change_by_two_clocks(self, found, rows):
        spot = found.spotlight
        at = instant_us("2026-03-08T07:00")
        assert (spot.change.lead, spot.change.instant_us, spot.days) == ("America/New_York", at, 21)
        zone = pinned_zone(spot.change.lead)
        utc, local = np.zeros((2, 24), np.int64), np.zeros((2, 24), np.int64)
        for row in rows:
            if row["tzid_primary"] == spot.change.lead and at - 21 * DAY_US <= row["ts_utc"] < at + 21 * DAY_US:
                moment = EPOCH + dt.timedelta(microseconds=row["ts_utc"])
                utc[int(row["ts_utc"] >= at), moment.hour] += 1
                local[int(row["ts_utc"] >= at), moment.astimezone(zone).hour] += 1
        assert np.array_equal(spot.utc, utc)
        assert np.array_equal(spot.local, local)
        assert utc.sum(axis=1).min() > 240

    @pytest.mark.parametrize("form", ["arrow", "texts", "texts in arrow"])
    def test_it_is_the_same_in_every_form_of_file(self, form, found, tmp_path):
        encoding = {"timestamp_encoding": "rfc3339"} if "texts" in form else {}
        write_sealed(proof_world(), tmp_path / "run", output_policy=encoding)
        file_format: FileFormat = "arrow" if "arrow" in form else "parquet"
        run(tmp_path / "run", RunOptions(backend="cpu", format=file_format))
        (published,) = find_published(read_receipt(tmp_path / "run"), [])
        assert (published.format, published.text_times) == (file_format, "texts" in form)
        assert len(published.parts) == 1
        same = measured(tmp_path / "run")
        for name in ("arrivals", "virtual", "horizon", "zones", "changes", "outside", "expected_by"):
            assert getattr(same, name) == getattr(found, name), name
        for name in ("per_hour", "profile", "sites", "edges", "offsets"):
            assert np.array_equal(getattr(same, name), getattr(found, name)), name
        for name in vars(found.merchants):
            assert np.array_equal(getattr(same.merchants, name), getattr(found.merchants, name)), name
        assert np.array_equal(same.spotlight.local, found.spotlight.local)


class TestExpectations:
    """Where the contract's optional columns are missing, the next best one is taken, and named."""

    @pytest.mark.parametrize(
        ("dropped", "without_intensity", "source", "factor"),
        [
            ((), False, "mu of s3_bucket_counts_5B", 1),
            (("mu",), False, "lambda_realised of s3_bucket_counts_5B", 1),
            (("mu", "lambda_realised"), False, "lambda_realised of s2_realised_intensity_5B", 2),
            (("mu", "lambda_realised"), True, "count_N of s3_bucket_counts_5B", 1),
        ],
    )
    def test_the_column_that_is_there_is_summed(self, dropped, without_intensity, source, factor, proven, tmp_path):
        root = copied(proven, tmp_path / "run")
        identity = read_receipt(root).identity.tokens(scenario_id=SCENARIO)
        counts = dataset("s3_bucket_counts_5B").locate(root, identity)
        pq.write_table(pq.read_table(counts, partitioning=None).drop_columns(list(dropped)), counts)
        if without_intensity:
            dataset("s2_realised_intensity_5B").locate(root, identity).unlink()
        found = measured(root)
        assert found.expected_by == source
        assert found.merchants.expected.sum() == factor * sum(row.n for row in proof_world().counts)


class TestClockChanges:
    START, END = instant_us("2026-01-01T00:00"), instant_us("2026-12-31T00:00")

    def test_a_day_and_direction_is_one_change_named_by_its_largest_zone(self):
        zones = [
            ZoneArrivals("Europe/Paris", 5, 0),
            ZoneArrivals("Europe/Berlin", 7, 0),
            ZoneArrivals("Asia/Tokyo", 9, 0),
        ]
        assert clock_changes(zones, self.START, self.END) == (
            ClockChange(instant_us("2026-03-29T01:00"), 60, "Europe/Berlin", 2, 12),
            ClockChange(instant_us("2026-10-25T01:00"), -60, "Europe/Berlin", 2, 12),
        )

    def test_the_horizon_is_half_open(self):
        at = instant_us("2026-03-29T01:00")
        zones = [ZoneArrivals("Europe/Paris", 1, 0)]
        assert len(clock_changes(zones, at, at + 1)) == 1
        assert clock_changes(zones, at - 1, at) == clock_changes(zones, at + 1, at + DAY_US) == ()

    def test_half_an_hour_and_unknown_zones(self):
        zones = [ZoneArrivals("Australia/Lord_Howe", 1, 0), ZoneArrivals("Mars/Olympus", 9, 0)]
        assert [(change.minutes, change.lead) for change in clock_changes(zones, self.START, self.END)] == [
            (-30, "Australia/Lord_Howe"),
            (30, "Australia/Lord_Howe"),
        ]

    def test_the_zone_shown_is_the_largest_with_days_enough_on_both_sides(self):
        zones = [
            ZoneArrivals("Asia/Tokyo", 9, 0),
            ZoneArrivals("Europe/Paris", 8, 0),
            ZoneArrivals("America/New_York", 7, 0),
        ]
        end = instant_us("2026-04-05T00:00")
        assert spotlight(zones, self.START, end) == (
            ClockChange(instant_us("2026-03-29T01:00"), 60, "Europe/Paris", 1, 8),
            6,
        )
        shorter = instant_us("2026-03-31T00:00")
        window = spotlight(zones, self.START, shorter)
        assert (window.change.lead, window.days) == ("America/New_York", 21)
        assert spotlight(zones[:1], self.START, end) is None


def test_gini_of_known_distributions():
    assert gini(np.array([], np.int64)) == gini(np.array([0, 0])) == 0.0
    assert gini(np.array([5, 5, 5, 5])) == pytest.approx(0.0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.array([1, 2, 3, 4])) == pytest.approx(0.25)


def test_numbers_in_words():
    assert [short(value) for value in (0, 0.25, 950, 1500, 2e6, -3e9)] == [
        "0",
        "0.25",
        "950",
        "1.5 k",
        "2 M",
        f"{MINUS}3 G",
    ]
    assert [percent(value) for value in (0, 1, 0.1234, 0.00004, -0.02)] == [
        "0%",
        "100%",
        "12.3%",
        "0.004%",
        f"{MINUS}2%",
    ]
    assert [share(value) for value in (0, 0.00001, 0.1, 1)] == ["0.00%", "<0.01%", "10.00%", "100.00%"]
    assert [counted(number, "site") for number in (0, 1, 1200)] == ["0 sites", "1 site", "1,200 sites"]
