"""Data files in Delta and Iceberg tables: what versions state of them, and what a commit costs."""

from __future__ import annotations

import cProfile
import io
import json
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.exporting.delta import DeltaSink
from arrival_engine.engine.exporting.delta_files import partition_values, statistics
from arrival_engine.engine.exporting.facts import Facts
from arrival_engine.engine.exporting.files import DataFile
from arrival_engine.engine.exporting.iceberg import IcebergSink
from arrival_engine.engine.exporting.sink import Layout
from tests.support.lakes import (
    FORMATS,
    iceberg_table,
    put,
    run_root,  # noqa: F401 - a fixture
)

SINKS = {"delta": DeltaSink, "iceberg": IcebergSink}
COLUMNS = pa.schema(
    [
        pa.field("merchant_id", pa.int64(), nullable=False),
        pa.field("arrival_seq", pa.int64(), nullable=False),
        pa.field("ts_utc", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
FACTS = Facts.unknown().with_digest("0-00000000000000000000000000000000")


def footer_of(rows, **options):
    sink = io.BytesIO()
    pq.write_table(rows, sink, **options)
    return pq.ParquetFile(io.BytesIO(sink.getvalue())).metadata


def test_statistics_are_exact():
    rows = pa.table(
        {
            "id": pa.array([-(2**63), None, 2**63 - 1], pa.int64()),
            "instant": pa.array([datetime(2026, 3, 29, 1, 0, 0, 1, UTC)] * 3, pa.timestamp("us", "UTC")),
            "clock": pa.array(
                [datetime(1969, 12, 31, 23, 59, 59, 999999, UTC).replace(tzinfo=None), None, None], pa.timestamp("us")
            ),
            "day": [date(2026, 1, 1), date(2027, 1, 1), None],
            "flag": [True, False, None],
            "none": pa.nulls(3, pa.string()),
            "exact": pa.array([Decimal(2**64 - 1)] * 3, pa.decimal128(20, 0)),
            "text": ["Europe/Berlin", "Zürich", "é"],
        }
    )
    found = statistics(footer_of(rows, row_group_size=2))
    assert found == {
        "numRecords": 3,
        "minValues": {
            "id": -(2**63),
            "instant": "2026-03-29T01:00:00.000001Z",
            "clock": "1969-12-31T23:59:59.999999",
            "day": "2026-01-01",
            "text": "Europe/Berlin",
        },
        "maxValues": {
            "id": 2**63 - 1,
            "instant": "2026-03-29T01:00:00.000001Z",
            "clock": "1969-12-31T23:59:59.999999",
            "day": "2027-01-01",
            "text": "é",
        },
        "nullCount": {
            "id": 1,
            "instant": 0,
            "clock": 2,
            "day": 1,
            "flag": 1,
            "none": 3,
            "exact": 0,
            "text": 0,
        },
    }


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_bounds_of_long_texts_hold(texts):
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    found = statistics(footer_of(pa.table({"text": pa.array(texts, pa.string())})))
    if "text" in found["minValues"]:
        low, high = found["minValues"]["text"].encode(), found["maxValues"]["text"].encode()
        assert all(low <= text.encode() <= high for text in texts)
        assert max(len(found["minValues"]["text"]), len(found["maxValues"]["text"])) <= 32


def test_text_without_a_greater_one_has_no_bounds():
    last = chr(0x10FFFF)
    assert "text" not in statistics(footer_of(pa.table({"text": [last * 33]})))["maxValues"]
    found = statistics(footer_of(pa.table({"text": ["a" + chr(0xD7FF) + last * 40]})))
    assert found["maxValues"]["text"] == "a" + chr(0xE000)


def test_columns_without_statistics_have_no_bounds():
    found = statistics(footer_of(pa.table({"a": [1], "b": [2]}), write_statistics=["b"]))
    assert found == {"numRecords": 1, "minValues": {"b": 2}, "maxValues": {"b": 2}, "nullCount": {"b": 0}}


def test_partition_values_are_those_of_the_folders():
    assert partition_values("x-000000.parquet") == {}
    assert partition_values("day=2026-01-01/x-000000.parquet") == {"day": "2026-01-01"}


def test_delta_actions_state_what_is_in_the_files(run_root, tmp_path):  # noqa: F811
    from deltalake import DeltaTable

    put(run_root, tmp_path / "table", "delta", cluster_by="day", partitioned=True)
    actions = pa.table(DeltaTable(str(tmp_path / "table")).get_add_actions(flatten=True)).to_pylist()
    assert len(actions) > 2
    for action in actions:
        path = tmp_path / "table" / action["path"]
        rows = pq.ParquetFile(path).read()
        assert action["size_bytes"] == path.stat().st_size
        assert action["num_records"] == rows.num_rows
        assert str(action["partition.day"]) in action["path"]
        for name in ("merchant_id", "ts_utc", "ts_local", "place_id", "tzid", "bucket_index"):
            bounds = pc.min_max(rows[name]).as_py()
            assert (action[f"min.{name}"], action[f"max.{name}"]) == (bounds["min"], bounds["max"])
        assert all(action[f"null_count.{name}"] == rows[name].null_count for name in rows.column_names)


def test_iceberg_entries_state_what_is_in_the_files(run_root, tmp_path):  # noqa: F811
    put(run_root, tmp_path / "table", "iceberg", cluster_by="day", partitioned=True)
    table = iceberg_table(tmp_path / "table")
    with closing(table.catalog):
        entries = table.inspect.files().to_pylist()
        assert len(entries) > 2
        for entry in entries:
            file = pq.ParquetFile(entry["file_path"])
            rows = file.read()
            assert (entry["record_count"], entry["file_size_in_bytes"]) == (
                rows.num_rows,
                Path(entry["file_path"]).stat().st_size,
            )
            for name in ("merchant_id", "ts_utc", "ts_local", "place_id", "bucket_index"):
                bounds, found = pc.min_max(rows[name]).as_py(), entry["readable_metrics"][name]
                assert (found["lower_bound"], found["upper_bound"]) == (bounds["min"], bounds["max"])
            numbers = {field.name: field.metadata[b"PARQUET:field_id"] for field in file.schema_arrow}
            assert numbers == {field.name: str(field.field_id).encode() for field in table.schema().fields}


@pytest.mark.parametrize("partitioned", [False, True])
def test_iceberg_scan_of_a_day_reads_its_files_alone(run_root, tmp_path, partitioned):  # noqa: F811
    put(run_root, tmp_path / "table", "iceberg", cluster_by="day", partitioned=partitioned)
    table = iceberg_table(tmp_path / "table")
    with closing(table.catalog):
        days = sorted({instant.date() for instant in table.scan().to_arrow()["ts_utc"].to_pylist()})
        begin = f"ts_utc >= '{days[0]}T00:00:00+00:00' and ts_utc <= '{days[0]}T23:59:59.999999+00:00'"
        planned = list(table.scan(row_filter=begin).plan_files())
        assert len(planned) == 1
        if partitioned:
            assert all(f"day={days[0]}/" in task.file.file_path for task in planned)


def committed(to, target, count):
    """The calls of Python functions during the commit of so many files, none of which is there to be read."""
    sink = SINKS[to](target, Layout(COLUMNS, "Words."))
    sink.standing(thorough=False)
    if to == "iceberg":
        sink.numbered()
    footer = footer_of(COLUMNS.empty_table())
    sink.create("first.parquet").close()
    files = [DataFile(f"{number}.parquet", 1, 4, "", Digest(), footer) for number in range(count)]
    profile = cProfile.Profile()
    with profile:
        sink.commit(files, FACTS, replace=False)
    sink.abandon()
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("to", FORMATS)
def test_work_of_a_commit_grows_with_the_number_of_files(to, tmp_path):
    committed(to, tmp_path / "0", 10)
    once, twice, fourfold = (committed(to, tmp_path / str(count), count) for count in (100, 200, 400))
    # Twice the files cost twice the work; a quadratic step would make it four times.
    assert fourfold - twice < 2.2 * (twice - once)


def test_commit_info_is_what_spark_shows(run_root, tmp_path):  # noqa: F811
    done = put(run_root, tmp_path / "table", "delta")
    first, *_ = (tmp_path / "table/_delta_log/00000000000000000000.json").read_text().splitlines()
    commit = json.loads(first)["commitInfo"]
    assert commit["arrivals.digest"] == done.digest
    assert json.loads(commit["userMetadata"])["arrivals.digest"] == done.digest
    assert commit["operationParameters"]["location"] == (tmp_path / "table").as_uri() + "/"
