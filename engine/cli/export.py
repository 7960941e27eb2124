"""`arrivals export`: arrivals as a table of another tool."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from arrival_engine.contracts.options import Clustering, ColumnSet, IdType, TableFormat
from arrival_engine.engine.cli.output import headline, present, show_block, show_line
from arrival_engine.engine.cli.places import LOCAL, TARGET
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import Choice, WholeNumber
from arrival_engine.engine.process import human
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    from arrival_engine.engine.exporting import ExportResult

_NAMES = re.compile(r"\b(partitioned|cluster_by|catalog|table|license|ids|accept_tz_cache)\b")
_OUTCOMES = {
    "written": "written",
    "replaced": "written in place of another one",
    "identical": "there before, left as it is",
}


@click.command(
    epilog="Example: arrivals export runs/small arrivals.duckdb --to duckdb --cluster-by day",
    short_help="Write arrivals as a Parquet, Delta, Iceberg or DuckDB table.",
)
@click.argument("run_root", type=LOCAL)
@click.argument("target", type=TARGET)
@click.option("--to", type=Choice(get_args(TableFormat)), default="parquet", show_default=True, help="Table format.")
@click.option("--scenario", metavar="ID", help="[default: the only one]")
@click.option(
    "--columns",
    type=Choice(get_args(ColumnSet)),
    default="readable",
    show_default=True,
    help="Columns for people, with one place_id and an offset beside each local time, or the contract's 21.",
)
@click.option(
    "--ids",
    type=Choice(get_args(IdType)),
    help="Form of 64-bit ids.  [default: int64, the same bits, for delta and iceberg; uint64 for the others]",
)
@click.option(
    "--cluster-by",
    type=Choice(get_args(Clustering)),
    default="merchant",
    show_default=True,
    help="Order of rows: by merchant, or by UTC day and then by merchant.",
)
@click.option("--partitioned", is_flag=True, help="One folder day=YYYY-MM-DD per UTC day; needs --cluster-by day.")
@click.option("--no-publish", is_flag=True, help="Expand the sealed world; published arrivals are not needed.")
@click.option("--replace", is_flag=True, help="Put the export in place of another one.")
@click.option("--catalog", metavar="URL", help="Iceberg catalog.  [default: an SQLite file in TARGET]")
@click.option("--table", metavar="NAMESPACE.NAME", help="Name of the Iceberg table.")
@click.option("--license", metavar="SPDX|URL", help="Licence of the arrivals, for their description.")
@click.option("--threads", type=WholeNumber(1), help="[default: one per core]")
@click.option(
    "--accept-tz-cache",
    is_flag=True,
    help="With --no-publish: only warn if the tz cache and the pinned tzdata disagree.",
)
@output_options
@click.pass_context
def command(context: click.Context, /, run_root: Path, target: Place, **given: Any) -> None:
    """Write the arrivals under RUN_ROOT as a table at TARGET, with a Croissant description beside it.

    Readers of TARGET see the whole table or nothing. A second export of the same arrivals in the same form changes
    nothing; another one needs --replace. The digest of what is written is computed from its rows, and must be that of
    the published arrivals.
    """
    session = session_of(context)
    session.on_interrupt = "the target is as it was"

    from arrival_engine.engine.exporting import ExportOptions, export

    given["publish"] = not given.pop("no_publish")
    try:
        options = ExportOptions(**given)
    except ValueError as problem:
        raise click.UsageError(_in_options(str(problem)), context) from None
    with session.reporter() as reporter:
        result = export(run_root, target, options, reporter)
    present(context, result, _show)


def _in_options(problem: str) -> str:
    """A message about the library's options in words of the command line."""
    named = _NAMES.sub(lambda found: f"--{found[0].replace('_', '-')}", problem)
    return named.replace("publish False", "--no-publish")


def _show(result: ExportResult) -> None:
    headline(f"{result.scenario_id}: {human.amount(result.arrivals, 'arrivals')} as {result.to}")
    show_block(
        ("output", f"{_OUTCOMES[result.outcome]}: {result.target}"),
        ("files", f"{human.count(result.files)}, {human.size(result.bytes)}"),
        ("columns", f"{result.columns}, ids {result.ids}, clustered by {result.cluster_by}"),
        ("digest", result.digest),
        ("described", result.description),
        ("licence", result.license or "none stated; --license SPDX|URL states one"),
        ("speed", human.speed(result.arrivals, result.seconds, "arrivals")),
    )
    if result.read_by:
        show_line()
        show_line("Read it:")
        show_line("  ", (result.read_by, "cyan"))
