"""Logs that the reference pipeline writes to as well: its lines are kept and not read."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from arrival_engine import RunOptions, report, run, validate
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.report.job import _section
from arrival_engine.engine.report.measure import measure
from arrival_engine.engine.report.page import render
from arrival_engine.engine.report.published import find_published
from arrival_engine.engine.report.records import read_run
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.validation.findings import Book
from arrival_engine.engine.validation.records import read_logs, successes
from arrival_engine.engine.validation.upstream import judge_seal, read_seal
from tests.support.logs import (
    AUDIT,
    REPORT,
    TRACE,
    foreign_audit,
    foreign_events,
    foreign_report,
    foreign_trace,
    identity_of,
    log_file,
    spaced_lines,
)
from tests.support.product import copy_without_outputs
from tests.support.validating import copied, proven_run
from tests.support.worlds import small_world

CPU = RunOptions(backend="cpu", batch_arrivals=500)
LOGS = {AUDIT: foreign_audit, TRACE: foreign_trace, REPORT: foreign_report}
OTHER_DAY = "reports/layer2/segment_state_runs/segment=5B/utc_day=2026-01-01/segment_state_runs.jsonl"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("foreign") / "run"
    proven_run(root, small_world(), batch_arrivals=500, rng_events="none")
    return root


def enter(root: Path) -> dict[Path, bytes]:
    """Append the reference's lines to every log, and to the run report of another day; what was appended."""
    identity = identity_of(root)
    entered = {root / OTHER_DAY: spaced_lines(foreign_report(identity))}
    for dataset_id, foreign in LOGS.items():
        if dataset_id != REPORT or list((root / "reports").rglob("segment_state_runs.jsonl")):
            entered[log_file(root, dataset_id)] = spaced_lines(foreign(identity))
    for label in ("arrival_time_jitter", "arrival_site_pick", "arrival_edge_pick"):
        folder = log_file(root, f"rng_event_{label}")
        entered[folder / "part-000000.jsonl"] = spaced_lines(foreign_events(identity, label))
    for path, lines in entered.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(lines)
    return entered


def judged(root: Path) -> str:
    """Validate and report; the digest of the bundle."""
    reporter = Reporter()
    result = validate(root, reporter=reporter)
    assert result.passed, result.error_message
    page = report(root, reporter=reporter).page.read_text("utf-8")
    assert "DOMAIN_ALIGN_FAILED" not in page
    assert reporter.notices == ()
    return result.bundle.digest


def test_lines_of_the_reference_from_before_the_run_are_kept_and_change_no_verdict(sound, tmp_path):
    root = copy_without_outputs(sound, tmp_path / "run")
    entered = enter(root)
    run(root, CPU)
    for path, lines in entered.items():
        assert path.read_bytes().startswith(lines), path
    untouched = copied(sound, tmp_path / "untouched")
    # The audit record of the run is the reference's then, and names what was made with.
    identity = identity_of(root)
    assert log_file(root, AUDIT).read_bytes() == spaced_lines(foreign_audit(identity))
    assert judged(root) == judged(untouched)


def test_lines_of_the_reference_from_after_the_run_change_no_verdict(sound, tmp_path):
    root = copied(sound, tmp_path / "run")
    before = judged(root)
    logs = {log: log_file(root, log).read_bytes() for log in LOGS}
    enter(root)
    for name, log in {log: log_file(root, log) for log in (AUDIT, TRACE)}.items():
        assert log.read_bytes().startswith(logs[name])
    run(root, CPU)
    assert judged(root) == before


def test_a_run_again_keeps_the_lines_of_the_reference(sound, tmp_path):
    root = copied(sound, tmp_path / "run")
    path = log_file(root, TRACE)
    ours = path.read_bytes().splitlines(keepends=True)
    foreign = spaced_lines(foreign_trace(identity_of(root)))
    # Without one of its own records, the run writes the file again.
    path.write_bytes(ours[0] + foreign + ours[2])
    run(root, CPU)
    written = path.read_bytes()
    assert written.startswith(foreign)
    kept = [json.loads(line) for line in written.removeprefix(foreign).splitlines()]
    expected = [json.loads(line) for line in ours]
    for record in (*kept, *expected):
        del record["ts_utc"]
    assert kept == expected
    assert validate(root).passed


