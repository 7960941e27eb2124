"""`arrivals run`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.places import PLACE, open_place, scratch_option
from engine.cli.session import output_options, session_of
from engine.storage.url import Place


@click.command(
    epilog="Example: arrivals run runs/small --threads 2 --batch-arrivals 500000",
    short_help="Expand the sealed world into arrival events.",
)
@click.argument("run_root", type=PLACE)
@click.option("--backend", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: auto]")
@click.option("--threads", type=click.IntRange(1), help="Batches at once.  [default: every core]")
@click.option("--scenario", "scenarios", multiple=True, metavar="ID", help="Only this one; may be repeated.")
@click.option(
    "--batch-arrivals",
    type=click.IntRange(1),
    help="The most arrivals in a batch, hence in a part file; threads x batch bounds the memory.",
)
@click.option("--strict", is_flag=True, help="Fail where a policy would fall back.")
@click.option("--replace", is_flag=True, help="Replace a published output that differs.")
@click.option("--resume", is_flag=True, help="Go on where a killed run was, after verifying the parts it finished.")
@click.option("--format", "file_format", type=click.Choice(["parquet", "arrow"]), help="[default: parquet]")
@click.option(
    "--rng-events",
    type=click.Choice(["parquet", "jsonl"]),
    is_flag=False,
    flag_value="parquet",
    help="Also write one random-number event a count row and family.  [parquet where no format is named]",
)
@scratch_option
@click.option("--accept-tz-cache", is_flag=True, help="Only warn where the tz cache and the pinned tzdata disagree.")
@output_options
@click.pass_context
def command(
    context: click.Context, /, run_root: Place, file_format: str | None, scratch: Path | None, **given: Any
) -> None:
    """Expand every count of the sealed world under RUN_ROOT (a directory, a URL) and publish `arrival_events_5B`.

    The inputs are compared with their seal first. Output appears under its published path complete or not at
    all; the same inputs give the same arrivals for any number of threads and any batch size.
    """
    session = session_of(context)

    from engine.cli.summary import show_run
    from engine.job import RunOptions, run

    # RunOptions owns the defaults; only what was said on the command line is passed on.
    given["format"] = file_format
    options = {name: value for name, value in given.items() if value not in (None, ())}
    if given["resume"] and not isinstance(run_root, Path):
        raise click.UsageError("--resume needs a directory of this machine: of a URL, nothing stays here to go on with")
    with session.reporter() as reporter, open_place(run_root, reporter, scratch) as directory:
        result = run(directory.root, RunOptions(**options), reporter, shipping=directory.shipping)
    show_run(result, session)
