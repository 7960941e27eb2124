"""`arrivals tz`: the tz timetable cache."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.session import output_options, session_of


@click.group(name="tz", epilog="Example: arrivals tz build runs/small", short_help="The tz timetable cache.")
def command() -> None:
    """Work with the tz timetable cache (TZC1), the table of every zone's UTC offsets."""


@command.command(epilog="Example: arrivals tz build runs/small", short_help="Write a correct cache.")
@click.argument("run_root", type=click.Path(path_type=Path))
@output_options
@click.pass_context
def build(context: click.Context, run_root: Path) -> None:
    """Write the cache of the world under RUN_ROOT from the pinned `tzdata` package."""
    session = session_of(context)
    session.on_interrupt = "no cache was written"

    from engine.cli.summary import show_tz_build
    from engine.tz.build import build_cache

    with session.reporter() as reporter:
        result = build_cache(run_root, reporter)
    show_tz_build(result, session)
