"""`arrivals parity`: two backends, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from arrival_engine.contracts.options import ParityName
from arrival_engine.engine.cli.explain_tree import show_explanation
from arrival_engine.engine.cli.output import headline, present, show_block, show_line
from arrival_engine.engine.cli.places import BATCH_ARRIVALS, LOCAL
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import Choice, FolderPath, WholeNumber
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.parity import ParityResult
    from arrival_engine.engine.parity.records import SideResult


_SIDES = get_args(ParityName)


@click.command(
    epilog="Example: arrivals parity runs/small --right cudasim --sample-batches 4",
    short_help="Compare two backends bit for bit, and time both.",
)
@click.argument("run_root", type=LOCAL)
@click.option("--left", type=Choice(_SIDES), help="[default: cpu]")
@click.option(
    "--right",
    type=Choice([side for side in _SIDES if side != "cpu"]),
    help="cudasim simulates the device.  [default: cuda if a device can be used, else cudasim]",
)
@click.option(
    "--sample-batches",
    type=WholeNumber(1),
    metavar="N",
    help="Only N batches, evenly spaced.  [default: all; with cudasim at most 20,000 arrivals]",
)
@click.option(
    "--batch-arrivals",
    type=BATCH_ARRIVALS,
    metavar="N",
    help="Most arrivals per batch.  [default: as for a run; with cudasim 2,500]",
)
@click.option("--scenario", "scenario_id", metavar="ID", help="[default: the only one]")
@click.option("--out", type=FolderPath(), help="Folder of the report.  [default: RUN_ROOT/reports/parity]")
@output_options
@click.pass_context
def command(context: click.Context, /, run_root: Path, **given: Any) -> None:
    """Expand the same batches of the world under RUN_ROOT with two backends and compare every array exactly.

    Publishes no arrivals. Writes parity_report.json and parity_report.html. If anything differs, the exit code is 1 and
    the first difference is derived again from the inputs.
    """
    session = session_of(context)
    session.on_interrupt = "the comparison is not complete, and no report was written"

    from arrival_engine.engine.parity import ParityOptions, parity

    try:
        options = ParityOptions(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise click.UsageError(str(error), context) from error
    with session.reporter() as reporter:
        result = parity(run_root, options, reporter)
    if not result.identical:
        if not session.json and not session.quiet:
            _show(result)
            _show_derivation(result)
        raise result.failure()
    present(context, result, _show, identical=True)


def _show(result: ParityResult) -> None:
    left, right, extent = result.left, result.right, result.extent
    verdict, style = ("the same bits", "bold green") if result.identical else ("DIFFERENT", "bold red")
    headline(f"{result.scenario_id}: {left.backend} and {right.backend}: {verdict}", style)
    compared = (
        f"{human.count(extent.arrivals)} of {human.amount(extent.arrivals_planned, 'arrivals')}, "
        f"{human.count(len(extent.batches))} of {human.amount(extent.batches_planned, 'batches')}"
    )
    rows = [("compared", compared), ("left", _side(left)), ("right", _side(right))]
    if result.refused:
        rows.append(("refused", f"{human.amount(len(result.refused), 'batches')} that the policy stops"))
    rows += [
        (
            f"{verdict.group}.{verdict.name}",
            f"{human.count(verdict.differing)} of {human.count(verdict.compared)} differ",
        )
        for verdict in result.columns
        if not verdict.identical
    ]
    show_block(*rows, ("report", str(result.report_html)))
    for note in result.notes:
        show_line(("note: ", "yellow"), note)


def _side(side: SideResult) -> str:
    rate = side.rates.get("expand")
    speed = f", {human.rate(rate, 'arrivals')}" if rate else ""
    times = f"load {human.duration(side.load_seconds)}, expand {human.duration(side.expand_seconds)}{speed}"
    return f"{side.backend}{' (simulation)' if side.simulated else ''}  {side.digest}  {times}"


def _show_derivation(result: ParityResult) -> None:
    trace = result.trace
    if trace is None:
        return
    for item in trace.derived:
        show_line(f"{item.name}: derived from the inputs {item.value}, which confirms ", (item.confirms, "bold"))
    if trace.explanation is not None:
        show_explanation(trace.explanation)
