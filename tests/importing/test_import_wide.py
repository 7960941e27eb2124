"""Tables with a column per time or hour, totals and empty rows: refusals whose hints make a table that is read."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.wide import wide
from tests.support.import_refused import GOOD, SCHEMA_BAD, refused, request_of

SITES = "merchant_id,tz,country,weight\n18446744073709551615,Europe/Berlin,DE,1\n"
TIMES = (
    "merchant_id,tz,2026-03-29T00:00:00Z,2026-03-29T01:00:00Z,2026-03-29T02:00:00Z\n"
    "18446744073709551615,Europe/Berlin,3,,4\n"
)
HOURS = "merchant_id,tz,day of month,date,h00,h01,h23\n18446744073709551615,Europe/Berlin,29,2026-03-29,3,,4\n"


def unpivoted(folder, error):
    """The table that the hint's command makes, in the folder in which it is pasted."""
    target, command = error.hint.removeprefix("write one row per count, such as to ").split(": python ", 1)
    subprocess.run([sys.executable, *shlex.split(command)], cwd=folder, check=True)
    return folder / shlex.split(target)[0]


@pytest.mark.parametrize(
    ("name", "text", "what", "options"),
    [
        ("counts", TIMES, "has a column per time (2026-03-29T00:00:00Z, 2026-03-29T01:00:00Z, ...)", {}),
        ("it's $5", TIMES, "has a column per time", {}),
        ("hours", HOURS, "has a column per hour (h00, h01, ...)", {"assume_utc": True, "ignore": ["day of month"]}),
    ],
)
def test_the_hint_of_a_wide_table_makes_a_long_one(tmp_path, name, text, what, options):
    path = tmp_path / f"{name}.csv"
    path.write_text(text)
    request = request_of(tmp_path, {"sites": SITES}, counts=[path])
    error = refused(request, SCHEMA_BAD, what, "one row each")
    long = unpivoted(tmp_path, error)
    assert long.name == f"{name}-long.csv"
    assert import_world(request_of(tmp_path, {"sites": SITES}, counts=[long], bucket="1h", **options)).arrivals == 7


def test_a_wide_parquet_file(tmp_path):
    columns = {"merchant_id": pa.array([2**64 - 1], pa.uint64()), "tz": ["Europe/Berlin"]}
    times = {f"2026-03-29 0{hour}:00": [hour + 1] for hour in range(3)}
    pq.write_table(pa.table({**columns, **times}), tmp_path / "wide.parquet")
    request = request_of(tmp_path, {"sites": SITES}, counts=[tmp_path / "wide.parquet"])
    long = unpivoted(tmp_path, refused(request, SCHEMA_BAD, "has a column per time"))
    again = request_of(tmp_path, {"sites": SITES}, counts=[long], assume_utc=True)
    assert import_world(again).arrivals == 6


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (["merchant_id", "tz", "00:00", "01:00", "02:00"], "write one row per hour"),
        (["merchant_id", "date", "h1", "h2", "h24"], "write one row per hour"),
    ],
)
def test_hours_of_which_the_start_is_not_known(header, says):
    found = wide(header, "date" if "date" in header else "", "counts.csv")
    assert found is not None
    assert says in found.hint


def test_a_wide_table_in_memory():
    found = wide(["id", "2026-03-29", "2026-03-30", "2026-03-31"], "", "")
    assert found is not None
    assert "melt" in found.hint


@pytest.mark.parametrize("header", [["a", "1", "2"], ["h1", "h2", "h30"], ["x1", "x2", "x3", "x4"]])
def test_other_columns_are_no_hours(header):
    assert wide(header, "", "counts.csv") is None


FIRST, SECOND = "1,Europe/Berlin,card,2026-03-29T00:00:00Z,3\n", "1,Europe/Berlin,,2026-03-29T01:00:00Z,4\n"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("Total,,,,7\n", ("merchant_id 'Total' is not a number", "leave out rows of totals")),
        (",,,,\n", ("merchant_id is empty", "leave out rows without values")),
        (
            "1,Europe/Berlin,card,2026-03-29T02:00:00Z, 5\n",
            ("count ' 5' is not a whole number", "remove the spaces", "5"),
        ),
    ],
)
def test_rows_of_spreadsheets(tmp_path, row, says):
    header = GOOD["counts"].splitlines(keepends=True)[0]
    tables = {"counts": header + FIRST + SECOND + row, "sites": GOOD["sites"]}
    refused(request_of(tmp_path, tables), SCHEMA_BAD, "counts.csv, line 4", *says)
    tables["counts"] = header + FIRST + SECOND + "\n\n"
    assert import_world(request_of(tmp_path, tables)).arrivals == 7


def test_thousands_are_grouped_in_counts_and_weights_of_all_tables(tmp_path):
    tables = {name: text.replace(",3\n", ',"1,003"\n').replace(",1\n", ',"2,000.5"\n') for name, text in GOOD.items()}
    with pytest.raises(ArrivalError, match=r"is ambiguous|groups its thousands"):
        import_world(request_of(tmp_path, tables))
    assert import_world(request_of(tmp_path, tables, thousands=",")).arrivals == 1018
