"""Logs whose lines were cut off: named, set aside, and written again by a run."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arrival_engine import RunOptions, run, validate
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.arrivals.publish import publication
from arrival_engine.engine.expand.ledger import FamilyAccount
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.records.rng_logs import update_rng_logs
from arrival_engine.engine.rundir import json_lines
from arrival_engine.engine.rundir.json_lines import append_line
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.staging import staging
from arrival_engine.engine.validation.judge_rng import trace_steps
from arrival_engine.engine.validation.records import read_logs, successes
from arrival_engine.engine.world.load import World
from tests.records.test_run_records import second_scenario
from tests.support.logs import AUDIT, REPORT, TRACE, log_file
from tests.support.product import ledger_of, planned
from tests.support.refusals import command
from tests.support.validating import copied, proven_run
from tests.support.worlds import small_world

LOGS = (AUDIT, TRACE, REPORT)
MOMENT = "2026-01-01T00:00:00.000000Z"


class Ran(NamedTuple):
    """A run, and what a further run of each scenario would enter in the logs."""

    root: Path
    receipt: Receipt
    scenarios: dict[str, tuple[World, dict[str, FamilyAccount]]]

    def update(self, *scenarios: str) -> list[str]:
        """Update the logs as a run does; the messages about lines set aside."""
        told = []
        for scenario in scenarios:
            with staging(InsidePath(self.root), "test") as staged, publication() as output:
                told += update_rng_logs(output, *self.scenarios[scenario], MOMENT, staged)
        return [notice.message for notice in told]

    def read(self) -> dict[str, Any]:
        """The records of each log, by its dataset."""
        logs = read_logs(self.receipt)
        (day,) = logs.days
        return {AUDIT: logs.audit, TRACE: logs.trace, REPORT: day}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    from tests.support.product import write_sealed

    root = tmp_path_factory.mktemp("torn") / "run"
    write_sealed(small_world(), root, further_scenarios=[second_scenario()])
    run(root, RunOptions(backend="cpu", threads=1))
    scenarios = {}
    for scenario in ("baseline_v1", "stress_b"):
        ledger = ledger_of(planned(root, scenario_id=scenario))
        scenarios[scenario] = (ledger.world, dict(ledger.accounting()))
    return Ran(root, read_receipt(root), scenarios)


@pytest.fixture(scope="module")
def sound_run(tmp_path_factory) -> Path:
    """A run with event records as lines."""
    root = tmp_path_factory.mktemp("torn-lines") / "run"
    proven_run(root, small_world(), batch_arrivals=500, rng_events="jsonl")
    return root


def last_line(path: Path) -> tuple[bytes, bytes]:
    """What stands before the last line, and that line with its end."""
    whole = path.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1 if whole.count(b"\n") > 1 else 0
    return whole[:begin], whole[begin:]


@pytest.mark.parametrize("log", LOGS)
def test_a_log_cut_off_at_any_byte_of_its_last_line_keeps_every_other_line(ran, log):
    path = log_file(ran.root, log)
    before, last = last_line(path)
    records = ran.read()[log].records
    number = before.count(b"\n") + 1
    try:
        for cut in range(len(last)):
            path.write_bytes(before + last[:cut])
            torn, complete = 0 < cut < len(last) - 1, cut == len(last) - 1
            found = ran.read()[log]
            assert found.records == (records if complete else records[:-1])
            assert [aside.line for aside in found.aside] == [number] * torn
            assert [str(number) in notice.message for notice in found.notices()] == [True] * torn
            append_line("log", InsidePath(path.parent) / path.name, last)
            found = ran.read()[log]
            # The first record of the audit counts, however often it was entered.
            assert found.records == [*records, *records[-1:] * (complete and log != AUDIT)]
            assert [aside.line for aside in found.aside] == [number] * torn
    finally:
        path.write_bytes(before + last)


@pytest.mark.parametrize("log", [AUDIT, TRACE])
def test_a_run_writes_the_record_that_was_cut_off_at_any_byte(ran, log):
    path = log_file(ran.root, log)
    before, last = last_line(path)
    audit, steps = ran.read()[AUDIT].records, trace_steps(ran.read()[TRACE])
    try:
        for cut in range(len(last)):
            path.write_bytes(before + last[:cut])
            told = ran.update("baseline_v1", "stress_b")
            found = ran.read()
            assert trace_steps(found[TRACE]) == steps
            assert len(found[AUDIT].records) == len(audit)
            # The part of a line stays where it is, on a line of its own.
            assert bool(told) == (0 < cut < len(last) - 1) == bool(found[log].aside)
            assert all(Path(path).name in message for message in told)
    finally:
        path.write_bytes(before + last)


def test_no_total_is_attributed_to_the_scenario_after_a_line_that_was_cut_off(ran):
    path = log_file(ran.root, TRACE)
    whole = path.read_bytes()
    lines, steps = whole.splitlines(keepends=True), trace_steps(ran.read()[TRACE])
    assert len(steps) == len(lines) == 6
    try:
        for torn in range(6):
            damaged = [line[: len(line) // 2] + b"\n" if at == torn else line for at, line in enumerate(lines)]
            path.write_bytes(b"".join(damaged))
            left = trace_steps(ran.read()[TRACE])
            assert left.items() <= steps.items()
            assert len(left) < 6
            for scenario in ran.scenarios:
                path.write_bytes(b"".join(damaged))
                ran.update(scenario)
                found = trace_steps(ran.read()[TRACE])
                assert found.items() <= steps.items()
                assert {key for key in steps if key[1] == scenario} <= found.keys()
            ran.update(*ran.scenarios)
            assert trace_steps(ran.read()[TRACE]) == steps
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("kept", ["1", "half", "all but two"])
def test_validation_names_a_line_that_was_cut_off_until_a_run_has_written_it(sound_run, tmp_path, log, kept):
    root = copied(sound_run, tmp_path / "run")
    path = log_file(root, log)
    before, last = last_line(path)
    path.write_bytes(before + last[: {"1": 1, "half": len(last) // 2, "all but two": len(last) - 2}[kept]])
    reporter = Reporter()
    result = validate(root, reporter=reporter)
    assert not result.passed
    broken = {finding.check: finding for finding in result.findings if str(finding.verdict) == "FAIL"}
    assert ("arrival_digest" if log == REPORT else "rng_logs") in broken
    assert all(
        "arrivals run" in finding.message for check, finding in broken.items() if check in ("rng_logs", "run_report")
    )
    (notice,) = result.notices
    assert reporter.notices == (notice,)
    assert (notice.code, notice.context["line"]) == ("LOG_LINE_SET_ASIDE", before.count(b"\n") + 1)
    assert path.relative_to(root).as_posix() in notice.message
    run(root, RunOptions(backend="cpu", batch_arrivals=500))
    again = validate(root)
    assert again.passed
    assert [told.context["fault"] for told in again.notices] == [notice.context["fault"]]


def test_a_bundle_does_not_depend_on_lines_set_aside(sound_run, tmp_path):
    root = copied(sound_run, tmp_path / "run")
    first = validate(root)
    for log in LOGS:
        with log_file(root, log).open("ab") as file:
            file.write(b'{"torn":tru')
    second = validate(root)
    assert first.passed
    assert second.passed
    assert (second.bundle.digest, second.bundle.publication) == (first.bundle.digest, "identical")
    assert len(second.notices) == 3


def test_commands_go_on_after_a_line_that_was_cut_off(sound_run, tmp_path):
    root = copied(sound_run, tmp_path / "run")
    for log in LOGS:
        with log_file(root, log).open("ab") as file:
            file.write(b'{"torn":tru')
    for words in (("run", root, "--backend", "cpu"), ("validate", root), ("report", root)):
        done = command(*words, "--quiet")
        assert done.returncode == 0, done.stderr
        assert "warning LOG_LINE_SET_ASIDE" in done.stderr
        assert "is set aside: cut off or damaged" in done.stderr.replace("\n", " ")
    lines = log_file(root, REPORT).read_bytes().splitlines()
    assert lines.count(b'{"torn":tru') == 1
    # One of the run before, one of this run, one of validation.
    assert len([line for line in lines if line != b'{"torn":tru']) == 3


def test_many_lines_set_aside_are_not_named_one_by_one(ran):
    path = log_file(ran.root, AUDIT)
    whole = path.read_bytes()
    try:
        path.write_bytes(b"[]\n\n" * 100 + whole)
        *named, rest = ran.read()[AUDIT].notices()
        assert [notice.context["line"] for notice in named] == [1, 3, 5, 7, 9]
        assert "95 more lines" in rest.message
    finally:
        path.write_bytes(whole)


# --- Event records ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["nothing", "whole lines", "a byte", "all but two"])
def test_event_records_that_were_cut_off_are_told_and_made_again(sound_run, tmp_path, kept):
    root = copied(sound_run, tmp_path / "run")
    (path,) = (root / "logs").rglob("arrival_time_jitter/**/part-000000.jsonl")
    whole = path.read_bytes()
    before, last = last_line(path)
    path.write_bytes({"nothing": b"", "whole lines": before, "a byte": before + last[:1]}.get(kept, whole[:-3]))
    (finding,) = [finding for finding in validate(root).findings if finding.check == "rng_events"]
    assert str(finding.verdict) == "FAIL"
    assert "--rng-events jsonl" in finding.message
    run(root, RunOptions(backend="cpu", batch_arrivals=500, rng_events="jsonl"))
    assert path.read_bytes() == whole
    assert validate(root).passed


# --- Appending -------------------------------------------------------------------------------------------

_APPEND = """
import sys
from pathlib import Path
from arrival_engine.engine.rundir import json_lines
from arrival_engine.engine.rundir.json_lines import append_line
path, mark, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(times):
    append_line("log", path, b'{"mark":"%s","n":%d,"fill":"%s"}\\n' % (mark.encode(), number, b"x" * 9000))
