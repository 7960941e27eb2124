"""Policies of version 1 become version 2: every value that has a counterpart, every difference, nothing dropped."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from arrival_engine import AdoptOptions, ArrivalError, Code, adopt, seal
from arrival_engine.config import resolve_policy
from arrival_engine.config.policies import policy_files
from arrival_engine.contracts import dataset
from arrival_engine.engine.adopting import AdoptedPolicy
from arrival_engine.engine.adopting.counterparts import Carried, NoCounterpartError, law, translate
from arrival_engine.engine.adopting.version_1 import RULES
from arrival_engine.engine.adopting.yaml_text import yaml_bytes
from tests.support.upstream_policies import ACCEPTED, PLACEMENT, RNG, ROUTING, VALIDATION, VERSION_1
from tests.support.upstream_seal import make_upstream_run

OUTPUT = "arrival_output_policy_5B"
PLACED, ROUTED, DRAWN, VALIDATED = (document["policy_id"] for document in (PLACEMENT, ROUTING, RNG, VALIDATION))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the pipeline as it is found: no policies of its own, no seal."""
    return make_upstream_run(tmp_path_factory.mktemp("upstream"))


@pytest.fixture
def found(original: Path, tmp_path: Path) -> Path:
    """A copy of it with a repository of its own."""
    shutil.copytree(original.parent, tmp_path / "copy")
    path = tmp_path / "copy" / "run" / "run_receipt.json"
    receipt = json.loads(path.read_bytes()) | {"external_roots": ["../pipeline"]}
    path.write_text(json.dumps(receipt), encoding="utf-8")
    return path.parent


def written(run_root: Path, policy_id: str) -> Path:
    return dataset(policy_id).locate(run_root, {})


def upstream(run_root: Path, policy_id: str) -> Path:
    return dataset(policy_id).locate(run_root.parent / "pipeline", {})


def files(run_root: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_ino)
        for path in sorted(run_root.rglob("*"))
        if path.is_file() and "tmp" not in path.parts[len(run_root.parts) :]
    }


def by_id(policies: tuple[AdoptedPolicy, ...]) -> dict[str, AdoptedPolicy]:
    return {policy.policy: policy for policy in policies}


# --------------------------------------------------------------------------- a whole run


def test_a_run_is_adopted_and_sealed(found: Path) -> None:
    result = adopt(found)
    assert (result.changed, result.seal) == (True, "sealed")
    policies = by_id(result.policies)
    assert {name for name, policy in policies.items() if policy.status == "written"} == VERSION_1.keys()
    assert {name for name, policy in policies.items() if policy.status == "accepted"} == set(ACCEPTED)
    assert policies[OUTPUT].status == "packaged"
    for name in VERSION_1:
        policy = policies[name]
        assert (policy.path, policy.source) == (str(written(found, name)), str(upstream(found, name).resolve()))
        assert (policy.source_version, policy.version) == (VERSION_1[name]["version"], resolve_policy(name).version)
    for name in ACCEPTED:
        assert not written(found, name).exists()


def test_adopting_again_changes_nothing(found: Path) -> None:
    first = adopt(found)
    before = files(found)
    again = adopt(found)
    assert (again.changed, again.seal, again.sealed_inputs_digest) == (False, "unchanged", first.sealed_inputs_digest)
    assert files(found) == before
    for name, policy in by_id(again.policies).items():
        before_status = by_id(first.policies)[name]
        assert policy.status == ("unchanged" if name in VERSION_1 else before_status.status)
        assert (policy.carried, policy.differences) == (before_status.carried, before_status.differences)


def test_the_run_may_be_left_unsealed_and_its_policies_edited(found: Path) -> None:
    result = adopt(found, AdoptOptions(seal=False))
    assert (result.changed, result.seal, result.sealed_inputs_digest) == (True, "none", "")
    assert not list(found.glob("data/layer2/5B/s0_gate_receipt/**/*.json"))
    path = written(found, ROUTED)
    path.write_text(path.read_text(encoding="utf-8").replace("merchant_sites", "fail"), encoding="utf-8")
    assert seal(found).changed


