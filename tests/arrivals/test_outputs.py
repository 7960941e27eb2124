"""What a run publishes, as its readers see it: arrivals, summary, anomalies."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from functools import cache

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine import RunOptions, run
from arrival_engine.engine.expand.row_groups import row_group_spans
from tests.support import reference
from tests.support.compare import COLUMNS, assert_same_rows
from tests.support.law import digest_text
from tests.support.model import FALLBACKS, CountRow
from tests.support.product import (
    fallbacks_by_count_row,
    located,
    on_disk,
    published_parts,
    published_table,
    write_sealed,
)
from tests.support.worlds import ALONE_ONLINE, BERLIN, TWO_ZONES, small_world

CPU = RunOptions(backend="cpu", threads=2, batch_arrivals=500)
GROUP_ROWS = 1024
DICTIONARY = pa.dictionary(pa.int32(), pa.string())


@cache
def expansion():
    return reference.expand(small_world())


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The small world, sealed and run once: (run root, universe hash, scenario result)."""
    written = write_sealed(
        small_world(), tmp_path_factory.mktemp("outputs") / "run", output_policy={"row_group_rows": str(GROUP_ROWS)}
    )
    (result,) = run(written.run_root, CPU).scenarios
    return written.run_root, written.routing_universe_hash, result


# --- Arrivals: schema and metadata -------------------------------------------------------------------


EXPECTED_TYPES = {
    "manifest_fingerprint": DICTIONARY,
    "parameter_hash": DICTIONARY,
    "seed": pa.uint64(),
    "scenario_id": DICTIONARY,
    "merchant_id": pa.uint64(),
    "zone_representation": DICTIONARY,
    "channel_group": DICTIONARY,
    "bucket_index": pa.int64(),
    "arrival_seq": pa.int64(),
    "ts_utc": pa.timestamp("us", "UTC"),
    "tzid_primary": DICTIONARY,
    "ts_local_primary": pa.timestamp("us"),
    "tzid_settlement": DICTIONARY,
    "ts_local_settlement": pa.timestamp("us"),
    "tzid_operational": DICTIONARY,
    "ts_local_operational": pa.timestamp("us"),
    "routing_universe_hash": DICTIONARY,
    "is_virtual": pa.bool_(),
    "s4_spec_version": DICTIONARY,
    "site_id": pa.uint64(),
    "edge_id": pa.uint64(),
}
DUAL_CLOCKS = ("tzid_settlement", "ts_local_settlement", "tzid_operational", "ts_local_operational")
NULLABLE = {"channel_group", "site_id", "edge_id", *DUAL_CLOCKS}


def test_every_part_has_the_contract_schema(published):
    parts = published_parts(published[0], small_world())
    assert len(parts) == 3
    for part in parts:
        schema = pq.read_schema(part)
        assert dict(zip(schema.names, schema.types, strict=True)) == EXPECTED_TYPES
        assert tuple(schema.names) == COLUMNS
        assert {field.name for field in schema if field.nullable} == NULLABLE


def test_required_columns_are_required_in_the_file_itself(published):
    """Not only in Arrow's own metadata: other readers see the Parquet schema."""
    for part in published_parts(published[0], small_world()):
        columns = pq.ParquetFile(part).schema
        optional = {columns.column(i).name for i in range(len(columns)) if columns.column(i).max_definition_level}
        assert optional == NULLABLE


def test_published_rows_are_the_reference_rows(published):
    run_root, universe, result = published
    assert_same_rows(expansion().rows, published_table(run_root, small_world()), routing_universe_hash=universe)
    assert (result.digest, result.arrivals) == (expansion().digest, len(expansion().rows))


def test_parts_are_named_in_order_and_alone(published):
    folder = located("arrival_events_5B", published[0], small_world())
    parts = sorted(folder.iterdir())
    # The token is made of all parts' bytes: SHA-256 over the lines of `sha256sum`, without the names.
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in parts)
    token = hashlib.sha256(sums.encode()).hexdigest()[:12]
    assert [path.name for path in parts] == [f"part-{index:06d}-{token}.parquet" for index in range(3)]