"""


def test_lines_of_processes_that_append_at_once_stay_whole_and_in_order(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"torn":tru')
    words = [sys.executable, "-c", _APPEND, path]
    processes = [subprocess.Popen([*words, mark, "50"]) for mark in "abcd"]
    assert [process.wait() for process in processes] == [0] * 4
    torn, *lines = path.read_bytes().splitlines()
    assert torn == b'{"torn":tru'
    records = [json.loads(line) for line in lines]
    for mark in "abcd":
        assert [record["n"] for record in records if record["mark"] == mark] == [*range(50)]


@pytest.mark.parametrize("room", [0, 1, 100, 9000])
@pytest.mark.parametrize("begin", [b'{"first":1}\n', b'{"torn":tru'])
def test_a_line_for_which_the_disk_has_no_room_is_taken_back(tmp_path, room, begin, monkeypatch):
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    path = tmp_path / "log.jsonl"
    path.write_bytes(begin)
    limit = len(begin) + room
    done = subprocess.run(
        [sys.executable, "-B", "-c", _APPEND, path, "a", "1"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "IO_WRITE_FAILED" in done.stderr
    assert path.read_bytes() == begin
    append_line("log", path, b'{"second":2}\n')
    assert path.read_bytes().splitlines() == [begin.strip(), b'{"second":2}']


def test_the_last_success_of_each_scenario_counts(ran):
    lines = successes(read_logs(ran.receipt))
    assert sorted(lines) == ["baseline_v1", "stress_b"]


@pytest.mark.parametrize("log", LOGS)
def test_a_line_without_end_is_set_aside_unread_and_kept(ran, log, monkeypatch):
    """As if a record may have 20,000 bytes: a longer line is read in pieces."""
    monkeypatch.setattr(json_lines, "SIZE_LIMIT", 20_000)
    path, records = log_file(ran.root, log), ran.read()[log].records
    before = path.read_bytes()
    long = b'{"a":"' + b"x " * 30_000 + b" " * 45_000 + b'"}'
    try:
        for data in (before + long, long + b"\n" + before, before + long + b"\n\n"):
            path.write_bytes(data)
            found = ran.read()[log]
            assert found.records == records
            assert [aside.fault for aside in found.aside] == ["longer than 20000 bytes"]
            ran.update(*ran.scenarios)
            assert long in path.read_bytes()
            assert len(ran.read()[log].records) == len(records)
        pieces = json_lines.line_pieces(InsidePath(path.parent) / path.name)
        assert max(len(piece) for _, piece in pieces) == 20_002
    finally:
        path.write_bytes(before)
