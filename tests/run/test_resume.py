"""Runs that were killed go on where they were, to the same bytes; what is not what was finished is refused."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from dataclasses import replace

import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.run.part_ledger import PartLedger
from arrival_engine.engine.sealing import seal
from tests.support.processes import halted, heavy_counts, outputs_of, running
from tests.support.product import planned
from tests.support.refusals import CPU, published
from tests.support.world_files import write_world
from tests.support.worlds import small_world

BATCH = 100_000


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A second of work in twenty parts: 2.4 million arrivals."""
    run_root = tmp_path_factory.mktemp("resume") / "sealed"
    write_world(small_world(counts=heavy_counts(20_000, 20)), run_root)
    seal(run_root)
    return run_root


@pytest.fixture(scope="module")
def uninterrupted(sealed, tmp_path_factory):
    """What the run publishes when nobody disturbs it."""
    run_root = tmp_path_factory.mktemp("resume") / "uninterrupted"
    shutil.copytree(sealed, run_root)
    run(run_root, options())
    return data_of(run_root)


@pytest.fixture
def world(sealed, tmp_path):
    run_root = tmp_path / "world"
    shutil.copytree(sealed, run_root)
    return run_root


def options(**changes):
    return replace(CPU, **{"threads": 2, "batch_arrivals": BATCH, **changes})


def data_of(run_root):
    """Published data, byte by byte; logs carry the time of day."""
    return {name: data for name, data in outputs_of(run_root).items() if name.startswith("data/")}


def ledger_lines(run_root):
    found = list(run_root.glob("tmp/arrivals-*/ledger/ledger.jsonl"))
    return found[0].read_bytes().split(b"\n")[1:-1] if found else []


def entered(run_root, at_least):
    return len(ledger_lines(run_root)) >= at_least


def kill_with_parts(run_root, at_least):
    """Start a run and kill it once so many parts are in its ledger."""
    with running(run_root, "--batch-arrivals", str(BATCH), "--threads", "1") as process:
        with halted(entered, process, run_root, at_least):
            process.kill()
        process.wait()
    assert not published(run_root).exists()


class Messages(Reporter):
    def __init__(self):
        super().__init__()
        self.texts = []

    def _on_message(self, text):
        self.texts.append(text)


def staged_parts(run_root):
    return sorted(run_root.glob("tmp/arrivals-*/events/part-*"))


def refusal(run_root, **changes):
    with pytest.raises(ArrivalError) as caught:
        run(run_root, options(resume=True, **changes))
    assert not published(run_root).exists()
    return caught.value


class TestGoingOn:
    def test_a_killed_run_goes_on_to_the_same_bytes_without_redoing_finished_parts(self, world, uninterrupted):
        kill_with_parts(world, at_least=4)
        finished = {json.loads(line)["part"] for line in ledger_lines(world)}
        inodes = {path.stat().st_ino for path in staged_parts(world) if path.name in finished}
        (result,) = run(world, options(resume=True)).scenarios
        assert data_of(world) == uninterrupted
        assert inodes <= {path.stat().st_ino for path in result.path.iterdir()}
        assert list(world.glob("tmp/arrivals-*/")) == []

    def test_it_can_be_killed_and_resumed_again_and_again(self, world, uninterrupted):
        kill_with_parts(world, at_least=2)
        for at_least in (5, 8):
            with running(world, "--resume", "--batch-arrivals", str(BATCH), "--threads", "1") as process:
                with halted(entered, process, world, at_least):
                    process.kill()
                process.wait()
        run(world, options(resume=True))
        assert data_of(world) == uninterrupted

    def test_a_line_cut_off_in_the_middle_is_an_unfinished_part(self, world, uninterrupted):
        kill_with_parts(world, at_least=3)
        (ledger,) = world.glob("tmp/arrivals-*/ledger/ledger.jsonl")
        ledger.write_bytes(ledger.read_bytes()[:-20])
        run(world, options(resume=True))
        assert data_of(world) == uninterrupted

    @pytest.mark.parametrize("line", [b"\0" * 80, b"", b'{"part":"par', b"[" * 100_000])
    def test_a_line_that_was_cut_off_before_others_is_an_unfinished_part(self, world, uninterrupted, line):
        """A power cut leaves zeros of a file that had grown, a full disk the beginning of a line."""
        kill_with_parts(world, at_least=3)
        (ledger,) = world.glob("tmp/arrivals-*/ledger/ledger.jsonl")
        terms, _, *rest = ledger.read_bytes().split(b"\n")
        ledger.write_bytes(b"\n".join([terms, line, *rest]))
        told = Messages()
        run(world, options(resume=True), told)
        assert data_of(world) == uninterrupted
        assert any("line 2 is cut off or damaged" in text for text in told.texts) == bool(line)

    def test_a_ledger_cut_off_at_any_byte_of_its_last_line_loses_one_part_at_most(self, world):
        kill_with_parts(world, at_least=3)
        (ledger,) = world.glob("tmp/arrivals-*/ledger/ledger.jsonl")
        staged, whole = ledger.parent.parent, ledger.read_bytes()
        whole = whole[: whole.rindex(b"\n") + 1]
        begin = whole.rindex(b"\n", 0, -1) + 1
        parts = {json.loads(line)["index"] for line in whole.splitlines()[1:]}
        last = json.loads(whole[begin:])
        part, aside = staged / "events" / last["part"], staged.parent / "aside"
        part.rename(aside)
        work = planned(world, BATCH)
        for cut in range(begin, len(whole) + 1):
            ledger.write_bytes(whole[:cut])
            shutil.copy(aside, part)
            told = []
            finished = PartLedger(InsidePath(staged), work, "parquet").resume(told.append)
            complete = cut >= len(whole) - 1
            assert set(finished) == (parts if complete else parts - {last["index"]})
            assert len(told) == (begin < cut < len(whole) - 1)
            assert ledger.read_bytes() == (whole if complete else whole[:begin])
            assert part.exists() == complete

    def test_a_part_of_a_run_that_was_cleared_away_is_not_recorded(self, world, tmp_path):
        """A worker of a killed client is still at work while the next run moves its directory away."""
        staged = InsidePath(tmp_path) / "tmp" / "arrivals-abandoned"
        staged.mkdir(parents=True)
        ledger = PartLedger(staged, planned(world, BATCH), "parquet")
        ledger.begin()
        staged.rename(staged.with_name("cleared"))
        with pytest.raises(ArrivalError) as caught:
            ledger.record(0, PartReceipt("part-000000.parquet", 1, 1, Digest(), "0" * 64))
        assert caught.value.code is Code.IO_WRITE_FAILED
        assert staged.kind() is None

    def test_with_nothing_to_resume_it_starts_from_the_beginning(self, world, uninterrupted):
        run(world, options(resume=True))
        assert data_of(world) == uninterrupted

    def test_without_resume_a_killed_run_is_started_over(self, world, uninterrupted):
        kill_with_parts(world, at_least=3)
        run(world, options())
        assert data_of(world) == uninterrupted

    @pytest.mark.slow
    def test_killed_at_any_moment_it_ends_in_the_same_bytes(self, sealed, uninterrupted, tmp_path):
        draw = random.Random(5)
        for attempt in range(20):
            run_root = tmp_path / str(attempt)
            shutil.copytree(sealed, run_root)
            arguments = ("--resume", "--batch-arrivals", str(BATCH))
            with running(run_root, *arguments) as process:
                time.sleep(draw.uniform(0.3, 3.0))
                process.send_signal(signal.SIGKILL)
                process.wait()
            run(run_root, options(resume=True))
            assert data_of(run_root) == uninterrupted, f"attempt {attempt}"
            shutil.rmtree(run_root)