def test_metadata_says_what_the_file_is(published):
    run_root, _, result = published
    world, rows = small_world(), list(expansion().rows)
    gate = json.loads(located("s0_gate_receipt_5B", run_root, world).read_text("ascii"))
    for part in published_parts(run_root, world):
        metadata = {key.decode(): value.decode() for key, value in pq.read_schema(part).metadata.items()}
        assert metadata["arrivals.manifest_fingerprint"] == world.manifest_fingerprint
        assert metadata["arrivals.parameter_hash"] == world.parameter_hash
        assert (metadata["arrivals.seed"], metadata["arrivals.scenario_id"]) == (str(world.seed), world.scenario_id)
        assert metadata["arrivals.law_version"] == "2"
        assert metadata["arrivals.sealed_inputs_digest"] == gate["sealed_inputs_digest"]
        policies = json.loads(metadata["arrivals.policy_digests"])
        assert set(policies) >= {"arrival_routing_policy_5B", "arrival_rng_policy_5B", "arrival_output_policy_5B"}
        own = located("arrival_output_policy_5B", run_root, world).read_bytes()
        assert policies["arrival_output_policy_5B"] == hashlib.sha256(own).hexdigest()
        size = pq.read_metadata(part).num_rows
        assert metadata["arrivals.digest"] == digest_text(row.digest_words() for row in rows[:size])
        rows = rows[size:]
    assert rows == []
    assert result.digest == expansion().digest


def row_groups(run_root, world):
    """(metadata, rows) of every row group of every part, in file order."""
    for part in published_parts(run_root, world):
        with pq.ParquetFile(part) as file:
            for index in range(file.num_row_groups):
                yield file.metadata.row_group(index), file.read_row_group(index)


def statistics(group):
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    return {name: column.statistics for name, column in columns.items() if column.is_stats_set}


def test_row_groups_are_small_ordered_and_described(published):
    """Readers prune by merchant and time: statistics are there, exact, unsigned, and ascend over groups and files."""
    found = list(row_groups(published[0], small_world()))
    assert len(found) > 4
    last = (0, 0)
    for group, rows in found:
        assert 0 < group.num_rows <= GROUP_ROWS
        described = statistics(group)
        for name in ("merchant_id", "ts_utc", "arrival_seq", "bucket_index"):
            bounds = pc.min_max(rows[name])
            assert described[name].has_min_max, name
            assert [described[name].min, described[name].max] == [bounds["min"].as_py(), bounds["max"].as_py()], name
        first = (rows["merchant_id"][0].as_py(), rows["arrival_seq"][0].as_py())
        assert last < first
        assert described["merchant_id"].min == first[0]
        last = (rows["merchant_id"][-1].as_py(), rows["arrival_seq"][-1].as_py())
        assert described["merchant_id"].max == last[0]
    assert last[0] == ALONE_ONLINE == 2**64 - 1


@given(
    merchants=st.lists(st.one_of(st.integers(1, 300), st.integers(1, 300_000)), min_size=1, max_size=30),
    most=st.one_of(st.integers(1, 100), st.integers(1024, 100_000)),
)
def test_row_groups_cover_a_part_and_belong_to_one_merchant_or_to_small_ones(merchants, most):
    ends = np.cumsum(merchants)
    spans = row_group_spans(ends - merchants, int(ends[-1]), most)
    assert [first for first, _ in spans] == [0, *(last for _, last in spans[:-1])]
    assert spans[-1][1] == ends[-1]
    for first, last in spans:
        assert 0 < last - first <= most
        within = np.flatnonzero((ends > first) & (ends - merchants < last))
        if within.size > 1:
            assert {first, last} <= {0, *ends.tolist()}, "a group holds a part of one merchant beside another"
            assert all(merchants[index] * 2 <= max(most, 2) for index in within)
    for first, last in zip(ends - merchants, ends, strict=True):
        sizes = [end - start for start, end in spans if first <= start and end <= last]
        assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_a_days_row_groups_are_the_smaller_the_smaller_their_merchant():
    """Whoever reads a day reads about one group of each merchant, so small merchants are worth small groups."""
    ends = np.cumsum([10_000, 1_000_000, 90_000])
    spans = row_group_spans(np.array([0, *ends[:-1]]), int(ends[-1]), 65_536)
    assert spans[:2] == [(0, 10_000), (10_000, 10_000 + 62_500)]
    assert spans[-1] == (1_070_000, 1_100_000)
    assert len(spans) == 1 + 16 + 3


def test_a_world_without_arrivals_has_no_row_group():
    assert row_group_spans(np.empty(0, np.int64), 0, 100) == []


# --- Arrivals: other readers ---------------------------------------------------------------------------


def expected_column(name):
    values = [getattr(row, name) for row in expansion().rows]
    return [None if name == "channel_group" and value == "" else value for value in values]


