"""The live progress line of a terminal, drawn with rich."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from arrival_engine.contracts.errors import Notice
from arrival_engine.engine.process import human
from arrival_engine.engine.process.console import SafeConsole, styled
from arrival_engine.engine.process.progress import Reporter, Status, waiting
from arrival_engine.engine.process.streams import TolerantStream

__all__ = ["TerminalReporter"]


Cell = Spinner | Text | ProgressBar


class TerminalReporter(Reporter):
    """Finished phases as lines, and below them a live line: phase, bar, done / total, rate, time left.

    After `patience` seconds without an advance, the line says that the phase is waiting.
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

    def render(self) -> Table:
        """The current live line."""
        return self._line(self.status())

    def _line(self, status: Status) -> Table:
        line = Table.grid(padding=(0, 1))
        name = styled((status.phase or "starting", "bold"))
        cells: list[Cell] = [self._spinner, name]
        cells += _count_cells(status) if status.unit else [_dim(human.duration(status.phase_s))]
        if status.idle_s >= self._patience:
            cells.append(styled((f"waiting: {waiting(status)}", "yellow")))
        line.add_row(*cells)
        return line

    def _on_phase_start(self, name: str) -> None:  # noqa: ARG002 - the live line asks for the status itself
        # Live.start() does nothing if it already runs.
        self._live.start()

    def _on_phase_end(self, name: str, seconds: float, finished: bool) -> None:
        mark, style = ("+", "green") if self._ascii else ("✓", "green")
        if not finished:
            mark, style = ("x", "red") if self._ascii else ("✗", "red")
        self._console.print(styled((mark, style), f" {name} ", (human.duration(seconds), "dim")))

    def _on_notice(self, notice: Notice) -> None:
        self._console.print(styled((f"warning {notice.code}", "yellow bold"), f" {notice.message}"))

    def _on_message(self, text: str) -> None:
        self._console.print(_dim(text))


def _count_cells(status: Status) -> list[Cell]:
    cells: list[Cell] = []
    if status.total:
        cells.append(ProgressBar(total=status.total, completed=min(status.done, status.total), width=24))
    cells.append(styled(human.part(status.done, status.total, status.unit)))
    if status.per_second > 0.0:
        cells.append(styled((human.rate(status.per_second, status.unit), "cyan")))
    if status.remaining_s is not None:
        cells.append(_dim(f"{human.duration(status.remaining_s)} left"))
    return cells


def _dim(text: str) -> Text:
    return styled((text, "dim"))
