"""`arrivals seal`: the S0 gate."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.cli.output import headline, present, show_block, show_next
from arrival_engine.engine.cli.places import PLACE, open_place, scratch_option
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.process import human
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    from arrival_engine.engine.sealing import SealResult


@click.command(
    epilog="Example: arrivals seal runs/small",
    short_help="Verify every input and seal it by its SHA-256.",
)
@click.argument("run_root", type=PLACE)
@scratch_option
@output_options
@click.pass_context
def command(context: click.Context, run_root: Place, scratch: Path | None) -> None:
    """Verify every input under RUN_ROOT (a directory or a URL), then write the sealed inventory and the gate receipt.

    Sealing again writes the same bytes if nothing changed. Otherwise it refuses and names the change.
    """
    session = session_of(context)
    session.on_interrupt = "no new seal was written"

    from arrival_engine.engine.sealing import seal

    with session.reporter() as reporter, open_place(run_root, reporter, scratch) as directory:
        result = seal(directory.root, reporter)
    gate, inventory = directory.shown(Path(result.gate_path)), directory.shown(Path(result.inventory_path))
    given = str(run_root) if isinstance(run_root, Path) else run_root.text
    present(context, replace(result, gate_path=gate, inventory_path=inventory), partial(_show, given))


def _show(run_root: str, result: SealResult) -> None:
    verb = "sealed" if result.changed else "was sealed already, and nothing has changed since"
    headline(f"{run_root} {verb}")
    passed = sum(status == "PASS" for status in result.upstream.values())
    show_block(
        ("inputs", f"{human.count(result.row_count)}, digest {result.digest}"),
        ("scenarios", ", ".join(result.scenario_set)),
        ("upstream", f"{passed} of {len(result.upstream)} segments passed"),
        ("sealed at", result.created_utc),
        ("inventory", str(result.inventory_path)),
        ("receipt", str(result.gate_path)),
    )
    show_next(f"run {shell_word(run_root)}")
