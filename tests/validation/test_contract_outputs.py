"""What a run and its validation write, in the forms of the contract, with times as its texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.engine.validation.job import validate
from tests.support.contract_forms import (
    BUNDLE_ENTRY_5B,
    BUNDLE_INDEX_5B,
    GATE,
    GATE_SEGMENT,
    LOGS,
    OUTPUT_TABLES,
    PASSED_FLAG,
    REPORT_5B,
    REPORT_5B_TEXTS,
    RNG_EVENT,
    RUN_REPORT,
    SEALED,
    faults,
)
from tests.support.product import located, published_parts, read_part, report_lines, write_sealed
from tests.support.worlds import small_world

WORLD = small_world()
FAMILIES = ("arrival_time_jitter", "arrival_site_pick", "arrival_edge_pick")
ISSUES = "validation_issue_table_5B"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with random-number events and times as texts, validated without an arrival and then as it is."""
    run_root = tmp_path_factory.mktemp("outputs") / "run"
    write_sealed(WORLD, run_root, output_policy={"timestamp_encoding": "rfc3339"})
    run(run_root, RunOptions(rng_events="jsonl"))
    part = published_parts(run_root, WORLD)[0]
    kept = part.read_bytes()
    pq.write_table(read_part(part).slice(1), part)
    assert not validate(run_root).passed
    part.write_bytes(kept)
    assert validate(run_root).passed
    return run_root


def place(root: Path, name: str) -> Path:
    return located(name, root, WORLD)


def document(path: Path) -> Any:
    return json.loads(path.read_bytes())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


@pytest.mark.parametrize("name", [name for name in OUTPUT_TABLES if name != ISSUES])
def test_rows_have_the_form_of_the_contract(root: Path, name: str) -> None:
    path = published_parts(root, WORLD)[0] if name == "arrival_events_5B" else place(root, name)
    rows = read_part(path).to_pylist()
    assert rows
    assert faults(OUTPUT_TABLES[name], rows) == []


def test_issues_have_the_form_of_the_contract(root: Path) -> None:
    folder = place(root, "validation_failed_bundle_5B")
    rows = pq.read_table(folder / f"{ISSUES}.parquet").to_pylist()
    assert rows
    assert faults(OUTPUT_TABLES[ISSUES], rows) == []


@pytest.mark.parametrize("name", LOGS)
def test_logs_have_the_form_of_the_contract(root: Path, name: str) -> None:
    records = lines(place(root, name))
    assert records
    assert faults(LOGS[name], records) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_events_have_the_form_of_the_contract(root: Path, family: str) -> None:
    (part,) = place(root, f"rng_event_{family}").iterdir()
    events = lines(part)
    assert events
    assert faults(RNG_EVENT.replace("NAME", family), events) == []


def test_the_seal_has_the_form_of_the_contract(root: Path) -> None:
    gate = document(place(root, "s0_gate_receipt_5B"))
    assert faults(GATE, [gate]) == []
    assert faults(GATE_SEGMENT, gate["upstream_segments"].values()) == []
    assert faults(SEALED, document(place(root, "sealed_inputs_5B"))) == []


@pytest.mark.parametrize("bundle", ["validation_bundle_5B", "validation_failed_bundle_5B"])
def test_a_bundle_has_the_form_of_the_contract(root: Path, bundle: str) -> None:
    folder = place(root, bundle)
    index = document(folder / "index.json")
    assert faults(BUNDLE_INDEX_5B, [index]) == []
    assert faults(BUNDLE_ENTRY_5B, index["entries"]) == []
    report = document(folder / "validation_report_5B.json")
    assert faults(REPORT_5B, [report]) == []
    told = [name for name in REPORT_5B_TEXTS if name in report]
    assert told == ([] if report["status"] == "PASS" else list(REPORT_5B_TEXTS))
    assert all(isinstance(report[name], str) and report[name] for name in told)
    if report["status"] == "PASS":
        assert faults(PASSED_FLAG, [document(folder / "_passed.flag")]) == []


def test_lines_of_the_run_report_have_the_form_of_the_contract(root: Path) -> None:
    found = report_lines(root)
    assert {line["state"] for line in found} == {"S4", "S5"}
    assert faults(RUN_REPORT, found) == []


def test_a_fault_of_each_kind_is_found() -> None:
    good = {"manifest_fingerprint": "a" * 64, "bundle_digest_sha256": "b" * 64}
    assert faults(PASSED_FLAG, [good]) == []
    assert faults(PASSED_FLAG, [{"manifest_fingerprint": "a" * 64}]) == ["bundle_digest_sha256 is missing"]
    assert faults(PASSED_FLAG, [good | {"more": 1}]) == ["more is not known"]
    assert faults(PASSED_FLAG, [good | {"bundle_digest_sha256": "B" * 64}])
    assert faults("context:object", [{"context": "{}"}])
    assert faults("a:text?", [{"a": None}]) == []
    assert faults("a:text", [{"a": None}])
    assert faults("at:micros", [{"at": "2026-01-01T00:00:00Z"}])
    assert faults("n:count", [{"n": True}])
