"""Arrow schemas derived from the contracts, and the check of Arrow tables against them."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code, arrow_schema, conform, dataset, datasets, json_schema
from arrival_engine.contracts.columns import table_shape

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


# --------------------------------------------------------------------------- Arrow schemas


def test_arrival_events_have_the_contracts_21_columns_in_order() -> None:
    schema = arrow_schema("arrival_events_5B")
    assert [(field.name, field.type, field.nullable) for field in schema] == EVENTS


def test_arrival_events_as_strings_follow_the_contracts_encoding() -> None:
    schema = arrow_schema("arrival_events_5B", "rfc3339")
    expected = [(name, pa.string() if pa.types.is_timestamp(kind) else kind, null) for name, kind, null in EVENTS]
    assert [(field.name, field.type, field.nullable) for field in schema] == expected


# One column a word, `!` = never null.
COLUMNS = {
    "site_locations": """
        merchant_id:uint64! legal_country_iso:string! site_order:int32! lon_deg:double! lat_deg:double!
    """,
    "s1_site_weights": """
        merchant_id:uint64! legal_country_iso:string! site_order:int64! p_weight:double!
        weight_source:string! quantised_bits:int64! floor_applied:bool! created_utc:string!
    """,
    "site_timezones": """
        seed:uint64! manifest_fingerprint:string! merchant_id:uint64! legal_country_iso:string!
        site_order:int32! tzid:string! tzid_source:string! override_scope:string nudge_lat_deg:double
        nudge_lon_deg:double created_utc:string!
    """,
    "s4_group_weights": """
        merchant_id:uint64! utc_day:string! tz_group_id:string! p_group:double! base_share:double!
        gamma:double! created_utc:string! mass_raw:double denom_raw:double
    """,
    "s3_day_effects": """
        merchant_id:uint64! utc_day:string! tz_group_id:string! gamma:double! log_gamma:double!
        sigma_gamma:double! rng_stream_id:string! rng_counter_lo:uint64! rng_counter_hi:uint64!
        created_utc:string!
    """,
    "zone_alloc": """
        seed:uint64! manifest_fingerprint:string! merchant_id:uint64! legal_country_iso:string! tzid:string!
        zone_site_count:int64! zone_site_count_sum:int64! site_count:int64! prior_pack_id:string!
        prior_pack_version:string! floor_policy_id:string! floor_policy_version:string!
        mixture_policy_id:string! mixture_policy_version:string! day_effect_policy_id:string!
        day_effect_policy_version:string! routing_universe_hash:string! alpha_sum_country:double
        notes:string
    """,
    "virtual_classification_3B": """
        seed:uint64! manifest_fingerprint:string! merchant_id:uint64! is_virtual:bool! virtual_mode:string!
        decision_reason:string! rule_id:string rule_version:string source_policy_id:string
        source_policy_version:string classification_digest:string notes:string
    """,
    "virtual_settlement_3B": """
        seed:uint64! manifest_fingerprint:string! merchant_id:uint64! settlement_site_id:string!
        lat_deg:double! lon_deg:double! tzid_settlement:string! tz_source:string! coord_source_id:string!
        coord_source_version:string! settlement_coord_digest:string! tz_policy_digest:string!
        evidence_url:string notes:string
    """,
    "edge_catalogue_3B": """
        seed:uint64! manifest_fingerprint:string! merchant_id:uint64! edge_id:string! edge_seq_index:int64!
        country_iso:string! lat_deg:double! lon_deg:double! tzid_operational:string! tz_source:string!
        edge_weight:double! hrsl_tile_id:string spatial_surface_id:string cdn_policy_id:string
        cdn_policy_version:string rng_stream_id:string! rng_event_id:string! sampling_rank:int64
        edge_digest:string!
    """,
    "edge_catalogue_index_3B": """
        scope:string! seed:uint64! manifest_fingerprint:string! merchant_id:uint64 edge_count_total:int64
        edge_digest:string edge_catalogue_path:string edge_catalogue_size_bytes:int64
        country_mix_summary:string edge_count_total_all_merchants:int64 edge_catalogue_digest_global:string
        notes:string
    """,
    "edge_alias_index_3B": """
        scope:string! seed:uint64! manifest_fingerprint:string! merchant_id:uint64 blob_offset_bytes:int64
        blob_length_bytes:int64 edge_count_total:int64 alias_table_length:int64
        merchant_alias_checksum:string alias_layout_version:string universe_hash:string
        blob_sha256_hex:string notes:string
    """,
    "s2_realised_intensity_5B": """
        manifest_fingerprint:string! parameter_hash:string! seed:uint64! scenario_id:string!
        merchant_id:uint64! zone_representation:string! channel_group:string bucket_index:int64!
        lambda_baseline:double lambda_random_component:double lambda_realised:double! rng_token:string
        s2_spec_version:string!
    """,
    "s1_grouping_5B": """
        manifest_fingerprint:string! parameter_hash:string! scenario_id:string! merchant_id:uint64!
        zone_representation:string! channel_group:string group_id:string! grouping_key:string
        scenario_band:string demand_class:string virtual_band:string zone_group_id:string
        s1_spec_version:string
    """,
    "s3_bucket_counts_5B": """
        manifest_fingerprint:string! parameter_hash:string! seed:uint64! scenario_id:string!
        merchant_id:uint64! zone_representation:string! channel_group:string bucket_index:int64!
        lambda_realised:double mu:double count_N:int64! count_capped:bool bucket_duration_seconds:int64
        count_law_id:string s3_spec_version:string
    """,
    "s1_time_grid_5B": """
        manifest_fingerprint:string! parameter_hash:string! scenario_id:string! bucket_index:int64!
        bucket_start_utc:string! bucket_end_utc:string! bucket_duration_seconds:int64!
        local_day_of_week:int64 local_minutes_since_midnight:int64 is_weekend:bool scenario_is_baseline:bool
        scenario_is_stress:bool s1_spec_version:string scenario_labels:list<string>
    """,
}


@pytest.mark.parametrize("dataset_id", COLUMNS)
def test_input_tables_have_the_contracts_columns(dataset_id: str) -> None:
    shown = [f"{f.name}:{f.type}{'' if f.nullable else '!'}" for f in arrow_schema(dataset_id)]
    assert [text.replace("list<item: string>", "list<string>") for text in shown] == COLUMNS[dataset_id].split()


@pytest.mark.parametrize("dataset_id", TABLES)
def test_every_table_has_an_arrow_schema_that_an_empty_table_meets(dataset_id: str) -> None:
    schema = arrow_schema(dataset_id)
    assert schema.names == list(json_schema(dataset(dataset_id).schema)["items"]["properties"])
    empty = conform(dataset_id, schema.empty_table(), where="empty")
    assert empty.schema == schema


@pytest.mark.parametrize("dataset_id", TABLES)
def test_keys_and_order_name_columns_or_partitions(dataset_id: str) -> None:
    entry = dataset(dataset_id)
    known = set(arrow_schema(dataset_id).names) | set(entry.partitions)
    assert set(entry.primary_key) | set(entry.order) <= known


def test_a_document_has_no_columns() -> None:
    with pytest.raises(ArrivalError, match="run_receipt is not a table"):
        arrow_schema("run_receipt")


# --------------------------------------------------------------------------- what conforms


def test_a_good_table_comes_back_in_declared_types_and_order() -> None:
    shuffled = counts().select(sorted(counts().column_names))
    result = conform("s3_bucket_counts_5B", shuffled, where="f")
    wanted = [name for name in arrow_schema("s3_bucket_counts_5B").names if name in shuffled.column_names]
    assert result.column_names == wanted
    assert result.schema.field("merchant_id").type == pa.uint64()
    assert result.column("merchant_id").to_pylist() == [1, U64_MAX]
    assert result.column("channel_group").to_pylist() == ["card_present", None]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.uint32(), pa.string()),
        pa.dictionary(pa.int64(), pa.large_string()),
    ],
    ids=str,
)
def test_any_text_type_is_read(kind: pa.DataType) -> None:
    zones = pa.array(["Europe/Berlin", "UTC"]).cast(kind)
    result = conform("s3_bucket_counts_5B", counts(zone_representation=zones), where="f")
    column = result.column("zone_representation")
    assert column.type == (CODES if pa.types.is_dictionary(kind) else pa.string())
    assert column.to_pylist() == ["Europe/Berlin", "UTC"]


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()], ids=str
)
def test_any_integer_type_is_read_when_its_values_fit(kind: pa.DataType) -> None:
    table = counts(
        merchant_id=pa.array([1, 2], kind), bucket_index=pa.array([0, 7], kind), count_N=pa.array([0, 3], kind)
    )
    result = conform("s3_bucket_counts_5B", table, where="f")
    types = [result.schema.field(name).type for name in ("merchant_id", "bucket_index", "count_N")]
    assert types == [pa.uint64(), pa.int64(), pa.int64()]
    assert result.column("count_N").to_pylist() == [0, 3]


def test_declared_text_codes_are_made_where_text_is_plain() -> None:
    schema = arrow_schema("arrival_events_5B")
    as_text = [field.with_type(pa.string()) if field.type == CODES else field for field in schema]
    plain = events().cast(pa.schema(as_text))
    result = conform("arrival_events_5B", plain, where="f")
    assert result.schema == arrow_schema("arrival_events_5B")


def test_undeclared_columns_are_dropped_where_the_contract_is_open() -> None:
    result = conform("s3_bucket_counts_5B", counts(my_note=["a", "b"]), where="f")
    assert "my_note" not in result.column_names


def test_a_column_of_type_null_is_an_all_null_column() -> None:
    result = conform("s3_bucket_counts_5B", counts(channel_group=pa.nulls(2)), where="f")
    assert result.column("channel_group").type == pa.string()
    assert result.column("channel_group").null_count == 2


def test_selected_columns_come_in_the_order_asked_with_absent_optional_ones_null() -> None:
    table = counts().drop_columns(["channel_group", "manifest_fingerprint"])
    names = ["count_N", "channel_group", "merchant_id"]
    result = conform("s3_bucket_counts_5B", table, where="f", columns=names)
    assert result.column_names == names
    assert result.column("channel_group").null_count == 2
    error = refused("s3_bucket_counts_5B", table, columns=["manifest_fingerprint"])
    assert "is missing" in error.message


def test_selecting_an_undeclared_column_is_the_callers_mistake() -> None:
    with pytest.raises(ArrivalError) as caught:
        conform("s3_bucket_counts_5B", counts(), where="f", columns=["count_n"])
    assert caught.value.code is Code.UNEXPECTED_INTERNAL_ERROR


def test_numbers_may_be_integers_or_single_precision() -> None:
    for kind in (pa.float32(), pa.int64()):
        result = conform("s1_site_weights", weights(p_weight=pa.array([0, 1, 1], kind)), where="f")
        assert result.column("p_weight").type == pa.float64()


# --------------------------------------------------------------------------- what does not


def test_missing_column() -> None:
    error = refused("s3_bucket_counts_5B", counts().drop_columns(["count_N"]))
    assert "column count_N is missing" in error.message
    assert "merchant_id" in error.message


def test_extra_column_where_none_is_allowed() -> None:
    error = refused("s1_site_weights", weights(site_id=[1, 2, 3]))
    assert "column site_id is not part of the contract" in error.message


def test_repeated_column() -> None:
    table = weights()
    doubled = table.append_column("p_weight", table.column("p_weight"))
    assert "appears more than once" in refused("s1_site_weights", doubled).message


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("merchant_id", pa.array([1.0, 2.0, 3.0]), "double"),
        ("merchant_id", pa.array(["1", "2", "3"]), "string"),
        ("merchant_id", pa.array([True, True, True]), "bool"),
        ("p_weight", pa.array(["0.5", "0.5", "1"]), "string"),
        ("p_weight", pa.array([True, True, True]), "bool"),
        ("floor_applied", pa.array([0, 1, 1]), "int64"),
        ("legal_country_iso", pa.array([b"DE", b"DE", b"DE"]), "binary"),
        ("created_utc", pa.array([0, 0, 0], pa.timestamp("us", tz="UTC")), "timestamp[us, tz=UTC]"),
        ("site_order", pa.array([1, 1, 1]).dictionary_encode(), "dictionary"),
    ],
)
def test_wrong_type(column: str, values: pa.Array, found: str) -> None:
    error = refused("s1_site_weights", weights(**{column: values}))
    assert f"column {column} has type {found}" in error.message


@pytest.mark.parametrize(
    ("column", "values", "row", "value"),
    [
        ("merchant_id", pa.array([5, 0, 0]), 1, 0),
        ("merchant_id", pa.array([5, -3, 0]), 1, -3),
        ("merchant_id", pa.array([5, 6, 0], pa.uint64()), 2, 0),
        ("site_order", pa.array([1, 0, -1]), 1, 0),
        ("p_weight", pa.array([0.5, 1.5, -1.0]), 2, -1.0),
        ("p_weight", pa.array([0.5, 0.5, 1.0000000000000002]), 2, 1.0000000000000002),
        ("p_weight", pa.array([math.inf, 0.5, 1.0]), 0, math.inf),
        ("p_weight", pa.array([0.5, -math.inf, 1.0]), 1, -math.inf),
        ("legal_country_iso", pa.array(["DE", "de", "d"]), 1, "de"),
        ("legal_country_iso", pa.array(["DE", "FR\n", "FR"]), 1, "FR\n"),
        ("legal_country_iso", pa.array(["DE", "FR", ""]).dictionary_encode(), 2, ""),
        ("created_utc", pa.array([TS, TS, TS[:-1]]), 2, TS[:-1]),
    ],
)
def test_value_out_of_bounds(column: str, values: pa.Array, row: int, value: object) -> None:
    error = refused("s1_site_weights", weights(**{column: values}))
    assert (error.context["column"], error.context["row"], error.context["value"]) == (column, row, value)
    assert f"in row {row} holds" in error.message


def test_nan_is_no_number() -> None:
    error = refused("s1_site_weights", weights(p_weight=[0.5, math.nan, 1.0]))
    assert error.context["row"] == 1
    assert "nan, which is not a finite number" in error.message


def test_a_choice_outside_the_list() -> None:
    table = pa.table(
        {
            "seed": [1],
            "manifest_fingerprint": [HEX],
            "merchant_id": [1],
            "is_virtual": [True],
            "virtual_mode": ["VIRTUAL"],
            "decision_reason": ["RULE_MATCH"],
            **{
                name: pa.nulls(1)
                for name in (
                    "rule_id",
                    "rule_version",
                    "source_policy_id",
                    "source_policy_version",
                    "classification_digest",
                    "notes",
                )
            },
        }
    )
    error = refused("virtual_classification_3B", table)
    assert error.code is Code.ROUTING_POLICY_INVALID
    assert "none of NON_VIRTUAL, HYBRID, VIRTUAL_ONLY" in error.message


@pytest.mark.parametrize(
    "values",
    [
        pa.array([HEX, None]),
        pa.array([HEX, None]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array([HEX, None])),
    ],
    ids=["plain", "index", "dictionary"],
)
def test_null_where_a_value_must_be(values: pa.Array) -> None:
    error = refused("s3_bucket_counts_5B", counts(manifest_fingerprint=values))
    assert error.context["row"] == 1
    assert "in row 1 is null" in error.message


def test_nulls_hidden_in_a_dictionary_are_ordinary_nulls_where_allowed() -> None:
    hidden = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int32()), pa.array(["mixed", None]))
    result = conform("s3_bucket_counts_5B", counts(channel_group=hidden), where="f")
    assert result.column("channel_group").null_count == 1
    assert result.column("channel_group").to_pylist() == [None, "mixed"]


def test_dictionary_values_that_no_row_uses_do_not_matter() -> None:
    values = pa.array(["DE", "not a country", "FR"])
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 2, 0], pa.int32()), values)
    result = conform("s1_site_weights", weights(legal_country_iso=codes), where="f")
    assert result.column("legal_country_iso").to_pylist() == ["DE", "FR", "DE"]


def test_the_row_of_a_fault_counts_over_chunks() -> None:
    column = pa.chunked_array([["DE"], ["FR"], ["xx"]])
    error = refused("s1_site_weights", weights(legal_country_iso=column))
    assert error.context["row"] == 2
    error = refused("s1_site_weights", weights(legal_country_iso=column.dictionary_encode()))
    assert error.context["row"] == 2


@pytest.mark.parametrize(("rows", "expected"), [([0, 1, 0], None), ([0, 1, 2], 5), ([2, 1, None], 3)])
def test_of_several_dictionaries_only_the_values_in_use_matter(rows: list[int | None], expected: int | None) -> None:
    good = pa.array(["DE", "FR", "DE"]).dictionary_encode()
    mixed = pa.DictionaryArray.from_arrays(pa.array(rows, pa.int32()), pa.array(["AT", "CH", "xx"]))
    size = 6
    table = pa.table(
        {
            "merchant_id": [1] * size,
            "legal_country_iso": pa.chunked_array([good, mixed]),
            "site_order": [1] * size,
            "lon_deg": [0.0] * size,
            "lat_deg": [0.0] * size,
        }
    )
    if expected is None:
        result = conform("site_locations", table, where="f").column("legal_country_iso")
        assert result.to_pylist() == ["DE", "FR", "DE", "AT", "CH", "AT"]
    else:
        error = refused("site_locations", table)
        null = None in rows
        assert error.context["row"] == (5 if null else expected)
        assert ("is null" in error.message) if null else (error.context["value"] == "xx")


def test_values_that_do_not_fit_the_declared_integer() -> None:
    table = pa.table(
        {
            "merchant_id": [1],
            "legal_country_iso": ["DE"],
            "site_order": [2**31],
            "lon_deg": [0.0],
            "lat_deg": [0.0],
        }
    )
    assert "is above 2147483647" in refused("site_locations", table).message
    error = refused("s3_bucket_counts_5B", counts(count_N=pa.array([0, U64_MAX], pa.uint64())))
    assert error.context["value"] == U64_MAX


def test_an_integer_too_large_for_a_double_is_no_lossless_number() -> None:
    table = pa.table(
        {
            "merchant_id": [1],
            "utc_day": ["2026-01-01"],
            "tz_group_id": ["UTC"],
            "p_group": [1.0],
            "base_share": [1.0],
            "gamma": pa.array([2**53 + 1]),
            "created_utc": [TS],
            "mass_raw": [None],
            "denom_raw": [None],
        }
    )
    assert "without loss" in refused("s4_group_weights", table).message


def test_exclusive_bounds() -> None:
    table = pa.table(
        {
            "merchant_id": [1, 1],
            "utc_day": ["2026-01-01", "2026-01-02"],
            "tz_group_id": ["UTC", "UTC"],
            "p_group": [1.0, 1.0],
            "base_share": [1.0, 1.0],
            "gamma": [1.0, 0.0],
            "created_utc": [TS, TS],
            "mass_raw": [None, 0.0],
            "denom_raw": [None, 0.0],
        }
    )
    error = refused("s4_group_weights", table)
    assert (error.context["column"], error.context["row"]) == ("gamma", 1)
    assert "is not above 0" in error.message


def test_empty_text_where_text_must_be() -> None:
    error = refused("s3_bucket_counts_5B", counts(zone_representation=["UTC", ""]))
    assert error.context["row"] == 1
    assert "is empty" in error.message


# --------------------------------------------------------------------------- arrival events


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


def test_both_timestamp_encodings_conform() -> None:
    assert conform("arrival_events_5B", events(), where="f").num_rows == 1
    text = events("rfc3339", ts_utc=[TS], ts_local_primary=[TS[:-1]])
    assert conform("arrival_events_5B", text, where="f", timestamp_encoding="rfc3339").num_rows == 1


def test_a_local_time_with_a_zone_suffix_is_refused() -> None:
    text = events("rfc3339", ts_utc=[TS], ts_local_primary=[TS])
    error = refused("arrival_events_5B", text, timestamp_encoding="rfc3339")
    assert error.context["column"] == "ts_local_primary"


@pytest.mark.parametrize(
    "kind", [pa.timestamp("us"), pa.timestamp("us", tz="Europe/Berlin"), pa.int64(), pa.string()], ids=str
)
def test_ts_utc_is_a_utc_timestamp_and_nothing_else(kind: pa.DataType) -> None:
    values = pa.nulls(0, kind)
    table = events().slice(0, 0).set_column(9, "ts_utc", values)
    assert "has type" in refused("arrival_events_5B", table).message


def test_a_local_time_may_not_claim_a_zone() -> None:
    table = events().slice(0, 0).set_column(11, "ts_local_primary", pa.nulls(0, pa.timestamp("us", tz="UTC")))
    assert "has type" in refused("arrival_events_5B", table).message


def test_nanoseconds_are_taken_only_without_loss() -> None:
    exact = pa.array([1767250800000000000], pa.timestamp("ns", tz="UTC"))
    table = events().set_column(9, "ts_utc", exact)
    assert conform("arrival_events_5B", table, where="f").schema.field("ts_utc").type == UTC
    finer = pa.array([1767250800000000001], pa.timestamp("ns", tz="UTC"))
    assert "without loss" in refused("arrival_events_5B", events().set_column(9, "ts_utc", finer)).message


def test_anything_beside_the_21_columns_is_refused() -> None:
    table = events().append_column("tz_group_id", pa.array(["UTC"]))
    assert refused("arrival_events_5B", table).code is Code.SCHEMA_VIOLATION


# --------------------------------------------------------------------------- against a plain reference


@given(
    st.lists(st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([2**31, 2**63 - 1, -(2**63)])), max_size=12),
    st.integers(1, 4),
)
def test_bounds_agree_with_a_plain_loop(values: list[int | None], pieces: int) -> None:
    column = table_shape("site_locations").column("site_order")
    assert column is not None
    size = len(values)
    cuts = [values[size * k // pieces : size * (k + 1) // pieces] for k in range(pieces)]
    table = pa.table(
        {
            "merchant_id": pa.array([1] * size, pa.int64()),
            "legal_country_iso": pa.array(["DE"] * size, pa.string()),
            "site_order": pa.chunked_array(cuts, type=pa.int64()),
            "lon_deg": pa.array([0.0] * size, pa.float64()),
            "lat_deg": pa.array([0.0] * size, pa.float64()),
        }
    )
    nulls = [row for row, value in enumerate(values) if value is None]
    low = [row for row, value in enumerate(values) if value is not None and value < 1]
    high = [row for row, value in enumerate(values) if value is not None and value > 2**31 - 1]
    expected = next((rows[0] for rows in (nulls, low, high) if rows), None)
    if expected is None:
        assert conform("site_locations", table, where="f").column("site_order").to_pylist() == values
    else:
        with pytest.raises(ArrivalError) as caught:
            conform("site_locations", table, where="f")
        assert caught.value.context["row"] == expected


@given(st.lists(st.sampled_from(["DE", "FR", "de", "", "DEU", "ÄÖ"]), min_size=1, max_size=12), st.booleans())
def test_patterns_agree_with_a_plain_loop(values: list[str], coded: bool) -> None:
    array = pa.array(values)
    size = len(values)
    table = pa.table(
        {
            "merchant_id": pa.array([1] * size),
            "legal_country_iso": array.dictionary_encode() if coded else array,
            "site_order": pa.array([1] * size),
            "lon_deg": pa.array([0.0] * size),
            "lat_deg": pa.array([0.0] * size),
        }
    )
    bad = [row for row, value in enumerate(values) if value not in ("DE", "FR")]
    if not bad:
        result = conform("site_locations", table, where="f").column("legal_country_iso")
        assert pc.cast(result, pa.string()).to_pylist() == values
    else:
        with pytest.raises(ArrivalError) as caught:
            conform("site_locations", table, where="f")
        assert caught.value.context["row"] == bad[0]
