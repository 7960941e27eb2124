"""Arrow schemas derived from the contracts, and tables that conform to them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from arrival_engine.contracts import ArrivalError, Code, arrow_schema, conform, dataset, json_schema
from tests.support.tables import CODES, EVENTS, TABLES, U64_MAX, counts, events, refused, weights

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
