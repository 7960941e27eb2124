"""`arrivals seal`: the S0 gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from arrival_engine.engine.cli.places import PLACE, open_place, scratch_option
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.storage.url import Place


@click.command(
    epilog="Example: arrivals seal runs/small",
    short_help="Verify every input and seal it by its SHA-256.",
)
@click.argument("run_root", type=PLACE)
@scratch_option
@output_options
@click.pass_context
def command(context: click.Context, run_root: Place, scratch: Path | None) -> None:
    """Verify every input under RUN_ROOT (a directory, a URL), then write the sealed inventory and the gate receipt.

    Sealing again with nothing changed writes the same bytes; with something changed it refuses and says what.
    """
    session = session_of(context)
    session.on_interrupt = "no new seal was written"

    from arrival_engine.engine.cli.summary import show_seal
    from arrival_engine.engine.sealing import seal

    with session.reporter() as reporter, open_place(run_root, reporter, scratch) as directory:
        result = seal(directory.root, reporter)
    gate, inventory = directory.shown(Path(result.gate_path)), directory.shown(Path(result.inventory_path))
    given = str(run_root) if isinstance(run_root, Path) else run_root.text
    show_seal(replace(result, gate_path=gate, inventory_path=inventory), given, session)
