"""`arrivals demo`: the whole way once, on a small world."""

from __future__ import annotations

from pathlib import Path

import click

from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of


@click.command(
    epilog="Example: arrivals demo /tmp/arrivals-demo",
    short_help="Make a small world, seal it, expand it, check it.",
)
@click.argument("directory", type=LOCAL, required=False)
@output_options
@click.pass_context
def command(context: click.Context, directory: Path | None) -> None:
    """Make a world of about a million arrivals, seal it, expand it and check what came out.

    All of it goes to DIRECTORY (default: ./arrivals-demo); that of an earlier demo is used again.
    """
    session = session_of(context)
    session.on_interrupt = "nothing half-written was published; run the demo again to go on"

    from arrival_engine.engine.cli.demo_steps import demo
    from arrival_engine.engine.cli.summary import show_demo

    with session.reporter() as reporter:
        result = demo(directory, reporter)
    show_demo(result, session)
    if not result.passed:
        context.exit(1)
