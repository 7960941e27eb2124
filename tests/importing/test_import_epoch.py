"""Times that are numbers since 1970: read by --epoch alone, refused with what each reading would be."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import Code
from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.times import day_start, instant
from arrival_engine.engine.importing.values import Refused
from tests.support.import_refused import GOOD, OPTION_BAD, TIME_BAD, edited, refused, request_of

SECONDS = 1_774_742_400  # 2026-03-29T00:00:00Z
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
TIMES = re.compile(r"2026-03-29T0([0-2]):00:00Z")


def in_units(text, unit):
    """The table with its times as numbers."""
    return TIMES.sub(lambda match: str((SECONDS + 3600 * int(match[1])) * PER_SECOND[unit]), text)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The identity of the good tables."""
    return import_world(request_of(tmp_path_factory.mktemp("plain"), GOOD)).identity


@pytest.mark.parametrize("unit", PER_SECOND)
def test_the_hint_of_a_number_names_the_option_that_reads_it(tmp_path, unit, plain):
    tables = edited(counts=in_units(GOOD["counts"], unit))
    error = refused(
        request_of(tmp_path, tables),
        TIME_BAD,
        f"line 2: bucket_start '{SECONDS * PER_SECOND[unit]}' is not a time, but a number",
    )
    # The reading of a usual year comes first.
    option, given, to_read = re.match(r"give (--epoch) (\w+) to read ([^,]+)", error.hint).groups()
    assert (option, given, to_read) == ("--epoch", unit, "2026-03-29T00:00:00Z")
    assert import_world(request_of(tmp_path, tables, epoch=given)).identity == plain


def parquet(folder, column):
    hours = {"merchant_id": [1, 1], "tz": ["Europe/Berlin"] * 2, "bucket_start": column, "count": [3, 4]}
    pq.write_table(pa.table(hours), folder / "counts.parquet")
    return request_of(folder, {"sites": GOOD["sites"]}, counts=[folder / "counts.parquet"], epoch="ms")


@pytest.mark.parametrize(
    "column",
    [
        pa.array(np.array([SECONDS, SECONDS + 3600]) * 1000),
        pa.array(np.array([SECONDS, SECONDS + 3600]) * 1000.0),
        pa.array([Decimal(SECONDS * 1000), Decimal((SECONDS + 3600) * 1000)]),
        pa.array([str(SECONDS * 1000), f"{(SECONDS + 3600) * 1000}.0"]),
    ],
    ids=["int64", "float64", "decimal", "text"],
)
def test_numbers_of_any_type_are_read(tmp_path, column):
    result = import_world(parquet(tmp_path, column))
    assert (result.start_utc, result.end_utc) == ("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z")


def test_the_unit_holds_for_a_grid_and_for_options_and_not_for_times_that_say_what_they_are(tmp_path, plain):
    given = request_of(tmp_path, GOOD, epoch="s", start=str(SECONDS), end=str(SECONDS + 3 * 3600), bucket="1h")
    assert import_world(given).identity == plain
    grid = tmp_path / "grid.csv"
    grid.write_text(
        "bucket_start,bucket_end\n" + "".join(f"{SECONDS + 3600 * b},{SECONDS + 3600 * (b + 1)}\n" for b in range(3))
    )
    (tmp_path / "world").rename(tmp_path / "first")
    assert import_world(request_of(tmp_path, GOOD, epoch="s", grid=[grid])).identity == plain


def test_numbers_of_local_days(tmp_path):
    # Midnight of 28 March in Berlin.
    rows = f"merchant_id,tz,bucket_start,count\n1,Europe/Berlin,{SECONDS - 25 * 3600},7\n"
    tables = edited(counts=rows, virtual_merchants=None, edges=None)
    result = import_world(request_of(tmp_path, tables, epoch="s", bucket="local-day"))
    assert result.start_utc == "2026-03-27T23:00:00Z"
    assert day_start(str(SECONDS), "s") == SECONDS * 10**6


NOT_READ: dict[str, tuple[Any, Any, str]] = {
    "a serial number of a spreadsheet": (45380, None, "as a serial number of a spreadsheet this is 2024-03-29"),
    "a serial number with a clock": (45380.5, None, "this is 2024-03-29"),
    "a date in digits": ("20260329", None, "write dates with hyphens: 2026-03-29"),
    "a small number": (
        "12",
        None,
        "--epoch s to read 1970-01-01T00:00:12Z, --epoch ms to read 1970-01-01T00:00:00.012",
    ),
    "too many digits": ("9" * 22, None, "give a time such as"),
    "no number": (float("nan"), None, "give a time such as"),
    "another unit": (str(SECONDS * 1000), "s", "--epoch ms to read 2026-03-29T00:00:00Z"),
    "part of a second": (f"{SECONDS}.5", "s", "give only digits"),
    "part of a microsecond": (SECONDS * 10**9 + 1, "ns", "round the times"),
    "lost digits": (float(SECONDS) * 10**9, "ns", "digits that were lost"),
    "an exponent": ("1.7747424E9", "s", "write all its digits"),
    "24 o'clock": ("2026-03-29T24:00Z", None, "write 00:00 of the next day"),
    "the day first": ("29.03.2026", None, "write the year first: 2026-03-29;"),
    "the day or the month first": ("01/02/2026 10:00", None, "2026-02-01 or 2026-01-02"),
    "a truth": (True, "s", "give a time such as"),
}


@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_not_read_says_what_it_may_be(name):
    cell, unit, says = NOT_READ[name]
    with pytest.raises(Refused) as caught:
        instant(cell, assume_utc=False, epoch=unit)
    assert caught.value.code == Code.TIME_GRID_MISMATCH
    assert says in caught.value.hint


def test_nanoseconds_of_zeros_are_a_time():
    assert instant("2026-03-29T00:00:00.000001000Z", assume_utc=False) == SECONDS * 10**6 + 1
    with pytest.raises(Refused, match="is not a time of the form"):
        instant("2026-03-29T00:00:00.000001001Z", assume_utc=False)


def test_a_unit_that_is_none(tmp_path):
    refused(request_of(tmp_path, GOOD, epoch="min"), OPTION_BAD, "--epoch 'min' is not a unit", "s, ms, us, ns")
