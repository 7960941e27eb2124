"""`arrivals doctor`: one screen about this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from arrival_engine.engine.cli.output import present, results_console, show_facts
from arrival_engine.engine.cli.session import output_options

if TYPE_CHECKING:
    from rich.text import Text

    from arrival_engine.engine.process.doctor import Diagnosis

_STYLES = {"ok": "", "note": "yellow", "problem": "bold red"}


@click.command(
    epilog="Example: arrivals doctor --json",
    short_help="Show what this machine and installation offer.",
)
@output_options
@click.pass_context
def command(context: click.Context) -> None:
    """Show Python, packages, cores, memory, CUDA devices, JIT cache and tzdata release.

    The exit code is 1 if something would make a run fail.
    """
    from arrival_engine.engine.process.doctor import doctor

    diagnosis = doctor()
    present(context, diagnosis, _show, passed=diagnosis.healthy)


def _show(diagnosis: Diagnosis) -> None:
    from arrival_engine.engine.process.console import styled

    def line(value: str, state: str, advice: str) -> Text:
        return styled((value, _STYLES[state]), (f"  -> {advice}" if advice else "", "dim"))

    rows = ((fact.name, line(fact.value, fact.state, fact.advice)) for fact in diagnosis.facts)
    show_facts(results_console(), rows)