def test_a_run_without_policies_of_version_1_is_only_sealed(found: Path) -> None:
    for name in VERSION_1:
        upstream(found, name).unlink()
    result = adopt(found)
    assert result.seal == "sealed"
    assert all(policy.status == "packaged" for policy in result.policies if policy.policy in VERSION_1)
    assert not (found / "config").exists()


# --------------------------------------------------------------------------- files in the way


@pytest.mark.parametrize("place", ["config", "reference/config"])
def test_a_file_in_the_way_is_replaced_on_request_only(place: str, found: Path) -> None:
    parent = found / place.removesuffix("config")
    own = dataset(PLACED).locate(parent, {})
    own.parent.mkdir(parents=True)
    shutil.copy(upstream(found, PLACED), own)
    before = files(found)
    with pytest.raises(ArrivalError) as caught:
        adopt(found)
    assert caught.value.code is Code.IO_WRITE_CONFLICT
    assert str(own) in caught.value.message
    assert "--replace" in caught.value.hint
    assert files(found) == before
    result = adopt(found, AdoptOptions(replace=True))
    policy = by_id(result.policies)[PLACED]
    assert (policy.status, policy.path, policy.source) == ("replaced", str(own), str(own))
    # Version 1 of the repository is still there, and now gives the file that stands.
    again = by_id(adopt(found, AdoptOptions(replace=True)).policies)[PLACED]
    assert (again.status, again.source) == ("unchanged", str(upstream(found, PLACED).resolve()))
    (first, *_) = policy_files(PLACED, run_root=found)
    assert first.path.outside == own


def test_an_edited_version_2_is_in_the_way_too(found: Path) -> None:
    adopt(found, AdoptOptions(seal=False))
    path = written(found, ROUTED)
    path.write_bytes(path.read_bytes() + b"# mine\n")
    with pytest.raises(ArrivalError) as caught:
        adopt(found)
    assert caught.value.context["paths"] == [str(path)]
    adopt(found, AdoptOptions(replace=True))
    assert b"# mine" not in path.read_bytes()


def test_a_run_that_is_sealed_with_other_policies_is_left_alone(found: Path) -> None:
    receipt = found / "run_receipt.json"
    text = receipt.read_text(encoding="utf-8")
    receipt.write_text(text.replace("../pipeline", "../none"), encoding="utf-8")
    seal(found)
    receipt.write_text(text, encoding="utf-8")
    before = files(found)
    with pytest.raises(ArrivalError) as caught:
        adopt(found, AdoptOptions(replace=True))
    assert caught.value.code is Code.IO_WRITE_CONFLICT
    assert "is sealed" in caught.value.message
    assert files(found) == before


# --------------------------------------------------------------------------- values


def adopted_document(run_root: Path, policy_id: str) -> Any:
    return resolve_policy(policy_id, run_root=run_root).document


