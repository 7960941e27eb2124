"""The validation policy: each key acts as its severity says, and every key is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.config import packaged_bytes
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation import policy as policy_module
from arrival_engine.engine.validation.job import validate
from tests.support.validated import CALIBRATED, block, policed, read_policy, sentinels, write_policy
from tests.support.validating import (
    arrivals_of,
    broken,
    command,
    copied,
    proof_world,
    proven_run,
    validated,
)
from tests.support.worlds import BERLIN, TWO_ZONES, write_world


@pytest.mark.parametrize(
    ("edits", "failed", "warned"),
    [
        (
            [
                ("p99_p50_ratio_min: 4", "p99_p50_ratio_min: 4000"),
                ("min_nonzero_rows: 1000", "min_nonzero_rows: 5"),
                block("count_realism", "warn"),
            ],
            set(),
            {"count_spread"},
        ),
        (
            [
                ("p99_p50_ratio_min: 4", "p99_p50_ratio_min: 4000"),
                ("min_nonzero_rows: 1000", "min_nonzero_rows: 5"),
                block("count_realism", "error"),
            ],
            {"count_spread"},
            set(),
        ),
        (
            [
                ("p99_p50_ratio_min: 4", "p99_p50_ratio_min: 4000"),
                ("min_nonzero_rows: 1000", "min_nonzero_rows: 5"),
                block("count_realism", "warn"),
                ("max_warnings: 8", "max_warnings: 0"),
            ],
            "too many",
            {"count_spread"},
        ),
        (
            [
                ("mean_factor_target: 1", "mean_factor_target: 2"),
                ("min_rows: 1000", "min_rows: 5"),
                block("lgcp_realism", "warn"),
            ],
            set(),
            {"latent_factor"},
        ),
        (
            [
                ("factor_bounds: [0.2, 5]", "factor_bounds: [1.5, 5]"),
                ("min_rows: 1000", "min_rows: 5"),
                block("lgcp_realism", "error"),
            ],
            {"latent_factor"},
            set(),
        ),
        # However little a share may deviate, only an improbable deviation is a breach.
        ([("ip_country_max_abs_dev: 0.05", "ip_country_max_abs_dev: 0")], set(), set()),
        ([("max_buckets_per_scenario: 5000", "max_buckets_per_scenario: 53")], {"time_grid"}, set()),
        ([("max_count_per_bucket: 50000", "max_count_per_bucket: 2999")], {"bucket_counts"}, set()),
        ([("max_lambda_realised: 200000", "max_lambda_realised: 100")], {"intensity"}, set()),
        ([CALIBRATED, sentinels("warn_only")], set(), {"virtual_share", "residual_spread"}),
        ([CALIBRATED, sentinels("enforce_b")], {"virtual_share", "residual_spread"}, set()),
        ([CALIBRATED, sentinels("enforce_bplus")], {"virtual_share", "residual_spread"}, set()),
    ],
)
def test_keys_act_as_their_severity_says(
    edits: list[tuple[str, str]], failed: Any, warned: set[str], tmp_path: Path, capsys: Any
) -> None:
    run_root = policed(tmp_path / "run", *edits)
    code, answer, findings = validated(run_root, capsys)
    assert broken(findings, "WARN") == warned
    if failed == "too many":
        assert broken(findings) == set()
        assert "1 check warns, 0 allowed" in answer["error_message"]
    else:
        assert broken(findings) == failed
    assert code == int(bool(failed))


def test_packaged_sentinels_and_statistics_of_the_inputs_are_noted(tmp_path: Path, capsys: Any) -> None:
    run_root = policed(
        tmp_path / "run",
        CALIBRATED,
        ("p99_p50_ratio_min: 4", "p99_p50_ratio_min: 4000"),
        ("min_nonzero_rows: 1000", "min_nonzero_rows: 5"),
        ("mean_factor_target: 1", "mean_factor_target: 2"),
        ("min_rows: 1000", "min_rows: 5"),
        ("max_warnings: 8", "max_warnings: 0"),
        ("min_tables_for_ks: 20", "min_tables_for_ks: 1"),
    )
    code, _, findings = validated(run_root, capsys)
    assert (code, broken(findings), broken(findings, "WARN")) == (0, set(), set())
    assert broken(findings, "NOTE") == {"virtual_share", "residual_spread", "latent_factor", "count_spread"}
    # Right draws from many equal tables of two members have a p-value of 1e-10 in one world of ten.
    chosen = findings["site_weights"]
    assert "p_ks" in chosen["statistics"]
    assert set(chosen["expected"]) == {"p_pooled", "p_of_least"}


@pytest.mark.parametrize(
    "edit",
    [
        ("civil_time_gates:\n  severity: error", "civil_time_gates:\n  severity: info"),
        ("max_civil_mismatch_rate: 0 ", "max_civil_mismatch_rate: 1 "),
        ("layer2_required: [5A]", "layer2_required: []"),
    ],
)
def test_a_world_is_not_sealed_with_exact_checks_switched_off(edit: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ArrivalError) as caught:
        policed(tmp_path / "run", edit)
    assert str(dataset("validation_policy_5B").locate(tmp_path / "run", {})) in caught.value.message
    assert not (tmp_path / "run" / "data" / "layer2" / "5B" / "sealed_inputs").exists()


def test_a_check_that_warns_in_every_scenario_is_one_warning(tmp_path: Path) -> None:
    run_root = tmp_path / "run"
    write_policy(run_root, CALIBRATED, sentinels("warn_only"), ("max_warnings: 8", "max_warnings: 3"))
    world = proof_world()
    others = [dataclasses.replace(world, scenario_id=name) for name in ("stress_v1", "stress_v2")]
    write_world(world, run_root, further_scenarios=others)
    seal(run_root)
    run(run_root, RunOptions(backend="cpu"))
    result = validate(run_root)
    warned = [finding.check for finding in result.findings if str(finding.verdict) == "WARN"]
    assert (len(warned), result.passed) == (3 * len(set(warned)), True)
    assert len(warned) > 3


def test_a_weekend_that_the_clock_moves_is_measured(tmp_path: Path, capsys: Any) -> None:
    run_root = policed(tmp_path / "run", CALIBRATED, sentinels("enforce_b"))
    with arrivals_of(run_root) as arrivals:
        for row in arrivals:
            # 29 March 2026 is a Sunday; a day later is none.
            if row["merchant_id"] == TWO_ZONES and row["tzid_primary"] == BERLIN:
                row["ts_local_primary"] += 86_400_000_000
    _, _, findings = validated(run_root, capsys)
    assert findings["weekend_share"]["verdict"] == "FAIL"
    assert findings["weekend_share"]["statistics"]["delta_pp"] > 10


class Recorder(dict[str, Any]):
    """A block of a policy that remembers which keys were looked up."""

    def __init__(self, content: dict[str, Any], where: str, seen: set[str]) -> None:
        super().__init__({key: self._within(value, f"{where}{key}", seen) for key, value in content.items()})
        self._where, self._seen = where, seen

    @staticmethod
    def _within(value: Any, where: str, seen: set[str]) -> Any:
        return Recorder(value, f"{where}.", seen) if isinstance(value, dict) else value

    def __getitem__(self, key: str) -> Any:
        self._seen.add(f"{self._where}{key}")
        return super().__getitem__(key)


def leaves(content: dict[str, Any], where: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in content.items():
        found |= leaves(value, f"{where}{key}.") if isinstance(value, dict) else {f"{where}{key}"}
    return found


def test_every_key_of_the_policy_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_root = tmp_path / "run"
    path = dataset("validation_policy_5B").locate(run_root, {})
    path.parent.mkdir(parents=True)
    content = packaged_bytes("validation_policy_5B").decode()
    for key, value in (("min_sample_rows", 25000), ("min_nonzero_rows", 1000), ("min_rows", 1000)):
        assert f" {key}: {value}\n" in content
        content = content.replace(f" {key}: {value}\n", f" {key}: 5\n")
    path.write_text(content, "utf-8")
    proven_run(run_root)
    seen: set[str] = set()
    read = policy_module.document

    def recorded(receipt: Any, policy_id: str) -> Any:
        content = read(receipt, policy_id)
        return Recorder(dict(content), "", seen) if policy_id == "validation_policy_5B" else content

    monkeypatch.setattr(policy_module, "document", recorded)
    with arrivals_of(run_root) as arrivals:
        next(iter(arrivals))["ts_local_primary"] += 1
    validate(run_root)
    every = leaves(dict(read_policy(run_root)))
    # The other level is read in the mode that enforces it.
    other = {key for key in every if key.startswith("calibration_sentinels.bplus.")}
    assert every - seen - other == {"policy_id", "version"}


def test_an_unknown_key_of_the_policy_is_an_error(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    path = dataset("validation_policy_5B").locate(run_root, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packaged_bytes("validation_policy_5B") + b"\nleniency: high\n")
    code, answer = command(capsys, "validate", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_SEALED_INPUTS_INCONSISTENT))
    assert "unknown key 'leniency'" in answer["message"]
