"""Progress reports: what is timed, what is counted, what is said, and that saying it cannot hurt a run."""

from __future__ import annotations

import io
import json
import re
import threading
import time

import pytest
from rich.console import Console

from arrival_engine.contracts import Notice
from arrival_engine.engine.process import human
from arrival_engine.engine.process.progress import JsonReporter, LineReporter, NoticeReporter, Reporter
from arrival_engine.engine.process.terminal import TerminalReporter

PULSE_S = 0.05


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def pass_time(self, seconds):
        self.now += seconds


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing of the kind was said in time"
        time.sleep(0.005)


class TestReporter:
    def test_phases_are_timed_and_add_up_in_the_order_of_their_first_start(self):
        clock = Clock()
        reporter = Reporter(clock=clock)
        for name, seconds in (("plan", 2.0), ("expand", 5.0), ("plan", 1.5)):
            with reporter.phase(name):
                clock.pass_time(seconds)
        assert list(reporter.phases.items()) == [("plan", 3.5), ("expand", 5.0)]

    def test_a_phase_that_fails_is_timed_too(self):
        clock = Clock()
        reporter = Reporter(clock=clock)

        def fail():
            clock.pass_time(2.0)
            raise ValueError("boom")

        with pytest.raises(ValueError, match="boom"), reporter.phase("plan"):
            fail()
        assert reporter.phases == {"plan": 2.0}
        assert reporter.status().phase == ""

    def test_the_rate_is_that_of_the_last_seconds_only(self):
        clock = Clock()
        reporter = Reporter(clock=clock)
        reporter.expect("arrivals", 10_000)
        for _ in range(20):  # a slow start: 10 per second
            clock.pass_time(1.0)
            reporter.advance(10)
        for _ in range(15):  # then 200 per second
            clock.pass_time(1.0)
            reporter.advance(200)
        status = reporter.status()
        assert status.done == 3200
        assert status.per_second == pytest.approx(200.0, rel=0.01)
        assert status.remaining_s == pytest.approx((10_000 - 3200) / 200.0, rel=0.01)

    def test_the_rate_falls_while_nothing_comes_and_the_remaining_time_becomes_unknown(self):
        clock = Clock()
        reporter = Reporter(clock=clock)
        reporter.expect("arrivals", 1000)
        clock.pass_time(1.0)
        reporter.advance(100)
        before = reporter.status()
        clock.pass_time(4.0)
        during = reporter.status()
        assert before.per_second == pytest.approx(100.0)
        assert during.per_second == pytest.approx(20.0)
        assert during.idle_s == 4.0
        clock.pass_time(60.0)
        after = reporter.status()
        assert after.per_second == 0.0
        assert after.remaining_s is None

    def test_without_a_total_there_is_no_remaining_time(self):
        clock = Clock()
        reporter = Reporter(clock=clock)
        reporter.expect("files", None)
        clock.pass_time(1.0)
        reporter.advance()
        assert reporter.status().per_second == pytest.approx(1.0)
        assert reporter.status().remaining_s is None

    def test_many_small_advances_keep_few_samples(self):
        clock = Clock()
        reporter = Reporter(clock=clock)
        reporter.expect("rows", None)
        for _ in range(10_000):
            clock.pass_time(0.001)
            reporter.advance(3)
        assert reporter.status().done == 30_000
        assert reporter.status().per_second == pytest.approx(3000.0, rel=0.02)
        assert len(reporter._samples) < 250

    def test_threads_lose_no_count(self):
        reporter = Reporter()
        reporter.expect("arrivals", 8000)

        def work():
            for _ in range(2000):
                with reporter.phase("expand"):
                    reporter.advance(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert reporter.status().done == 8000
        assert reporter.status().phase == ""

    def test_a_count_ends_with_the_phase_in_which_it_began(self):
        reporter = Reporter()
        with reporter.phase("run"):
            with reporter.phase("hash inputs"):
                reporter.expect("bytes", 100)
                reporter.advance(100)
                assert reporter.status().unit == "bytes"
            assert reporter.status()[2:5] == ("", 0, None)
            reporter.expect("arrivals", 10)
            with reporter.phase("expand"):
                reporter.advance(4)
            assert reporter.status()[2:5] == ("arrivals", 4, 10)

    def test_notices_are_kept(self):
        reporter = Reporter()
        notice = Notice("SEAL_STRUCTURAL", "digests cover structure only", {"rows": 3})
        reporter.notice(notice)
        assert reporter.notices == (notice,)


class TestLineReporter:
    def test_says_one_line_per_phase_when_it_ends(self):
        out = io.StringIO()
        with LineReporter(out) as reporter:
            with reporter.phase("seal"):
                pass
            with pytest.raises(ValueError, match="x"), reporter.phase("plan"):
                raise ValueError("x")
        lines = [re.sub(r"^\[ *[\d.]+ s\] ", "", line) for line in out.getvalue().splitlines()]
        assert re.fullmatch(r"seal: done in \d+ ms", lines[0])
        assert re.fullmatch(r"plan: stopped after \d+ ms", lines[1])
        assert len(lines) == 2

    def test_a_phase_is_still_working_only_after_an_interval_of_silence(self):
        out = io.StringIO()
        with LineReporter(out, interval=PULSE_S) as reporter:
            for _ in range(20):
                with reporter.phase("step"):
                    time.sleep(PULSE_S / 10)
            with reporter.phase("seal"):
                wait_for(lambda: "seal: still working" in out.getvalue())
        so_far = [int(found) for found in re.findall(r"still working, (\d+) ms", out.getvalue())]
        assert so_far
        assert min(so_far) >= 1000 * PULSE_S

    def test_counts_at_every_interval_and_says_so_when_nothing_was_finished(self):
        out = io.StringIO()
        with LineReporter(out, interval=PULSE_S) as reporter, reporter.phase("expand"):
            reporter.expect("arrivals", 1000)
            wait_for(lambda: "nothing finished yet" in out.getvalue())
            # Not "0 of 1,000", which the first pulse may say before anything is finished.
            while not re.search(r"[1-9]\d* of 1,000 arrivals", out.getvalue()):
                reporter.advance(1)
                time.sleep(PULSE_S / 10)
            wait_for(lambda: "no arrivals finished for" in out.getvalue())
        assert "expand: still working" in out.getvalue()

    def test_a_phase_without_count_is_alive_as_well(self):
        out = io.StringIO()
        with LineReporter(out, interval=PULSE_S) as reporter, reporter.phase("seal"):
            wait_for(lambda: "seal: still working" in out.getvalue())

    def test_is_silent_between_phases_and_after_it_is_closed(self):
        out = io.StringIO()
        reporter = LineReporter(out, interval=0.01)
        time.sleep(0.05)
        reporter.close()
        assert out.getvalue() == ""


class TestJsonReporter:
    def test_every_line_is_one_object(self):
        out = io.StringIO()
        with JsonReporter(out, interval=PULSE_S) as reporter:
            reporter.notice(Notice("A", "line\nbreak", {"path": "x"}))
            reporter.message("hello")
            with reporter.phase("expand"):
                reporter.expect("arrivals", 10)
                reporter.advance(4)
                wait_for(lambda: "progress" in out.getvalue())
        events = [json.loads(line) for line in out.getvalue().splitlines()]
        kinds = [event["event"] for event in events]
        assert kinds[:3] == ["notice", "message", "phase"]
        assert events[0]["message"] == "line\nbreak"
        progress = next(event for event in events if event["event"] == "progress")
        assert (progress["done"], progress["total"], progress["unit"]) == (4, 10, "arrivals")
        assert events[-1] == {**events[-1], "event": "phase", "name": "expand", "state": "done"}


class TestNoticeReporter:
    def test_says_nothing_but_warnings(self):
        out = io.StringIO()
        with NoticeReporter(out) as reporter:
            with reporter.phase("seal"):
                reporter.message("hello")
            reporter.notice(Notice("SEAL_STRUCTURAL", "digests cover structure only"))
        assert out.getvalue() == "warning SEAL_STRUCTURAL: digests cover structure only\n"


class TestTerminalReporter:
    def drawn(self, reporter):
        out = io.StringIO()
        Console(width=160, file=out).print(reporter.render())
        return out.getvalue()

    def test_the_line_shows_phase_count_rate_and_remaining_time(self):
        clock = Clock()
        reporter = TerminalReporter(io.StringIO(), clock=clock)
        with reporter, reporter.phase("expand"):
            reporter.expect("arrivals", 4_000_000)
            clock.pass_time(1.0)
            reporter.advance(1_000_000)
            line = self.drawn(reporter)
            assert "expand" in line
            assert "1,000,000 of 4,000,000 arrivals" in line
            assert "1 M arrivals/s" in line
            assert "3.0 s left" in line
            assert "waiting" not in line

    def test_a_silent_phase_says_what_it_waits_for(self):
        clock = Clock()
        reporter = TerminalReporter(io.StringIO(), clock=clock)
        with reporter, reporter.phase("seal"):
            clock.pass_time(11.0)
            assert "waiting: nothing finished yet" in self.drawn(reporter)
            reporter.expect("arrivals", 10)
            reporter.advance(3)
            clock.pass_time(12.0)
            assert "waiting: no arrivals finished for 12 s, 3 arrivals so far" in self.drawn(reporter)

    def test_finished_phases_and_warnings_stay_on_the_screen(self):
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, width=100, color_system=None)
        with TerminalReporter(console=console) as reporter:
            with reporter.phase("plan"):
                reporter.notice(Notice("TZ", "zone [0] differs"))
            reporter.message("one more thing")
        text = out.getvalue()
        assert re.search(r"✓ plan \d+ ms", text)
        assert "warning TZ zone [0] differs" in text
        assert "one more thing" in text

    def test_threads_that_print_and_the_redrawing_line_do_not_block_each_other(self):
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        with TerminalReporter(console=console) as reporter:
            reporter._live.refresh_per_second = 1000

            def work():
                for _ in range(50):
                    with reporter.phase("expand"):
                        reporter.advance(1)
                        reporter._live.refresh()

            threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=20)
            assert not any(thread.is_alive() for thread in threads)
        assert reporter.status().done == 200


