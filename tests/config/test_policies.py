"""The packaged policies, how a policy is found, and what its reader refuses."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.config import Policy, packaged_bytes, policy_ids, resolve_policy
from arrival_engine.config.strict import DEPTH_MAX, FormatError, parse_json, parse_yaml
from arrival_engine.contracts import ArrivalError, Code, dataset
from tests.support.paths import ROOT

ROUTING, RNG, OUTPUT = "arrival_routing_policy_5B", "arrival_rng_policy_5B", "arrival_output_policy_5B"
COUNT, LGCP, DAYS, ALIAS = (
    "arrival_count_config_5B",
    "arrival_lgcp_config_5B",
    "day_effect_policy_v1",
    "alias_layout_policy_v1",
)
PLACEMENT = "arrival_time_placement_policy_5B"
BUNDLE = "bundle_layout_policy_5B"
# Layer 1 names the key differently.
VERSION_KEY = dict.fromkeys((ALIAS, DAYS, "route_rng_policy_v1", "group_mix_regularizer_v1"), "policy_version")
# Keys that a policy may lack: remarks, and what upstream's policies do not have.
MAY_LACK = {BUNDLE: {"failed_root_template"}}


def put(root: Path, policy_id: str, data: bytes) -> Path:
    path = dataset(policy_id).locate(root, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def edited(policy_id: str, old: str, new: str) -> bytes:
    text = packaged_bytes(policy_id).decode()
    assert text.count(old) == 1, (old, text.count(old))
    return text.replace(old, new).encode()


def refused(root: Path, policy_id: str, data: bytes) -> ArrivalError:
    path = put(root, policy_id, data)
    with pytest.raises(ArrivalError) as caught:
        resolve_policy(policy_id, run_root=root)
    assert caught.value.code is dataset(policy_id).on_invalid
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.hint
    return caught.value


# --------------------------------------------------------------------------- packaged


@pytest.mark.parametrize("policy_id", policy_ids())
def test_every_packaged_policy_is_valid(policy_id: str) -> None:
    policy = resolve_policy(policy_id)
    assert policy.origin == "packaged"
    assert policy.document["policy_id"] == policy_id
    assert policy.document[VERSION_KEY.get(policy_id, "version")] == policy.version
    assert policy.sha256 == hashlib.sha256(packaged_bytes(policy_id)).hexdigest()
    assert policy.path == dataset(policy_id).path


def test_every_packaged_file_is_a_policy_of_the_dictionary() -> None:
    root = ROOT
    found = {path.relative_to(root).as_posix() for path in (root / "config").glob("layer*/**/*.*")}
    assert found == {dataset(policy_id).path for policy_id in policy_ids()}


@pytest.mark.parametrize(
    ("policy_id", "version"),
    [
        (RNG, "v2.0.0"),
        (ROUTING, "v2.0.0"),
        (PLACEMENT, "v2.0.0"),
        (OUTPUT, "v1.0.0"),
        (ALIAS, "1.0.2"),
        (DAYS, "1.0.3"),
    ],
)
def test_versions(policy_id: str, version: str) -> None:
    assert resolve_policy(policy_id).version == version


def test_the_rng_policy_states_the_law() -> None:
    document = resolve_policy(RNG).document
    assert document["laws"]["v2"]["domain_sep"] == "5B.rng.v2"
    assert document["laws"]["v2"]["domain_text"] == "merchant_id=<decimal>|zone=<tzid>|channel_group=<text>"
    assert document["encoding"]["key_bytes"] == [0, 8]
    assert document["laws"]["v2"]["hi0_bytes"] == [8, 16]
    assert document["laws"]["v2"]["counter_law"] == {"word0": "j", "word1": "(hi0+bucket) mod 2^64"}
    words = {name: family["words"] for name, family in document["families"].items() if family["law"] == "v2"}
    assert words == {
        "S4.arrival_time_jitter.v2": {"x0": "time"},
        "S4.arrival_site_pick.v2": {"x0": "tz_group", "x1": "site"},
        "S4.arrival_edge_pick.v2": {"x0": "edge", "x1": "hybrid_coin"},
    }


def test_the_coin_has_the_laws_exact_threshold() -> None:
    share = resolve_policy(ROUTING).document["hybrid_policy"]["p_virtual_hybrid"]
    assert isinstance(share, Decimal)
    numerator, denominator = share.as_integer_ratio()
    assert numerator * 2**64 // denominator == 0x5999999999999999


def test_fractions_of_packaged_policies_are_decimals_never_floats() -> None:
    def floats(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [found for item in value.values() for found in floats(item)]
        if isinstance(value, list):
            return [found for item in value for found in floats(item)]
        return [value] if isinstance(value, float) else []

    assert [policy_id for policy_id in policy_ids() if floats(resolve_policy(policy_id).document)] == []
    assert resolve_policy(COUNT).document["lambda_zero_eps"] == Decimal("0.000000001")
    assert resolve_policy(ALIAS).document["quantisation_epsilon"] == Decimal("0.00000012")


# --------------------------------------------------------------------------- where a policy is found


def test_the_run_comes_before_external_roots_and_these_before_the_package(tmp_path: Path) -> None:
    run, near, far = (tmp_path / name for name in ("run", "near", "far"))

    def found() -> Policy:
        return resolve_policy(OUTPUT, run_root=run, external_roots=[near, far])

    assert found().origin == "packaged"
    put(far, OUTPUT, edited(OUTPUT, "row_group_rows: 65536", "row_group_rows: 3000"))
    assert (found().origin, found().document["row_group_rows"]) == ("external", 3000)
    put(near, OUTPUT, edited(OUTPUT, "row_group_rows: 65536", "row_group_rows: 2000"))
    assert (found().origin, found().document["row_group_rows"]) == ("external", 2000)
    path = put(run, OUTPUT, edited(OUTPUT, "row_group_rows: 65536", "row_group_rows: 1024"))
    policy = found()
    assert (policy.origin, policy.path, policy.document["row_group_rows"]) == ("run", str(path), 1024)
    assert policy.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_runs_own_reference_comes_first_and_other_files_are_named(tmp_path: Path) -> None:
    run, root = tmp_path / "run", tmp_path / "root"
    edit = ("row_group_rows: 65536", "row_group_rows: {}")
    own = put(run, OUTPUT, edited(OUTPUT, edit[0], edit[1].format(2000)))
    far = put(root, OUTPUT, edited(OUTPUT, edit[0], edit[1].format(3000)))
    policy = resolve_policy(OUTPUT, run_root=run, external_roots=[root])
    assert (policy.path, policy.passed_over) == (str(own), (str(far),))
    first = put(run / "reference", OUTPUT, edited(OUTPUT, edit[0], edit[1].format(1024)))
    policy = resolve_policy(OUTPUT, run_root=run, external_roots=[root])
    assert (policy.origin, policy.path, policy.document["row_group_rows"]) == ("run", str(first), 1024)
    assert policy.passed_over == (str(own), str(far))
    # Files of the same bytes leave no choice.
    for path in (own, far):
        path.write_bytes(first.read_bytes())
    assert resolve_policy(OUTPUT, run_root=run, external_roots=[root]).passed_over == ()


def test_a_broken_file_is_never_passed_over_for_the_next_one(tmp_path: Path) -> None:
    put(tmp_path / "near", OUTPUT, packaged_bytes(OUTPUT))
    put(tmp_path / "run", OUTPUT, b"")
    with pytest.raises(ArrivalError, match="the file is empty"):
        resolve_policy(OUTPUT, run_root=tmp_path / "run", external_roots=[tmp_path / "near"])


def test_what_stands_in_a_policys_place_must_be_a_readable_file(tmp_path: Path) -> None:
    place = dataset(OUTPUT).locate(tmp_path, {})
    place.mkdir(parents=True)
    with pytest.raises(ArrivalError) as caught:
        resolve_policy(OUTPUT, run_root=tmp_path)
    assert caught.value.code is Code.IO_READ_FAILED
    place.rmdir()
    place.symlink_to(tmp_path / "gone")
    with pytest.raises(ArrivalError) as caught:
        resolve_policy(OUTPUT, run_root=tmp_path)
    assert caught.value.code is Code.IO_READ_FAILED
    assert os.fspath(place) in caught.value.message


def test_an_id_that_is_no_policy_is_a_named_error() -> None:
    for name in ("run_receipt", "nope"):
        with pytest.raises(ArrivalError) as caught:
            resolve_policy(name)
        assert caught.value.code is Code.UNEXPECTED_INTERNAL_ERROR


# --------------------------------------------------------------------------- what a policy may not hold


@pytest.mark.parametrize(
    ("policy_id", "old", "new", "fragment"),
    [
        (ROUTING, "fallbacks:", "tempering: true\nfallbacks:", "at /tempering: unknown key 'tempering'"),
        (ROUTING, "  no_site_in_zone:", "  no_site_in_zoen:", "/fallbacks"),
        (ROUTING, "no_site_in_zone: merchant_sites", "no_site_in_zone: invent", "'invent' is not one of"),
        (ROUTING, "arrival_edge_pick.second_word", "arrival_site_pick.first_uniform", "/hybrid_policy/coin_source"),
        (ROUTING, "use_group_weights: true", "use_group_weights: yes", "not of type boolean"),
        (ROUTING, "p_virtual_hybrid: 0.35", "p_virtual_hybrid: 1.0", "value 1.0 is not < 1"),
        (ROUTING, "p_virtual_hybrid: 0.35", "p_virtual_hybrid: '0.35'", "not of type number"),
        (ROUTING, "p_virtual_hybrid: 0.35", "p_virtual_hybrid: .nan", "not of type number"),
        (ROUTING, "p_virtual_hybrid: 0.35", "p_virtual_hybrid: 0.81", "is outside realism_floors"),
        (ROUTING, "[0.05, 0.80]", "[0.80, 0.05]", "not ascending"),
        (ROUTING, "version: v2.0.0", "version: v1.0.0", "version 'v1.0.0' is not accepted"),
        (ROUTING, "version: v2.0.0", "version: v20.0.0", "is not accepted"),
        (ROUTING, "version: v2.0.0", "version: 2.0", "is not of the form"),
        (ROUTING, "version: v2.0.0\n", "", "version None"),
        (ROUTING, "policy_id: arrival_routing_policy_5B", "policy_id: other", "/policy_id"),
        (RNG, "domain_sep: 5B.rng.v2", "domain_sep: 5B.rng.v3", "value '5B.rng.v3' must be '5B.rng.v2'"),
        (RNG, "block_outputs_u64: 2", "block_outputs_u64: 4", "value 4 must be 2"),
        (RNG, "words: {x0: edge, x1: hybrid_coin}", "words: {x0: hybrid_coin, x1: edge}", "/words/x0"),
        (RNG, "forbid_inputs: [run_id]", "forbid_inputs: []", "/derivation/forbid_inputs"),
        (PLACEMENT, "draws_per_arrival: 1", "draws_per_arrival: 2", "value 2 must be 1"),
        (PLACEMENT, "draws_per_arrival: 1", "draws_per_arrival: true", "value True must be 1"),
        (
            PLACEMENT,
            "max_bucket_duration_seconds: 86400",
            "max_bucket_duration_seconds: 18429206401",
            "is not <= 18429206400",
        ),
        (PLACEMENT, "max_arrivals_per_bucket: 50000", "max_arrivals_per_bucket: 0", "is not >= 1"),
        (PLACEMENT, "max_arrivals_per_bucket: 50000", "max_arrivals_per_bucket: 5e4", "not of type integer"),
        (OUTPUT, 'physical_dual_clock: "null"', "physical_dual_clock: null", "not of type string"),
        (OUTPUT, "compression: lz4", "compression: gzip", "'gzip' is not one of 'lz4'"),
        (OUTPUT, "row_group_rows: 65536", "row_group_rows: 1023", "is not >= 1024"),
        (OUTPUT, "version: v1.0.0", "version: v1.0.0\nencoding: rle", "'rle' is not one of 'delta', 'plain'"),
        (COUNT, "lambda_zero_eps: 0.000000001", "lambda_zero_eps: 1e-5", "above realism_floors.lambda_zero_eps_max"),
        (COUNT, "kappa_bounds: [2, 200]", "kappa_bounds: [200, 2]", "not ascending"),
        (COUNT, "kappa_bounds: [2, 200]", "kappa_bounds: [2]", "minItems"),
        (LGCP, "low_volume_tail: 1.25", "low_volume: 1.25", "differs from sigma's classes"),
        (LGCP, "low_volume_tail: 1.25", "low_volume_tail: -1", "is not > 0"),
        (LGCP, "kind: ou_ar1_buckets_v1", "kind: matern", "must be 'ou_ar1_buckets_v1'"),
        (DAYS, '"end_day": "2026-03-31"', '"end_day": "2025-03-31"', "is after end_day"),
        (ALIAS, '"near_uniform": 0.15}', '"near_uniform": 0.16}', "sums to 1.01, not 1"),
        (
            ALIAS,
            '"large": {"min_sites": 9}',
            '"large": {"min_sites": 10}',
            "value 10 is not 9, one more than mid.max_sites",
        ),
        (ALIAS, '      "blob_size_bytes",', '      "blob_sha256",', "required_index_fields.header repeats a field"),
        (
            BUNDLE,
            "path: receipts/sealed_inputs_5B.json",
            "path: sealed.json",
            "its readers expect receipts/sealed_inputs",
        ),
        (BUNDLE, "path: rng/rng_trace_log.jsonl", "path: ../trace.jsonl", "does not match"),
        (
            BUNDLE,
            "dataset_id: rng_audit_log",
            "dataset_id: rng_trace_log",
            "puts rng_trace_log at rng/rng_audit_log.jsonl",
        ),
        (BUNDLE, "{dataset_id: segment_state_runs,", "{dataset_id: rng_trace_log,", "lists rng_trace_log twice"),
        (BUNDLE, "dataset_id: validation_report_5B", "dataset_id: other", "in the place of another member"),
        (ALIAS, '"endianness": "little"', '"endianness": "big"', "must be 'little'"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(
    policy_id: str, old: str, new: str, fragment: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, policy_id, edited(policy_id, old, new))
    assert fragment in error.message


@pytest.mark.parametrize("policy_id", policy_ids())
def test_an_unknown_key_is_refused_on_every_level(policy_id: str, tmp_path: Path) -> None:
    document = json.loads(json.dumps(resolve_policy(policy_id).document, default=float))
    for node in [document, *(value for value in document.values() if isinstance(value, dict))]:
        if policy_id == RNG and node is document["families"]:
            continue
        node["surplus"] = 1
        text = json.dumps(document).encode()
        assert "unknown key 'surplus'" in refused(tmp_path, policy_id, text).message
        del node["surplus"]


@pytest.mark.parametrize("policy_id", policy_ids())
def test_every_key_must_be_there(policy_id: str, tmp_path: Path) -> None:
    document = json.loads(json.dumps(resolve_policy(policy_id).document, default=float))
    for key in document.keys() - MAY_LACK.get(policy_id, set()):
        rest = {name: value for name, value in document.items() if name != key}
        assert repr(key) in refused(tmp_path, policy_id, json.dumps(rest).encode()).message or key in (
            "version",
            "policy_version",
        )


def test_the_reference_versions_of_the_sealed_layer_1_policies_need_only_be_there(tmp_path: Path) -> None:
    put(tmp_path, ALIAS, edited(ALIAS, '"policy_version": "1.0.2"', '"policy_version": "7.0.1"'))
    assert resolve_policy(ALIAS, run_root=tmp_path).version == "7.0.1"
    put(tmp_path, OUTPUT, edited(OUTPUT, "version: v1.0.0", 'version: "1.9"'))
    assert resolve_policy(OUTPUT, run_root=tmp_path).version == "1.9"


@pytest.mark.parametrize(
    ("data", "fragment"),
    [
        (b"policy_id: a\npolicy_id: a\n", "line 2: key 'policy_id' appears twice"),
        (b"a: {b: 1, b: 2}\n", "key 'b' appears twice"),
        (b"a: &x [1]\nb: *x\n", "line 1: anchors and aliases are not allowed"),
        (b"a: &x 1\n", "anchors"),
        (b"a: !!python/object/apply:os.system ['true']\n", "line 1: explicit tags are not allowed"),
        (b"a: !!float 1\n", "explicit tags"),
        (b"1: a\n", "key 1 is not text"),
        (b"? [a]\n: b\n", "is not text"),
        (b"a: 1\n---\nb: 2\n", "a second document"),
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"- a\n- b\n", "is list, not a mapping"),
        (b"just words\n", "is str, not a mapping"),
        (b"a: [1, 2\n", "line"),
        (b"a: b: c\n", "line 1"),
        (b"a: \xff\n", "byte 3 is not UTF-8"),
        (b"a: \x00\n", "a"),
        (b"a: " + b"[" * 200 + b"]" * 200, f"nested more than {DEPTH_MAX} levels"),
        (b"a: " + b"9" * 65, "too long"),
        (b"a: 1e999", "out of range"),
        (b"a: " + b"x" * 2**20, "larger than 1048576 bytes"),
    ],
)
def test_a_yaml_file_that_is_no_policy(data: bytes, fragment: str, tmp_path: Path) -> None:
    assert fragment in refused(tmp_path, OUTPUT, data).message


@pytest.mark.parametrize(
    ("data", "fragment"),
    [
        (b'{"a": 1, "a": 1}', "key 'a' appears twice"),
        (b'{"a": {"b": 1, "b": 1}}', "key 'b' appears twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e9999}', "out of range"),
        (b'{"a": ' + b"1" * 5000 + b"}", "too long"),
        (b'{"a": 0.' + b"1" * 5000 + b"}", "too long"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1,}', "line 1"),
        (b"\xef\xbb\xbf{}", "line 1"),
        (b"[]", "is list, not a mapping"),
        (b"", "line 1"),
        (b"{" + b" " * 2**20 + b"}", "larger than 1048576 bytes"),
    ],
)
def test_a_json_file_that_is_no_policy(data: bytes, fragment: str, tmp_path: Path) -> None:
    assert fragment in refused(tmp_path, ALIAS, data).message


# --------------------------------------------------------------------------- the readers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.35", Decimal("0.35")),
        ("1e-9", Decimal("1e-9")),
        ("1.0", Decimal("1.0")),
        (".5", Decimal("0.5")),
        ("-2.50E+3", Decimal(-2500)),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        ("42", 42),
        ("-7", -7),
        ("18446744073709551615", 2**64 - 1),
        ("007", "007"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'null'", "null"),
        ('"1"', "1"),
        (".inf", ".inf"),
        ("<<", "<<"),
    ],
)
def test_yaml_scalars_follow_the_core_schema(text: str, value: object) -> None:
    (read,) = parse_yaml(f"[{text}]".encode()) if text else parse_yaml(b"- \n")
    assert read == value
    assert type(read) is type(value)
    if isinstance(value, Decimal):
        assert str(read) == str(Decimal(text))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.text(
        st.characters(codec="utf-8", exclude_characters="\x7f\ufeff", exclude_categories=("Cc", "Cs", "Cn")), max_size=8
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_- :#'\"{}", max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_both_readers_read_any_json_alike(value: Any) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()
    assert parse_json(data) == value
    assert parse_yaml(data) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**9), max_value=10**9))
def test_decimals_arrive_digit_for_digit(number: Decimal) -> None:
    text = f"{number:f}"
    for read in (parse_json(f"[{text}]".encode()), parse_yaml(f"[{text}]".encode())):
        assert str(read[0]) == str(Decimal(text))


@given(st.binary(max_size=40))
def test_no_bytes_break_the_readers(data: bytes) -> None:
    # Whatever else they raise fails this test.
    for parse in (parse_json, parse_yaml):
        with suppress(FormatError):
            parse(data)
