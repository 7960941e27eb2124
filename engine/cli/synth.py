"""`arrivals synth`: write a synthetic world."""

from __future__ import annotations

from pathlib import Path

import click

from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of


@click.command(
    epilog="Example: arrivals synth runs/small --preset demo --seed 7 --scale 0.1",
    short_help="Write a synthetic world in the contract layout.",
)
@click.argument("run_root", type=LOCAL)
@click.option("--preset", type=click.Choice(["demo", "reference"]), default="demo", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=42, show_default=True, help="Fixes the world.")
@click.option(
    "--scale",
    type=click.FloatRange(0.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Shrinks or grows the preset's number of merchants.",
)
@output_options
@click.pass_context
def command(context: click.Context, run_root: Path, preset: str, seed: int, scale: float) -> None:
    """Write a whole synthetic world under RUN_ROOT: inputs, policies and run receipt.

    The preset `demo` has about a million arrivals, `reference` about 116 million.
    """
    session = session_of(context)
    session.on_interrupt = "no world was written"

    from arrival_engine.engine.cli.summary import show_synth
    from arrival_engine.engine.synth import synthesise

    with session.reporter() as reporter:
        result = synthesise(run_root, preset=preset, seed=seed, scale=scale, reporter=reporter)
    show_synth(result, session)
