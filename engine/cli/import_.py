"""`arrivals import`: a world from the user's own tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from arrival_engine.contracts.options import DecimalMark, EpochUnit, MerchantIds, ThousandsMark, ZoneSource
from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.cli.output import headline, present, show_block, show_next
from arrival_engine.engine.cli.places import LOCAL, TABLE, U64
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import Choice
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.importing import ImportResult
    from arrival_engine.engine.importing.division import LocalDays
    from arrival_engine.engine.importing.example import Example

_HELP = """Make a world under RUN_ROOT from your own tables, ready to seal and run.

A table is a CSV or Parquet file, several of them, or a directory of such files at any depth. Partition keys of
directories (KEY=VALUE) are columns. The same tables give the same world in any order of rows. Columns:

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
    epilog="Example: arrivals import --example coffee, which writes tables to start from and shows how to import them",
    short_help="Make a world from your own tables of counts and sites.",
)
@click.argument("run_root", type=LOCAL, required=False)
@click.option(
    "--counts",
    type=TABLE,
    metavar="FILE",
    multiple=True,
    help="Counts per merchant, zone and bucket; may be repeated.",
)
@click.option(
    "--sites", type=TABLE, metavar="FILE", multiple=True, help="The merchants' sites, with zones and weights."
)
@click.option(
    "--virtual-merchants",
    type=TABLE,
    metavar="FILE",
    multiple=True,
    help="Merchants that sell online, exclusively or in part.",
)
@click.option(
    "--edges",
    type=TABLE,
    metavar="FILE",
    multiple=True,
    help="Origins of virtual merchants' arrivals, with zones and weights.",
)
@click.option(
    "--group-weights",
    type=TABLE,
    metavar="FILE",
    multiple=True,
    help="Zone weights per merchant; implies --zones weights.",
)
@click.option(
    "--zones",
    type=Choice(get_args(ZoneSource)),
    default="counts",
    show_default=True,
    help="Zone of a physical arrival's site: that of its count row, or one drawn by group weights.",
)
@click.option(
    "--grid", type=TABLE, metavar="FILE", multiple=True, help="Table of buckets, in place of the next three options."
)
@click.option("--start", metavar="TIME", help="Start of the first bucket.  [default: the earliest in the counts]")
@click.option("--end", metavar="TIME", help="End of the last bucket.  [default: the latest in the counts]")
@click.option(
    "--bucket",
    metavar="LENGTH",
    help="Length of a bucket, such as 900, 15min or 1d, or local-day for days of each row's zone.  [default: 1h]",
)
@click.option(
    "--merchant-ids",
    type=Choice(get_args(MerchantIds)),
    metavar="FORM",
    default="number",
    show_default=True,
    help="Form of merchant ids in all tables: number, or text for names and UUIDs.",
)
@click.option("--assume-utc", is_flag=True, help="Read times without a zone as UTC.")
@click.option(
    "--epoch",
    type=Choice(get_args(EpochUnit)),
    metavar="UNIT",
    help="Read times that are numbers as s, ms, us or ns since 1970, in UTC.",
)
@click.option(
    "--accept-links",
    is_flag=True,
    help="Replace former names of zones by the current ones, such as US/Eastern by America/New_York.",
)
@click.option(
    "--rename",
    metavar="THEIRS=OURS",
    multiple=True,
    callback=_renames,
    help="Rename a column; may be repeated.",
)
@click.option("--ignore", metavar="COLUMN", multiple=True, help="Column to ignore; may be repeated.")
@click.option(
    "--thousands",
    type=Choice(get_args(ThousandsMark)),
    metavar="MARK",
    help="Mark that groups thousands: a dot, a comma, an apostrophe or a space.",
)
@click.option(
    "--decimal",
    type=Choice(get_args(DecimalMark)),
    metavar="MARK",
    help="Decimal sign: a dot or a comma.",
)
@click.option("--seed", type=U64, default=42, show_default=True, help="Determines the arrivals.")
@click.option("--scenario", "scenario_id", default="baseline_v1", show_default=True, help="Name of the scenario.")
@click.option("--example", type=LOCAL, metavar="DIRECTORY", help="Only write example tables to this directory.")
@output_options
@click.pass_context
def command(context: click.Context, /, run_root: Path | None, example: Path | None, **options: Any) -> None:
    """See `_HELP`."""
    session = session_of(context)
    if example is not None:
        given = [name for name, value in options.items() if value and context.get_parameter_source(name) != _DEFAULT]
        if run_root is not None or given:
            raise click.UsageError("--example takes no other arguments: it writes tables and imports nothing")
        _write_example(context, example)
        return
    if run_root is None:
        raise click.UsageError("Missing argument 'RUN_ROOT'.")
    for name in ("counts", "sites"):
        if not options[name]:
            raise click.UsageError(f"Missing option '--{name}'.")
    session.on_interrupt = "no world was written"

    from arrival_engine.engine.importing import ImportRequest, import_world

    with session.reporter() as reporter:
        result = import_world(ImportRequest(run_root=run_root, **options), reporter)
    present(context, result, _show)


