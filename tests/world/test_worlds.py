"""The test worlds themselves: the law takes what is drawn, the contract what is written."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, find, given, settings

from arrival_engine.config import resolve_policy
from arrival_engine.contracts import dataset, datasets
from arrival_engine.contracts.tables import conform
from arrival_engine.engine.alias_blobs.decode import decode_2b, decode_3b
from arrival_engine.engine.alias_blobs.encode import encode
from arrival_engine.engine.alias_blobs.index import site_index
from arrival_engine.engine.rundir.inputs import read_document
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing.upstream import check_upstream
from arrival_engine.engine.tz.tzc1 import decode
from arrival_engine.engine.world.virtual import verified_universe_hash
from tests.support import worlds
from tests.support.blobs import alias_blob, slots
from tests.support.compare import COLUMNS, assert_same_rows
from tests.support.law import LawError
from tests.support.model import FALLBACKS, HYBRID, Policy
from tests.support.reference import expand
from tests.support.strategies import worlds as drawn_worlds
from tests.support.world_policies import replaced
from tests.support.worlds import small_world, write_world

WEIGHTS = ([1.0], [0.4, 0.3, 0.2, 0.1, 0.0], [0.1] * 7, [1e-9, 1.0], [0.25, 0.125, 0.5, 0.0625, 0.0625])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_world(small_world(), tmp_path_factory.mktemp("world"))


# --- Drawn worlds ----------------------------------------------------------------------------------


@given(drawn_worlds())
@settings(max_examples=60)
def test_drawn_worlds_are_valid_and_small(world):
    expansion = expand(world)
    assert len(expansion.rows) == sum(row.n for row in world.counts) <= 300


@given(drawn_worlds(refusals=True))
@settings(max_examples=40)
def test_refused_fallbacks_either_stop_a_world_or_change_nothing(world):
    lenient = expand(replace(world, policy=replace(world.policy, **dict.fromkeys(FALLBACKS, "fallback"))))
    refused = {name for name in FALLBACKS if world.policy.refuses(name) and lenient.fallbacks[name]}
    if refused:
        with pytest.raises(LawError, match="fallback_refused"):
            expand(world)
    else:
        assert expand(world) == lenient


def _first(condition):
    """Some drawn world of this kind, unshrunk; fails where 300 draws hold none."""
    return find(drawn_worlds(), condition, settings=settings(max_examples=300, phases=[Phase.generate]))


@pytest.mark.parametrize("fallback", FALLBACKS)
def test_strategies_reach_every_fallback(fallback):
    assert _first(lambda world: expand(world).fallbacks[fallback] > 2)


def test_strategies_reach_hybrid_worlds_with_both_outcomes():
    def both(world):
        hybrid = {merchant for merchant, mode in world.modes.items() if mode == HYBRID}
        return len({row.is_virtual for row in expand(world).rows if row.merchant_id in hybrid}) == 2

    assert _first(both)


# --- Written worlds --------------------------------------------------------------------------------


def _tokens(world):
    return {
        "manifest_fingerprint": world.manifest_fingerprint,
        "parameter_hash": world.parameter_hash,
        "seed": str(world.seed),
        "run_id": world.run_id,
        "scenario_id": world.scenario_id,
        "utc_day": "2026-01-01",
    }


@pytest.mark.parametrize(
    "form",
    [{}, {"shuffle_seed": 5}, {"split_files": 3}, {"dictionary_strings": True}],
    ids=["plain", "shuffled", "split", "dictionary"],
)
def test_every_table_conforms_to_its_schema(tmp_path, form):
    world = small_world()
    write_world(world, tmp_path, **form)
    rows = {}
    for entry in datasets():
        if entry.format != "parquet":
            continue
        for path in entry.files(tmp_path, _tokens(world)):
            table = conform(entry.id, pq.ParquetFile(path.outside).read(), where=str(path))
            rows[entry.id] = rows.get(entry.id, 0) + table.num_rows
    assert rows == {
        "s1_time_grid_5B": len(world.grid),
        "s3_bucket_counts_5B": len(world.counts),
        "site_locations": len(world.sites),
        "site_timezones": len(world.sites),
        "s1_site_weights": len(world.sites),
        "s4_group_weights": len(world.group_weights),
        "virtual_classification_3B": len(world.modes),
        "virtual_settlement_3B": len(world.settlement),
        "edge_catalogue_3B": sum(len(table.edges) for table in world.edges.values()),
        "edge_catalogue_index_3B": len(world.edges) + 1,
        "edge_alias_index_3B": len(world.edges) + 1,
    }


def test_upstream_bundles_pass(written):
    standings = list(check_upstream(read_receipt(written.run_root)))
    assert {(gate.segment, gate.status, gate.reason) for gate in standings} == {
        (segment, "PASS", "") for segment in ("1A", "1B", "2A", "2B", "3A", "3B", "5A")
    }


def test_blobs_indexes_and_universe_hash_are_accepted(written):
    world, receipt = small_world(), read_receipt(written.run_root)
    tokens = _tokens(world)
    site_blob = dataset("s2_alias_blob").locate(written.run_root, tokens).read_bytes()
    sites = decode_2b(site_blob, site_index(read_document(receipt, "s2_alias_index"), "index"), "alias.bin")
    assert sites.merchant.tolist() == sorted({site.merchant_id for site in world.sites})
    edge_blob = dataset("edge_alias_blob_3B").locate(written.run_root, tokens).read_bytes()
    index = pq.read_table(dataset("edge_alias_index_3B").locate(written.run_root, tokens))
    edges = decode_3b(edge_blob, index, "edge blob")
    stored = [(e.prob_q, e.alias) for _, table in sorted(world.edges.items()) for e in table.edges]
    assert list(zip(edges.prob_q.tolist(), edges.alias.tolist(), strict=True)) == stored
    assert verified_universe_hash(receipt) == written.routing_universe_hash


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_both_alias_encoders_write_the_same_bytes(weights):
    merchant = np.array([7], np.uint64)
    theirs = encode(merchant, np.array([0, len(weights)]), np.array(weights))
    assert alias_blob({7: (32, slots(weights))})[0] == theirs.data


def test_tz_cache_reads_back(written):
    world = small_world()
    path = dataset("tz_timetable_cache_bin").locate(written.run_root, _tokens(world))
    table = decode(path.read_bytes(), str(path))
    assert list(table.tzids) == sorted(world.zones)
    for tzid, pairs in world.zones.items():
        instants, minutes = table.steps(tzid)
        assert list(zip(instants.tolist(), minutes.tolist(), strict=True)) == list(pairs)


def test_policies_are_written_only_where_they_differ(tmp_path):
    write_world(small_world(), tmp_path / "usual")
    assert not (tmp_path / "usual" / "config").exists()
    policy = Policy(use_group_weights=False, p_virtual_hybrid="0.1234567890123456789", no_site_in_zone="fail")
    write_world(small_world(policy=policy), tmp_path / "own", output_policy={"timestamp_encoding": "rfc3339"})
    routing = resolve_policy("arrival_routing_policy_5B", run_root=tmp_path / "own")
    assert routing.origin == "run"
    assert str(routing.document["hybrid_policy"]["p_virtual_hybrid"]) == "0.1234567890123456789"
    assert routing.document["physical_router"]["use_group_weights"] is False
    assert routing.document["fallbacks"]["no_site_in_zone"] == "fail"
    assert routing.document["fallbacks"]["missing_group_table"] != "fail"
    output = resolve_policy("arrival_output_policy_5B", run_root=tmp_path / "own")
    assert output.document["timestamp_encoding"] == "rfc3339"
    with pytest.raises(ValueError, match="0 scalars"):
        replaced("a: 1\n", "b", "2")


def test_writing_twice_writes_the_same_bytes(tmp_path):
    def digest(root: Path) -> str:
        write_world(small_world(), root)
        files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "run_receipt.json")
        names = "".join(path.relative_to(root).as_posix() for path in files)
        return hashlib.sha256(names.encode() + b"".join(path.read_bytes() for path in files)).hexdigest()

    assert digest(tmp_path / "one") == digest(tmp_path / "two")


# --- Comparison ------------------------------------------------------------------------------------

HASH = "e" * 64


def _table(rows, times="timestamp") -> pa.Table:
    data = {name: [getattr(row, name, None) for row in rows] for name in COLUMNS}
    data["channel_group"] = [text or None for text in data["channel_group"]]
    data["routing_universe_hash"], data["s4_spec_version"] = [HASH] * len(rows), ["1.0.0"] * len(rows)
    columns = {}
    for name, values in data.items():
        kind = pa.dictionary(pa.int32(), pa.string())
        if name in ("seed", "merchant_id", "site_id", "edge_id"):
            kind = pa.uint64()
        elif name in ("bucket_index", "arrival_seq"):
            kind = pa.int64()
        elif name == "is_virtual":
            kind = pa.bool_()
        elif name.startswith("ts_"):
            kind = pa.timestamp("us", "UTC" if name == "ts_utc" else None)
        columns[name] = pa.array(values, kind)
        if name.startswith("ts_") and times == "rfc3339":
            suffix = "Z" if name == "ts_utc" else ""
            texts = [
                None if v is None else v.isoformat(timespec="microseconds")[:26] + suffix
                for v in columns[name].to_pylist()
            ]
            columns[name] = pa.array(texts, pa.string())
    return pa.table(columns)


@pytest.fixture(scope="module")
def some_rows():
    rows = [row for row in expand(small_world()).rows if row.merchant_id == worlds.HALF]
    assert {row.is_virtual for row in rows} == {True, False}
    return rows


@pytest.mark.parametrize("times", ["timestamp", "rfc3339"])
def test_comparison_accepts_the_same_rows(some_rows, times):
    assert_same_rows(some_rows, _table(some_rows, times), routing_universe_hash=HASH)


@pytest.mark.parametrize("name", COLUMNS)
def test_comparison_names_the_first_difference_of_any_column(some_rows, name):
    table = _table(some_rows)
    at = table.column_names.index(name)
    values = table[name].to_pylist()
    other = next(value for value in [*values, None] if value != values[3])
    values[3] = values[7] = other
    spoilt = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    with pytest.raises(AssertionError, match=f"^row 3, column {name}: expected .*, found "):
        assert_same_rows(some_rows, spoilt, routing_universe_hash=HASH)


def test_comparison_sees_missing_rows_columns_and_types(some_rows):
    table = _table(some_rows)
    with pytest.raises(AssertionError, match="rows, expected"):
        assert_same_rows(some_rows, table.slice(0, 5), routing_universe_hash=HASH)
    with pytest.raises(AssertionError, match="rows, expected"):
        assert_same_rows(some_rows[:5], table, routing_universe_hash=HASH)
    with pytest.raises(AssertionError, match="columns are"):
        assert_same_rows(some_rows, table.drop_columns("edge_id"), routing_universe_hash=HASH)
    signed = table.set_column(4, "merchant_id", table["merchant_id"].cast(pa.int64()))
    with pytest.raises(AssertionError, match="merchant_id is int64"):
        assert_same_rows(some_rows, signed, routing_universe_hash=HASH)


def test_comparison_of_mirrored_clocks(some_rows):
    mirrored = [
        row
        if row.is_virtual
        else replace(
            row,
            tzid_settlement=row.tzid_primary,
            ts_local_settlement=row.ts_local_primary,
            tzid_operational=row.tzid_primary,
            ts_local_operational=row.ts_local_primary,
        )
        for row in some_rows
    ]
    assert_same_rows(some_rows, _table(mirrored), routing_universe_hash=HASH, mirror_dual_clock=True)
    with pytest.raises(AssertionError, match="column tzid_settlement"):
        assert_same_rows(some_rows, _table(mirrored), routing_universe_hash=HASH)
