"""`arrivals validate` and `arrivals verify`: what passes, what the bundle holds, and what its severities do."""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import hashlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.config import packaged_bytes
from arrival_engine.contracts import Code, Identity, arrow_schema
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.run.job import RunOptions, run
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation import policy as policy_module
from arrival_engine.engine.validation.civil import clock, clock_table
from arrival_engine.engine.validation.database import Database, text
from arrival_engine.engine.validation.file_order import RUN, stream_part
from arrival_engine.engine.validation.findings import Book, Severity, outcome
from arrival_engine.engine.validation.job import ValidateOptions, validate
from arrival_engine.engine.validation.judge_events import sequence_faults
from arrival_engine.engine.validation.judge_rng import judge_overlap
from arrival_engine.engine.validation.policy import Rules
from arrival_engine.engine.validation.rules import RULES
from arrival_engine.engine.validation.statistics import (
    chi_square_tail,
    g_test,
    kolmogorov_tail,
    normal_two_sided,
    rounded,
    uniform_distance,
)
from arrival_engine.engine.validation.streams import FAMILIES, Claim, Deriver, Entity, overlaps
from tests.support import damage
from tests.support.law import derive_stream
from tests.support.paths import ROOT
from tests.support.validating import (
    arrivals_of,
    broken,
    command,
    copied,
    proof_world,
    proven_run,
    report_path,
    validated,
    write_proof_world,
)
from tests.support.worlds import BERLIN, TWO_ZONES, VIRTUAL, small_world, write_world

PASSED, FAILED = "validation_bundle_5B", "validation_failed_bundle_5B"
MEMBERS = [
    "receipts/s0_gate_receipt_5B.json",
    "receipts/sealed_inputs_5B.json",
    "reports/segment_state_runs.jsonl",
    "rng/rng_audit_log.jsonl",
    "rng/rng_trace_log.jsonl",
    "validation_issue_table_5B.parquet",
    "validation_report_5B.json",
]


