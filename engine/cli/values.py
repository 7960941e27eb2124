"""Types of the values of options, which say in plain words what is wrong with a value."""

from __future__ import annotations

import math
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from arrival_engine.contracts.guesses import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Choice", "FilePath", "FolderPath", "Number", "PathType", "WholeNumber", "is_utf8"]

Place = TypeVar("Place")
_SHOWN = 40
_DIGITS = re.compile("(?P<sign>[+-]?)(?P<digits>[0-9]+(_[0-9]+)*)")
_INT64_MAX = 2**63 - 1


class Choice(click.Choice[str]):
    """One of several words; the error for another has a guess at the word that was meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word; a usage error for one that is not a choice."""
        if value not in self.choices:
            guess = did_you_mean(str(value), self.choices)
            listed = ", ".join(repr(choice) for choice in self.choices)
            self.fail(f"{_quoted(value)} is not one of {listed}{f'; {guess}' if guess else ''}", param, ctx)
        return str(value)


class WholeNumber(click.IntRange):
    """A whole number from `min` to `max`, both included."""

    name = "integer"

    def __init__(self, least: int, most: int | None = None) -> None:
        super().__init__(least, most)
        self._least, self._most = least, _INT64_MAX if most is None else most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; a usage error for other text and for a number outside the range."""
        text = str(value).strip()
        found = _DIGITS.fullmatch(text)
        if found is None:
            self.fail(f"{_quoted(value)} is not a whole number: write it in digits alone, such as 500000", param, ctx)
        # Python refuses to read thousands of digits, and the first forty are above any bound.
        number = int(found["sign"] + (found["digits"].replace("_", "").lstrip("0")[:_SHOWN] or "0"))
        if number < self._least:
            self.fail(f"{_short(text)} is too small: the least is {self._least}", param, ctx)
        if number > self._most:
            self.fail(f"{_short(text)} is too large: the most is {self._most}", param, ctx)
        return number


class Number(click.FloatRange):
    """A finite number above `bound`."""

    name = "number"

    def __init__(self, bound: float) -> None:
        super().__init__(bound, min_open=True)
        self._bound = bound

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error for other text and for a number that is not above the bound."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{_quoted(value)} is not a number: write one such as 0.1 or 2", param, ctx)
        if number <= self._bound:
            self.fail(f"{value} is too small: it must be above {self._bound:g}", param, ctx)
        return number


class PathType(click.ParamType[Place]):
    """A path, which a shell completes: `kind` is `dir` for directories alone, `file` for both."""

    kind = "dir"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """What tells the shell to complete the path itself."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self.kind)]


class _LocalPath(PathType[Path]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; a usage error for an empty one and for one where something else is already."""
        if not os.fspath(value):
            # An unset variable; as a path it would be the current directory.
            self.fail("the path is empty", param, ctx)
        if not is_utf8(os.fspath(value)):
            # Arrow takes no other paths.
            self.fail(f"the path {value!r} is not UTF-8: give one that is", param, ctx)
        path = Path(value)
        fault = self.fault(path)
        if fault:
            self.fail(f"{str(path)!r} {fault}", param, ctx)
        return path

    def fault(self, path: Path) -> str:
        """What is wrong with a path; empty if nothing is."""
        raise NotImplementedError


class FolderPath(_LocalPath):
    """A directory, there already or to be made."""

    name = "directory"

    def fault(self, path: Path) -> str:
        """Whether a file is in its place."""
        return "is a file, not a directory" if stat.S_ISREG(_mode(path)) else ""


class FilePath(_LocalPath):
    """A file, there already or to be written."""

    name = "file"
    kind = "file"

    def fault(self, path: Path) -> str:
        """Whether a directory is in its place."""
        return "is a directory, not a file" if stat.S_ISDIR(_mode(path)) else ""


def _mode(path: Path) -> int:
    """The mode of what a path names; 0 if that is nothing, or cannot be looked at."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def is_utf8(text: str) -> bool:
    """Whether a text from the command line has a form in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quoted(value: object) -> str:
    return repr(_short(str(value)))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