ANY_JSON = [
    b"0",
    b"-1.5",
    b'"text"',
    b"true",
    b"null",
    b"[]",
    b"[[1]]",
    b"[{}]",
    b"{}",
    b'{"module":5}',
    b"1e999",
    b"NaN",
]


def test_any_json_value_is_a_line_that_stops_nothing(sound, tmp_path):
    root = copied(sound, tmp_path / "run")
    for log in LOGS:
        path = log_file(root, log)
        path.write_bytes(b"\n".join([*ANY_JSON, path.read_bytes()]))
    run(root, CPU)
    result = validate(root)
    assert result.passed
    told = [notice.context for notice in result.notices]
    # The trace is written again, with what is not a record at its end.
    assert len([context for context in told if "line" in context]) == 5 * 3
    # Two of the lines are objects: other programs'.
    assert [context["lines"] for context in told if "lines" in context] == [len(ANY_JSON) - 2 - 5] * 3
    report(root)


WEIRD = (None, True, -1, 1.5, 10**400, "x", "", [], ["x"], {}, {"x": []}, {"x": None}, {"a": "b"})


def mutations(record):
    """The record without each of its fields, and with each of them strange."""
    for name in record:
        yield {key: value for key, value in record.items() if key != name}
        for value in WEIRD:
            yield {**record, name: value}


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_every_field_of_a_line_may_be_anything(sound, tmp_path, step):
    """One mutation in `step`: 11 has no divisor in common with the mutations of a field, so that each kind occurs."""
    root = copied(sound, tmp_path / "run")
    validate(root)
    receipt = read_receipt(root)
    sealed, policies = read_seal(receipt), Reporter()
    (published,) = find_published(receipt, ())
    section = _section(1, receipt, read_run(receipt), published, measure(receipt, published))
    path = log_file(root, REPORT)
    for original in [json.loads(line) for line in path.read_bytes().splitlines()]:
        for number, line in enumerate(islice(mutations(original), None, None, step)):
            path.write_bytes(json.dumps(line).encode() + b"\n")
            records, lines = read_run(receipt), successes(read_logs(receipt))
            stated = lines.get("baseline_v1")
            assert "<html" in render(records, [replace(section, line=stated)], [])
            if stated and number % 7 == 0:
                judge_seal(receipt, sealed, lines, Book(), policies)


def test_policies_that_a_line_names_may_be_unknown(sound, tmp_path):
    root = copied(sound, tmp_path / "run")
    path = log_file(root, REPORT)
    (line,) = (json.loads(text) for text in path.read_bytes().splitlines())
    line["policy_digests"]["a_policy_of_tomorrow"] = "0" * 64
    path.write_bytes(json.dumps(line).encode() + b"\n")
    (finding,) = (finding for finding in validate(root).findings if finding.check == "sealed_inputs")
    assert [example["artefact"] for example in finding.examples] == ["a_policy_of_tomorrow as baseline_v1 was run"]


@pytest.mark.parametrize("log", [AUDIT, TRACE])
def test_every_field_of_a_random_number_record_may_be_anything(sound, tmp_path, log):
    root = copied(sound, tmp_path / "run")
    path = log_file(root, log)
    whole = path.read_bytes()
    original = json.loads(whole.splitlines()[-1])
    path.write_bytes(whole + b"".join(json.dumps(record).encode() + b"\n" for record in mutations(original)))
    run(root, CPU)
    result = validate(root)
    wrong = [finding.check for finding in result.findings if str(finding.verdict) in ("FAIL", "NOT_RUN")]
    assert wrong == []
    assert {notice.code for notice in result.notices} == {"LOG_LINE_SET_ASIDE"}