def test_values_are_carried_over(found: Path) -> None:
    adopt(found, AdoptOptions(seal=False))
    guards = adopted_document(found, PLACED)["guardrails"]
    assert guards == {"max_arrivals_per_bucket": 40000, "max_bucket_duration_seconds": 7200}
    routing = adopted_document(found, ROUTED)
    assert routing["hybrid_policy"]["p_virtual_hybrid"] == Decimal("0.4")
    assert routing["realism_floors"]["hybrid_p_virtual_bounds"] == [Decimal("0.1"), Decimal("0.7")]
    assert adopted_document(found, DRAWN) == resolve_policy(DRAWN).document
    rules = adopted_document(found, VALIDATED)
    checks, realism = rules["structural_checks"], rules["realism_checks"]
    assert checks["s1_time_grid"]["max_buckets_per_scenario"] == 4000
    assert checks["s2_realised_intensity"]["max_lambda_realised"] == Decimal("150000.5")
    assert checks["s3_bucket_counts"]["max_count_per_bucket"] == 40000
    assert realism["lgcp_realism"]["mean_factor_abs_tolerance"] == Decimal("0.06")
    assert realism["lgcp_realism"]["factor_bounds"] == [Decimal("0.15"), Decimal("6.0")]
    assert realism["count_realism"]["nonzero_fraction_min"] == Decimal("0.02")
    assert realism["count_realism"]["p99_p50_ratio_min"] == Decimal("3.5")
    assert realism["time_realism"]["min_distinct_offsets_per_1000_events"] == 60
    assert realism["routing_realism"]["ip_country_max_abs_dev"] == Decimal("0.06")
    gates = {key: value for key, value in rules["civil_time_gates"].items() if key != "severity"}
    rates = {"max_civil_mismatch_rate": 0, "max_one_hour_shift_rate": 0}
    assert gates == {**exact(VALIDATION["civil_time_gates"]), **rates}
    sentinels = rules["calibration_sentinels"]
    assert (sentinels["evaluation_mode"], sentinels["min_sample_rows"]) == ("warn_only", 20000)
    assert sentinels["b"] == {
        "top10_tz_share_max": Decimal("0.75"),
        "virtual_share": [Decimal("0.02"), Decimal("0.09")],
        "weekend_share_delta_pp_max": Decimal("0.25"),
        "residual_sd": [Decimal("1.1"), Decimal("1.7")],
    }
    assert sentinels["bplus"] == {
        "top10_tz_share_max": Decimal("0.65"),
        "virtual_share": [Decimal("0.04"), Decimal("0.11")],
        "weekend_share_delta_pp_max": Decimal("0.15"),
        "residual_sd": [Decimal("1.2"), Decimal("1.55")],
    }
    assert rules["failure_policy"] == {"mode": "fail_closed", "max_warnings": 5}


def exact(document: Any) -> Any:
    """The document with its decimals as written."""
    return json.loads(json.dumps(document), parse_float=Decimal)


def test_every_difference_is_reported(found: Path) -> None:
    policies = by_id(adopt(found, AdoptOptions(seal=False)).policies)
    told = {
        (name, difference.key): (difference.v1, difference.v2_key, difference.v2)
        for name in VERSION_1
        for difference in policies[name].differences
    }
    assert told[ROUTED, "hybrid_policy.coin_source"] == (
        "arrival_site_pick.first_uniform",
        "hybrid_policy.coin_source",
        "arrival_edge_pick.second_word",
    )
    assert told[ROUTED, "fail_closed_rules.forbid_missing_router_rows"] == (
        "true",
        "fallbacks.missing_group_table",
        "count_row_zone",
    )
    assert told[ROUTED, "virtual_router.draws_required_u64"] == ("1", None, None)
    assert told[PLACED, "version"] == ("v1.0.1", "version", "v2.0.0")
    assert told[DRAWN, "laws.v2.domain_sep"] == (None, "laws.v2.domain_sep", "5B.rng.v2")
    assert told[VALIDATED, "statistical_checks.p_value_min"][0] is None
    assert told[VALIDATED, "civil_time_gates.max_civil_mismatch_rate"] == (
        "0.004",
        "civil_time_gates.max_civil_mismatch_rate",
        "0",
    )
    # Every key of version 1 is carried, the same in version 2, or reported.
    for name in VERSION_1:
        carried = {value.key for value in policies[name].carried}
        reported = {difference.key for difference in policies[name].differences}
        assert not carried & reported
        base = resolve_policy(name).document
        for rule in RULES[name]:
            key = ".".join(rule.key.split("/"))
            if key not in carried and key not in reported:
                assert value_at(base, rule.to.split("/")) == value_at(exact(VERSION_1[name]), rule.key.split("/"))


def value_at(document: Any, path: list[str]) -> Any:
    for name in path:
        if isinstance(document, list):
            document = next(item for item in document if item["family_id"] == name)
        else:
            document = document[name]
    return document


# --------------------------------------------------------------------------- what has no counterpart


