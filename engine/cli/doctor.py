"""`arrivals doctor`: one screen about this machine."""

from __future__ import annotations

import click

from arrival_engine.engine.cli.session import output_options, session_of


@click.command(
    epilog="Example: arrivals doctor --json",
    short_help="Show what this machine and installation offer.",
)
@output_options
@click.pass_context
def command(context: click.Context) -> None:
    """Show Python, packages, cores, memory, CUDA device, JIT cache and tzdata release.

    The exit code is 1 if something would make a run fail.
    """
    from arrival_engine.engine.cli.summary import show_diagnosis
    from arrival_engine.engine.process.doctor import diagnose

    diagnosis = diagnose()
    show_diagnosis(diagnosis, session_of(context))
    if not diagnosis.healthy:
        context.exit(1)
