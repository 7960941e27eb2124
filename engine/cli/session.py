"""The output options that every command has, and the session they go to."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from arrival_engine.contracts.safe_text import shell_word

if TYPE_CHECKING:
    from arrival_engine.engine.process.progress import Reporter

__all__ = ["Session", "debug_option", "flag", "honour_json", "output_options", "row_output_options", "session_of"]

_COMMAND = re.compile(r"`[^`]*`")
_ROOT = re.compile(r"\b(RUN_ROOT|URL)\b")

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Session:
    """The output options of one invocation; `on_interrupt` says what an interrupted command leaves behind.

    rows_on_output: standard output has rows, so that results for machines go to standard error. run_root: the run
    directory as it was typed.
    """

    debug: bool = False
    json: bool = False
    quiet: bool = False
    rows_on_output: bool = False
    run_root: str = ""
    on_interrupt: str = "nothing half-written was published"

    @property
    def documents(self) -> TextIO:
        """The stream for JSON objects: results and failures."""
        return sys.stderr if self.rows_on_output else sys.stdout

    def pasteable(self, hint: str) -> str:
        """A hint whose commands name the run directory in place of RUN_ROOT, quoted for a shell."""
        if not self.run_root:
            return hint
        # A name that begins like an option would be taken for one.
        root = shell_word(f"./{self.run_root}" if self.run_root.startswith("-") else self.run_root)
        return _COMMAND.sub(lambda command: _ROOT.sub(lambda _: root, command[0]), hint)

    def reporter(self) -> Reporter:
        """The reporter that these options ask for; it writes to standard error."""
        from arrival_engine.engine.process import progress

        if self.quiet:
            return progress.NoticeReporter()
        if self.json:
            return progress.JsonReporter()
        if sys.stderr.isatty():
            from arrival_engine.engine.process.terminal import TerminalReporter

            return TerminalReporter()
        return progress.LineReporter()


def session_of(context: click.Context) -> Session:
    """The invocation's session, made by `engine.cli.main`."""
    session: Session = context.ensure_object(Session)
    return session


def set_flag(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Option callback: set a flag of the session as soon as it is read, so that failures honour it."""
    if value and parameter.name is not None:
        setattr(session_of(context), parameter.name, True)


def flag(name: str, text: str) -> Callable[[Command], Command]:
    """A flag that goes to the session, not to the command's parameters."""
    return click.option(name, is_flag=True, expose_value=False, is_eager=True, callback=set_flag, help=text)


debug_option = flag("--debug", "Show the traceback of a failure.")


def output_options(command: Command) -> Command:
    """Add `--quiet`, `--json` and `--debug` to a command."""
    quiet = flag("--quiet", "Print no progress and no summary, only warnings and errors.")
    json = flag("--json", "Print one JSON object on standard output, and progress as JSON lines on standard error.")
    return quiet(json(debug_option(command)))


def row_output_options(command: Command) -> Command:
    """The same options for a command that writes rows to standard output."""
    quiet = flag("--quiet", "Print only warnings and errors.")
    json = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_json_aside,
        help="Print progress as JSON lines on standard error, and there one JSON object at the end.",
    )
    return quiet(json(debug_option(command)))


def _set_json_aside(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        session = session_of(context)
        session.json = session.rows_on_output = True


def honour_json(context: click.Context | None, words: list[str]) -> None:
    """Read `--json` for a command line that could not be parsed, as far as its command has the option."""
    options = words[: words.index("--")] if "--" in words else words
    if context is not None and "--json" in options:
        for parameter in context.command.params:
            if parameter.name == "json" and parameter.callback is not None:
                parameter.callback(context, parameter, True)