TEXTS = [name for name, kind in EXPECTED_TYPES.items() if kind == DICTIONARY]
TIMES = [name for name, kind in EXPECTED_TYPES.items() if pa.types.is_timestamp(kind)]
CONSTANTS = ("routing_universe_hash", "s4_spec_version")


def test_duckdb_reads_types_and_values(published):
    run_root, universe, _ = published
    folder = located("arrival_events_5B", run_root, small_world())
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'Pacific/Chatham'")  # a reader's own zone is its own affair
        rows = connection.read_parquet(f"{folder}/part-*.parquet", hive_partitioning=False)
        kinds = {
            pa.uint64(): "UBIGINT",
            pa.int64(): "BIGINT",
            pa.bool_(): "BOOLEAN",
            pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
            pa.timestamp("us"): "TIMESTAMP",
            DICTIONARY: "VARCHAR",
        }
        assert dict(zip(rows.columns, map(str, rows.types), strict=True)) == {
            name: kinds[kind] for name, kind in EXPECTED_TYPES.items()
        }
        shown = [f"epoch_us({name})" if name in TIMES else name for name in COLUMNS]
        ordered = rows.order("merchant_id, arrival_seq").project(", ".join(shown)).fetchall()
    for name, values in zip(COLUMNS, zip(*ordered, strict=True), strict=True):
        if name not in CONSTANTS:
            assert list(values) == expected_column(name), name
    assert {row[COLUMNS.index("routing_universe_hash")] for row in ordered} == {universe}


def test_duckdb_finds_the_partition_columns_in_the_path(published):
    """Its default takes seed, fingerprint and scenario from the directories; they say the same as the rows."""
    folder = located("arrival_events_5B", published[0], small_world())
    rows = duckdb.read_parquet(f"{folder}/*.parquet").project("seed, manifest_fingerprint, scenario_id").distinct()
    world = small_world()
    assert rows.fetchall() == [(world.seed, world.manifest_fingerprint, world.scenario_id)]


def test_duckdb_sees_the_null_rules(published):
    folder = located("arrival_events_5B", published[0], small_world())
    rows = duckdb.read_parquet(f"{folder}/*.parquet", hive_partitioning=False)
    virtual = sum(row.is_virtual for row in expansion().rows)
    assert 0 < virtual < len(rows)
    assert len(rows.filter("is_virtual")) == virtual
    for rule in (
        "is_virtual = (edge_id is not null)",
        "is_virtual = (site_id is null)",
        *(f"is_virtual = ({name} is not null)" for name in DUAL_CLOCKS),
        "coalesce(site_id, edge_id) > 0",
        "channel_group is null or channel_group <> ''",
    ):
        assert len(rows.filter(rule)) == len(expansion().rows), rule


@pytest.mark.parametrize("how", ["directory", "glob", "lazy"])
def test_polars_reads_types_and_values(published, how):
    folder = located("arrival_events_5B", published[0], small_world())
    frame = {
        "directory": lambda: pl.read_parquet(folder),
        "glob": lambda: pl.read_parquet(f"{folder}/part-*.parquet"),
        "lazy": lambda: pl.scan_parquet(folder).sort("merchant_id", "arrival_seq").collect(),
    }[how]()
    kinds = {
        pa.uint64(): pl.UInt64,
        pa.int64(): pl.Int64,
        pa.bool_(): pl.Boolean,
        pa.timestamp("us", "UTC"): pl.Datetime("us", "UTC"),
        pa.timestamp("us"): pl.Datetime("us"),
        DICTIONARY: pl.Categorical,
    }
    assert dict(frame.schema) == {name: kinds[kind] for name, kind in EXPECTED_TYPES.items()}
    for name in COLUMNS:
        column = frame[name].cast(pl.Int64) if name in TIMES else frame[name]
        if name not in CONSTANTS:
            assert column.to_list() == expected_column(name), name


@pytest.mark.parametrize("backend", ["pyarrow", "numpy_nullable"])
def test_pandas_reads_types_and_values(published, backend):
    """With nullable types; its default turns ids with nulls into float64, which loses their low bits."""
    folder = located("arrival_events_5B", published[0], small_world())
    frame = pd.read_parquet(folder, dtype_backend=backend, partitioning=None)
    assert tuple(frame.columns) == COLUMNS
    for name, kind in EXPECTED_TYPES.items():
        column = frame[name]
        if backend == "pyarrow":
            assert column.dtype.pyarrow_dtype == kind, name
        if name in TIMES:
            column = column.astype(pd.ArrowDtype(kind)).astype(pd.ArrowDtype(pa.int64()))
        if name not in CONSTANTS:
            values = column.astype(object).where(column.notna(), None).tolist()
            assert values == expected_column(name), name


