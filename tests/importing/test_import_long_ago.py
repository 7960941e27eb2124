"""One rule for the years of time grids: what a run takes, an import takes, and both refuse the rest."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.contracts.moments import END_US, FIRST_US, utc_text
from arrival_engine.engine.report import report
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.job import validate
from arrival_engine.engine.world.grid import load_grid
from tests.support.damage import edit_rows
from tests.support.import_refused import GOOD, TIME_BAD, refused, request_of
from tests.support.imported import assert_expands_like_the_reference, sealed_run
from tests.support.importing import imported, small_tables
from tests.support.local_days import divided, import_days
from tests.support.worlds import instant_us

HOUR_US = 3_600_000_000
# Over the epoch; over London's change to double summer time; the last hours.
STARTS = ("1969-12-31T20:00:00Z", "1941-05-03T20:00:00Z", "2261-12-31T15:00:00Z")
# Over Berlin's first clock change; among local mean times, which the reference does not round; the first hours.
EARLIER = ("1916-04-30T19:00:00Z", "1815-06-18T09:00:00Z", "1678-01-01T00:00:00Z")


@pytest.mark.parametrize("start", STARTS)
def test_hours_of_any_year_are_imported_and_expanded_like_the_reference(tmp_path, start):
    tables = replace(small_tables(), start=start)
    result = imported(tables, tmp_path / "world")
    assert_expands_like_the_reference(tables, tmp_path / "world", result)


@pytest.mark.parametrize(
    "start", [EARLIER[0], *(pytest.param(start, marks=pytest.mark.slow) for start in (STARTS[0], *EARLIER[1:]))]
)
def test_a_run_of_long_ago_is_valid_and_has_its_page(tmp_path, start):
    imported(replace(small_tables(), start=start), tmp_path / "world")
    sealed_run(tmp_path / "world")
    assert validate(tmp_path / "world").passed
    page = report(tmp_path / "world").page
    assert start[:10] in page.read_text()


def test_local_days_before_1970_are_divided_by_the_same_rule(tmp_path):
    days = [("Europe/Berlin", "1916-04-30", 400), ("America/New_York", "1969-12-31", 300)]
    for number, (tzid, day, count) in enumerate(days):
        result = import_days(tmp_path / str(number), [(1, tzid, "", day, count), (2, "UTC", "", day, 5)])
        root = tmp_path / str(number) / "world"
        edges, found = edges_and_counts(root, result)
        assert found == divided(1, tzid, "", day, count, edges)


def edges_and_counts(root, result):
    """The starts of buckets, and merchant 1's arrivals by them, in microseconds."""
    (grid,) = root.rglob("s1_time_grid_5B.parquet")
    starts = [instant_us(text) for text in pq.read_table(grid, partitioning=None)["bucket_start_utc"].to_pylist()]
    counts = dataset("s3_bucket_counts_5B").locate(root, result.identity.tokens(scenario_id=result.scenario_id))
    rows = pq.read_table(counts, partitioning=None).to_pylist()
    return starts, {starts[row["bucket_index"]]: row["count_N"] for row in rows if row["merchant_id"] == 1}


@pytest.mark.parametrize(("first", "hours"), [(FIRST_US - HOUR_US, 2), (END_US - HOUR_US, 2)], ids=["before", "after"])
def test_a_run_and_an_import_refuse_the_same_years(tmp_path, first, hours):
    times = [utc_text(first + hour * HOUR_US) for hour in range(hours)]
    rows = "".join(f"1,Europe/Berlin,,{time},3\n" for time in times)
    text = "merchant_id,tz,channel,bucket_start,count\n" + rows
    tables = {"sites": GOOD["sites"], "counts": text}
    refused(request_of(tmp_path, tables, bucket="1h"), TIME_BAD, "is not between 1678 and 2261")

    root = tmp_path / "run"
    result = imported(replace(small_tables(), start="2026-03-28T22:00:00Z"), root)
    edit_rows(root, "s1_time_grid_5B", lambda grid: [moved(row, first) for row in grid])
    seal(root)
    with pytest.raises(
        ArrivalError, match=r"s1_time_grid_5B .* bucket 0?.*: the bucket is not between 1678 and 2261"
    ) as failure:
        load_grid(read_receipt(root), result.scenario_id, 3600)
    assert failure.value.code == Code.TIME_GRID_MISMATCH


def moved(row, first):
    start = first + row["bucket_index"] * HOUR_US
    return {**row, "bucket_start_utc": utc_text(start), "bucket_end_utc": utc_text(start + HOUR_US)}
