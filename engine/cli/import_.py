"""`arrivals import`: a world from the user's own tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of

_FILES = LOCAL


_HELP = """Make a world under RUN_ROOT of your own tables, ready to seal and run.

A table is a CSV or Parquet file, several of them, or a directory of such files. The same tables give the same
world, in any order of rows. Columns:

\b
counts             merchant_id, tz, bucket_start (or bucket_index), count [, channel]
sites              merchant_id, tz, weight, country [, site_order]
virtual merchants  merchant_id, mode (HYBRID, VIRTUAL_ONLY) [, settlement_tz]
edges              merchant_id, tz, weight, country [, edge_order]
group weights      merchant_id, tz, weight
grid               bucket_start, bucket_end [, bucket_index]
"""


def _renames(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> list[tuple[str, str]]:
    """Option callback: pairs of THEIRS=OURS."""
    pairs = []
    for text in value:
        theirs, _, ours = text.rpartition("=")
        if not (theirs and ours):
            raise click.BadParameter(f"{text!r} is not of the form THEIRS=OURS, such as timezone=tz")
        pairs.append((theirs, ours))
    return pairs


@click.command(
    help=_HELP,
    epilog="Example: arrivals import --example coffee, which writes tables to start from and says how to import them",
    short_help="Make a world of your own tables of counts and sites.",
)
@click.argument("run_root", type=_FILES, required=False)
@click.option(
    "--counts",
    type=_FILES,
    metavar="FILE",
    multiple=True,
    help="Counts per merchant, zone and bucket; may be repeated.",
)
@click.option(
    "--sites", type=_FILES, metavar="FILE", multiple=True, help="The merchants' sites, with zones and weights."
)
@click.option(
    "--virtual-merchants", type=_FILES, metavar="FILE", multiple=True, help="Which merchants sell online, only or also."
)
@click.option(
    "--edges", type=_FILES, metavar="FILE", multiple=True, help="Where virtual merchants' arrivals come from."
)
@click.option(
    "--group-weights",
    type=_FILES,
    metavar="FILE",
    multiple=True,
    help="Zone weights per merchant; implies --zones weights.",
)
@click.option(
    "--zones",
    type=click.Choice(["counts", "weights"]),
    default="counts",
    show_default=True,
    help="A physical arrival goes to a site in its count row's zone, or in one drawn by group weights.",
)
@click.option(
    "--grid", type=_FILES, metavar="FILE", multiple=True, help="A table of buckets, instead of the three options below."
)
@click.option("--start", metavar="TIME", help="Start of the first bucket.  [default: the first in the counts]")
@click.option("--end", metavar="TIME", help="End of the last bucket.  [default: that of the last in the counts]")
@click.option("--bucket", metavar="LENGTH", help="Length of a bucket, such as 900, 15min or 1d.  [default: 1h]")
@click.option("--assume-utc", is_flag=True, help="Read times that name no zone as UTC.")
@click.option(
    "--rename",
    metavar="THEIRS=OURS",
    multiple=True,
    callback=_renames,
    help="Your name of a column and ours; may be repeated.",
)
@click.option("--ignore", metavar="COLUMN", multiple=True, help="A column of yours to leave out; may be repeated.")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=42, show_default=True, help="Fixes the arrivals.")
@click.option("--scenario", "scenario_id", default="baseline_v1", show_default=True, help="What to call the scenario.")
@click.option("--example", type=_FILES, metavar="DIRECTORY", help="Write example tables there, and nothing else.")
@output_options
@click.pass_context
def command(context: click.Context, /, run_root: Path | None, example: Path | None, **options: Any) -> None:
    """See `_HELP`."""
    session = session_of(context)
    if example is not None:
        given = [name for name, value in options.items() if value and context.get_parameter_source(name) != _DEFAULT]
        if run_root is not None or given:
            raise click.UsageError("--example stands alone: it writes tables, and imports nothing")
        _write_example(context, example)
        return
    if run_root is None:
        raise click.UsageError("Missing argument 'RUN_ROOT'.")
    for name in ("counts", "sites"):
        if not options[name]:
            raise click.UsageError(f"Missing option '--{name}'.")
    session.on_interrupt = "no world was written"

    from arrival_engine.engine.cli.summary import show_import
    from arrival_engine.engine.importing import ImportRequest, import_world

    with session.reporter() as reporter:
        result = import_world(ImportRequest(run_root=run_root, **options), reporter)
    show_import(result, session)


_DEFAULT = click.core.ParameterSource.DEFAULT


def _write_example(context: click.Context, directory: Path) -> None:
    from arrival_engine.engine.cli.summary import show_example
    from arrival_engine.engine.importing.example import write_example

    session = session_of(context)
    session.on_interrupt = "some example tables may be missing"
    show_example(write_example(directory), session)