def place(run_root: Path, dataset_id: str) -> Path:
    return dataset(dataset_id).locate(run_root, damage.tokens_of(run_root))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the small world, validated."""
    run_root = tmp_path_factory.mktemp("sound") / "run"
    proven_run(run_root, small_world(), batch_arrivals=500)
    assert validate(run_root).passed
    return run_root


# --- What passes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["timestamp", "rfc3339"])
@pytest.mark.parametrize("dual_clock", ['"null"', "mirror"])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_every_form_of_output_passes(encoding: str, dual_clock: str, form: str, tmp_path: Path, capsys: Any) -> None:
    policy = {"timestamp_encoding": encoding, "physical_dual_clock": dual_clock}
    write_world(small_world(), tmp_path / "run", output_policy=policy)
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu", batch_arrivals=400, format=form))  # type: ignore[arg-type]
    code, answer, findings = validated(tmp_path / "run", capsys)
    assert (code, answer["status"], broken(findings), broken(findings, "NOT_RUN")) == (0, "PASS", set(), set())
    assert findings["arrival_digest"]["statistics"]["found"] == "3279-7b8fd31105260f9c296a4a00531bfa55"
    assert findings["civil_primary"]["rows"] == 3279


def test_malformed_texts_of_times_are_found(tmp_path: Path, capsys: Any) -> None:
    write_world(small_world(), tmp_path / "run", output_policy={"timestamp_encoding": "rfc3339"})
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    path = next((tmp_path / "run").rglob("part-000000.parquet"))
    table = pq.read_table(path, partitioning=None)
    times = table["ts_utc"].to_pylist()
    times[5] = times[5].replace("T", " ")
    pq.write_table(table.set_column(table.column_names.index("ts_utc"), table.schema.field("ts_utc"), [times]), path)
    code, _, findings = validated(tmp_path / "run", capsys)
    assert code == 1
    assert findings["values"]["violations"] == 1
    assert "values" in broken(findings)


def test_several_scenarios_are_judged_each_and_accounted_together(tmp_path: Path, capsys: Any) -> None:
    first = small_world()
    second = dataclasses.replace(first, scenario_id="stress_v1", counts=first.counts[:6])
    write_world(first, tmp_path / "run", further_scenarios=[second])
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    code, answer = command(capsys, "validate", str(tmp_path / "run"))
    assert (code, answer["status"]) == (0, "PASS")
    scenarios = {scenario["scenario_id"]: scenario["arrivals"] for scenario in answer["scenarios"]}
    assert scenarios == {"baseline_v1": 3279, "stress_v1": sum(row.n for row in second.counts)}
    assert answer["arrivals"] == sum(scenarios.values())
    checked = [(finding["check"], finding["scenario_id"]) for finding in answer["findings"]]
    assert ("counts", "stress_v1") in checked
    assert ("rng_overlap", None) in checked
    assert len(set(checked)) == len(checked) == 5 + 2 * (len(RULES) - 5)


def test_a_scenario_that_was_not_run_is_missed(tmp_path: Path, capsys: Any) -> None:
    first = small_world()
    write_world(first, tmp_path / "run", further_scenarios=[dataclasses.replace(first, scenario_id="stress_v1")])
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu", scenarios=("baseline_v1",)))
    code, answer, findings = validated(tmp_path / "run", capsys)
    assert code == 1
    assert answer["error_code"] == str(Code.S5_DOMAIN_DISCOVERY_FAILED)
    assert {(row["scenario_id"], row["missing_from"]) for row in findings["domain"]["examples"]} == {
        ("stress_v1", "arrivals"),
        ("stress_v1", "run report"),
    }


def test_too_little_is_told_and_fails_nothing(tmp_path: Path) -> None:
    """One merchant in one bucket of a world without clock changes."""
    world = small_world()
    quiet = [row for row in world.counts if row.merchant_id == 1]
    write_world(dataclasses.replace(world, counts=tuple(quiet)), tmp_path / "run")
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    result = validate(tmp_path / "run")
    assert result.passed
    told = {finding.check for finding in result.findings if str(finding.verdict) == "NO_DATA"}
    assert told >= {"offsets", "site_weights", "dst_hours", "hybrid_share", "top_zones", "offset_variety"}


def test_a_scenario_without_arrivals_passes(tmp_path: Path) -> None:
    world = small_world()
    write_world(
        dataclasses.replace(world, counts=tuple(dataclasses.replace(row, n=0) for row in world.counts)),
        tmp_path / "run",
    )
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    result = validate(tmp_path / "run")
    assert (result.passed, result.arrivals) == (True, 0)


def test_a_path_that_looks_like_a_pattern_is_a_path(tmp_path: Path) -> None:
    run_root = tmp_path / "w[ei]rd *?'s{1}"
    proven_run(run_root, small_world())
    assert validate(run_root).passed


# --- The bundle ---------------------------------------------------------------------------------------


def test_the_bundle_has_the_contracts_layout_and_digest_law(sound: Path) -> None:
    folder = place(sound, PASSED)
    index = json.loads((folder / "index.json").read_bytes())
    assert [entry["path"] for entry in index["entries"]] == MEMBERS
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == sorted([*MEMBERS, "_passed.flag", "index.json"])
    for entry in index["entries"]:
        assert hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256_hex"]
        assert entry["role"]
    digest = hashlib.sha256(b"".join((folder / path).read_bytes() for path in MEMBERS)).hexdigest()
    flag = json.loads((folder / "_passed.flag").read_bytes())
    assert flag == {"manifest_fingerprint": "a" * 64, "bundle_digest_sha256": digest}
    assert (index["segment_id"], index["status"], index["summary"]["bundle_sha256"]) == ("5B", "PASS", digest)


def test_the_report_says_what_was_checked(sound: Path) -> None:
    report = json.loads((place(sound, PASSED) / "validation_report_5B.json").read_bytes())
    assert report["status"] == "PASS"
    statements = ("counts_match_s3", "time_windows_ok", "civil_time_ok", "routing_ok", "schema_partition_pk_ok")
    assert all(report[name] is True for name in (*statements, "rng_accounting_ok"))
    assert (report["n_arrivals_total"], report["n_arrivals_physical"], report["n_arrivals_virtual"]) == (3279, 3203, 76)
    assert [check["check"] for check in report["checks"]] == sorted(
        RULES,
        key=lambda check: (
            check not in ("upstream", "sealed_inputs", "domain", "rng_logs", "rng_overlap"),
            list(RULES).index(check),
        ),
    )


def test_the_issue_table_has_its_schema_without_an_issue(sound: Path) -> None:
    table = pq.read_table(place(sound, PASSED) / "validation_issue_table_5B.parquet")
    assert table.num_rows == 0
    assert table.schema.equals(arrow_schema("validation_issue_table_5B"))


def test_the_issue_table_names_check_code_and_examples(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    with arrivals_of(run_root) as arrivals:
        arrivals.first(lambda row: row["merchant_id"] == TWO_ZONES)["site_id"] = 4711
    validated(run_root, capsys)
    rows = pq.read_table(place(run_root, FAILED) / "validation_issue_table_5B.parquet").to_pylist()
    found = {json.loads(row["context"])["check"]: row for row in rows}
    assert found.keys() == {"arrival_digest", "site_of_merchant"}
    row = found["site_of_merchant"]
    assert (row["issue_code"], row["severity"]) == (str(Code.S5_PHYSICAL_ROUTING_INVALID), "ERROR")
    assert json.loads(row["context"])["examples"][0]["merchant_id"] == TWO_ZONES


def test_no_member_holds_a_path_a_moment_or_a_machine(sound: Path) -> None:
    folder = place(sound, PASSED)
    gate = json.loads(place(sound, "s0_gate_receipt_5B").read_bytes())
    telltale = {
        str(sound),
        sound.name + "/",
        socket.gethostname(),
        gate["created_utc"],
        dt.datetime.now(dt.UTC).date().isoformat(),
    }
    for path in MEMBERS:
        content = (folder / path).read_bytes().decode("utf-8", "replace")
        assert [word for word in telltale if word in content] == [], path


def test_the_bundle_is_the_same_wherever_and_however_the_run_was_made(sound: Path, tmp_path: Path) -> None:
    digests = {validate(sound, ValidateOptions(threads=3)).bundle.digest}
    for name, options in (("a", {"batch_arrivals": 10_000}), ("b", {"format": "arrow", "threads": 2})):
        run_root = tmp_path / name / "elsewhere"
        proven_run(run_root, small_world(), **options)
        digests.add(validate(run_root, ValidateOptions(threads=1)).bundle.digest)
    assert len(digests) == 1


def test_the_same_bundle_again_is_no_new_bundle(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in place(run_root, PASSED).rglob("*")}
    code, answer, _ = validated(run_root, capsys)
    assert (code, answer["bundle"]["publication"]) == (0, "identical")
    assert {path: path.stat().st_mtime_ns for path in place(run_root, PASSED).rglob("*")} == before


@pytest.mark.parametrize("member", ["validation_report_5B.json", "receipts/sealed_inputs_5B.json"])
def test_another_bundle_in_the_place_is_a_conflict(member: str, sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    path = place(run_root, PASSED) / member
    path.write_bytes(path.read_bytes().replace(b"PASS", b"FAIL", 1) + b" ")
    code, answer, _ = validated(run_root, capsys)
    assert (code, answer["code"]) == (1, str(Code.S5_IO_WRITE_CONFLICT))
    assert path.read_bytes().endswith(b" ")
    last = json.loads(report_path(run_root).read_text("ascii").splitlines()[-1])
    assert (last["state"], last["error_code"]) == ("S5", str(Code.S5_IO_WRITE_CONFLICT))


def test_a_failure_never_blocks_a_later_pass(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    shutil.rmtree(place(run_root, PASSED))
    part = next(run_root.rglob("part-000001.parquet"))
    good = part.read_bytes()
    for site in (4711, 4712):
        with arrivals_of(run_root) as arrivals:
            arrivals.first(lambda row: row["merchant_id"] == TWO_ZONES, skip=100)["site_id"] = site
        code, answer, _ = validated(run_root, capsys)
        assert code == 1
        assert Path(answer["bundle"]["folder"]) == place(run_root, FAILED)
    assert answer["bundle"]["publication"] == "replaced"
    part.write_bytes(good)
    code, answer, _ = validated(run_root, capsys)
    assert code == 0
    assert Path(answer["bundle"]["folder"]) == place(run_root, PASSED)
    assert main(["verify", str(run_root), "--quiet"]) == 0


def test_the_run_report_has_the_lines_metrics(sound: Path) -> None:
    lines = [json.loads(line) for line in report_path(sound).read_text("ascii").splitlines()]
    line = next(line for line in lines if line["state"] == "S5")
    assert line["state_id"] == "5B.S5"
    assert (line["status"], line["error_code"], line["error_message"]) == ("PASS", None, None)
    assert (line["n_parameter_hashes"], line["n_scenarios"], line["n_seeds"]) == (1, 1, 1)
    assert (line["n_buckets_total"], line["n_buckets_nonzero"]) == (54, 8)
    assert (line["n_arrivals_total"], line["n_arrivals_physical"], line["n_arrivals_virtual"]) == (3279, 3203, 76)
    statements = ("counts_match_s3", "time_windows_ok", "civil_time_ok", "routing_ok", "schema_partition_pk_ok")
    assert all(line[name] is True for name in (*statements, "rng_accounting_ok", "bundle_integrity_ok"))
    assert (line["rng_checked_states"], line["rng_families_ok"]) == (["S4"], True)
    digest = json.loads((place(sound, PASSED) / "_passed.flag").read_bytes())["bundle_digest_sha256"]
    assert line["bundle_sha256"] == digest
    assert sound / line["flag_path"] == place(sound, PASSED) / "_passed.flag"


# --- Verification of a bundle -------------------------------------------------------------------------


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((folder / "index.json").read_bytes())
    change(index)
    (folder / "index.json").write_text(json.dumps(index), "ascii")


def append(path: Path, data: bytes = b" ") -> None:
    path.write_bytes(path.read_bytes() + data)


DAMAGES: list[tuple[str, Callable[[Path], object], Code]] = [
    ("member edited", lambda f: append(f / MEMBERS[0]), Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH),
    ("member gone", lambda f: (f / MEMBERS[2]).unlink(), Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH),
    ("stranger", lambda f: (f / "note.txt").write_bytes(b""), Code.S5_BUNDLE_INDEX_INVALID),
    ("index gone", lambda f: (f / "index.json").unlink(), Code.S5_BUNDLE_INDEX_INVALID),
    ("index no JSON", lambda f: (f / "index.json").write_bytes(b"{"), Code.S5_BUNDLE_INDEX_INVALID),
    ("unsorted", lambda f: edit_index(f, lambda i: i["entries"].reverse()), Code.S5_BUNDLE_INDEX_INVALID),
    (
        "repeated",
        lambda f: edit_index(f, lambda i: i["entries"].append(i["entries"][-1])),
        Code.S5_BUNDLE_INDEX_INVALID,
    ),
    (
        "leads out",
        lambda f: edit_index(f, lambda i: i["entries"][0].update(path="../x")),
        Code.S5_BUNDLE_INDEX_INVALID,
    ),
    ("report not listed", lambda f: edit_index(f, lambda i: i["entries"].pop()), Code.S5_BUNDLE_INDEX_INVALID),
    (
        "another run's",
        lambda f: edit_index(f, lambda i: i.update(manifest_fingerprint="b" * 64)),
        Code.S5_BUNDLE_INDEX_INVALID,
    ),
    ("flag gone", lambda f: (f / "_passed.flag").unlink(), Code.S5_FLAG_SCHEMA_VIOLATION),
    ("flag no JSON", lambda f: append(f / "_passed.flag", b"}"), Code.S5_FLAG_SCHEMA_VIOLATION),
    (
        "flag with more",
        lambda f: (f / "_passed.flag").write_text(
            json.dumps({"manifest_fingerprint": "a" * 64, "bundle_digest_sha256": "a" * 64, "by": "me"})
        ),
        Code.S5_FLAG_SCHEMA_VIOLATION,
    ),
    (
        "flag of another digest",
        lambda f: (f / "_passed.flag").write_text(
            json.dumps({"manifest_fingerprint": "a" * 64, "bundle_digest_sha256": "a" * 64})
        ),
        Code.S5_BUNDLE_DIGEST_MISMATCH,
    ),
]


@pytest.mark.parametrize(("what", "change", "code"), DAMAGES, ids=[what for what, _, _ in DAMAGES])
def test_verify_says_what_does_not_hold(
    what: str, change: Callable[[Path], object], code: Code, sound: Path, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(sound, tmp_path / "run")
    assert command(capsys, "verify", str(run_root))[0] == 0
    change(place(run_root, PASSED))
    exit_code, answer = command(capsys, "verify", str(run_root))
    assert (exit_code, answer["code"]) == (1, str(code)), what


def test_a_member_and_its_index_entry_edited_together_still_break_the_flag(
    sound: Path, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(sound, tmp_path / "run")
    folder = place(run_root, PASSED)
    append(folder / MEMBERS[0])
    digest = hashlib.sha256((folder / MEMBERS[0]).read_bytes()).hexdigest()
    edit_index(folder, lambda index: index["entries"][0].update(sha256_hex=digest))
    code, answer = command(capsys, "verify", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_BUNDLE_DIGEST_MISMATCH))


def test_verify_without_a_bundle_says_how_to_get_one(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    shutil.rmtree(place(run_root, PASSED))
    code, answer = command(capsys, "verify", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_BUNDLE_INDEX_INVALID))
    assert "arrivals validate" in answer["hint"]


# --- What cannot be judged ----------------------------------------------------------------------------


def test_a_world_that_was_never_sealed_or_run(tmp_path: Path, capsys: Any) -> None:
    write_world(small_world(), tmp_path / "run")
    code, answer = command(capsys, "validate", str(tmp_path / "run"))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_GATE_MISSING_OR_INVALID))
    seal(tmp_path / "run")
    code, answer = command(capsys, "validate", str(tmp_path / "run"))
    assert (code, answer["code"]) == (1, str(Code.S5_DOMAIN_DISCOVERY_FAILED))
    assert "arrivals run" in answer["hint"]


def test_a_directory_without_a_receipt(tmp_path: Path, capsys: Any) -> None:
    code, answer = command(capsys, "validate", str(tmp_path))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_GATE_MISSING_OR_INVALID))


def test_a_gate_receipt_that_was_edited(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    damage.edit_document(run_root, "s0_gate_receipt_5B", sealed_inputs_digest="0" * 64)
    code, answer = command(capsys, "validate", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_GATE_MISSING_OR_INVALID))


def test_an_input_that_is_gone(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    damage.file_of(run_root, "s1_site_weights").unlink()
    code, answer = command(capsys, "validate", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_SEALED_INPUTS_INCONSISTENT))
    assert "s1_site_weights" in answer["message"]


# --- The command line ---------------------------------------------------------------------------------


def test_the_summary_shows_verdicts_and_the_bundle(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    with arrivals_of(run_root) as arrivals:
        arrivals.first(lambda row: row["merchant_id"] == TWO_ZONES)["site_id"] = 4711
    capsys.readouterr()
    assert main(["validate", str(run_root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["ok", "counts"] for line in lines)
    failed = next(line for line in lines if "FAIL" in line and "site_of_merchant" in line)
    assert "1 of 3,203 rows break it" in failed
    assert any(str(place(run_root, FAILED)) in line for line in lines)
    assert any("did not pass" in line for line in lines)
    assert main(["validate", str(run_root), "--quiet"]) == 1
    assert capsys.readouterr().out == ""


# --- The policy ---------------------------------------------------------------------------------------


def policed(run_root: Path, *edits: tuple[str, str]) -> Path:
    """A run of the larger world whose validation policy has these lines replaced."""
    content = packaged_bytes("validation_policy_5B").decode()
    for old, new in edits:
        assert content.count(old) == 1, (old, content.count(old))
        content = content.replace(old, new)
    path = dataset("validation_policy_5B").locate(run_root, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")
    write_proof_world(run_root)
    run(run_root, RunOptions(backend="cpu"))
    return run_root


def block(name: str, severity: str) -> tuple[str, str]:
    """The edit that gives a block another severity."""
    content = packaged_bytes("validation_policy_5B").decode()
    line = content[content.index(f"  {name}:") :].splitlines()[1]
    return f"  {name}:\n{line}", f"  {name}:\n    severity: {severity}"


CALIBRATED = ("min_sample_rows: 25000", "min_sample_rows: 1000")


@pytest.mark.parametrize(
    ("edits", "failed", "warned"),
    [
        (
            [("p99_p50_ratio_min: 4", "p99_p50_ratio_min: 4000"), ("min_nonzero_rows: 1000", "min_nonzero_rows: 5")],
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
                ("max_warnings: 8", "max_warnings: 0"),
            ],
            "too many",
            {"count_spread"},
        ),
        (
            [("mean_factor_target: 1", "mean_factor_target: 2"), ("min_rows: 1000", "min_rows: 5")],
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
        ([("ip_country_max_abs_dev: 0.05", "ip_country_max_abs_dev: 0.001")], {"edge_countries"}, set()),
        ([("max_buckets_per_scenario: 5000", "max_buckets_per_scenario: 53")], {"time_grid"}, set()),
        ([("max_count_per_bucket: 50000", "max_count_per_bucket: 2999")], {"bucket_counts"}, set()),
        (
            [("max_count_per_bucket: 50000", "max_count_per_bucket: 2999"), block("s3_bucket_counts", "warn")],
            set(),
            {"bucket_counts"},
        ),
        ([("max_lambda_realised: 200000", "max_lambda_realised: 100")], {"intensity"}, set()),
        ([("p_value_min: 1e-9", "p_value_min: 0.999999")], "realism", set()),
        ([CALIBRATED], set(), {"virtual_share", "top_zones", "residual_spread"}),
        ([CALIBRATED, ("warn_only #", "enforce_b #")], {"virtual_share", "top_zones", "residual_spread"}, set()),
        ([CALIBRATED, ("warn_only #", "enforce_bplus #")], {"virtual_share", "top_zones", "residual_spread"}, set()),
    ],
)
def test_keys_act_as_their_severity_says(
    edits: list[tuple[str, str]], failed: Any, warned: set[str], tmp_path: Path, capsys: Any
) -> None:
    run_root = policed(tmp_path / "run", *edits)
    code, answer, findings = validated(run_root, capsys)
    assert broken(findings, "WARN") == warned
    if failed == "realism":
        assert broken(findings) >= {"offsets", "hybrid_share"}
    elif failed == "too many":
        assert broken(findings) == set()
        assert "1 warnings, 0 allowed" in answer["error_message"]
    else:
        assert broken(findings) == failed
    assert code == int(bool(failed))


def test_rates_that_the_policy_tolerates_only_warn(tmp_path: Path, capsys: Any) -> None:
    run_root = policed(
        tmp_path / "run",
        ("max_civil_mismatch_rate: 0 ", "max_civil_mismatch_rate: 0.005 "),
        ("max_one_hour_shift_rate: 0 ", "max_one_hour_shift_rate: 0.001 "),
    )
    with arrivals_of(run_root) as arrivals:
        row = arrivals.first(lambda row: row["is_virtual"])
        row["ts_local_operational"] += 3_600_000_000
    code, _, findings = validated(run_root, capsys)
    assert (code, broken(findings, "WARN")) == (0, {"civil_operational", "one_hour_shift"})
    with arrivals_of(run_root) as arrivals:
        for row in arrivals:
            if row["merchant_id"] == VIRTUAL:
                row["ts_local_operational"] += 3_600_000_000
    code, _, findings = validated(run_root, capsys)
    assert (code, broken(findings)) == (1, {"civil_operational", "one_hour_shift"})


def test_a_weekend_that_the_clock_moves_is_measured(tmp_path: Path, capsys: Any) -> None:
    run_root = policed(tmp_path / "run", CALIBRATED, ("warn_only #", "enforce_b #"))
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


def read_policy(run_root: Path) -> Any:
    from arrival_engine.config import resolve_policy

    return resolve_policy("validation_policy_5B", run_root=run_root).document


def test_an_unknown_key_of_the_policy_is_an_error(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    path = dataset("validation_policy_5B").locate(run_root, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packaged_bytes("validation_policy_5B") + b"\nleniency: high\n")
    code, answer = command(capsys, "validate", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_SEALED_INPUTS_INCONSISTENT))
    assert "unknown key 'leniency'" in answer["message"]


# --- Independence -------------------------------------------------------------------------------------


FOREIGN = tuple(
    f"arrival_engine.{name}"
    for name in ("cpu_fallback", "gpu_kernels", "engine.world", "engine.tz", "engine.expand", "engine.arrivals")
)


def test_validation_loads_nothing_of_the_expansion() -> None:
    script = (
        "import sys, arrival_engine.engine.validation.job, arrival_engine.engine.validation.verify;"
        f"print([name for name in sys.modules if name.startswith({FOREIGN!r})])"
    )
    done = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    # The package and its door to the compiler, which knows nothing of the law.
    assert done.strip() == "['arrival_engine.cpu_fallback', 'arrival_engine.cpu_fallback.jit']"


def test_no_module_of_validation_names_the_expansion() -> None:
    for path in sorted((ROOT / "engine" / "validation").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named = {name for name in names if name.startswith(FOREIGN)}
            assert named <= ({"arrival_engine.cpu_fallback.jit"} if path.name == "kernels.py" else set()), path.name


# --- Parts --------------------------------------------------------------------------------------------


def test_the_digest_has_the_laws_vectors(tmp_path: Path) -> None:
    schema = arrow_schema("arrival_events_5B")
    common = {
        "manifest_fingerprint": "a" * 64,
        "parameter_hash": "b" * 64,
        "seed": 42,
        "scenario_id": "baseline_v1",
        "merchant_id": 123456789,
        "zone_representation": "Europe/Berlin",
        "channel_group": "card_present",
        "bucket_index": 7,
        "ts_utc": 1767250800000000,
        "tzid_primary": "Europe/Berlin",
        "ts_local_primary": 1767254400000000,
        "routing_universe_hash": "c" * 64,
        "s4_spec_version": "1.0.0",
    }
    physical = {**common, "arrival_seq": 1, "is_virtual": False, "site_id": 17703884111212252855}
    virtual = {
        **common,
        "arrival_seq": 2,
        "is_virtual": True,
        "edge_id": 3039714863727559346,
        "tzid_settlement": "Europe/Paris",
        "ts_local_settlement": 1767254400000000,
    }
    for rows, expected in (
        ([physical], "1-c7489d0e298bd3b3a9752e25474755de"),
        ([physical, virtual], "2-4370dffd3b433bffde9a660782058bfc"),
    ):
        import pyarrow as pa

        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, tmp_path / "part-000000.parquet")
        assert stream_part(tmp_path / "part-000000.parquet").digest == expected


@pytest.mark.parametrize(
    ("runs", "missing", "repeated"),
    [
        ([(5, 1, 10)], 0, 0),
        ([(5, 1, 4), (5, 5, 6), (7, 1, 1)], 0, 0),
        ([(5, 2, 4)], 1, 0),
        ([(5, 1, 4), (5, 6, 4)], 1, 0),
        ([(5, 1, 4), (5, 4, 4)], 0, 1),
        ([(5, 1, 9), (5, 3, 2)], 0, 2),
        ([(5, 1, 4), (5, 1, 4), (2**64 - 1, 3, 1)], 2, 4),
        ([], 0, 0),
    ],
)
def test_sequence_faults_are_counted_exactly(runs: list[tuple[int, int, int]], missing: int, repeated: int) -> None:
    found = sequence_faults(np.array(runs, RUN))
    assert found[:2] == (missing, repeated)
    assert bool(found[2]) == bool(missing or repeated)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12)), max_size=40))
def test_sequence_faults_agree_with_plain_counting(keys: list[tuple[int, int]]) -> None:
    runs = np.array([(merchant, seq, 1) for merchant, seq in keys], RUN)
    missing, repeated, _ = sequence_faults(runs)
    expected_missing = sum(
        max(seq for m, seq in keys if m == merchant) - len({seq for m, seq in keys if m == merchant})
        for merchant in {m for m, _ in keys}
    )
    assert (missing, repeated) == (expected_missing, len(keys) - len(set(keys)))


def test_streams_are_derived_as_the_reference_derives_them() -> None:
    identity = Identity("a" * 64, "b" * 64, 42, "c" * 32)
    for family in FAMILIES.values():
        found = Deriver(identity, "baseline_v1", family).stream(Entity(123456789, "Europe/Berlin", "card_present"))
        expected = derive_stream(
            family,
            "a" * 64,
            "b" * 64,
            42,
            "baseline_v1",
            "merchant_id=123456789|zone=Europe/Berlin|channel_group=card_present",
        )
        assert (found.key, found.hi0) == (expected.key, expected.hi0)
    time = Deriver(identity, "baseline_v1", "S4.arrival_time_jitter.v2")
    vector = time.stream(Entity(123456789, "Europe/Berlin", "card_present"))
    assert (vector.key, vector.hi0) == (0x586A61783CC1B02C, 0x96B1E729921C7369)


TOP = 2**64 - 1


@pytest.mark.parametrize(
    ("claims", "pairs"),
    [
        ([Claim(1, 0, 10, "a"), Claim(1, 10, 10, "b")], 0),
        ([Claim(1, 0, 10, "a"), Claim(1, 9, 10, "b")], 1),
        ([Claim(1, 0, 10, "a"), Claim(2, 5, 10, "b")], 0),
        ([Claim(1, TOP, 10, "a"), Claim(1, 8, 10, "b")], 1),
        ([Claim(1, TOP, 10, "a"), Claim(1, 9, 10, "b")], 0),
        ([Claim(1, 5, 10, "a"), Claim(1, 5, 10, "b"), Claim(1, 5, 10, "c")], 2),
    ],
)
def test_overlapping_counters_are_found(claims: list[Claim], pairs: int) -> None:
    assert len(overlaps(claims)) == pairs
    book = Book()
    judge_overlap(claims, Rules(read_policy(ROOT)["rng_accounting_checks"]), book)
    result = outcome([book], 0)
    assert result.passed == (pairs == 0)
    if pairs:
        assert result.error is not None
        assert result.error[0] == str(Code.S5_RNG_ACCOUNTING_MISMATCH)


def test_the_clock_says_what_zoneinfo_says(tmp_path: Path) -> None:
    start = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
    end = int(dt.datetime(2026, 12, 31, tzinfo=dt.UTC).timestamp())
    zones = clock(start, end)
    assert len(zones) > 500
    table = clock_table(start * 10**6, end * 10**6)
    database = Database(tmp_path / "spill", 1)
    with database.cursor() as cursor:
        cursor.store("clock", table.content)
        from tests.support.worlds import pinned_zone

        for tzid in ("Europe/Berlin", "Africa/Casablanca", "Asia/Kathmandu", "America/St_Johns", "Antarctica/Troll"):
            zone = pinned_zone(tzid)
            changes = [change.instant_us // 10**6 for change in zones[tzid][1:]]
            assert all(start < instant <= end for instant in changes)
            for at in (start, end, *changes, *(instant - 1 for instant in changes)):
                exact = dt.datetime.fromtimestamp(at, zone).replace(tzinfo=dt.UTC).timestamp()
                local = table.local("clock", str(at * 10**6))
                (found,) = cursor.row(f"FROM clock SELECT {local} WHERE tzid = {text(tzid)}")
                assert found == exact * 10**6, (tzid, at)
    database.close()


# --- Statistics ---------------------------------------------------------------------------------------


@given(st.floats(1e-12, 1 - 1e-9), st.integers(1, 100_000))
def test_the_chi_square_tail_is_scipys(p: float, freedom: int) -> None:
    statistic = scipy.stats.chi2.isf(p, freedom)
    assert chi_square_tail(statistic, freedom) == pytest.approx(scipy.stats.chi2.sf(statistic, freedom), rel=1e-8)


def test_the_ends_of_the_chi_square_tail() -> None:
    assert chi_square_tail(0.0, 5) == 1.0
    assert chi_square_tail(1e6, 5) == 0.0
    assert chi_square_tail(2e6, 1e6) == 0.0
    assert chi_square_tail(1e6, 1e6) == pytest.approx(scipy.stats.chi2.sf(1e6, 1e6), rel=1e-6)


@given(st.integers(20, 5000), st.floats(0.3, 3.0))
def test_the_kolmogorov_tail_is_near_scipys(size: int, scaled: float) -> None:
    distance = scaled / np.sqrt(size)
    assert kolmogorov_tail(distance, size) == pytest.approx(scipy.stats.kstwo.sf(distance, size), rel=0.12, abs=0.02)


@given(st.floats(-8, 8))
def test_the_normal_tail_is_scipys(z: float) -> None:
    assert normal_two_sided(z) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-12)


def test_g_tests_of_right_draws_have_uniform_p_values() -> None:
    generator = np.random.Generator(np.random.PCG64(7))
    weights = np.array([0.5, 0.3, 0.15, 0.04, 0.01, 0.0])
    p_values = []
    for _ in range(2000):
        observed = generator.multinomial(4000, weights)
        test = g_test(observed.astype(np.int64), weights, 25.0)
        assert test is not None
        p_values.append(chi_square_tail(*test))
    assert kolmogorov_tail(uniform_distance(p_values), len(p_values)) > 1e-3
    skewed = generator.multinomial(40_000, [0.48, 0.32, 0.15, 0.04, 0.01, 0.0])
    test = g_test(skewed.astype(np.int64), weights, 25.0)
    assert test is not None
    assert chi_square_tail(*test) < 1e-9


def test_g_tests_pool_what_is_rare_and_refuse_what_is_too_little() -> None:
    weights = np.array([1.0] + [0.001] * 40)
    observed = np.array([960] + [1] * 40)
    test = g_test(observed, weights, 25.0)
    assert test is not None
    assert test[1] == 1
    assert g_test(np.array([9, 1]), np.array([0.9, 0.1]), 25.0) is None


def test_numbers_are_reported_to_six_digits() -> None:
    assert rounded(0.123456789) == 0.123457
    assert rounded(123456789.0) == 123457000.0
    assert rounded(0.0) == 0.0


def test_an_outcome_without_errors_still_counts_its_warnings() -> None:
    book = Book("s")
    book.judge("top_zones", 10, 1, severity=Severity.WARN)
    book.judge("counts", 10, 0)
    assert outcome([book], 1).passed
    assert not outcome([book], 0).passed
    unmade = Book("t")
    unmade.prevented(["counts"], "for want of files")
    assert not outcome([unmade], 9).passed
    assert outcome([unmade], 9, fail_closed=False).passed


def test_documentation_names_every_check() -> None:
    page = (ROOT / "docs" / "validation.md").read_text("utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `") and "_5B." not in line}
    rows = {check: line for check, line in rows.items() if "/" not in check}
    assert rows.keys() == RULES.keys()
    for check, rule in RULES.items():
        assert str(rule.code).removeprefix("5B.S5.") in rows[check], check


def test_memory_is_bounded_by_the_database(tmp_path: Path) -> None:
    """A grouping far larger than the limit goes through the spill directory instead of memory."""
    database = Database(tmp_path, 2, memory_bytes=96 * 2**20)
    with database.cursor() as cursor:
        groups, total = cursor.row("""
            SELECT count(*), sum(n)
            FROM (SELECT i * 7919 % 6000011 AS k, count(*) AS n FROM range(6000000) t(i) GROUP BY k)""")
    database.close()
    assert (groups, total) == (6_000_000, 6_000_000)
    assert list(tmp_path.iterdir()) == []


def test_the_larger_world_has_every_kind_of_evidence(tmp_path: Path) -> None:
    proven_run(tmp_path / "run", proof_world())
    result = validate(tmp_path / "run")
    assert result.passed
    judged = {finding.check for finding in result.findings if str(finding.verdict) == "PASS" and finding.rows}
    realism = {"offsets", "offsets_largest", "offset_variety", "site_weights", "group_weights", "edge_weights"}
    assert judged >= realism | {"hybrid_share", "coverage", "edge_countries", "dst_hours", "rng_events", "zone_alloc"}
