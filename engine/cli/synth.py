"""`arrivals synth`: write a synthetic world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.cli.output import headline, present, show_block, show_next
from arrival_engine.engine.cli.places import LOCAL, U64
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import Choice, Number
from arrival_engine.engine.process import human
from arrival_engine.engine.synth.presets import PRESETS

if TYPE_CHECKING:
    from arrival_engine.engine.synth import SynthResult


@click.command(
    epilog="Example: arrivals synth runs/small --preset demo --seed 7 --scale 0.1",
    short_help="Write a synthetic world in the contract's layout.",
)
@click.argument("run_root", type=LOCAL)
@click.option("--preset", type=Choice(list(PRESETS)), default="demo", show_default=True)
@click.option("--seed", type=U64, default=42, show_default=True, help="Determines the world.")
@click.option(
    "--scale",
    type=Number(0.0),
    default=1.0,
    show_default=True,
    help="Multiplies the preset's number of merchants.",
)
@click.option(
    "--complete-edges",
    is_flag=True,
    help="Give every virtual merchant edges. Without this, one may have none, and its arrivals take a fallback.",
)
@output_options
@click.pass_context
def command(context: click.Context, run_root: Path, preset: str, seed: int, scale: float, complete_edges: bool) -> None:
    """Write a complete synthetic world under RUN_ROOT: inputs, policies and run receipt.

    The preset `demo` has about a million arrivals, `reference` about 116 million.
    """
    session = session_of(context)
    session.on_interrupt = "no world was written"

    from arrival_engine.engine.synth import synthesise

    with session.reporter() as reporter:
        result = synthesise(
            run_root, preset=preset, seed=seed, scale=scale, complete_edges=complete_edges, reporter=reporter
        )
    present(context, result, _show)


def _show(result: SynthResult) -> None:
    verb = "was there already, the same to the byte" if result.reused else "written"
    headline(f"world {verb}: {human.amount(result.arrivals, 'arrivals')}")
    sites, zones = human.amount(result.sites, "sites"), human.amount(result.tzids, "time zones")
    show_block(
        ("merchants", f"{human.count(result.merchants)}, {sites} in {zones}"),
        ("count rows", f"{human.count(result.count_rows)}, {100 * result.zero_share:.1f} % of them zero"),
        ("entities", human.count(result.entities)),
        ("virtual", f"{100 * result.virtual_share:.1f} % of the arrivals, expected"),
        ("files", human.size(result.bytes)),
        ("time", human.duration(result.seconds)),
        ("run", str(result.run_root)),
    )
    show_next(f"seal {shell_word(str(result.run_root))}")
