"""`arrivals seal`: the S0 gate."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.session import output_options, session_of


@click.command(
    epilog="Example: arrivals seal runs/small",
    short_help="Verify every input and seal it by its SHA-256.",
)
@click.argument("run_root", type=click.Path(path_type=Path))
@output_options
@click.pass_context
def command(context: click.Context, run_root: Path) -> None:
    """Verify every input under RUN_ROOT, then write the sealed inventory and the gate receipt.

    Sealing again with nothing changed writes the same bytes; with something changed it refuses and says what.
    """
    session = session_of(context)
    session.on_interrupt = "no new seal was written"

    from engine.cli.summary import show_seal
    from engine.seal import seal

    with session.reporter() as reporter:
        result = seal(run_root, reporter)
    show_seal(result, run_root, session)
