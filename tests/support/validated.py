"""Validation bundles in place, and policies that differ from the packaged one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arrival_engine import RunOptions, run
from arrival_engine.config import packaged_bytes
from arrival_engine.contracts.dictionary import dataset
from tests.support import damage
from tests.support.validating import (
    write_proof_world,
)

PASSED, FAILED = "validation_bundle_5B", "validation_failed_bundle_5B"


PARTS = "receipts/arrival_parts.json"

MEMBERS = [
    PARTS,
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


def write_policy(run_root: Path, *edits: tuple[str, str]) -> None:
    """The packaged validation policy with these lines replaced, as the run's own."""
    content = packaged_bytes("validation_policy_5B").decode()
    for old, new in edits:
        assert content.count(old) == 1, (old, content.count(old))
        content = content.replace(old, new)
    path = dataset("validation_policy_5B").locate(run_root, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def policed(run_root: Path, *edits: tuple[str, str]) -> Path:
    """A run of the larger world whose validation policy has these lines replaced."""
    write_policy(run_root, *edits)
    write_proof_world(run_root)
    run(run_root, RunOptions(backend="cpu"))
    return run_root


def block(name: str, severity: str) -> tuple[str, str]:
    """The edit that gives a block another severity."""
    content = packaged_bytes("validation_policy_5B").decode()
    line = content[content.index(f"  {name}:") :].splitlines()[1]
    return f"  {name}:\n{line}", f"  {name}:\n    severity: {severity}"


def sentinels(mode: str) -> tuple[str, str]:
    """The edit that gives the sentinels another mode."""
    return "evaluation_mode: note", f"evaluation_mode: {mode}"


CALIBRATED = ("min_sample_rows: 25000", "min_sample_rows: 1000")


def read_policy(run_root: Path) -> Any:
    from arrival_engine.config import resolve_policy

    return resolve_policy("validation_policy_5B", run_root=run_root).document