# --- Summary and anomalies -----------------------------------------------------------------------------


def read_dataset(dataset_id, run_root, world=None):
    return pq.read_table(located(dataset_id, run_root, world or small_world()), partitioning=None)


def test_summary_has_the_reference_sums_of_every_count_row(published):
    world, table = small_world(), read_dataset("s4_arrival_summary_5B", published[0])
    uses = sorted(expansion().count_rows, key=lambda use: (*use.entity.order, use.bucket))
    assert table.select(
        [
            "merchant_id",
            "zone_representation",
            "channel_group",
            "bucket_index",
            "count_N",
            "count_physical",
            "count_virtual",
        ]
    ).to_pylist() == [
        {
            "merchant_id": use.entity.merchant_id,
            "zone_representation": use.entity.zone,
            "channel_group": use.entity.channel or None,
            "bucket_index": use.bucket,
            "count_N": use.n,
            "count_physical": use.physical,
            "count_virtual": use.virtual,
        }
        for use in uses
    ]
    for name in ("manifest_fingerprint", "parameter_hash", "seed", "scenario_id"):
        assert table[name].unique().to_pylist() == [getattr(world, name)]
    assert table["s4_spec_version"].unique().to_pylist() == ["1.0.0"]


def test_summary_adds_up_to_the_arrivals(published):
    run_root, world = published[0], small_world()
    key = "merchant_id, zone_representation, channel_group, bucket_index"
    events = duckdb.read_parquet(f"{located('arrival_events_5B', run_root, world)}/*.parquet")
    found = events.aggregate(f"{key}, count(*), count(site_id), count(edge_id)")
    summary = duckdb.read_parquet(str(located("s4_arrival_summary_5B", run_root, world)))
    stated = summary.project(f"{key}, count_N, count_physical, count_virtual")
    assert stated.except_(found).fetchall() == found.except_(stated).fetchall() == []
    assert len(stated) == len(found) == len(expansion().count_rows)


def fallbacks_by_entity(world):
    """What the anomalies must say: arrivals, count rows, first and last bucket by (code, entity)."""
    buckets, arrivals = defaultdict(list), Counter()
    for name, counts in fallbacks_by_count_row(world).items():
        for key, number in counts.items():
            place = (name.upper(), key.merchant_id, key.zone.decode(), key.channel.decode() or None)
            arrivals[place] += number
            buckets[place].append(key.bucket)
    return {place: (arrivals[place], len(own), min(own), max(own)) for place, own in buckets.items()}


def anomalies_of(table):
    found = {}
    for row in table.to_pylist():
        context = row["context"]
        place = (row["anomaly_code"], *(context[n] for n in ("merchant_id", "zone_representation", "channel_group")))
        assert place not in found
        found[place] = tuple(context[n] for n in ("arrivals", "count_rows", "first_bucket", "last_bucket"))
    return found


def test_anomalies_are_the_reference_fallbacks(published):
    table = read_dataset("s4_arrival_anomalies_5B", published[0])
    found = anomalies_of(table)
    assert found == fallbacks_by_entity(small_world())
    for name in FALLBACKS:
        total = sum(facts[0] for place, facts in found.items() if place[0] == name.upper())
        assert total == expansion().fallbacks[name] == published[2].fallbacks[name] > 0


def test_anomalies_are_ordered_by_id_and_readable(published):
    table = read_dataset("s4_arrival_anomalies_5B", published[0])
    ids = table["anomaly_id"].to_pylist()
    assert ids == sorted(set(ids))
    assert 0 not in ids
    assert table["severity"].unique().to_pylist() == ["WARN"]
    for row in table.to_pylist():
        context = row["context"]
        assert str(context["merchant_id"]) in row["message"]
        assert f"{context['arrivals']} arrivals" in row["message"]


def test_a_world_without_fallbacks_has_an_empty_anomalies_dataset():
    world = small_world(counts=(CountRow(TWO_ZONES, BERLIN, "card_present", 3, 9),))
    with on_disk(world) as written:
        run(written.run_root, CPU)
        table = read_dataset("s4_arrival_anomalies_5B", written.run_root, world)
        schema_of_full = table.schema
    assert table.num_rows == 0
    assert schema_of_full.field("anomaly_id").type == pa.uint64()
