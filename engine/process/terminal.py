"""The live progress line of a terminal, drawn with rich."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from arrival_engine.contracts.errors import Notice
from arrival_engine.engine.process import human
from arrival_engine.engine.process.console import SafeConsole, styled
from arrival_engine.engine.process.live_line import LiveLine
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.streams import TolerantStream

__all__ = ["TerminalReporter"]


class TerminalReporter(Reporter):
    """One line per finished phase, and below them a live line about the phase that is running.

    After `patience` seconds without an advance, the live line says that the phase is waiting.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        patience: float = 10.0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock=clock)
        self._patience = patience
        tolerant = TolerantStream(stream if stream is not None else sys.stderr)
        self._console = console or SafeConsole(cast("TextIO", tolerant))
        self._ascii = not self._console.encoding.lower().startswith("utf")
        self._spinner = Spinner("line" if self._ascii else "dots", style="cyan")
        self._live = Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def close(self) -> None:
        """Remove the live line."""
        self._live.stop()

    def render(self) -> LiveLine:
        """The current live line."""
        frame = self._spinner.render(self._clock())
        return LiveLine(self.status(), cast("Text", frame), self._patience, self._ascii)

    def _show(self, line: Text) -> None:
        """Print a line that stays, above the live line as it is now: that of a phase that has ended would stay too."""
        if self._live.is_started:
            self._live.refresh()
        self._console.print(line)

    def _on_phase_start(self, name: str) -> None:  # noqa: ARG002 - the live line asks for the status itself
        # Live.start() does nothing if it already runs.
        self._live.start()

    def _on_phase_end(self, name: str, seconds: float, finished: bool) -> None:
        mark, style = ("+", "green") if self._ascii else ("✓", "green")
        if not finished:
            mark, style = ("x", "red") if self._ascii else ("✗", "red")
        self._show(styled((mark, style), f" {name} ", (human.duration(seconds), "dim")))

    def _on_notice(self, notice: Notice) -> None:
        self._show(styled((f"warning {notice.code}", "yellow bold"), f" {notice.message}"))

    def _on_message(self, text: str) -> None:
        self._show(styled((text, "dim")))