class TestRefusing:
    def test_other_terms_are_refused_and_the_finished_parts_kept(self, world, uninterrupted):
        kill_with_parts(world, at_least=3)
        for changes, term in (
            ({"batch_arrivals": BATCH + 1}, "batch_arrivals"),
            ({"format": "arrow"}, "format"),
            ({"strict": True}, "fallbacks"),
        ):
            error = refusal(world, **changes)
            assert (error.code, error.context["term"]) == (Code.IO_WRITE_CONFLICT, term)
        run(world, options(resume=True))
        assert data_of(world) == uninterrupted

    def test_a_ledger_of_another_seal_is_refused(self, world):
        kill_with_parts(world, at_least=2)
        (ledger,) = world.glob("tmp/arrivals-*/ledger/ledger.jsonl")
        terms, _, rest = ledger.read_bytes().partition(b"\n")
        ledger.write_bytes(json.dumps({**json.loads(terms), "sealed_inputs_digest": "0" * 64}).encode() + b"\n" + rest)
        error = refusal(world)
        assert (error.code, error.context["term"]) == (Code.IO_WRITE_CONFLICT, "sealed_inputs_digest")

    def test_each_term_is_compared(self, world):
        """Any of them decides a part's bytes: world, law, code, policies, versions, batch size, format."""
        kill_with_parts(world, at_least=2)
        (ledger,) = world.glob("tmp/arrivals-*/ledger/ledger.jsonl")
        whole = ledger.read_bytes()
        first, _, rest = whole.partition(b"\n")
        terms = json.loads(first)
        assert terms.keys() >= {
            *("scenario_id", "sealed_inputs_digest", "policy_digests", "fallbacks", "law_version", "code_digest"),
            *("engine_version", "pyarrow", "format", "batch_arrivals", "arrivals"),
        }
        # That of another scenario is not this one's to go on with: it is not looked at.
        for term in terms.keys() - {"scenario_id"}:
            ledger.write_bytes(json.dumps({**terms, term: "another"}).encode() + b"\n" + rest)
            error = refusal(world)
            assert (error.code, error.context["term"]) == (Code.IO_WRITE_CONFLICT, term)
        ledger.write_bytes(whole)
        run(world, options(resume=True))

    @pytest.mark.parametrize("line", [b"[]", b"{}", b'{"part":"part-000000.parquet","index":9999}'])
    def test_a_line_that_nobody_wrote_is_refused(self, world, line):
        kill_with_parts(world, at_least=3)
        (ledger,) = world.glob("tmp/arrivals-*/ledger/ledger.jsonl")
        terms, _, *rest = ledger.read_bytes().split(b"\n")
        ledger.write_bytes(b"\n".join([terms, line, *rest]))
        error = refusal(world)
        assert error.code is Code.IO_READ_FAILED
        assert "ledger.jsonl" in error.message
        assert "without --resume" in error.hint

    @pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
    def test_a_finished_part_that_changed_is_refused_by_name(self, world, damage):
        kill_with_parts(world, at_least=3)
        name = json.loads(ledger_lines(world)[1])["part"]
        (path,) = world.glob(f"tmp/arrivals-*/events/{name}")
        data = bytearray(path.read_bytes())
        if damage == "remove":
            path.unlink()
        else:
            data[len(data) // 2] ^= 1
            path.write_bytes(data[:-1] if damage == "truncate" else data)
        error = refusal(world)
        assert error.code is Code.IO_READ_FAILED
        assert name in error.message
        assert "without --resume" in error.hint
