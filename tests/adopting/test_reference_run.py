"""A run of the reference pipeline, with its own seal: adopted, run, validated, reported, and guarded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from arrival_engine import RunOptions, adopt, report, run, seal, validate, verify
from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.adopting.version_1 import RULES
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.upstream_seal import BY_CONTENT, make_upstream_run, seal_as_upstream

ROUTING = "arrival_routing_policy_5B"
# 3A's hash is also a member of its bundle, which is checked first.
GUARDED = [name for name in BY_CONTENT if name != "zone_alloc_universe_hash"] + [
    "grouping_policy_5B",
    "bundle_layout_policy_5B",
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed run of the pipeline, adopted."""
    root = tmp_path_factory.mktemp("upstream")
    made = make_upstream_run(root)
    seal_as_upstream(made)
    adopt(made)
    return made


@pytest.fixture
def adopted(original: Path, tmp_path: Path) -> Path:
    """A copy of it, which shares its repository of policies."""
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("command", ["run", "validate", "plan", "stream"])
def test_a_command_says_each_warning_of_the_seal_once(
    adopted: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(adopted, RunOptions(backend="cpu"))
    options = {"run": ["--replace"], "stream": ["--limit", "1"]}.get(command, [])
    main([command, str(adopted), "--quiet", *options])
    err = capsys.readouterr().err
    assert [err.count(f"warning {code}") for code in ("SEAL_STRUCTURAL", "POLICY_CHOSEN")] == [1, 1]


def test_the_pipelines_seal_stays_and_what_it_leaves_open_is_named(adopted: Path) -> None:
    gate = read_receipt(adopted).path("s0_gate_receipt_5B")
    before = gate.read_bytes()
    reporter = Reporter()
    result = adopt(adopted, reporter=reporter)
    assert (result.changed, result.seal) == (False, "reference")
    assert gate.read_bytes() == before
    chosen, structural = result.notices
    assert reporter.notices == (chosen, structural)
    assert (chosen.code, structural.code) == ("POLICY_CHOSEN", "SEAL_STRUCTURAL")
    assert chosen.context.keys() == RULES.keys()
    named: Any = structural.context
    assert {entry["artefact"] for entry in named["replaced"]} == RULES.keys()
    assert {"merchant_zone_profile_5A", "merchant_zone_scenario_local_5A"} <= set(named["foreign"])
    assert {"s1_time_grid_5B", "s3_bucket_counts_5B", "arrival_output_policy_5B"} <= set(named["unsealed"])
    open_ones = named["structural"]
    assert {"s1_site_weights", "s2_alias_blob", "edge_catalogue_3B"} <= set(open_ones)
    assert not set(open_ones) & {
        *BY_CONTENT,
        "validation_bundle_2B",
        "arrival_lgcp_config_5B",
        "alias_layout_policy_v1",
    }


def test_it_is_run_validated_verified_and_reported(adopted: Path) -> None:
    (scenario,) = run(adopted, RunOptions(backend="cpu")).scenarios
    assert scenario.arrivals > 10_000
    assert "SEAL_STRUCTURAL" in {notice.code for notice in scenario.notices}
    # Within the warnings that the adopted policy allows.
    verdict = validate(adopted)
    assert verdict.passed, [finding for finding in verdict.findings if finding.verdict == "FAIL"]
    bundle = verify(adopted)
    assert (bundle.status, bundle.digest) == ("PASS", verdict.bundle.digest)
    page = report(adopted)
    assert (page.validated, page.page.is_file()) == (True, True)


@pytest.mark.parametrize("artefact", GUARDED)
def test_what_the_pipeline_sealed_by_content_is_guarded(artefact: str, adopted: Path) -> None:
    receipt = read_receipt(adopted)
    if dataset(artefact).role == "policy":
        # A file of the run's own comes before the one that was sealed.
        (root,) = receipt.external_roots
        path = dataset(artefact).locate(adopted / "reference", {})
        path.parent.mkdir(parents=True)
        path.write_bytes(dataset(artefact).locate(root, {}).read_bytes() + b"\n")
    else:
        path = receipt.files(artefact)[0].outside
        path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ArrivalError) as caught:
        run(adopted, RunOptions(backend="cpu"))
    assert caught.value.code is Code.S0_GATE_MISSING_OR_INVALID
    differences: Any = caught.value.context["differences"]
    assert [difference["artefact"] for difference in differences] == [artefact]


@pytest.mark.parametrize("segment", ["1A", "2B", "3A", "5A"])
def test_a_bundle_that_changed_is_refused(segment: str, adopted: Path) -> None:
    receipt = read_receipt(adopted)
    folder = receipt.path(f"validation_passed_flag_{segment}").parent.outside
    members = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(("_", "index"))
    ]
    # 5A's index has a name of its own.
    members = [path for path in members if not path.name.startswith("validation_bundle_index")]
    members[0].write_bytes(b"other")
    with pytest.raises(ArrivalError) as caught:
        run(adopted, RunOptions(backend="cpu"))
    assert caught.value.code in (Code.S0_GATE_MISSING_OR_INVALID, Code.UPSTREAM_HASHGATE_NOT_PASSED)


def test_a_policy_that_cannot_be_found_any_more_is_refused(adopted: Path) -> None:
    (root,) = read_receipt(adopted).external_roots
    path = adopted / "run_receipt.json"
    path.write_text(path.read_text(encoding="utf-8").replace(str(root), str(root / "gone")), encoding="utf-8")
    with pytest.raises(ArrivalError) as caught:
        run(adopted, RunOptions(backend="cpu"))
    assert caught.value.code is Code.S0_GATE_MISSING_OR_INVALID
    assert "external_roots" in caught.value.hint


def test_a_policy_that_is_not_the_one_sealed_is_not_adopted(tmp_path: Path) -> None:
    made = make_upstream_run(tmp_path)
    seal_as_upstream(made)
    (root,) = read_receipt(made).external_roots
    path = dataset(ROUTING).locate(root, {})
    path.write_text(path.read_text(encoding="utf-8").replace('"p_virtual_hybrid": 0.4', '"p_virtual_hybrid": 0.5'))
    with pytest.raises(ArrivalError) as caught:
        adopt(made)
    assert caught.value.code is Code.S0_GATE_MISSING_OR_INVALID
    assert ROUTING in caught.value.message
    assert not (made / "config").exists()


def test_sealing_over_it_is_refused_with_advice(adopted: Path) -> None:
    with pytest.raises(ArrivalError) as caught:
        seal(adopted)
    assert caught.value.code is Code.IO_WRITE_CONFLICT
    assert "arrivals run" in caught.value.hint