def leaves(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key)


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize("policy_id", VERSION_1)
def test_no_key_is_dropped_and_no_other_value_passes(policy_id: str) -> None:
    document, base = exact(VERSION_1[policy_id]), resolve_policy(policy_id).document
    rules = (law("version", document["version"]), *RULES[policy_id])
    carried = {tuple(rule.key.split("/")) for rule in rules if isinstance(rule, Carried)}
    for path in leaves(document):
        *parents, last = path
        changed, fewer, more = (copy.deepcopy(document) for _ in range(3))
        at(changed, tuple(parents))[last] = "something else"
        del at(fewer, tuple(parents))[last]
        at(more, tuple(parents))[f"{last}_too"] = 1
        if path not in carried:
            with pytest.raises(NoCounterpartError):
                translate(changed, rules, base)
        with pytest.raises(NoCounterpartError, match=r"is missing|family_id"):
            translate(fewer, rules, base)
        with pytest.raises(NoCounterpartError, match="no counterpart"):
            translate(more, rules, base)


@pytest.mark.parametrize(
    ("policy_id", "old", "new", "fragment"),
    [
        (
            ROUTED,
            'representation": "tzid"',
            'representation": "country"',
            "physical_router.zone_representation value country has no counterpart",
        ),
        (
            ROUTED,
            '"require_2B_pass": true',
            '"require_2B_pass": false',
            "fail_closed_rules.require_2B_pass value false",
        ),
        (ROUTED, '"p_virtual_hybrid": 0.4', '"p_virtual_hybrid": 1', "value 1 is not < 1"),
        (ROUTED, '"p_virtual_hybrid": 0.4', '"p_virtual_hybrid": 0.05', "outside realism_floors"),
        (PLACED, '"draws_per_arrival": 1', '"draws_per_arrival": true', "draws_per_arrival value true"),
        (
            PLACED,
            '"max_bucket_duration_seconds": 7200',
            '"max_bucket_duration_seconds": 18429206401',
            "is not <= 18429206400",
        ),
        (PLACED, '"guardrails": {', '"guardrails": {"min_gap_us": 5,', "guardrails.min_gap_us is a key"),
        (DRAWN, '"S3.bucket_count.v1"', '"S3.bucket_count.v3"', "families.S3.bucket_count.v3"),
        (DRAWN, '"family_id": "S3.bucket_count.v1",', "", "families[1] has no family_id"),
        (VALIDATED, '"evaluation_mode": "warn_only"', '"evaluation_mode": "off"', "'off' is not one of"),
        (VALIDATED, '"require_heavy_tail": true', '"require_heavy_tail": false', "require_heavy_tail value false"),
        (
            VALIDATED,
            '"max_civil_mismatch_rate": 0.004',
            '"max_civil_mismatch_rate": 1.004',
            "civil_time_gates.max_civil_mismatch_rate value 1.004 is not a share",
        ),
        (VALIDATED, '"min_factor": 0.15', '"min_factor": 7', "is not ascending"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(
    policy_id: str, old: str, new: str, fragment: str, found: Path
) -> None:
    path = upstream(found, policy_id)
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ArrivalError) as caught:
        adopt(found)
    assert caught.value.code is dataset(policy_id).on_invalid
    assert caught.value.message.startswith(str(path.resolve()))
    assert fragment in caught.value.message
    assert not (found / "config").exists()


def test_a_policy_that_is_read_as_it_is_and_is_not_valid_stops_the_adoption(found: Path) -> None:
    path = upstream(found, "grouping_policy_5B")
    path.write_text(path.read_text(encoding="utf-8").replace("stratified_bucket_hash_v1", "other"), encoding="utf-8")
    with pytest.raises(ArrivalError, match="/mode"):
        adopt(found)
    assert not (found / "config").exists()


# --------------------------------------------------------------------------- YAML


def test_yaml_is_read_back_digit_for_digit_by_any_reader() -> None:
    import yaml

    document = {
        "small": Decimal("1e-9"),
        "round": Decimal("2E+2"),
        "text": "yes: no # 'x'",
        "like_a_number": "1.5",
        "like_a_truth": "true",
        "S2.latent_vector.v1": {"empty": {}, "list": [1, Decimal("0.50"), "a b"], "none": None, "truth": True},
    }
    data = yaml_bytes(document, "first\nsecond")
    assert data.startswith(b"# first\n# second\n")
    assert b"small: 0.000000001\n" in data
    read = yaml.safe_load(data)
    assert read == json.loads(json.dumps(document, default=float))
