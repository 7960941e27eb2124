"""The packaged JSON Schemas, the check of documents against them, and the JSON forms that files take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from arrival_engine.contracts import (
    ArrivalError,
    Code,
    check_document,
    compact_json,
    datasets,
    indented_json,
    json_schema,
    receipt_json,
)
from arrival_engine.contracts.conformity import anchored
from arrival_engine.contracts.schemas import deref, schema_names

NAMES = schema_names()
DRAFT = "https://json-schema.org/draft/2020-12/schema"
HEX = "a" * 64
TS = "2026-01-01T00:00:00.000000Z"
CODE = Code.S0_GATE_MISSING_OR_INVALID


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_valid_draft_2020_12(name: str) -> None:
    schema = json_schema(name)
    assert schema["$schema"] == DRAFT
    assert schema["$id"] == f"{name}.schema.json"
    assert schema["title"]
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_resolves(name: str) -> None:
    for node in nodes(json_schema(name)):
        if "$ref" in node:
            assert "type" in deref(node, name)


@pytest.mark.parametrize("name", NAMES)
def test_every_object_says_whether_it_takes_further_keys(name: str) -> None:
    for node in nodes(json_schema(name)):
        if node.get("type") == "object" and "properties" in node:
            assert "additionalProperties" in node, node
            assert set(node["required"]) <= set(node["properties"])


@pytest.mark.parametrize("name", NAMES)
def test_every_pattern_is_anchored_at_both_ends(name: str) -> None:
    for node in nodes(json_schema(name)):
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            assert pattern.startswith("^")
            assert pattern.endswith("$")
            assert "|" not in re.sub(r"\(.*\)", "", pattern)


def test_dictionary_and_schema_files_name_each_other() -> None:
    named = {entry.schema for entry in datasets() if entry.schema}
    references = {
        str(node["$ref"]).partition("#")[0] for name in named for node in nodes(json_schema(name)) if "$ref" in node
    }
    shared = {reference.removesuffix(".schema.json") for reference in references if reference}
    assert shared == {"primitives", "s2_alias_index_merchants"}
    # A member of the validation bundle that is not a dataset of its own.
    members = {"validation_arrival_parts_5B"}
    assert named == set(NAMES) - shared - members


@pytest.mark.parametrize("name", [entry.schema for entry in datasets() if entry.role == "policy"])
def test_policy_schemas_refuse_unknown_keys_everywhere(name: str) -> None:
    for node in nodes(json_schema(name)):
        if node.get("type") == "object":
            closed = node["additionalProperties"] is False
            # A table of numbers by class name is open in its keys, never in its values.
            table = isinstance(node["additionalProperties"], dict) and "propertyNames" in node
            assert closed or table


def test_an_unknown_schema_is_a_named_error() -> None:
    for name in ("nope", "../forms", "schemas/primitives"):
        with pytest.raises(ArrivalError) as caught:
            json_schema(name)
        assert caught.value.code is Code.UNEXPECTED_INTERNAL_ERROR


def test_json_schema_hands_out_copies() -> None:
    json_schema("passed_flag")["title"] = "changed"
    assert json_schema("passed_flag")["title"] != "changed"


# --------------------------------------------------------------------------- documents

RECEIPT = {
    "run_id": "c" * 32,
    "seed": 2**64 - 1,
    "parameter_hash": HEX,
    "manifest_fingerprint": HEX,
    "external_roots": ["/srv/shared"],
    "created_utc": TS,
}
SEALED = [
    {
        "manifest_fingerprint": HEX,
        "parameter_hash": HEX,
        "owner_layer": "layer1",
        "owner_segment": "2B",
        "artifact_id": "s1_site_weights",
        "manifest_key": "mlr.2B.s1.site_weights",
        "role": "dataset",
        "schema_ref": "schemas.2B.yaml#/plan/s1_site_weights",
        "path_template": "data/",
        "partition_keys": ["seed"],
        "sha256_hex": HEX,
        "status": "REQUIRED",
        "read_scope": "METADATA_ONLY",
        "notes": "",
    }
]
GATE = {
    "manifest_fingerprint": HEX,
    "parameter_hash": HEX,
    "seed": 1,
    "run_id": "c" * 32,
    "created_utc": TS,
    "upstream_segments": {"1A": {"status": "MISSING"}},
    "scenario_set": ["baseline_v1"],
    "sealed_inputs_digest": HEX,
    "sealed_inputs_row_count": 0,
    "spec_version": "1.0.0",
}


@pytest.mark.parametrize(
    ("name", "document"), [("run_receipt", RECEIPT), ("sealed_inputs_5B", SEALED), ("s0_gate_receipt_5B", GATE)]
)
def test_good_documents_pass(name: str, document: object) -> None:
    check_document(name, document, code=CODE, where="file.json")


@pytest.mark.parametrize(
    ("name", "document", "pointer", "fragment"),
    [
        ("run_receipt", {**RECEIPT, "seed": -1}, "/seed", "value -1 is not >= 0"),
        ("run_receipt", {**RECEIPT, "seed": 2**64}, "/seed", "is not <= 18446744073709551615"),
        ("run_receipt", {**RECEIPT, "seed": True}, "/seed", "value True is not of type integer"),
        ("run_receipt", {**RECEIPT, "seed": "1"}, "/seed", "not of type integer"),
        ("run_receipt", {**RECEIPT, "run_id": "c" * 32 + "\n"}, "/run_id", "does not match"),
        ("run_receipt", {**RECEIPT, "run_id": "C" * 32}, "/run_id", "does not match"),
        ("run_receipt", {**RECEIPT, "external_roots": [""]}, "/external_roots/0", "minLength"),
        ("run_receipt", {"seed": 1}, "", "missing key 'run_id', 'parameter_hash'"),
        ("run_receipt", [], "", "list of 0 is not of type object"),
        ("sealed_inputs_5B", [{**SEALED[0], "a/b": 1}], "/0/a~1b", "unknown key 'a/b'"),
        ("sealed_inputs_5B", [{**SEALED[0], "status": "MAYBE"}], "/0/status", "'MAYBE' is not one of 'REQUIRED'"),
        ("s0_gate_receipt_5B", {**GATE, "created_utc": "2026-01-01T00:00:00Z"}, "/created_utc", "does not match"),
        (
            "s0_gate_receipt_5B",
            {**GATE, "upstream_segments": {"1A": {"status": "MISSING", "bundle_digest": "x"}}},
            "/upstream_segments/1A/bundle_digest",
            "does not match",
        ),
        ("segment_state_runs", {"layer": "layer2"}, "", "missing key 'segment'"),
        ("upstream_bundle_index_files", {"files": [{"path": 1}]}, "/files/0/path", "not of type string"),
    ],
)
def test_a_bad_document_is_named_to_the_key(name: str, document: object, pointer: str, fragment: str) -> None:
    with pytest.raises(ArrivalError) as caught:
        check_document(name, document, code=CODE, where="file.json")
    error = caught.value
    assert error.code is CODE
    assert error.context["pointer"] == pointer
    assert error.message.startswith(f"file.json: at {pointer or '/'}: ")
    assert fragment in error.message


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(ArrivalError) as caught:
        check_document("run_receipt", {**RECEIPT, "run_id": "x" * 10_000}, code=CODE, where="f")
    assert len(caught.value.message) < 300


def test_optional_nulls_report_the_real_branch() -> None:
    line = {
        "layer": "layer2",
        "segment": "5B",
        "state": "S4",
        "parameter_hash": HEX,
        "manifest_fingerprint": HEX,
        "run_id": "r",
        "status": "PASS",
    }
    check_document("segment_state_runs", {**line, "error_code": None}, code=CODE, where="f")
    with pytest.raises(ArrivalError, match="/error_code"):
        check_document("segment_state_runs", {**line, "error_code": 3}, code=CODE, where="f")


def test_decimals_compare_as_written() -> None:
    assert Decimal("0.1") != Decimal(0.1)  # noqa: RUF032 - the trap that the exact schema avoids
    document = {**json_schema("group_mix_regularizer_v1")["properties"]}
    policy = {
        **{key: body["const"] for key, body in document.items() if "const" in body},
        "policy_version": "1.0.0",
        "version_tag": "1.0.0",
        "apply_when_groups_ge": 2,
        "max_p_group_soft_cap": Decimal("1.0"),
        "regularization_strength": Decimal("0.52"),
        "entropy_floor": Decimal("0.62"),
    }
    check_document("group_mix_regularizer_v1", policy, code=CODE, where="f")
    over = {**policy, "max_p_group_soft_cap": Decimal("1.00000000000000000001")}
    with pytest.raises(ArrivalError, match=r"value 1\.00000000000000000001 is not <= 1"):
        check_document("group_mix_regularizer_v1", over, code=CODE, where="f")


def test_patterns_end_where_the_text_ends() -> None:
    pattern = deref({"$ref": "primitives.schema.json#/$defs/dec_u128"}, "primitives")["pattern"]
    assert re.search(anchored(pattern), "10")
    assert not re.search(anchored(pattern), "10\n")
    assert not re.search(anchored(pattern), "01")
    assert not re.search(anchored(pattern), "9" * 40)


@pytest.mark.parametrize(
    ("primitive", "good", "bad"),
    [
        ("iana_tzid", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"], ["", "/x", "a//b", "ü"]),
        ("rfc3339_micros", [TS], ["2026-01-01T00:00:00Z", TS[:-1], "2026-01-01T00:00:00.000000+00:00", TS + "\n"]),
        ("local_wall_timestamp_micros", [TS[:-1]], [TS, "2026-01-01 00:00:00.000000"]),
        ("iso2", ["DE"], ["de", "DEU", "D\n"]),
        ("hex16", ["2a2f3c903ef4c2b2"], ["2A2F3C903EF4C2B2", "0" * 15]),
        ("rfc3339", [TS, "2026-01-01T00:00:00+02:00"], ["2026-01-01", "2026-01-01T00:00:00"]),
        ("version", ["1.0.2", "v2.0.0", "1"], ["", "v", "1.", "1.a", "latest"]),
    ],
)
def test_primitive_patterns(primitive: str, good: list[str], bad: list[str]) -> None:
    pattern = anchored(json_schema("primitives")["$defs"][primitive]["pattern"])
    assert [text for text in good if not re.search(pattern, text, re.ASCII)] == []
    assert [text for text in bad if re.search(pattern, text, re.ASCII)] == []


# --------------------------------------------------------------------------- JSON forms


def test_json_forms_are_the_contracts() -> None:
    value = {"b": [1, 2**64 - 1], "a": "ä", "c": None}
    assert compact_json(value) == b'{"a":"\\u00e4","b":[1,18446744073709551615],"c":null}'
    assert receipt_json(value) == b'{"a": "\\u00e4", "b": [1, 18446744073709551615], "c": null}'
    assert indented_json({"b": 1, "a": []}) == b'{\n  "a": [],\n  "b": 1\n}\n'
    assert json.loads(compact_json(value)) == value


@pytest.mark.parametrize("form", [compact_json, receipt_json, indented_json])
def test_json_forms_refuse_what_json_has_no_word_for(form: Any) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            form({"x": value})
    with pytest.raises(TypeError):
        form({"x": Decimal(1)})
