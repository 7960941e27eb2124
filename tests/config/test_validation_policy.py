"""The validation policy: what no policy can switch off, and the policy that earlier releases delivered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arrival_engine.config import packaged_bytes, resolve_policy
from arrival_engine.config.forms import SAME_ARRIVALS
from arrival_engine.contracts import ArrivalError, dataset
from arrival_engine.contracts.schemas import json_schema
from tests.support.paths import ROOT

POLICY = "validation_policy_5B"
TEXT = packaged_bytes(POLICY).decode()
OLDER = ROOT / "tests" / "support" / "older_validation" / f"{POLICY}.yaml"
EXACT = (
    "structural_checks.s1_time_grid",
    "structural_checks.s2_realised_intensity",
    "structural_checks.s3_bucket_counts",
    "structural_checks.s4_arrival_events",
    "rng_accounting_checks",
    "realism_checks.routing_realism",
    "civil_time_gates",
)
STATISTICS = ("statistical_checks", "realism_checks.lgcp_realism", "realism_checks.count_realism")


def put(root: Path, text: str) -> None:
    path = dataset(POLICY).locate(root, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def of_severity(block: str, severity: str) -> str:
    """The packaged policy with another severity of one block."""
    name = block.rpartition(".")[2]
    start = TEXT.index("severity: ", TEXT.index(f"\n{name}:" if name == block else f"  {name}:\n"))
    end = min(place for place in (TEXT.find(mark, start) for mark in (" #", "\n")) if place > 0)
    return f"{TEXT[:start]}severity: {severity}{TEXT[end:]}"


@pytest.mark.parametrize("severity", ["info", "warn"])
@pytest.mark.parametrize("block", EXACT)
def test_exact_checks_are_errors(block: str, severity: str, tmp_path: Path) -> None:
    put(tmp_path, of_severity(block, severity))
    with pytest.raises(ArrivalError) as caught:
        resolve_policy(POLICY, run_root=tmp_path)
    assert f"at /{block.replace('.', '/')}/severity: value '{severity}' must be 'error'" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("severity", ["error", "warn", "info"])
@pytest.mark.parametrize("block", STATISTICS)
def test_statistics_have_a_severity(block: str, severity: str, tmp_path: Path) -> None:
    put(tmp_path, of_severity(block, severity))
    found = resolve_policy(POLICY, run_root=tmp_path).document
    for name in block.split("."):
        found = found[name]
    assert found["severity"] == severity


@pytest.mark.parametrize(
    ("old", "new", "fragment"),
    [
        ("max_civil_mismatch_rate: 0 ", "max_civil_mismatch_rate: 1 ", "/max_civil_mismatch_rate: value 1 must be 0"),
        ("max_civil_mismatch_rate: 0 ", "max_civil_mismatch_rate: 1e-12 ", "/max_civil_mismatch_rate: value 1E-12"),
        ("max_one_hour_shift_rate: 0 ", "max_one_hour_shift_rate: 0.1 ", "/max_one_hour_shift_rate: value 0.1"),
        ("p_value_min: 1e-9", "p_value_min: 0", "/statistical_checks/p_value_min: value 0 is not >= 1E-15"),
        ("p_value_min: 1e-9", "p_value_min: 1e-300", "/statistical_checks/p_value_min: value 1E-300 is not >="),
        ("p_value_min: 1e-9", "p_value_min: 0.02", "/statistical_checks/p_value_min: value 0.02 is not <= 0.01"),
        ("[1A, 1B, 2A, 3A, 3B]", "[]", "layer1_required lacks 1A, 1B, 2A, 3A, 3B, which must have passed"),
        ("[1A, 1B, 2A, 3A, 3B]", "[3B, 2A, 1A, 1B]", "layer1_required lacks 3A, which must have passed"),
        ("layer2_required: [5A]", "layer2_required: []", "layer2_required lacks 5A, which must have passed"),
        ("mode: fail_closed", "mode: fail_open", "/failure_policy/mode"),
        ("s4_time: 1", "s4_time: 2", "/rng_accounting_checks/budgets/s4_time"),
        ("require_totals_match_events: true", "require_totals_match_events: false", "/require_totals_match_events"),
    ],
)
def test_what_would_let_wrong_rows_pass_is_refused_by_name(old: str, new: str, fragment: str, tmp_path: Path) -> None:
    assert TEXT.count(old) == 1
    put(tmp_path, TEXT.replace(old, new))
    with pytest.raises(ArrivalError) as caught:
        resolve_policy(POLICY, run_root=tmp_path)
    assert fragment in caught.value.message
    assert caught.value.code is dataset(POLICY).on_invalid
    assert f"contracts/schemas/{POLICY}.schema.json" in caught.value.hint
    assert "`arrivals seal RUN_ROOT`" in caught.value.hint


def test_more_segments_may_be_required_in_any_order(tmp_path: Path) -> None:
    put(
        tmp_path,
        TEXT.replace("[1A, 1B, 2A, 3A, 3B]", "[3B, 2B, 3A, 2A, 1B, 1A]").replace("optional: [2B]", "optional: []"),
    )
    assert "2B" in resolve_policy(POLICY, run_root=tmp_path).document["require_upstream_pass"]["layer1_required"]


def test_the_policy_of_0_1_0_is_still_read(tmp_path: Path) -> None:
    put(tmp_path, OLDER.read_text("utf-8"))
    older = resolve_policy(POLICY, run_root=tmp_path)
    assert (older.version, older.document["calibration_sentinels"]["evaluation_mode"]) == ("v2.0.0", "warn_only")


def test_a_change_of_demands_gives_no_imported_world_another_identity() -> None:
    today, before = (hashlib.sha256(data).hexdigest() for data in (packaged_bytes(POLICY), OLDER.read_bytes()))
    assert {POLICY: (today, before)} == SAME_ARRIVALS


# What a policy decides: statistics, limits of the inputs, and which bundles must have passed besides those demanded.
TUNABLE = {
    "version",
    "require_upstream_pass.layer1_required",
    "require_upstream_pass.layer2_required",
    "require_upstream_pass.optional",
    "structural_checks.s1_time_grid.max_buckets_per_scenario",
    "structural_checks.s2_realised_intensity.max_lambda_realised",
    "structural_checks.s3_bucket_counts.max_count_per_bucket",
    "realism_checks.routing_realism.ip_country_max_abs_dev",
    "realism_checks.routing_realism.ip_country_min_events",
    "civil_time_gates.dst_window_hour_bin_mae_pp_max",
    "civil_time_gates.dst_window_min_support",
    "civil_time_gates.dst_window_min_exposed_windows",
    "civil_time_gates.dst_window_min_total_support",
    "failure_policy.max_warnings",
}
OF_STATISTICS = (
    "statistical_checks.",
    "realism_checks.lgcp_realism.",
    "realism_checks.count_realism.",
    "realism_checks.time_realism.",
    "calibration_sentinels.",
)


def test_every_other_key_is_a_constant() -> None:
    """A new key is a constant, or is listed here because no exact check depends on it."""
    free = {key for key, schema in leaves(json_schema(POLICY)) if "const" not in schema}
    assert {key for key in free if not key.startswith(OF_STATISTICS)} == TUNABLE


def leaves(schema: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from leaves(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}", inner