class Torn(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, _text):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError


@pytest.mark.parametrize("kind", [NoticeReporter, LineReporter, JsonReporter, TerminalReporter])
def test_a_reader_that_goes_away_does_not_stop_the_work(kind):
    with kind(Torn()) as reporter:
        with reporter.phase("expand"):
            reporter.notice(Notice("A", "b"))
        reporter.message("c")
    assert "expand" in reporter.phases


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (human.count(1234567), "1,234,567"),
        (human.rate(8_312_345.0, "rows"), "8.31 M rows/s"),
        (human.rate(12.0, "arrivals"), "12 arrivals/s"),
        (human.rate(1.164e9, "arrivals"), "1.16 G arrivals/s"),
        (human.rate(999_999.0, "rows"), "1000 k rows/s"),
        (human.rate(0.0, "rows"), "0 rows/s"),
        (human.speed(6, 0.5, "rows"), "12 rows/s"),
        (human.speed(6, 0.0, "rows"), "no rate measured"),
        (human.rate(1_610_612_736.0, "bytes"), "1.5 GiB/s"),
        (human.amount(1234, "rows"), "1,234 rows"),
        (human.amount(1, "sites"), "1 site"),
        (human.amount(1, "batches"), "1 batch"),
        (human.amount(0, "sites"), "0 sites"),
        (human.amount(2048, "bytes"), "2.0 KiB"),
        (human.part(5, 20, "rows"), "5 of 20 rows"),
        (human.part(5, None, "rows"), "5 rows"),
        (human.part(512, 2048, "bytes"), "512 B of 2.0 KiB"),
        (human.size(0), "0 B"),
        (human.size(1_610_612_736), "1.5 GiB"),
        (human.duration(0.0123), "12 ms"),
        (human.duration(9.94), "9.9 s"),
        (human.duration(9.96), "10 s"),
        (human.duration(59.6), "1 min 0 s"),
        (human.duration(75), "1 min 15 s"),
        (human.duration(3599.9), "1 h 0 min"),
        (human.duration(4000), "1 h 6 min"),
    ],
)
def test_figures_read_well(text, expected):
    assert text == expected
