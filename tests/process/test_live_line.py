"""The live line of a terminal: one line at every width, one line per finished phase."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from arrival_engine.contracts import Notice
from arrival_engine.engine.process.live_line import LiveLine
from arrival_engine.engine.process.progress import Status
from arrival_engine.engine.process.terminal import TerminalReporter
from tests.support.screen import Screen

BUSY = Status("expand and write", 12.0, "arrivals", 61_234_567, 116_327_882, 8_312_345.0, 6.6, 0.0)


def line(status: Status, cells: int) -> str:
    return LiveLine(status, Text("*"), patience=10.0).fitted(cells).plain


def test_what_does_not_fit_is_left_out_the_least_important_first():
    assert line(BUSY, 160) == (
        "* expand and write ━━━━━━━━━━━━━━━━━━━━━━━━ 61,234,567 of 116,327,882 arrivals 8.31 M arrivals/s 6.6 s left"
    )
    assert line(BUSY, 79) == "* expand and write ━━━━━━━━━━━━ 61,234,567 of 116,327,882 arrivals 6.6 s left"
    assert line(BUSY, 49) == "* expand and write ━━━━━━━━━━━━ 53 % 6.6 s left"
    assert line(BUSY, 30) == "* expand and write ━━━━━━ 53 %"
    assert line(BUSY, 25) == "* expand and write 53 %"
    assert line(BUSY, 12) == "* expand an…"


def test_a_phase_without_count_shows_its_time_and_what_it_waits_for():
    silent = Status("seal check", 12.0, "", 0, None, 0.0, None, 11.0)
    assert line(silent, 79) == "* seal check 12 s waiting: nothing finished yet"
    assert line(silent, 30) == "* seal check 12 s waiting"
    assert line(Status("", 0.0, "", 0, None, 0.0, None, 0.0), 79) == ""


@given(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.integers(0, 10**12),
    st.none() | st.integers(1, 10**12),
    st.floats(0, 1e12),
    st.none() | st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(1, 200),
)
def test_no_line_is_wider_than_it_may_be(name, done, total, rate, left, idle, cells):
    status = Status(name, 1.0, "arrivals", done, total, rate, left, idle)
    for ascii_only in (False, True):
        fitted = LiveLine(status, Text("*"), 10.0, ascii_only).fitted(cells)
        assert fitted.cell_len <= cells
        assert "\n" not in fitted.plain


class Terminal:
    """A reporter on a screen, with a clock that stands still unless it is moved."""

    def __init__(self, width: int) -> None:
        self.out, self.now, self.screen = io.StringIO(), 100.0, Screen(width)
        console = Console(file=self.out, width=width, force_terminal=True, color_system=None, highlight=False)
        self.reporter = TerminalReporter(console=console, clock=lambda: self.now)
        # Drawn when asked: the thread that draws eight times per second would write between the steps of a test.
        self.reporter._live.auto_refresh = False

    def show(self) -> list[str]:
        """Draw the live line and return the screen."""
        self.reporter._live.refresh()
        return self.drawn()

    def drawn(self) -> list[str]:
        self.screen.feed(self.out.getvalue().replace("\n", "\r\n"))
        self.out.seek(0)
        self.out.truncate()
        return self.screen.lines


@pytest.mark.parametrize("width", [200, 80, 50, 20])
def test_the_live_line_is_one_line_and_finished_phases_are_one_each(width):
    terminal = Terminal(width)
    with terminal.reporter as reporter:
        with reporter.phase("seal check"):
            assert len(terminal.show()) == 1
            with reporter.phase("hash inputs"):
                reporter.expect("bytes", 1 << 30)
                reporter.advance(1 << 20)
                terminal.now += 1.0
                assert len(terminal.show()) == 1
            # Not the line of the phase that has ended, below its own tick.
            shown = terminal.drawn()
            assert re.fullmatch(r"✓ hash inputs 1\.0 s", shown[0])
            assert len(shown) == 2
            assert "hash" not in shown[1]
            assert "GiB" not in shown[1]
        with reporter.phase("expand and write"):
            reporter.expect("arrivals", 116_327_882)
            reporter.advance(61_234_567)
            terminal.now += 12.0
            assert len(terminal.show()) == 3
    text = " ".join(terminal.drawn())
    assert re.fullmatch("✓ hash inputs 1.0 s ✓ seal check 1.0 s ✓ expand and write 12 s", text)


def test_nothing_is_live_between_phases():
    terminal = Terminal(80)
    with terminal.reporter as reporter:
        with reporter.phase("plan"):
            pass
        reporter.notice(Notice("TZ", "zones differ"))
        assert [found.strip() for found in terminal.show()] == ["✓ plan 0 ms", "warning TZ zones differ"]
