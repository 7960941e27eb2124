"""The look of results and failures: tables for people, JSON for machines."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from arrival_engine.contracts.errors import ArrivalError, json_safe
from arrival_engine.contracts.safe_text import json_line, shell_word, visible
from arrival_engine.engine.cli.failure_context import context_rows
from arrival_engine.engine.cli.session import Session, session_of

if TYPE_CHECKING:
    from rich.text import Text

    from arrival_engine.engine.process.console import SafeConsole

__all__ = [
    "emit_failure",
    "emit_json",
    "headline",
    "plain",
    "present",
    "results_console",
    "show_block",
    "show_facts",
    "show_failure",
    "show_line",
    "show_next",
]

Result = TypeVar("Result")


def plain(value: object) -> object:
    """A result as JSON-safe data: dataclasses and named tuples become objects."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(item) for name, item in zip(value._fields, value, strict=True)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return json_safe(value)


def present(
    context: click.Context,
    result: Result,
    show: Callable[[Result], None],
    *,
    passed: bool = True,
    document: Callable[[Result], object] = plain,
    **more: object,
) -> None:
    """End a command with its result: as one JSON object, by `show`, or silently; exit code 1 unless it `passed`.

    document: the result as JSON-safe data; more: what the JSON object says besides.
    """
    session = session_of(context)
    if session.json:
        facts, status = document(result), {"status": "PASS" if passed else "FAIL"}
        emit_json(session, {**status, **more, **(facts if isinstance(facts, dict) else {"result": facts}), **status})
    elif not session.quiet:
        show(result)
    if not passed:
        context.exit(1)


def emit_json(session: Session, document: Mapping[str, object]) -> None:
    """Write one JSON object on a line of the session's stream for documents."""
    session.documents.write(json_line(document) + "\n")
    session.documents.flush()


def emit_failure(session: Session, facts: Mapping[str, object]) -> None:
    """Write a failure as one JSON object, on standard error if its stream cannot be written."""
    document = {"status": "FAIL", **facts}
    try:
        emit_json(session, document)
    except ArrivalError:
        sys.stderr.write(json_line(document) + "\n")


def results_console() -> SafeConsole:
    """Standard output for tables; a line longer than the terminal, such as a path, is never cut."""
    from arrival_engine.engine.process.console import SafeConsole

    return SafeConsole(sys.stdout, soft_wrap=True)


def show_line(*parts: str | tuple[str, str]) -> None:
    """Print one line of results; a part may be (text, style)."""
    from arrival_engine.engine.process.console import styled

    results_console().print(styled(*parts))


def show_facts(console: SafeConsole, rows: Iterable[tuple[str, str | Text]]) -> None:
    """Print names in a column and values beside them, folded to a terminal's width, uncut elsewhere."""
    from rich.table import Table
    from rich.text import Text

    from arrival_engine.engine.process.console import styled

    # Text, because a value such as "[0]" would be read as markup.
    cells = [(visible(name), value if isinstance(value, Text) else styled(value)) for name, value in rows]
    if not console.is_terminal:
        width = max((len(name) for name, _ in cells), default=0)
        for name, value in cells:
            console.print(Text.assemble(f"{name:<{width}}  ", value), soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in cells:
        table.add_row(Text(name), value)
    console.print(table)


def headline(text: str, style: str = "bold green") -> None:
    """Print the first line of a result."""
    show_line((text, style))


def show_block(*rows: tuple[str, str]) -> None:
    """Print indented facts."""
    show_facts(results_console(), ((f"  {name}", value) for name, value in rows))


def show_next(*commands: str) -> None:
    """Print commands to go on with, as they can be typed here."""
    show_line()
    show_line("Next:")
    for command in commands:
        show_line("  ", (f"{_program()} {command}", "cyan"))


def _program() -> str:
    """The program as it can be typed here: `make demo` runs it from an environment that is not on the PATH."""
    if shutil.which("arrivals"):
        return "arrivals"
    typed = Path(sys.argv[0])
    return f"{shell_word(sys.executable)} -m arrival_engine" if typed.name == "__main__.py" else shell_word(str(typed))


def show_failure(error: ArrivalError, session: Session) -> None:
    """What is wrong, where, and what to do: for people on standard error, for machines as by `emit_failure`."""
    hint = session.pasteable(error.hint)
    if session.json:
        emit_failure(session, {**error.to_dict(), "hint": hint})
        return
    from arrival_engine.engine.process.console import SafeConsole, styled

    console = SafeConsole(sys.stderr)
    console.print(styled(("error ", "bold red"), (error.code.value, "red")))
    rows: list[tuple[str, str]] = [("what", error.message)]
    rows += context_rows(error.context, f"{error.message}\n{hint}")
    if hint:
        rows.append(("do", hint))
    show_facts(console, ((f"  {name}", value) for name, value in rows))
