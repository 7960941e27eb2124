"""`arrivals tz`: the tz timetable cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.engine.cli.groups import Group
from arrival_engine.engine.cli.output import headline, present, show_block
from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.tz.build import TzCacheResult


@click.group(name="tz", cls=Group, epilog="Example: arrivals tz build runs/small", short_help="The tz timetable cache.")
def command() -> None:
    """Work with the tz timetable cache (TZC1), the table of every zone's UTC offsets."""


@command.command(epilog="Example: arrivals tz build runs/small", short_help="Write a correct cache.")
@click.argument("run_root", type=LOCAL)
@click.option("--zone", "zones", multiple=True, metavar="TZID", help="Only this zone; may be repeated.  [default: all]")
@click.option("--replace", is_flag=True, help="Replace a cache that differs.")
@output_options
@click.pass_context
def build(context: click.Context, run_root: Path, zones: tuple[str, ...], replace: bool) -> None:
    """Write the cache of the world under RUN_ROOT from the pinned `tzdata` package."""
    session = session_of(context)
    session.on_interrupt = "no cache was written"

    from arrival_engine.engine.tz.build import build_tz

    with session.reporter() as reporter, reporter.phase("build tz cache"):
        result = build_tz(run_root, tzids=zones or None, replace=replace)
    present(context, result, _show)


def _show(result: TzCacheResult) -> None:
    headline(f"tz cache {'written' if result.changed else 'was there already, the same to the byte'}")
    show_block(
        ("folder", str(result.folder)),
        ("zones", f"{human.count(result.zones)}, tzdata {result.release}"),
        ("sha256", result.sha256),
    )
