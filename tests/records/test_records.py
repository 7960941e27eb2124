"""`arrivals report`: it counts what a plain reading of the files gives; what it writes, and how it fails."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from arrival_engine import ReportOptions, run, write_report
from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.records.run_report import append_line, report_head, utc_now
from arrival_engine.engine.report.clock_changes import ClockChange, ZoneArrivals, clock_changes, spotlight
from arrival_engine.engine.report.job import PAGE
from arrival_engine.engine.report.measure import BINS, HOUR_US, measure
from arrival_engine.engine.report.published import find_published
from arrival_engine.engine.report.records import read_anomalies, read_run
from arrival_engine.engine.report.share_plots import gini
from arrival_engine.engine.report.style import counted, percent, share, short
from arrival_engine.engine.run.job import RunOptions
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.model import CountRow
from tests.support.paths import ROOT
from tests.support.product import published_table, write_sealed
from tests.support.validating import copied, edit_run_line, proof_world, proven_run, report_path, validated
from tests.support.worlds import (
    BERLIN,
    CASABLANCA,
    HALF,
    SILENT,
    TWO_ZONES,
    VIRTUAL,
    instant_us,
    pinned_zone,
    small_world,
)

SCENARIO = "baseline_v1"
PLOTS = ("arrivals-over-time", "clock-change", "hour-of-day", "zones", "lorenz", "merchants", "offsets", "speed")
DAY_US = 24 * HOUR_US
MINUS = "\N{MINUS SIGN}"
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    """A world with virtual merchants, several parts and fallbacks, run."""
    root = tmp_path_factory.mktemp("report") / "run"
    proven_run(root)
    return root


@pytest.fixture(scope="module")
def reported(proven, tmp_path_factory):
    """Its report, with figures."""
    folder = tmp_path_factory.mktemp("reported")
    return write_report(proven, ReportOptions(out=folder / "page.html", figures=folder / "figures"))


@pytest.fixture(scope="module")
def rows(proven):
    """Its arrivals, read plainly: one mapping a row, times as µs."""
    return plain_rows(published_table(proven, proof_world()))


def plain_rows(table):
    times = {name: table[name].cast("int64").to_pylist() for name in ("ts_utc", "ts_local_primary")}
    names = ("merchant_id", "bucket_index", "tzid_primary", "is_virtual", "site_id", "edge_id")
    columns = {**{name: table[name].to_pylist() for name in names}, **times}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def measured(run_root, scenario=SCENARIO):
    receipt = read_receipt(run_root)
    (published,) = find_published(receipt, [scenario])
    return measure(receipt, published)


@pytest.fixture(scope="module")
def found(proven):
    return measured(proven)


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
        file_format = "arrow" if "arrow" in form else "parquet"
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


class TestRecords:
    def test_verdicts_are_those_of_the_bundle(self, proven, tmp_path, capsys):
        root = copied(proven, tmp_path / "run")
        assert read_run(read_receipt(root)).verdicts is None
        code, _, findings = validated(root, capsys)
        verdicts = read_run(read_receipt(root)).verdicts
        assert verdicts.passed == (code == 0)
        told = {check.name: check for checks in verdicts.checks.values() for check in checks}
        assert {name: check.verdict for name, check in told.items()} == {
            name: finding["verdict"] for name, finding in findings.items()
        }
        assert sum(verdicts.tally.values()) == len(findings)
        assert write_report(root).validated is verdicts.passed

    def test_the_latest_bundle_counts_also_when_it_failed(self, proven, tmp_path, capsys):
        root = copied(proven, tmp_path / "run")
        validated(root, capsys)
        edit_run_line(root, n_arrivals_virtual=1)
        code, _, findings = validated(root, capsys)
        assert (code, findings["run_report"]["verdict"]) == (1, "FAIL")
        assert read_run(read_receipt(root)).verdicts.passed is False

    def test_a_line_of_the_report_cannot_lead_elsewhere(self, proven, tmp_path, capsys):
        root = copied(proven, tmp_path / "run")
        validated(root, capsys)
        lines = [json.loads(line) for line in report_path(root).read_text("ascii").splitlines()]
        shutil.copytree(root / lines[-1]["bundle_path"], tmp_path / "elsewhere")
        lines[-1]["bundle_path"] = "../elsewhere"
        report_path(root).write_text("".join(json.dumps(line) + "\n" for line in lines), "ascii")
        assert read_run(read_receipt(root)).verdicts.folder.is_relative_to(root)

    def test_a_failure_counts_until_a_run_has_succeeded(self, proven, tmp_path):
        root = copied(proven, tmp_path / "run")
        receipt = read_receipt(root)

        def line(scenario, status):
            head = report_head(receipt.identity, scenario, utc_now())
            append_line(receipt, {**head, "status": status, "error_code": None, "error_message": None})
            return [failed.get("scenario_id") for failed in read_run(receipt).failures]

        assert read_run(receipt).failures == ()
        assert line(SCENARIO, "FAIL") == [SCENARIO]
        assert line(SCENARIO, "FAIL") == [SCENARIO]
        assert line(None, "FAIL") == [SCENARIO, None]
        assert line("another", "PASS") == [SCENARIO]
        assert line(SCENARIO, "PASS") == []

    def test_anomalies_by_kind_are_the_fallbacks_of_the_run(self, proven):
        receipt = read_receipt(proven)
        fallbacks = read_run(receipt).lines[SCENARIO]["fallbacks"]
        anomalies = {anomaly.code: anomaly for anomaly in read_anomalies(receipt, SCENARIO)}
        assert {code.lower(): anomaly.arrivals for code, anomaly in anomalies.items()} == fallbacks
        assert all(anomaly.entities > 0 and anomaly.severity == "WARN" for anomaly in anomalies.values())

    def test_a_record_that_is_no_json_is_named(self, proven, tmp_path):
        root = copied(proven, tmp_path / "run")
        with report_path(root).open("a") as file:
            file.write("{half\n")
        with pytest.raises(ArrivalError, match="line 2 is not JSON") as raised:
            write_report(root)
        assert raised.value.code is Code.IO_READ_FAILED


class TestFailures:
    def test_nothing_published(self, tmp_path):
        write_sealed(small_world(), tmp_path / "run")
        with pytest.raises(ArrivalError, match="no published arrivals") as raised:
            write_report(tmp_path / "run")
        assert raised.value.code is Code.IO_READ_FAILED
        assert "arrivals run" in raised.value.hint
        assert not (tmp_path / "run" / "reports").exists()

    def test_an_unknown_scenario(self, proven):
        with pytest.raises(ArrivalError, match="absent; published: baseline_v1") as raised:
            write_report(proven, ReportOptions(scenarios=("absent",)))
        assert raised.value.code is Code.S1_OR_S3_OUTPUT_MISSING

    @pytest.mark.parametrize("damage", ["truncated", "gone between two lists", "another format"])
    def test_parts_that_cannot_be_read(self, damage, proven, tmp_path):
        root = copied(proven, tmp_path / "run")
        first, *_, last = find_published(read_receipt(root), [])[0].parts
        if damage == "truncated":
            last.write_bytes(last.read_bytes()[:-1000])
        elif damage == "another format":
            first.rename(first.with_suffix(".arrow"))
        else:
            first.write_bytes(b"")
        with pytest.raises(ArrivalError) as raised:
            write_report(root)
        assert raised.value.code is Code.IO_READ_FAILED
        assert "--replace" in raised.value.hint or "restore" in raised.value.hint
        assert not (root / PAGE).exists()

    def test_a_page_that_cannot_be_written_leaves_the_old_one(self, proven, tmp_path):
        page = tmp_path / "page.html"
        (page / "old").mkdir(parents=True)
        with pytest.raises(ArrivalError) as raised:
            write_report(proven, ReportOptions(out=page))
        assert raised.value.code is Code.IO_WRITE_FAILED
        assert [path.name for path in tmp_path.rglob("*")] == ["page.html", "old"]

    def test_an_unknown_figure_format(self):
        with pytest.raises(ValueError, match="svg or png"):
            ReportOptions(figure_format="gif")


def arrivals(*arguments, **environment):
    command = [sys.executable, "-P", "-m", "arrival_engine", *map(str, arguments)]
    settings = {**os.environ, "COLUMNS": "100", **environment}
    return subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True, check=False)


class TestCommand:
    def test_the_same_run_gives_the_same_bytes_whatever_the_process(self, proven, reported, tmp_path):
        (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: path\naxes.grid: True\n")
        done = arrivals(
            *("report", proven, "--out", tmp_path / "there.html", "--figures", tmp_path / "there"),
            PYTHONHASHSEED="7",
            TZ="Asia/Kathmandu",
            MATPLOTLIBRC=str(tmp_path / "matplotlibrc"),
        )
        assert done.returncode == 0, done.stderr
        assert str(tmp_path / "there.html") in done.stdout
        assert (tmp_path / "there.html").read_bytes() == reported.page.read_bytes()
        assert [path.name for path in reported.figures] == [f"{name}.svg" for name in PLOTS]
        for path in reported.figures:
            there = tmp_path / "there" / Path(*path.parts[-2:])
            assert there.read_bytes() == path.read_bytes(), path.name

    def test_json_and_png_figures(self, proven, tmp_path, found):
        root = copied(proven, tmp_path / "run")
        done = arrivals("report", root, "--json", "--figures", tmp_path / "f", "--figure-format", "png")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["status"], answer["page"], answer["validated"]) == ("PASS", str(root / PAGE), None)
        (scenario,) = answer["scenarios"]
        assert (scenario["arrivals"], scenario["virtual"]) == (found.arrivals, found.virtual)
        assert scenario["sites_gini"] == round(gini(found.sites), 6)
        assert [Path(path).name for path in answer["figures"]] == [f"{name}.png" for name in PLOTS]
        for path in answer["figures"]:
            with Image.open(path) as image:
                assert len(image.convert("RGB").getcolors(1 << 20)) > 20, path
                assert image.width >= 1700

    def test_svg_figures_stand_alone(self, reported):
        for path in reported.figures:
            root = ET.fromstring(path.read_bytes())  # noqa: S314 - our own
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            links = [value for element in root.iter() for name, value in element.attrib.items() if "href" in name]
            assert all(link.startswith("#") for link in links)
            style = root.find("{http://www.w3.org/2000/svg}style").text
            assert "prefers-color-scheme:dark" in style
            assert "--ink:" in style

    def test_without_a_publication_it_says_what_to_do(self, tmp_path):
        write_sealed(small_world(), tmp_path / "run")
        done = arrivals("report", tmp_path / "run")
        assert done.returncode == 1
        assert "error 5B.S4.IO_READ_FAILED" in done.stderr
        assert "arrivals run" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_format_without_figures_is_bad_usage(self, proven):
        done = arrivals("report", proven, "--figure-format", "png")
        assert done.returncode == 2
        assert "--figure-format needs --figures" in done.stderr


def test_scenarios_without_much_in_them_are_reported_too(tmp_path):
    """An empty one, one row; and one that is sealed but was never run."""
    row = CountRow(TWO_ZONES, BERLIN, "card_present", 3, 1)
    worlds = [
        small_world(scenario_id="empty", counts=(replace(row, n=0),)),
        small_world(scenario_id="one", counts=(row,)),
    ]
    root = tmp_path / "run"
    write_sealed(small_world(), root, further_scenarios=worlds)
    run(root, RunOptions(backend="cpu", scenarios=("empty", "one")))
    result = write_report(root, ReportOptions(figures=tmp_path / "figures"))
    assert {scenario.scenario_id: scenario.arrivals for scenario in result.scenarios} == {"empty": 0, "one": 1}
    names = {folder.name: {path.stem for path in folder.iterdir()} for folder in (tmp_path / "figures").iterdir()}
    assert names == {"empty": {"speed"}, "one": set(PLOTS) - {"clock-change"}}
    page = result.page.read_text("utf-8")
    assert "This scenario has no arrivals" in page
    assert "Scenario baseline_v1 is sealed but has no published arrivals." in page
    only = write_report(root, ReportOptions(scenarios=("empty", "empty"), out=tmp_path / "empty.html"))
    assert [scenario.scenario_id for scenario in only.scenarios] == ["empty"]
    assert SCENARIO not in only.page.read_text("utf-8")


def test_a_world_without_virtual_merchants(tmp_path):
    world = small_world()
    counts = tuple(row for row in world.counts if row.merchant_id not in (VIRTUAL, HALF, 2**64 - 1))
    root = tmp_path / "run"
    write_sealed(replace(world, counts=counts), root)
    run(root, RunOptions(backend="cpu"))
    (scenario,) = write_report(root).scenarios
    assert (scenario.virtual, scenario.edges, scenario.edges_gini) == (0, 0, 0.0)
    page = (root / PAGE).read_text("utf-8")
    assert "There are no virtual arrivals." in page
    assert "No edge has arrivals." in page
