"""A rich console that shows control characters of the texts it prints instead of obeying them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from arrival_engine.contracts.safe_text import visible
from arrival_engine.engine.process.streams import unescaped

__all__ = ["SafeConsole", "styled"]


class SafeConsole(Console):
    """A console for texts with names and values from files; its own colours and cursor movements are unaffected."""

    def __init__(self, file: TextIO, *, soft_wrap: bool = False, width: int | None = None) -> None:
        # `render` escapes, and what rich adds to it are our own colours.
        super().__init__(file=unescaped(file), highlight=False, soft_wrap=soft_wrap, width=width)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments with control characters as escapes, except the line ends of the layout."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, keep="\n"))

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError; rich would exit with 1, the code of a named failure."""
        raise BrokenPipeError


def styled(*parts: str | tuple[str, str]) -> Text:
    """Text of parts, each a string or (string, style), on one line: a line end inside a value is shown as an escape.

    Rich itself drops some control characters of a Text, which would give a name that does not exist.
    """
    return Text.assemble(*(visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts))
