"""Tables in memory: the same world as from files, from any library's types, refused with their table and row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.importing import ImportRequest, import_world
from arrival_engine.engine.importing.frames import tables_in
from arrival_engine.engine.importing.prepare import prepare
from arrival_engine.engine.importing.request import TableRequest
from arrival_engine.engine.process.progress import Reporter
from tests.support.import_refused import GOOD
from tests.support.in_memory import COFFEE, TABLES, coffee


def fingerprint(**request):
    return prepare(TableRequest(**request), Reporter()).identity.manifest_fingerprint


@pytest.fixture(scope="module")
def of_files():
    return fingerprint(**{name: [COFFEE / f"{name}.csv"] for name in TABLES})


READERS: dict[str, Callable[[Path], Any]] = {
    "pandas": pd.read_csv,
    "pandas of objects": lambda path: pd.read_csv(path, dtype=object),
    "pandas with Arrow types": lambda path: pd.read_csv(path, dtype_backend="pyarrow"),
    "pandas with nullable types": lambda path: pd.read_csv(path, dtype_backend="numpy_nullable"),
    "pandas with times": lambda path: timed(pd.read_csv(path)),
    "pandas with categories": lambda path: pd.read_csv(path).astype("category"),
    "Polars": pl.read_csv,
    "Polars with times": lambda path: pl.read_csv(path, try_parse_dates=True),
    "Polars with categories": lambda path: pl.read_csv(path).with_columns(pl.col(pl.String).cast(pl.Categorical)),
    "DuckDB": lambda path: duckdb.read_csv(str(path)),
    "Arrow": lambda path: pa.csv.read_csv(str(path)),
    "Arrow batches": lambda path: pa.csv.read_csv(str(path)).to_reader(max_chunksize=7),
    "a path": lambda path: path,
    "a text": str,
    "two frames": lambda path: halves(pd.read_csv(path)),
    "a frame and a file": lambda path: [pd.read_csv(path).iloc[:0], path],
}


def timed(frame):
    if "bucket_start" in frame:
        frame["bucket_start"] = pd.to_datetime(frame["bucket_start"]).dt.tz_convert("Asia/Kathmandu").dt.as_unit("ns")
    return frame


def halves(frame):
    return [frame.iloc[::2], frame.iloc[1::2]]


@pytest.mark.parametrize("reader", READERS)
def test_tables_of_every_library_are_the_same_world_as_files(reader, of_files):
    assert fingerprint(**{name: READERS[reader](COFFEE / f"{name}.csv") for name in TABLES}) == of_files


def test_import_writes_the_same_world_from_frames(tmp_path, of_files):
    result = import_world(ImportRequest(tmp_path / "world", **coffee()))
    assert result.identity.manifest_fingerprint == of_files
    assert import_world(ImportRequest(tmp_path / "world", **coffee())).reused


# --- Columns --------------------------------------------------------------------------------------------

SITES = pa.table({"merchant_id": [1], "tz": ["Europe/Berlin"], "country": ["DE"], "weight": [1.0]})
HOUR = dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC)
PLAIN = pa.table({"merchant_id": [1, 1], "tz": ["Europe/Berlin"] * 2, "bucket_start": [HOUR, HOUR], "count": [3, 4]})


def with_column(name, array):
    return PLAIN.set_column(PLAIN.column_names.index(name), name, array)


CELLS = {
    "count as decimal": with_column("count", pa.array([Decimal(3), Decimal("4.00")])),
    "count as HUGEINT": with_column("count", pa.array([3, 4], pa.decimal128(38, 0))),
    "count as float with a whole value": with_column("count", pa.array([3.0, 4.0])),
    "count as text": with_column("count", pa.array(["3", "4"], pa.string_view())),
    "merchant as float": with_column("merchant_id", pa.array([1.0, 1.0])),
    "merchant as text": with_column("merchant_id", pa.array(["1", "1"], pa.large_string())),
    "merchant as dictionary": with_column("merchant_id", pa.array([1, 1], pa.uint64()).dictionary_encode()),
    "time in seconds": with_column("bucket_start", pa.array([HOUR] * 2, pa.timestamp("s", "UTC"))),
    "time in milliseconds": with_column("bucket_start", pa.array([HOUR] * 2, pa.timestamp("ms", "America/New_York"))),
    "time in nanoseconds": with_column("bucket_start", pa.array([HOUR] * 2, pa.timestamp("ns", "+05:45"))),
    "time as dictionary": with_column(
        "bucket_start", pa.array([HOUR] * 2, pa.timestamp("us", "UTC")).dictionary_encode()
    ),
    "zone as view": with_column("tz", pa.array(["Europe/Berlin"] * 2, pa.string_view())),
    "zone as dictionary of views": with_column(
        "tz",
        pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.uint32()), pa.array(["Europe/Berlin"], pa.string_view())),
    ),
    "columns in another order": PLAIN.select(["count", "tz", "bucket_start", "merchant_id"]),
    "a channel without texts": PLAIN.append_column("channel", pa.nulls(2)),
    "in pieces": pa.concat_tables([PLAIN.slice(0, 1), PLAIN.slice(1)]),
}


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_every_type_say_the_same(name):
    assert fingerprint(counts=CELLS[name], sites=SITES) == fingerprint(counts=PLAIN, sites=SITES)


def test_sums_and_times_of_sql_are_cells():
    con = duckdb.connect()
    con.register("plain", PLAIN)
    asked = con.sql(
        "select merchant_id, 'Europe/Berlin'::enum('Europe/Berlin') as tz, bucket_start, sum(count) as count "
        "from plain group by all"
    )
    assert str(asked.types[3]) == "HUGEINT"
    assert fingerprint(counts=asked, sites=SITES) == fingerprint(counts=PLAIN, sites=SITES)


def test_a_polars_enum_and_milliseconds_are_cells():
    frame = pl.DataFrame(PLAIN).with_columns(
        pl.col("tz").cast(pl.Enum(["Europe/Berlin", "Europe/London"])),
        pl.col("bucket_start").dt.cast_time_unit("ms"),
    )
    assert fingerprint(counts=frame, sites=SITES) == fingerprint(counts=PLAIN, sites=SITES)


def test_nullable_numbers_of_pandas_are_whole_where_they_are_there():
    counts = PLAIN.to_pandas().assign(channel=["card", np.nan])
    same = PLAIN.append_column("channel", pa.array(["card", None]))
    assert fingerprint(counts=counts, sites=SITES) == fingerprint(counts=same, sites=SITES)
    counts = PLAIN.to_pandas().assign(count=[3.0, np.nan])
    refused(Code.SCHEMA_VIOLATION, "table counts, row 2: count is empty", counts=counts)


def test_an_index_without_a_name_is_no_column_and_one_with_a_name_is():
    frame = PLAIN.to_pandas()
    filtered = (
        pd.concat([frame, frame.assign(count=9)]).reset_index(drop=True).query("count < 9").sort_index(ascending=False)
    )
    assert fingerprint(counts=filtered, sites=SITES) == fingerprint(counts=PLAIN, sites=SITES)
    grouped = frame.groupby(["merchant_id", "tz", "bucket_start"])[["count"]].sum()
    assert fingerprint(counts=grouped, sites=SITES) == fingerprint(counts=PLAIN, sites=SITES)


def test_ids_above_two_to_the_63_stay_as_they_are():
    big = 2**64 - 1
    counts = with_column("merchant_id", pa.array([big, big], pa.uint64()))
    sites = SITES.set_column(0, "merchant_id", pa.array([big], pa.uint64()))
    contents = prepare(TableRequest(counts.to_pandas(), pl.DataFrame(sites)), Reporter()).contents
    assert contents.sites.merchant.tolist() == [big]
    assert contents.counts.merchant.tolist() == [big]


def test_renames_and_left_out_columns_are_as_with_files():
    theirs = PLAIN.rename_columns(["shop", "tz", "bucket_start", "n"]).append_column("note", pa.array(["a", "b"]))
    found = fingerprint(counts=theirs, sites=SITES, rename=[("shop", "merchant_id"), ("n", "count")], ignore=["note"])
    assert found == fingerprint(counts=PLAIN, sites=SITES)


def test_columns_of_one_name_can_be_left_out():
    twice = PLAIN.append_column("x", pa.array([1, 2])).append_column("x", pa.array(["a", "b"]))
    assert fingerprint(counts=twice, sites=SITES, ignore=["x"]) == fingerprint(counts=PLAIN, sites=SITES)
    refused(Code.SCHEMA_VIOLATION, "table counts has several columns 'x'", counts=twice)


# --- Refusals -------------------------------------------------------------------------------------------


def refused(code, *says, **request):
    with pytest.raises(ArrivalError) as caught:
        prepare(TableRequest(**{"counts": PLAIN, "sites": SITES, **request}), Reporter())
    error = caught.value
    told = f"{error.message} -> {error.hint}"
    assert (error.code, error.hint != "") == (code, True), told
    for text in says:
        assert text in told, told
    return error


def test_a_wrong_cell_is_named_by_table_and_row():
    error = refused(
        Code.SCHEMA_VIOLATION,
        "table counts, row 2: count 1.5 is not a whole number",
        counts=with_column("count", pa.array([3, 1.5])),
    )
    assert error.context == {"table": "table counts", "row": 2, "column": "count", "value": "1.5"}
    refused(
        Code.SCHEMA_VIOLATION,
        "table counts[1], row 1: count -1 is negative",
        counts=[PLAIN, with_column("count", pa.array([-1, 1]))],
    )
    refused(
        Code.SITE_RESOLUTION_FAILED,
        "table sites, row 1: the weights of merchant 1 among the sites are all zero",
        sites=SITES.set_column(3, "weight", pa.array([0.0])),
    )


REFUSED = {
    "a dict": ({"merchant_id": [1]}, Code.OPTION_INVALID, "counts is of type dict, which is not a table"),
    "a number": (5, Code.OPTION_INVALID, "counts is of type int"),
    "a lazy frame": (pl.LazyFrame({"a": [1]}), Code.OPTION_INVALID, "give counts.collect()"),
    "nothing": (None, Code.OPTION_INVALID, "no counts are given"),
    "no tables": ([], Code.OPTION_INVALID, "no counts are given"),
    "a column alone": (pl.Series("count", [1]), Code.SCHEMA_VIOLATION, "table counts cannot be read as Arrow"),
    "no rows": (PLAIN.slice(0, 0), Code.S1_OR_S3_OUTPUT_MISSING, "table counts: counts have column names but no rows"),
    "lists": (with_column("count", pa.array([[1], [2]])), Code.SCHEMA_VIOLATION, "column 'count' has the type list"),
    "truths": (
        with_column("count", pa.array([True, False])),
        Code.SCHEMA_VIOLATION,
        "column 'count' has the type bool",
    ),
    "objects of several types": (
        PLAIN.to_pandas().assign(count=[1, "x"]),
        Code.SCHEMA_VIOLATION,
        "column count with type object: Could not convert 'x'",
    ),
    "a time without a zone": (
        with_column("bucket_start", pa.array([0, 0], pa.timestamp("us"))),
        Code.TIME_GRID_MISMATCH,
        "table counts, row 1: bucket_start 1970-01-01T00:00:00.000000 has no zone",
    ),
    "a nanosecond": (
        with_column("bucket_start", pa.array([1, 1], pa.timestamp("ns", "UTC"))),
        Code.TIME_GRID_MISMATCH,
        "table counts: column 'bucket_start' has times that microseconds cannot represent",
    ),
    "another name": (
        PLAIN.rename_columns(["merchant_id", "tz", "bucket_start", "n"]),
        Code.SCHEMA_VIOLATION,
        "--rename n=count",
    ),
    "texts that are not UTF-8": (
        with_column("tz", pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff\xfe"] * 2, pa.binary()).buffers())),
        Code.SCHEMA_VIOLATION,
        "table counts cannot be read as Arrow",
    ),
    "a long text": (
        with_column("tz", pa.array(["x" * 70_000] * 2, pa.string_view())),
        Code.LIMIT_EXCEEDED,
        "table counts, row 1: tz has a text of 70,000 bytes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_of_cells_is_refused(name):
    given, code, says = REFUSED[name]
    refused(code, says, counts=given)


def test_a_rename_of_nothing_names_tables_not_files():
    refused(Code.OPTION_INVALID, "--ignore note: no table has a column of that name", ignore=["note"])


def test_a_stream_that_was_read_has_no_rows_left():
    reader = PLAIN.to_reader()
    assert fingerprint(counts=reader, sites=SITES)
    with pytest.raises(ArrivalError):
        fingerprint(counts=reader, sites=SITES)


def test_a_stream_that_fails_on_the_way_says_why():
    def batches():
        yield from PLAIN.to_batches()
        raise RuntimeError("the source is gone")

    failing = pa.RecordBatchReader.from_batches(PLAIN.schema, batches())
    refused(Code.SCHEMA_VIOLATION, "table counts cannot be read", "the source is gone", counts=failing)


def test_a_refused_query_leaves_its_connection_free():
    con = duckdb.connect()
    con.register("plain", PLAIN)
    for asked in ("select * from plain, range(300000)", "select tz from plain"):
        refused(Code.SCHEMA_VIOLATION, "table counts has", counts=con.sql(asked))
        assert con.execute("select count(*) from plain").fetchall() == [(2,)]
    refused(Code.SCHEMA_VIOLATION, "cannot be read as Arrow", "busy", counts=con.sql("select error('busy') from plain"))
    assert con.execute("select count(*) from plain").fetchall() == [(2,)]


def test_every_table_says_its_argument(tmp_path):
    for name in ("virtual_merchants", "edges"):
        files = {}
        for table, text in GOOD.items():
            (tmp_path / f"{table}.csv").write_text(text)
            files[table] = pd.read_csv(tmp_path / f"{table}.csv")
        files[name] = files[name].rename(columns={"merchant_id": "kunde"})
        refused(Code.SCHEMA_VIOLATION, f"table {name} has a column 'kunde'", **files)


def test_an_object_with_the_interface_alone_is_enough():
    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return PLAIN.__arrow_c_stream__(requested_schema)

    assert len(tables_in(Stream(), "counts")) == 1
    assert fingerprint(counts=Stream(), sites=SITES) == fingerprint(counts=PLAIN, sites=SITES)
