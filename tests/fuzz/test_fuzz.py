"""A slice of each campaign, the same on every day; `python -m tests.fuzz` goes further."""

from __future__ import annotations

import json
from random import Random

import pytest

from arrival_engine.contracts import ArrivalError, Code
from tests.fuzz.campaign import slice_of
from tests.fuzz.mutation import mutated_json, mutated_lines, mutated_yaml
from tests.fuzz.target import Finding, judge
from tests.fuzz.targets import TARGETS

# Readers of whole run directories and of Parquet take milliseconds per input.
SLOW = {
    "run_report",
    "rng_audit_log",
    "rng_trace_log",
    "upstream_bundle",
    "csv_import",
    "parquet_input",
    "part_parquet",
    "part_arrow",
}


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_are_refused_by_name_or_read_soundly(name, tmp_path):
    tally = slice_of(TARGETS[name], 20 if name in SLOW else 100, 1, tmp_path)
    assert tally.findings == {}


@pytest.mark.parametrize("name", TARGETS)
def test_a_valid_sample_is_read(name, tmp_path):
    opened = TARGETS[name].open(tmp_path)
    outcomes = [judge(opened.read, data) for data in opened.samples]
    assert any(isinstance(outcome, str) and outcome.startswith("read ") for outcome in outcomes), outcomes


def _raises(failure):
    def read(_data):
        raise failure

    return read


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("x"),
        RecursionError(),
        AssertionError(),
        ArrivalError(Code.UNEXPECTED_INTERNAL_ERROR, "x", hint="y"),
        ArrivalError(Code.S5_UNEXPECTED_INTERNAL_ERROR, "x", hint="y"),
        ArrivalError(Code.RESOURCES_INSUFFICIENT, "x", hint="y"),
        ArrivalError(Code.SCHEMA_VIOLATION, "without a hint"),
    ],
    ids=repr,
)
def test_what_no_reader_may_do_is_a_finding(failure):
    assert isinstance(judge(_raises(failure), b""), Finding)


def test_a_named_refusal_is_an_outcome_with_its_place():
    outcome = judge(_raises(ArrivalError(Code.SCHEMA_VIOLATION, "x", hint="y")), b"")
    assert str(outcome).startswith("5B.S4.SCHEMA_VIOLATION test_fuzz.py")


def test_mutations_depend_on_their_seed_alone_and_many_stay_well_formed():
    document = json.dumps({"a": [1, {"b": "text"}], "c": None}).encode()
    kinds = {mutated_json: document, mutated_lines: document + b"\n" + document, mutated_yaml: b"a: 1\nb:\n  c: x\n"}
    for mutate, data in kinds.items():
        first, again = ([mutate(data, Random(seed)) for seed in range(200)] for _ in range(2))
        assert first == again
        assert len(set(first)) > 100

    def is_json(data):
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            return False
        return True

    assert sum(is_json(mutated_json(document, Random(seed))) for seed in range(200)) > 100
