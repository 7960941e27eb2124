"""The live line of a terminal: one line of text that fits the terminal's width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, ConsoleOptions
from rich.text import Text

from arrival_engine.engine.process import human
from arrival_engine.engine.process.console import styled
from arrival_engine.engine.process.progress import Status, waiting

__all__ = ["LiveLine"]

_BAR_CELLS = (24, 12, 6)
_GAP = 1


class LiveLine(NamedTuple):
    """A phase, then what is known about it: bar, count, rate, time left; what does not fit is left out.

    frame: the spinner's; patience: seconds without an advance after which the line says that the phase is waiting.
    """

    status: Status
    frame: Text
    patience: float
    ascii_only: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        # A line as wide as the terminal makes some terminals begin another one.
        line = self.fitted(min(options.max_width, console.width) - 1)
        line.end = ""
        yield line

    def fitted(self, cells: int) -> Text:
        """The line in at most `cells` terminal cells."""
        name = styled((self.status.phase, "bold"))
        if not self.status.phase:
            return Text("")
        # By importance: each is added where it belongs if it still fits.
        shown: dict[int, Text] = {}
        left = cells - self.frame.cell_len - _GAP - name.cell_len
        for place, choices in self._facts():
            fitting = next((text for text in choices if text.cell_len + _GAP <= left), None)
            if fitting is not None:
                shown[place] = fitting
                left -= fitting.cell_len + _GAP
        line = Text(" ").join([self.frame, name, *(shown[place] for place in sorted(shown))])
        line.truncate(max(cells, 1), overflow="crop" if self.ascii_only else "ellipsis")
        return line

    def _facts(self) -> Iterator[tuple[int, list[Text]]]:
        """Place on the line and forms, longest first, of each fact, the most important fact first."""
        status = self.status
        if status.idle_s >= self.patience:
            yield 4, [styled((f"waiting: {waiting(status)}", "yellow")), styled(("waiting", "yellow"))]
        if not status.unit:
            yield 0, [_dim(human.duration(status.phase_s))]
            return
        count = [styled(human.part(status.done, status.total, status.unit))]
        if status.total:
            count.append(styled(f"{100.0 * status.done / status.total:.0f} %"))
        yield 1, count
        if status.remaining_s is not None:
            yield 3, [_dim(f"{human.duration(status.remaining_s)} left")]
        if status.total:
            yield 0, [self._bar(status.done, status.total, cells) for cells in _BAR_CELLS]
        if status.per_second > 0.0:
            yield 2, [styled((human.rate(status.per_second, status.unit), "cyan"))]

    def _bar(self, done: int, total: int, cells: int) -> Text:
        full = min(done, total) * cells // total
        done_mark, left_mark = ("#", ".") if self.ascii_only else ("━", "━")
        return Text.assemble((done_mark * full, "green"), (left_mark * (cells - full), "dim"))


def _dim(text: str) -> Text:
    return styled((text, "dim"))
