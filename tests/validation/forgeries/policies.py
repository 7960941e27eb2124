"""Validation policies that would let wrong arrivals pass, kind 9."""

from __future__ import annotations

import shutil
from pathlib import Path

from arrival_engine import RunOptions, run, seal
from arrival_engine.config import packaged_bytes
from arrival_engine.contracts.dictionary import dataset
from tests.support.damage import tokens_of, write_policy
from tests.support.validated import block
from tests.validation.forgeries.registry import tampering

POLICY = "validation_policy_5B"
Edit = tuple[str, str]


def edited(*edits: Edit) -> str:
    """The delivered policy with these texts replaced, each of which it has once."""
    text = packaged_bytes(POLICY).decode()
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def loosened(run_root: Path, *edits: Edit) -> None:
    """Put a policy in place, seal the world with it and run it, all as if for the first time."""
    for dataset_id in ("s0_gate_receipt_5B", "sealed_inputs_5B"):
        shutil.rmtree(dataset(dataset_id).locate(run_root, tokens_of(run_root)).parent)
    write_policy(run_root, POLICY, edited(*edits))
    seal(run_root)
    run(run_root, RunOptions(backend="cpu", replace=True))


def exchanged(run_root: Path, *edits: Edit) -> None:
    """Put a policy in place of the one that a run was sealed with."""
    write_policy(run_root, POLICY, edited(*edits))


@tampering("max_civil_mismatch_rate: value 1 must be 0", kind=9)
def clocks_may_be_wrong(run_root: Path) -> None:
    loosened(run_root, ("max_civil_mismatch_rate: 0 ", "max_civil_mismatch_rate: 1 "))


@tampering("max_one_hour_shift_rate: value 1 must be 0", kind=9)
def clocks_may_be_an_hour_off(run_root: Path) -> None:
    loosened(run_root, ("max_one_hour_shift_rate: 0 ", "max_one_hour_shift_rate: 1 "))


@tampering("severity: value 'info' must be 'error'", kind=9)
def routing_is_only_reported(run_root: Path) -> None:
    loosened(run_root, block("routing_realism", "info"))


@tampering("severity: value 'info' must be 'error'", kind=9)
def the_shape_of_arrivals_is_only_reported(run_root: Path) -> None:
    loosened(run_root, block("s4_arrival_events", "info"))


@tampering("severity: value 'info' must be 'error'", kind=9)
def counts_are_only_reported(run_root: Path) -> None:
    loosened(run_root, block("s3_bucket_counts", "info"))


@tampering("p_value_min: value 0 is not >=", kind=9)
def no_p_value_is_too_small(run_root: Path) -> None:
    loosened(run_root, ("p_value_min: 1e-9", "p_value_min: 0"))


@tampering("layer1_required lacks 1A, 1B, 2A, 3A, 3B", kind=9)
def no_upstream_segment_is_required(run_root: Path) -> None:
    loosened(run_root, ("[1A, 1B, 2A, 3A, 3B]", "[]"))


@tampering("p_value_min: value 0 is not >=", kind=9)
def the_policy_is_exchanged_after_the_seal(run_root: Path) -> None:
    exchanged(run_root, ("p_value_min: 1e-9", "p_value_min: 0"))


@tampering("sealed_inputs", kind=9)
def statistics_are_loosened_after_the_seal(run_root: Path) -> None:
    exchanged(run_root, ("p_value_min: 1e-9", "p_value_min: 1e-14"))
