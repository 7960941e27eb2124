"""Files, options, grids and types that cannot become a world, and forms of them that can."""

from __future__ import annotations

import gzip
import os
from typing import Any

import pytest
import tzdata

from arrival_engine.contracts import Code
from arrival_engine.engine.importing import ImportRequest, import_world
from tests.support.import_refused import (
    COUNTS_BAD,
    EDGES_BAD,
    GOOD,
    LIMIT_BAD,
    OPTION_BAD,
    SCHEMA_BAD,
    SITES_BAD,
    TIME_BAD,
    UNREADABLE,
    ZONE_BAD,
    edited,
    refused,
    request_of,
)

HEADER = "merchant_id,tz,channel,bucket_start,count\n"
FILES: dict[str, Any] = {
    "empty file": ({"counts": ""}, SCHEMA_BAD, ("counts.csv is empty", "header")),
    "header alone": ({"sites": "merchant_id,tz,country,weight\n"}, SITES_BAD, ("sites.csv", "no rows")),
    "only zeros": (
        {"counts": HEADER + "1,Europe/Berlin,,2026-03-29T00:00:00Z,0\n"},
        COUNTS_BAD,
        ("all 1 counts are zero",),
    ),
    "no time at all": (
        {"counts": "merchant_id,tz,count\n1,Europe/Berlin,3\n"},
        SCHEMA_BAD,
        ("neither bucket_start nor bucket_index",),
    ),
    "missing column": (
        {"sites": "merchant_id,tz,weight\n1,Europe/Berlin,3\n"},
        SCHEMA_BAD,
        ("sites.csv has no column country", "it has merchant_id, tz, weight", "--rename THEIRS=country"),
    ),
    "both times": (
        {"counts": "merchant_id,tz,bucket_index,bucket_start,count\n1,Europe/Berlin,0,2026-03-29T00:00:00Z,3\n"},
        SCHEMA_BAD,
        ("both bucket_start and bucket_index", "--ignore"),
    ),
    "UTF-16": ({"counts": GOOD["counts"].encode("utf-16")}, SCHEMA_BAD, ("counts.csv is UTF-16", "UTF-8")),
    "Latin-1": (
        {"counts": GOOD["counts"].replace("web", "Bär").encode("latin-1")},
        SCHEMA_BAD,
        ("counts.csv: line 4 is not UTF-8",),
    ),
    "Latin-1 header": (
        {"counts": "Händler,tz\n".encode("latin-1")},
        SCHEMA_BAD,
        ("counts.csv has a header that is not UTF-8",),
    ),
    "bytes": ({"counts": b"\x7fELF\x02\x00\x00rest"}, SCHEMA_BAD, ("neither CSV nor Parquet",)),
    "torn Parquet": ({"counts": b"PAR1 and then nothing of it"}, SCHEMA_BAD, ("cannot be read as Parquet",)),
    "blank lines are counted": (
        {"counts": HEADER + "\n1,Europe/Berlin,,2026-03-29T00:00:00Z,3\n\n\n1,Europe/Berlin,,2026-03-29T00:00:00Z,x\n"},
        SCHEMA_BAD,
        ("counts.csv, line 6: count 'x'",),
    ),
    "lines within quotes are counted": (
        {"counts": HEADER + '1,Europe/Berlin,"a\nb",2026-03-29T00:00:00Z,3\n'},
        SCHEMA_BAD,
        ("counts.csv",),
    ),
    "edges without virtual merchants": (
        {"virtual_merchants": None},
        EDGES_BAD,
        ("edges.csv, line 2", "is not virtual"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_refused_by_name(tmp_path, name):
    tables, code, says = FILES[name]
    refused(request_of(tmp_path, edited(**tables)), code, *says)


def test_a_wrong_value_far_into_a_large_file_has_its_line(tmp_path):
    # Several blocks of the reader, so that rows are counted over them.
    rows = [f"{merchant},Europe/Berlin,,2026-03-29T00:00:00Z,1" for merchant in range(1, 250_001)]
    rows[200_000] = rows[200_000].replace("Europe", "Erope")
    error = refused(request_of(tmp_path, edited(counts=HEADER + "\n".join(rows))), ZONE_BAD, "counts.csv, line 200002")
    assert error.context == {
        "file": str(tmp_path / "counts.csv"),
        "line": 200_002,
        "column": "tz",
        "value": "'Erope/Berlin'",
    }


def test_a_file_full_of_wrong_values_is_refused_at_once(tmp_path):
    rows = [f"shop-{merchant},Europe/Berlin,,2026-03-29T00:00:00Z,1" for merchant in range(100_000)]
    refused(request_of(tmp_path, edited(counts=HEADER + "\n".join(rows))), SCHEMA_BAD, "line 2: merchant_id 'shop-0'")


def test_files_that_are_not_there(tmp_path):
    request = request_of(tmp_path, edited(sites=None), sites=[tmp_path / "nowhere.csv"])
    refused(request, UNREADABLE, "cannot read", "nowhere.csv")
    (tmp_path / "empty").mkdir()
    request = request_of(tmp_path, edited(sites=None), sites=[tmp_path / "empty"])
    refused(request, UNREADABLE, "contains no CSV or Parquet file for sites")


def test_a_file_named_twice_and_a_pipe(tmp_path):
    request = request_of(tmp_path, GOOD)
    twice = ImportRequest(**{**vars(request), "counts": [*request.counts, tmp_path / "." / "counts.csv"]})
    refused(twice, SCHEMA_BAD, "counts.csv is given twice for the counts")
    os.mkfifo(tmp_path / "pipe")
    refused(
        request_of(tmp_path, edited(sites=None), sites=[tmp_path / "pipe"]), SCHEMA_BAD, "pipe is not a regular file"
    )


def test_all_files_of_a_table_have_the_same_columns(tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("merchant_id,tz,bucket_start,count\n1,Europe/Berlin,2026-03-29T00:00:00Z,3\n")
    request = request_of(tmp_path, GOOD)
    request = ImportRequest(**{**vars(request), "counts": [*request.counts, other]})
    refused(request, SCHEMA_BAD, "counts.csv has a column channel", "other.csv has none")


# --- Options ---------------------------------------------------------------------------------------


OPTIONS: dict[str, Any] = {
    "no such bucket": ({"bucket": "fortnight"}, OPTION_BAD, ("--bucket 'fortnight'", "15min")),
    "no time in a bucket": ({"bucket": "0s"}, OPTION_BAD, ("--bucket '0s'",)),
    "half a second": ({"bucket": "0.5"}, OPTION_BAD, ("--bucket '0.5' is not a duration", "whole seconds")),
    "bucket of months": ({"bucket": "2mo"}, OPTION_BAD, ("months and years differ in length", "--grid")),
    "naive start": ({"start": "2026-03-29T00:00"}, OPTION_BAD, ("--start '2026-03-29T00:00' has no zone",)),
    "start after the first": (
        {"start": "2026-03-29T01:00Z"},
        TIME_BAD,
        ("counts.csv, line 2", "outside the grid, 2026-03-29T01:00:00Z to"),
    ),
    "end before the last": ({"end": "2026-03-29T02:00Z"}, TIME_BAD, ("counts.csv, line 5", "outside the grid")),
    "end before the start": ({"end": "2026-03-28T02:00Z"}, TIME_BAD, ("not after its start", "--end")),
    "buckets that do not fill the time": (
        {"end": "2026-03-29T03:30Z"},
        TIME_BAD,
        ("3.5 buckets of 1 h, not a whole number",),
    ),
    "too many buckets": (
        {"bucket": "1s", "start": "1700-01-01T00:00Z"},
        LIMIT_BAD,
        ("a run can number 2,147,483,647", "longer buckets"),
    ),
    "rename to nothing": (
        {"rename": [("count", "number")]},
        OPTION_BAD,
        ("no table has a column number", "bucket_start"),
    ),
    "rename of nothing": ({"rename": [("anzahl", "count")]}, OPTION_BAD, ("--rename anzahl: no file has a column",)),
    "ignore of nothing": ({"ignore": ["anzahl"]}, OPTION_BAD, ("--ignore anzahl: no file has a column",)),
    "two for one": ({"rename": [("channel", "count")]}, SCHEMA_BAD, ("'channel' and 'count'", "both stand for count")),
    "seed too large": ({"seed": 2**64}, Code.PARTITION_OR_PK_VIOLATION, ("seed",)),
    "scenario that is a path": ({"scenario_id": "a/b"}, Code.PARTITION_OR_PK_VIOLATION, ("scenario_id='a/b'",)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_refused(tmp_path, name):
    options, code, says = OPTIONS[name]
    refused(request_of(tmp_path, GOOD, **options), code, *says)


GRID = "bucket_start,bucket_end\n2026-03-29T00:00Z,2026-03-29T02:00Z\n2026-03-29T02:00Z,2026-03-29T03:00Z\n"
GRIDS = {
    "gap": (
        GRID.replace("02:00Z,2026-03-29T03", "02:30Z,2026-03-29T03"),
        ("grid.csv, line 3", "does not start at the end of the previous one"),
    ),
    "bucket backwards": (
        GRID.replace("T00:00Z,2026-03-29T02:00Z", "T02:00Z,2026-03-29T00:00Z"),
        ("grid.csv, line 2", "does not end after it starts"),
    ),
    "numbers": (
        "bucket_index," + GRID.replace("\n2026", "\n5,2026"),
        ("grid.csv, line 2", "not numbered in time order"),
    ),
    "part of a second": (GRID.replace("03:00Z", "03:00:00.5Z"), ("grid.csv, line 3", "whole seconds")),
    "too short": (
        GRID.replace("T02:00Z,2026-03-29T03:00Z", "T02:00Z,2026-03-29T02:00:01Z").replace(
            "2026-03-29T02:00Z,2026-03-29T02:00:01Z\n", ""
        ),
        ("counts.csv, line 5", "outside the grid"),
    ),
    "not a start": (GRID, ("counts.csv, line 3", "1 h after the bucket that starts at 2026-03-29T00:00:00Z")),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_wrong_grid_is_refused(tmp_path, name):
    text, says = GRIDS[name]
    code = LIMIT_BAD if name == "long bucket" else TIME_BAD
    refused(request_of(tmp_path, edited(grid=text)), code, *says)


def test_a_grid_and_a_span_are_one_too_many(tmp_path):
    refused(request_of(tmp_path, edited(grid=GRID), bucket="1h"), OPTION_BAD, "--grid", "--bucket")


INDEXED = "merchant_id,tz,bucket_index,count\n1,Europe/Berlin,0,3\n1,Europe/Berlin,4,3\n"


def test_numbered_buckets_need_to_be_told_when_they_are(tmp_path):
    refused(request_of(tmp_path, edited(counts=INDEXED)), TIME_BAD, "their times are not given", "--start and --bucket")
    span = {"start": "2026-03-29T00:00Z", "bucket": "1h", "end": "2026-03-29T03:00Z"}
    request = request_of(tmp_path, edited(counts=INDEXED), **span)
    refused(request, TIME_BAD, "counts.csv, line 3: bucket_index 4 is beyond the grid's last bucket, 2")


GROUPS = {
    "twice": (
        "merchant_id,tz,weight\n1,Europe/Berlin,1\n1,Europe/Berlin,2\n",
        ("groups.csv, line 3: merchant 1 has Europe/Berlin twice",),
    ),
    "stranger": (
        "merchant_id,tz,weight\n3,Europe/Berlin,1\n",
        ("groups.csv, line 2: merchant 3 has group weights but no site",),
    ),
    "zeros": ("merchant_id,tz,weight\n1,Europe/Berlin,0\n", ("groups.csv, line 2", "group weights are all zero")),
}


@pytest.mark.parametrize("name", GROUPS)
def test_wrong_group_weights_are_refused(tmp_path, name):
    text, says = GROUPS[name]
    (tmp_path / "groups.csv").write_text(text)
    refused(request_of(tmp_path, GOOD, group_weights=[tmp_path / "groups.csv"]), SITES_BAD, *says)


# --- Forms that are taken, and said ------------------------------------------------------------------


def test_semicolons_are_taken_and_said(tmp_path):
    plain = import_world(request_of(tmp_path, GOOD))
    (tmp_path / "world").rename(tmp_path / "first")
    result = import_world(request_of(tmp_path, edited(counts=GOOD["counts"].replace(",", ";"))))
    assert result.identity == plain.identity
    assert [notice.message for notice in result.notices] == [
        f"{tmp_path / 'counts.csv'} is read as values separated by a semicolon"
    ]


@pytest.mark.parametrize("form", ["byte order mark", "CRLF", "quotes", "compressed", "directory", "renamed", "tabs"])
def test_other_forms_of_the_same_file_are_taken(tmp_path, form):
    plain = import_world(request_of(tmp_path, GOOD))
    (tmp_path / "world").rename(tmp_path / "first")
    text, options = GOOD["counts"], {}
    if form == "byte order mark":
        text = "\ufeff" + text
    elif form == "CRLF":
        text = text.replace("\n", "\r\n")
    elif form == "quotes":
        text = "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines())
    elif form == "tabs":
        text = text.replace(",", "\t")
    elif form == "compressed":
        (tmp_path / "counts.csv.gz").write_bytes(gzip.compress(text.encode()))
        options, text = {"counts": [tmp_path / "counts.csv.gz"]}, None
    elif form == "directory":
        head, *rows = text.splitlines(keepends=True)
        (tmp_path / "many").mkdir()
        for number, row in enumerate(rows):
            (tmp_path / "many" / f"{number}.csv").write_text(head + row)
        (tmp_path / "many" / "README.md").write_text("no table")
        options, text = {"counts": [tmp_path / "many"]}, None
    else:
        text = text.replace("merchant_id,tz", "shop,where").replace(",count\n", ",count,note\n").replace("Z,", "Z,9,")
        text = text.replace("bucket_start,count,note", "bucket_start,note,count")
        options = {"rename": [("shop", "merchant_id"), ("where", "tz")], "ignore": ["note"]}
    assert import_world(request_of(tmp_path, edited(counts=text), **options)).identity == plain.identity


def test_counts_away_from_any_site_are_said(tmp_path):
    text = GOOD["counts"].replace("Europe/Berlin,,", "America/New_York,,")
    result = import_world(request_of(tmp_path, edited(counts=text)))
    (notice,) = result.notices
    assert notice.code == "NO_SITE_IN_ZONE"
    assert notice.message.startswith("4 arrivals are counted in a zone where their merchant has no site")
    assert "merchant 1 in America/New_York" in notice.message
    text = GOOD["counts"].replace("2,Europe/London", "2,America/New_York")
    (tmp_path / "hybrid").mkdir()
    (notice,) = import_world(request_of(tmp_path / "hybrid", edited(counts=text))).notices
    assert notice.message.startswith("up to 5 arrivals")


def test_nothing_is_imported_with_another_tzdata_release(tmp_path, monkeypatch):
    monkeypatch.setattr(tzdata, "IANA_VERSION", "2026e")
    refused(request_of(tmp_path, GOOD), ZONE_BAD, "tzdata 2026e is installed", "pip install tzdata==2026.6")
