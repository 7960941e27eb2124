"""Small tables of the contract, and the refusal of a table that breaks it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from arrival_engine.contracts import ArrivalError, arrow_schema, conform, dataset, datasets, json_schema

HEX = "a" * 64


TS = "2026-01-01T00:00:00.000000Z"


TABLES = [entry.id for entry in datasets() if entry.schema and json_schema(entry.schema).get("type") == "array"]


CODES = pa.dictionary(pa.int32(), pa.string())


U64_MAX = 2**64 - 1


TEXT, U64, I64, UTC, LOCAL = CODES, pa.uint64(), pa.int64(), pa.timestamp("us", tz="UTC"), pa.timestamp("us")


EVENTS = [
    ("manifest_fingerprint", TEXT, False),
    ("parameter_hash", TEXT, False),
    ("seed", U64, False),
    ("scenario_id", TEXT, False),
    ("merchant_id", U64, False),
    ("zone_representation", TEXT, False),
    ("channel_group", TEXT, True),
    ("bucket_index", I64, False),
    ("arrival_seq", I64, False),
    ("ts_utc", UTC, False),
    ("tzid_primary", TEXT, False),
    ("ts_local_primary", LOCAL, False),
    ("tzid_settlement", TEXT, True),
    ("ts_local_settlement", LOCAL, True),
    ("tzid_operational", TEXT, True),
    ("ts_local_operational", LOCAL, True),
    ("routing_universe_hash", TEXT, False),
    ("is_virtual", pa.bool_(), False),
    ("s4_spec_version", TEXT, False),
    ("site_id", U64, True),
    ("edge_id", U64, True),
]


def counts(**columns: Any) -> pa.Table:
    base: dict[str, Any] = {
        "manifest_fingerprint": [HEX, HEX],
        "parameter_hash": [HEX, HEX],
        "seed": pa.array([42, 42], pa.uint64()),
        "scenario_id": ["baseline_v1", "baseline_v1"],
        "merchant_id": pa.array([1, U64_MAX], pa.uint64()),
        "zone_representation": ["Europe/Berlin", "UTC"],
        "channel_group": ["card_present", None],
        "bucket_index": [0, 7],
        "count_N": [0, 50_000],
    }
    return pa.table({**base, **columns})


def weights(**columns: Any) -> pa.Table:
    base: dict[str, Any] = {
        "merchant_id": [1, 1, 2],
        "legal_country_iso": ["DE", "FR", "DE"],
        "site_order": [1, 1, 1],
        "p_weight": [0.25, 0.75, 1.0],
        "weight_source": ["s", "s", "s"],
        "quantised_bits": [24, 24, 24],
        "floor_applied": [False, False, True],
        "created_utc": [TS, TS, TS],
    }
    return pa.table({**base, **columns})


def refused(dataset_id: str, table: pa.Table, **options: Any) -> ArrivalError:
    with pytest.raises(ArrivalError) as caught:
        conform(dataset_id, table, where="counts/part-00000.parquet", **options)
    error = caught.value
    assert error.code is dataset(dataset_id).on_invalid
    assert error.message.startswith("counts/part-00000.parquet: column ")
    assert f"column {error.context['column']}" in error.message
    return error


def events_rows(**columns: Any) -> dict[str, list[Any]]:
    base: dict[str, list[Any]] = {
        "manifest_fingerprint": [HEX],
        "parameter_hash": [HEX],
        "seed": [42],
        "scenario_id": ["baseline_v1"],
        "merchant_id": [123456789],
        "zone_representation": ["Europe/Berlin"],
        "channel_group": [None],
        "bucket_index": [7],
        "arrival_seq": [1],
        "ts_utc": [1767250800000000],
        "tzid_primary": ["Europe/Berlin"],
        "ts_local_primary": [1767254400000000],
        "tzid_settlement": [None],
        "ts_local_settlement": [None],
        "tzid_operational": [None],
        "ts_local_operational": [None],
        "routing_universe_hash": [HEX],
        "is_virtual": [False],
        "s4_spec_version": ["1.0.0"],
        "site_id": [17703884111212252855],
        "edge_id": [None],
    }
    return {**base, **columns}


def events(encoding: Any = "timestamp", **columns: Any) -> pa.Table:
    return pa.table(events_rows(**columns), schema=arrow_schema("arrival_events_5B", encoding))
