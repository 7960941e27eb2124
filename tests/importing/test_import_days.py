"""Counts of local days: every count stays within its civil day, whatever its length and for any number of zones."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import Code, dataset
from arrival_engine.engine.importing import division, import_world
from arrival_engine.engine.importing.contents import Contents, Counts, GroupWeights, Members, Merchants
from arrival_engine.engine.importing.identity import world_identity
from arrival_engine.engine.validation.job import validate
from tests.support.import_refused import LIMIT_BAD, OPTION_BAD, TIME_BAD, refused
from tests.support.imported import sealed_run
from tests.support.local_days import MICROS, day_bounds, day_stream, days_request, divided, import_days
from tests.support.paths import ROOT
from tests.support.worlds import instant_us

BERLIN, YORK, KOLKATA = "Europe/Berlin", "America/New_York", "Asia/Kolkata"
SPRING = [
    (1, BERLIN, "", "2026-03-27T00:00+01:00", 2400),
    (1, BERLIN, "", "2026-03-28T00:00+01:00", 2400),
    (1, BERLIN, "", "2026-03-29T00:00+01:00", 2400),
    (1, BERLIN, "", "2026-03-30T00:00+02:00", 2400),
]


def grid_of(root):
    (path,) = root.rglob("s1_time_grid_5B.parquet")
    table = pq.read_table(path, partitioning=None).to_pylist()
    return [(row["bucket_start_utc"], row["bucket_duration_seconds"]) for row in table]


def edges_of(root):
    (path,) = root.rglob("s1_time_grid_5B.parquet")
    table = pq.read_table(path, partitioning=None)
    starts = [instant_us(text) for text in table["bucket_start_utc"].to_pylist()]
    return [*starts, starts[-1] + MICROS * table["bucket_duration_seconds"][-1].as_py()]


def counted(root, result):
    """Arrivals by (merchant, zone, channel, start of the bucket in microseconds)."""
    path = dataset("s3_bucket_counts_5B").locate(root, result.identity.tokens(scenario_id=result.scenario_id))
    edges = edges_of(root)
    return {
        (row["merchant_id"], row["zone_representation"], row["channel_group"] or "", edges[row["bucket_index"]]): row[
            "count_N"
        ]
        for row in pq.read_table(path, partitioning=None).to_pylist()
    }


def local_dates(root):
    """Arrivals of a validated run by (zone, local date)."""
    report = validate(root)
    assert report.passed
    parts = [pq.read_table(path, partitioning=None) for path in root.rglob("arrival_events/**/*.parquet")]
    rows = [row for part in parts for row in part.select(["zone_representation", "ts_local_primary"]).to_pylist()]
    return Counter((row["zone_representation"], row["ts_local_primary"].date().isoformat()) for row in rows)


def test_days_over_the_start_of_summer_time_keep_their_counts(tmp_path):
    result = import_days(tmp_path, SPRING)
    root = result.run_root
    assert grid_of(root) == [
        ("2026-03-26T23:00:00.000000Z", 86_400),
        ("2026-03-27T23:00:00.000000Z", 86_400),
        ("2026-03-28T23:00:00.000000Z", 82_800),
        ("2026-03-29T22:00:00.000000Z", 86_400),
    ]
    facts = result.local_days
    assert (facts.days, facts.tzids, facts.divided_rows) == (4, (BERLIN,), 0)
    assert (facts.shortest_seconds, facts.longest_seconds) == (82_800, 86_400)
    assert result.notices == ()
    (scenario,) = sealed_run(root).scenarios
    assert scenario.arrivals == 9600
    assert local_dates(root) == {(BERLIN, f"2026-03-{day}"): 2400 for day in (27, 28, 29, 30)}


def test_a_day_of_25_hours_is_cut_after_24_and_keeps_its_count(tmp_path):
    rows = [(1, BERLIN, "web", f"2026-10-{day}", 3000) for day in (24, 25, 26)]
    result = import_days(tmp_path, rows)
    root = result.run_root
    assert [seconds for _, seconds in grid_of(root)] == [86_400, 86_400, 3600, 86_400]
    facts = result.local_days
    assert (facts.longest_seconds, facts.divided_rows, facts.divided_arrivals, facts.most_buckets) == (
        90_000,
        1,
        3000,
        2,
    )
    found = counted(root, result)
    expected = divided(1, BERLIN, "web", "2026-10-25", 3000, edges_of(root))
    assert {at: n for (*_, at), n in found.items() if at in expected} == expected
    assert sum(expected.values()) == 3000
    # A 25th of the day has about a 25th of its arrivals: 120, give or take five standard deviations.
    assert 66 <= min(expected.values()) <= 174
    sealed_run(root)
    assert local_dates(root) == {(BERLIN, f"2026-10-{day}"): 3000 for day in (24, 25, 26)}


def test_the_example_of_the_rule_holds(tmp_path):
    result = import_days(tmp_path, [(1, BERLIN, "", "2026-10-25", 2400)])
    parts = [arrivals for _, arrivals in sorted(counted(result.run_root, result).items())]
    assert parts == [2295, 105]
    page = (ROOT / "docs/reference/layouts.md").read_text(encoding="utf-8")
    assert "are 2,295 and 105 in the two buckets" in page
    assert [f"{word:016x}" for word in day_stream(1, BERLIN, "")] == re.findall(
        r"(?:key|hi0) is `([0-9a-f]{16})`", page
    )


ZONES = [
    (merchant, tz, "", f"2026-03-{day}", 100 * merchant + day)
    for merchant, tz in ((1, BERLIN), (2, YORK), (3, KOLKATA), (3, BERLIN))
    for day in (27, 28, 29, 30)
]


@pytest.fixture(scope="module")
def three_zones(tmp_path_factory):
    result = import_days(tmp_path_factory.mktemp("zones"), ZONES)
    return result.run_root, result


def test_days_of_several_zones_are_divided_by_the_documented_rule(three_zones):
    root, result = three_zones
    edges = edges_of(root)
    bounds = {at for _, tz, _, day, _ in ZONES for at in day_bounds(tz, day)}
    # The grid is every midnight of every zone, from the first day of the counts to the last.
    assert edges == sorted(bounds)
    expected = {}
    for merchant, tz, channel, day, count in ZONES:
        for at, arrivals in divided(merchant, tz, channel, day, count, edges).items():
            expected[merchant, tz, channel, at] = arrivals
    assert counted(root, result) == expected
    facts = result.local_days
    assert (facts.days, facts.tzids) == (4, (YORK, KOLKATA, BERLIN))
    assert (facts.divided_rows, facts.divided_arrivals) == (16, sum(row[-1] for row in ZONES))


def test_days_of_several_zones_keep_their_counts_on_their_own_clocks(three_zones):
    root, _ = three_zones
    sealed_run(root)
    expected: Counter = Counter()
    for _, tz, _, day, count in ZONES:
        expected[tz, day] += count
    assert local_dates(root) == expected


def test_order_files_zeros_repeated_rows_and_forms_of_the_day_do_not_matter(three_zones, tmp_path):
    _, result = three_zones
    rows = []
    for merchant, tz, channel, day, count in reversed(ZONES):
        start = "2026-03-27T04:00Z" if (tz, day) == (YORK, "2026-03-27") else day
        rows += [
            (merchant, tz, channel, start, 1),
            (merchant, tz, channel, day, count - 1),
            (merchant, tz, "unused", day, 0),
        ]
    again = import_days(tmp_path / "shuffled", rows)
    assert again.identity == result.identity
    assert (again.merged_rows, again.zero_rows) == (16, 16)
    half = days_request(tmp_path / "split", rows[:20])
    other = days_request(tmp_path / "rest", rows[20:])
    sites = days_request(tmp_path / "sites", rows).sites
    files = replace(half, counts=[*other.counts, *half.counts], sites=sites)
    assert import_world(files).identity == result.identity


def test_the_number_of_days_per_compiled_call_does_not_matter(three_zones, tmp_path, monkeypatch):
    _, result = three_zones
    monkeypatch.setattr(division, "_ARRIVALS_PER_CALL", 1)
    assert import_days(tmp_path / "one", ZONES).identity == result.identity
    monkeypatch.setattr(division, "_ARRIVALS_PER_CALL", 700)
    assert import_days(tmp_path / "some", ZONES).identity == result.identity


def test_the_seed_does_not_change_the_division(three_zones, tmp_path):
    root, result = three_zones
    other = import_days(tmp_path, ZONES, seed=7)
    assert other.identity.manifest_fingerprint == result.identity.manifest_fingerprint
    assert counted(other.run_root, other) == counted(root, result)


def a_world():
    """Contents of one count and one site, in memory."""
    one, none, ids = np.zeros(1, np.int64), np.empty(0, np.int64), np.ones(1, np.uint64)
    weight = np.ones(1)
    empty = Members(ids[:0], none, none, (), none, weight[:0])
    return Contents(
        tzids=(BERLIN,),
        grid_us=np.array([0, 86_400 * MICROS], np.int64),
        counts=Counts(ids, one, one, ("",), one, one + 3),
        sites=Members(ids, one, one, ("DE",), one + 1, weight),
        merchants=Merchants(ids, one, one - 1),
        edges=empty,
        group_weights=GroupWeights(ids[:0], none, weight[:0]),
    )


def test_the_fingerprint_covers_the_rule(tmp_path):
    plain = import_days(tmp_path / "days", SPRING[:2])
    hours = import_days(tmp_path / "1d", SPRING[:2], bucket="1d")
    assert counted(plain.run_root, plain) == counted(hours.run_root, hours)
    assert plain.identity.manifest_fingerprint != hours.identity.manifest_fingerprint
    # With the contents fixed, the rule alone makes another fingerprint.
    contents = a_world()
    rules = ("", "local_day.v1", "local_day.v2")
    prints = {world_identity(replace(contents, day_rule=rule), {}, 42, "s").manifest_fingerprint for rule in rules}
    assert len(prints) == 3


def test_the_report_of_the_world_says_what_was_understood(three_zones):
    root, _ = three_zones
    statistics = json.loads((root / "reports/import_report.json").read_bytes())["statistics"]
    assert statistics["local_days"]["days"] == 4
    assert statistics["local_days"]["tzids"] == [YORK, KOLKATA, BERLIN]


@pytest.mark.parametrize(
    ("tzid", "days", "hours"),
    [
        ("Australia/Lord_Howe", ("2026-04-04", "2026-04-05", "2026-04-06"), [24, 24, 0.5, 24]),
        ("Australia/Lord_Howe", ("2026-10-03", "2026-10-04"), [24, 23.5]),
        ("America/Santiago", ("2026-09-05", "2026-09-06"), [24, 23]),
        ("Asia/Beirut", ("2026-03-28", "2026-03-29"), [24, 23]),
        ("America/Sao_Paulo", ("2019-02-16", "2019-02-17"), [24, 1, 24]),
        ("Pacific/Apia", ("2011-12-29", "2011-12-31"), [24, 24]),
    ],
)
def test_days_of_odd_clocks(tmp_path, tzid, days, hours):
    result = import_days(tmp_path, [(1, tzid, "", day, 500) for day in days])
    assert [seconds / 3600 for _, seconds in grid_of(result.run_root)] == hours
    sealed_run(result.run_root)
    assert local_dates(result.run_root) == {(tzid, day): 500 for day in days}


def test_a_gap_between_days_is_filled_by_days_without_arrivals(tmp_path):
    result = import_days(tmp_path, [(1, BERLIN, "", day, 5) for day in ("2026-03-01", "2026-03-05")])
    assert (result.buckets, result.count_rows, result.bucket_seconds) == (5, 2, 86_400)


def test_zeros_extend_the_grid(tmp_path):
    result = import_days(tmp_path, [(1, BERLIN, "", "2026-03-01", 5), (1, BERLIN, "", "2026-03-03", 0)])
    assert (result.buckets, result.zero_rows, result.end_utc) == (3, 1, "2026-03-03T23:00:00Z")


ONE = [(1, BERLIN, "", "2026-03-28", 5)]
REFUSED = {
    "an hour of the day": (
        [*ONE, (1, BERLIN, "", "2026-03-29T01:00+01:00", 5)],
        (
            "counts.csv, line 3: bucket_start 2026-03-29T00:00:00Z is not the start of a day in Europe/Berlin",
            "where 2026-03-29 starts at 2026-03-29T00:00+01:00",
            "write the date alone",
            "--bucket 1d",
        ),
    ),
    "the midnight of another zone": (
        [(1, YORK, "", "2026-03-28T00:00+01:00", 5)],
        ("2026-03-27 starts at 2026-03-27T00:00-04:00",),
    ),
    "a midnight that the clock skips": (
        [(1, "America/Santiago", "", "2026-09-06T00:00-03:00", 5)],
        ("2026-09-05 starts at 2026-09-05T00:00-04:00",),
    ),
    "half a second after midnight": (
        [(1, BERLIN, "", "2026-03-28T00:00:00.5+01:00", 5)],
        ("is not the start of a day",),
    ),
    "a date that the calendar skips": (
        [(1, "Pacific/Apia", "", "2011-12-30", 5)],
        ("line 2: 2011-12-30 does not exist in Pacific/Apia",),
    ),
    "a date that the clock interrupts": (
        [(1, "America/St_Johns", "", "2010-11-07", 5)],
        ("2010-11-07 is not one stretch of time in America/St_Johns", "set back over midnight"),
    ),
    "the date before it": (
        [(1, "America/St_Johns", "", "2010-11-06", 5)],
        ("2010-11-06 is not one stretch of time",),
    ),
    "a clock without a zone": (
        [(1, BERLIN, "", "2026-03-28T00:00", 5)],
        ("has a clock but no zone", "write the date alone"),
    ),
    "a date of no calendar": ([(1, BERLIN, "", "2026-02-30", 5)], ("line 2", "does not exist")),
    "a date too long ago": ([(1, BERLIN, "", "1677-12-31", 5)], ("not between 1678 and 2261",)),
    "the first date, which starts before 1678": ([(1, BERLIN, "", "1678-01-01", 5)], ("not between 1678 and 2261",)),
    "the last date, which ends after 2261": ([(1, YORK, "", "2261-12-31", 5)], ("not between 1678 and 2261",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_row_that_names_no_local_day_is_refused(tmp_path, name):
    rows, says = REFUSED[name]
    refused(days_request(tmp_path, rows), TIME_BAD, *says)


def test_many_days_of_several_zones_are_allowed_by_the_policies_of_their_world(tmp_path):
    zones = (BERLIN, YORK, KOLKATA, "Asia/Kathmandu", "Asia/Tokyo", "America/Lima")
    last = (date(2024, 1, 1) + timedelta(days=900)).isoformat()
    rows = [(1, tz, "", day, 5) for tz in zones for day in ("2024-01-01", last)]
    result = import_days(tmp_path, rows)
    (raised,) = [notice for notice in result.notices if notice.code == "GUARDRAIL_RAISED"]
    assert result.buckets == raised.context["needed"] > 5000


def test_a_day_of_too_many_arrivals(tmp_path):
    most = 2**31 - 1
    rows = [(1, BERLIN, "", "2026-03-28", most), (1, BERLIN, "", "2026-03-28", 1)]
    refused(days_request(tmp_path, rows), LIMIT_BAD, f"{most + 1} arrivals", "on 2026-03-28", "by channel")
    # A day of two buckets has no bucket of more than 24 hours.
    result = import_days(tmp_path / "enough", [(1, BERLIN, "", "2026-10-25", 60_000)])
    (raised,) = [notice for notice in result.notices if notice.code == "GUARDRAIL_RAISED"]
    assert 50_000 < raised.context["needed"] < 60_000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": "2026-03-28T00:00Z"}, ("--bucket local-day cannot be combined with --start", "leave out --start")),
        ({"end": "2026-03-28T00:00Z"}, ("cannot be combined with --end", "a count of 0 adds its day")),
        ({"assume_utc": True}, ("cannot be combined with --assume-utc", "leave out --assume-utc")),
    ],
)
def test_options_that_do_not_go_with_local_days(tmp_path, options, says):
    refused(days_request(tmp_path, ONE, **options), OPTION_BAD, *says)


def test_a_table_of_buckets_does_not_go_with_local_days(tmp_path):
    (tmp_path / "grid.csv").write_text("bucket_start,bucket_end\n2026-03-29T00:00Z,2026-03-29T02:00Z\n")
    refused(days_request(tmp_path, ONE, grid=[tmp_path / "grid.csv"]), OPTION_BAD, "cannot be combined with --grid")


def test_numbered_buckets_do_not_name_days(tmp_path):
    request = days_request(tmp_path, [(1, BERLIN, "", "3", 5)])
    counts = request.counts[0]
    counts.write_text(counts.read_text().replace("bucket_start", "bucket_index"))
    refused(request, TIME_BAD, "numbers do not name local days", "give bucket_start")


def test_all_counts_zero(tmp_path):
    refused(days_request(tmp_path, [(1, BERLIN, "", "2026-03-28", 0)]), Code.S1_OR_S3_OUTPUT_MISSING, "all 1 counts")


def test_weeks_are_said(tmp_path):
    rows = [(1, BERLIN, "", f"2026-03-{day:02}", 5) for day in (2, 9, 16, 23, 30)]
    (notice,) = import_days(tmp_path, rows).notices
    assert notice.code == "COUNTS_FAR_APART"
    assert "usually 7 days apart, but each is placed within one local day" in notice.message
