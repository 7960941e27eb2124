"""What an export holds: the arrivals of the run, whatever it was read from, in the order and form asked for."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from arrival_engine import ExportOptions, RunOptions, export, run
from arrival_engine.contracts import arrow_schema
from arrival_engine.engine.exporting import chunks, days, files
from tests.support import exports
from tests.support.product import write_sealed
from tests.support.worlds import BIG_ID, small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return exports.published(tmp_path_factory.mktemp("exported") / "run", batch_arrivals=5000)


def small_row_groups(monkeypatch, rows=3000, file_rows=10_000):
    """Limits small enough that the small world has several row groups and files."""
    for module in (chunks, days):
        monkeypatch.setattr(module, "CHUNK_ROWS", rows)
    monkeypatch.setattr(files, "FILE_ROWS", file_rows)


def bytes_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@pytest.mark.parametrize(
    ("to", "options"),
    [
        ("parquet", {}),
        ("parquet", {"cluster_by": "day", "publish": False}),
        ("parquet", {"columns": "contract"}),
        ("duckdb", {"cluster_by": "day"}),
        pytest.param("duckdb", {}, marks=pytest.mark.slow),
        pytest.param("duckdb", {"columns": "contract", "publish": False}, marks=pytest.mark.slow),
    ],
)
def test_an_export_holds_the_arrivals_of_the_run(world, tmp_path, to, options):
    root, made = world
    target = tmp_path / "table"
    result = export(root, target, ExportOptions(to=to, threads=2, **options))
    assert (result.outcome, result.arrivals, result.digest) == ("written", made.arrivals, made.digest)
    assert exports.seen(to, target) == made.digest
    assert 0 < made.virtual < made.arrivals
    assert exports.hidden(target) == []


@pytest.mark.parametrize("ids", ["int64", "uint64", "text", "decimal"])
def test_ids_keep_all_bits_in_each_form(world, tmp_path, ids):
    root, made = world
    export(root, tmp_path / "table", ExportOptions(ids=ids))
    table = pq.read_table(tmp_path / "table")
    assert exports.digest_of(table) == made.digest
    found = set(table["merchant_id"].to_pylist())
    big = {"int64": BIG_ID - 2**64, "uint64": BIG_ID, "text": str(BIG_ID), "decimal": BIG_ID}[ids]
    assert big in found
    told = pq.ParquetFile(next((tmp_path / "table").iterdir())).schema_arrow.field("merchant_id").metadata
    assert (b"add 2^64" in told[b"description"]) == (ids == "int64")


@pytest.mark.parametrize("order", [pytest.param("merchant", marks=pytest.mark.slow), "day"])
def test_bytes_depend_on_the_arrivals_alone(world, tmp_path, monkeypatch, order):
    small_row_groups(monkeypatch)
    root, made = world
    export(root, tmp_path / "one", ExportOptions(cluster_by=order, threads=1))
    export(root, tmp_path / "three", ExportOptions(cluster_by=order, threads=3))
    export(root, tmp_path / "expanded", ExportOptions(cluster_by=order, threads=2, publish=False))
    other, _ = exports.published(tmp_path / "run", batch_arrivals=700, format="arrow")
    export(other, tmp_path / "arrow", ExportOptions(cluster_by=order, threads=2))
    first = bytes_of(tmp_path / "one")
    assert len(first) > 1
    for name in ("three", "expanded", "arrow"):
        assert bytes_of(tmp_path / name) == first, name
    described = {(tmp_path / f"{name}.croissant.json").read_text().replace(f"{name}/", "") for name in ("one", "arrow")}
    assert len(described) == 1
    assert exports.seen("parquet", tmp_path / "one") == made.digest


def test_the_output_policy_of_the_run_makes_no_difference(world, tmp_path):
    options = {"timestamp_encoding": "rfc3339", "physical_dual_clock": '"mirror"'}
    root, _ = exports.published(tmp_path / "run", output_policy=options)
    export(root, tmp_path / "table", ExportOptions())
    export(world[0], tmp_path / "plain", ExportOptions())
    assert pq.read_table(tmp_path / "table").equals(pq.read_table(tmp_path / "plain"))


def test_rows_are_in_the_order_asked_for(world, tmp_path, monkeypatch):
    small_row_groups(monkeypatch)
    export(world[0], tmp_path / "merchant", ExportOptions())
    export(world[0], tmp_path / "day", ExportOptions(cluster_by="day"))
    for order in ("merchant", "day"):
        table = pq.read_table(tmp_path / order)
        day = table["ts_utc"].cast(pa.date32()).cast(pa.int32()).to_numpy() if order == "day" else np.zeros(len(table))
        keys = list(zip(day, table["merchant_id"].to_pylist(), table["arrival_seq"].to_pylist(), strict=True))
        assert keys == sorted(keys)


def test_partitions_are_folders_of_days(world, tmp_path, monkeypatch):
    small_row_groups(monkeypatch)
    root, made = world
    result = export(root, tmp_path / "table", ExportOptions(cluster_by="day", partitioned=True))
    table = pq.read_table(tmp_path / "table")
    assert exports.digest_of(table) == made.digest
    found = pc.strftime(table["ts_utc"], format="%Y-%m-%d")
    assert found.cast(pa.string()).equals(table["day"].cast(pa.string()))
    folders = {path.parent.name for path in (tmp_path / "table").rglob("*.parquet")}
    assert folders == {f"day={day}" for day in set(found.to_pylist())}
    assert result.files >= len(folders) > 4


def test_files_are_cut_by_rows_and_state_their_own_digest(world, tmp_path, monkeypatch):
    small_row_groups(monkeypatch)
    root, made = world
    export(root, tmp_path / "table", ExportOptions())
    paths = sorted((tmp_path / "table").iterdir())
    rows = [pq.ParquetFile(path).metadata.num_rows for path in paths]
    assert len(rows) > 2
    assert max(rows) <= 10_000
    assert sum(rows) == made.arrivals
    for path in paths:
        assert pq.ParquetFile(path).metadata.metadata[b"arrivals.digest"].decode() == exports.digest_of(
            pq.read_table(path)
        )


def test_columns_are_plain_and_described(world, tmp_path):
    export(world[0], tmp_path / "table", ExportOptions())
    file = pq.ParquetFile(next((tmp_path / "table").iterdir()))
    assert file.schema_arrow.field("ts_utc").type == pa.timestamp("us", "UTC")
    assert file.schema_arrow.field("zone").type == pa.string()
    assert not any(pa.types.is_dictionary(field.type) for field in file.schema_arrow)
    assert all(field.metadata[b"description"] for field in file.schema_arrow)
    assert file.metadata.row_group(0).column(0).has_column_index
    assert file.metadata.row_group(0).column(0).has_offset_index
    assert {file.metadata.row_group(0).column(index).compression for index in range(len(file.schema.names))} == {"ZSTD"}


def test_the_columns_of_the_contract_keep_its_names_and_types(world, tmp_path):
    export(world[0], tmp_path / "table", ExportOptions(columns="contract"))
    wanted = arrow_schema("arrival_events_5B")
    found = pq.ParquetFile(next((tmp_path / "table").iterdir())).schema_arrow
    assert found.names == wanted.names
    for field in wanted:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        assert found.field(field.name).type == kind


@pytest.mark.parametrize(
    ("to", "order", "rows"),
    [
        ("parquet", "day", 0),
        ("parquet", "merchant", 1),
        ("duckdb", "merchant", 0),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("parquet", "merchant", 0), ("duckdb", "day", 1))),
    ],
)
def test_a_scenario_may_have_no_arrivals_or_one(tmp_path, to, order, rows):
    base = small_world()
    counts = (replace(base.counts[0], n=1),) if rows else ()
    assert len(counts) == rows
    world = small_world(counts=counts)
    root = write_sealed(world, tmp_path / "run").run_root
    (made,) = run(root, RunOptions(backend="cpu")).scenarios
    result = export(root, tmp_path / "table", ExportOptions(to=to, cluster_by=order))
    assert (result.arrivals, result.digest) == (rows, made.digest)
    table = exports.READERS[to](tmp_path / "table")
    assert table.num_rows == rows
    assert "utc_offset_minutes" in table.column_names
    assert export(root, tmp_path / "table", ExportOptions(to=to, cluster_by=order)).outcome == "identical"


def test_local_times_and_offsets_give_the_instant(world, tmp_path):
    export(world[0], tmp_path / "table", ExportOptions())
    for row in pq.read_table(tmp_path / "table").slice(0, 500).to_pylist():
        ahead = dt.timedelta(minutes=row["utc_offset_minutes"])
        assert row["ts_local"] - ahead == row["ts_utc"].replace(tzinfo=None)