_DEFAULT = click.core.ParameterSource.DEFAULT


def _write_example(context: click.Context, directory: Path) -> None:
    from arrival_engine.engine.importing.example import write_example

    session_of(context).on_interrupt = "some example tables may be missing"
    present(context, write_example(directory), _show_example)


def _physical(result: ImportResult) -> str:
    """What decides the sites of physical arrivals, with the number of arrivals for each case."""
    routes = result.physical
    cases = []
    if routes.own_zone:
        cases.append(f"{human.count(routes.own_zone)} to a site in the zone of their count row")
    if routes.any_site:
        cases.append(
            f"{human.count(routes.any_site)} to any site of their merchant, which has none in the zone of the count row"
        )
    if routes.drawn_zone:
        cases.append(f"{human.count(routes.drawn_zone)} to a site in a zone drawn by group weights")
    if routes.drawn_without_site:
        lost = f"{routes.drawn_without_site:,.1f}"
        cases.append(f"{lost} of these, expected, to any site of their merchant, which has none in the zone drawn")
    if routes.hybrid:
        cases.append(f"{human.count(routes.hybrid)} of these are of hybrid merchants, and some of them will be virtual")
    return "; ".join(cases) or "none"


def _show(result: ImportResult) -> None:
    from arrival_engine.engine.importing.grid import length

    verb = "was there already, the same to the byte" if result.reused else "written"
    headline(f"world {verb}: {human.amount(result.arrivals, 'arrivals')} to expect")
    modes = f"{human.count(result.hybrid_merchants)} hybrid, {human.count(result.virtual_merchants)} virtual only"
    lengths = f" of {length(result.bucket_seconds * 1_000_000)}" if result.bucket_seconds else ""
    left_out = f", {human.count(result.zero_rows)} of them zero" if result.zero_rows else ""
    added_up = f", {human.count(result.merged_rows)} added to others" if result.merged_rows else ""
    days = [] if result.local_days is None else _days(result.local_days)
    places = f"{human.amount(result.sites, 'sites')} and {human.amount(result.edges, 'edges')}"
    show_block(
        ("merchants", f"{human.count(result.merchants)} with arrivals, {modes}"),
        ("places", f"{places} in {human.amount(result.tzids, 'time zones')}"),
        ("buckets", f"{human.count(result.buckets)}{lengths}, {result.start_utc} to {result.end_utc}"),
        *days,
        ("count rows", f"{human.count(result.input_rows)}{left_out}{added_up}"),
        ("physical", _physical(result)),
        ("virtual", f"{100 * result.virtual_share:.1f} % of the arrivals, expected"),
        ("fingerprint", result.identity.manifest_fingerprint),
        ("files", human.size(result.bytes)),
        ("time", human.duration(result.seconds)),
        ("run", str(result.run_root)),
    )
    root = shell_word(str(result.run_root))
    show_next(f"seal {root}", f"run {root}", f"validate {root}")


def _days(found: LocalDays) -> list[tuple[str, str]]:
    """What was read as local days, and how their counts were divided."""
    hours = [f"{seconds / 3600:g}" for seconds in sorted({found.shortest_seconds, found.longest_seconds})]
    few = len(found.tzids) <= 3
    zones = ", ".join(found.tzids) if few else human.amount(len(found.tzids), "time zones")
    days = human.amount(found.days, "local days")
    lines = [("days", f"{days} of {' to '.join(hours)} h in {zones}")]
    if found.divided_rows:
        rows = f"{human.count(found.divided_rows)} of the days' counts"
        arrivals = human.amount(found.divided_arrivals, "arrivals")
        lines.append(
            ("divided", f"{rows}, {arrivals}, drawn evenly by time over up to {found.most_buckets} buckets each")
        )
    return lines


def _show_example(example: Example) -> None:
    headline(f"example tables are in {example.directory}")
    show_block(*((path.name, what) for path, what in example.files.items()))
    options = " ".join(f"{option} {shell_word(str(path))}" for option, path in example.options.items())
    show_next(f"import world {options}")
