"""Tables that break their contract, and the check against a plain loop."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code, conform
from arrival_engine.contracts.columns import table_shape
from tests.support.tables import HEX, TS, U64_MAX, UTC, counts, events, refused, weights

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
    assert "not one of NON_VIRTUAL, HYBRID, VIRTUAL_ONLY" in error.message


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
