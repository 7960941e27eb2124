"""`arrivals parity`: two backends, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arrival_engine.engine.cli.places import BATCH_ARRIVALS, LOCAL
from arrival_engine.engine.cli.session import Session, output_options, session_of
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.parity import ParityResult
    from arrival_engine.engine.parity.records import SideResult


@click.command(
    epilog="Example: arrivals parity runs/small --right cudasim --sample-batches 4",
    short_help="Compare two backends bit by bit, and time both.",
)
@click.argument("run_root", type=LOCAL)
@click.option("--left", type=click.Choice(["cpu", "cuda", "cudasim"]), help="[default: cpu]")
@click.option(
    "--right",
    type=click.Choice(["cuda", "cudasim"]),
    help="cudasim simulates the device.  [default: cuda where a device can be used, else cudasim]",
)
@click.option(
    "--sample-batches",
    type=click.IntRange(1),
    metavar="N",
    help="Only N batches, evenly spread.  [default: all; with cudasim at most 20,000 arrivals]",
)
@click.option(
    "--batch-arrivals",
    type=BATCH_ARRIVALS,
    metavar="N",
    help="The most arrivals in a batch.  [default: a run's; with cudasim 2,500]",
)
@click.option("--scenario", "scenario_id", metavar="ID", help="[default: the only one]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the report.  [default: RUN_ROOT/reports/parity]"
)
@output_options
@click.pass_context
def command(context: click.Context, /, run_root: Path, **given: Any) -> None:
    """Expand the same batches of the world under RUN_ROOT with two backends and compare every array exactly.

    Publishes no arrivals. Writes parity_report.json and parity_report.html; the exit code is 1 where anything
    differs, and the first difference is derived again from the inputs.
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
    if result.identical:
        _show(result, session)
        return
    if not session.json and not session.quiet:
        _show_summary(result)
        _show_derivation(result, session)
    raise result.failure()


def _show(result: ParityResult, session: Session) -> None:
    from arrival_engine.engine.cli.output import emit_json, plain

    if session.json:
        document = plain(result)
        emit_json({"status": "PASS", "identical": True, **(document if isinstance(document, dict) else {})})
    elif not session.quiet:
        _show_summary(result)


def _show_summary(result: ParityResult) -> None:
    from arrival_engine.engine.cli.output import results_console, show_facts, show_line

    left, right, extent = result.left, result.right, result.extent
    verdict, style = ("the same bits", "bold green") if result.identical else ("DIFFERENT", "bold red")
    show_line((f"{result.scenario_id}: {left.backend} and {right.backend}: {verdict}", style))
    compared = (
        f"{human.count(extent.arrivals)} of {human.count(extent.arrivals_planned)} arrivals, "
        f"{human.count(len(extent.batches))} of {human.count(extent.batches_planned)} batches"
    )
    rows = [("  compared", compared), ("  left", _side(left)), ("  right", _side(right))]
    if result.refused:
        rows.append(("  refused", f"{human.count(len(result.refused))} batches that the policy stops"))
    rows += [
        (
            f"  {verdict.group}.{verdict.name}",
            f"{human.count(verdict.differing)} of {human.count(verdict.compared)} differ",
        )
        for verdict in result.columns
        if not verdict.identical
    ]
    show_facts(results_console(), [*rows, ("  report", str(result.report_html))])
    for note in result.notes:
        show_line(("note: ", "yellow"), note)


def _side(side: SideResult) -> str:
    rate = side.rates.get("expand")
    speed = f", {human.rate(rate, 'arrivals')}" if rate else ""
    times = f"load {human.duration(side.load_seconds)}, expand {human.duration(side.expand_seconds)}{speed}"
    return f"{side.backend}{' (simulation)' if side.simulated else ''}  {side.digest}  {times}"


def _show_derivation(result: ParityResult, session: Session) -> None:
    from arrival_engine.engine.cli.explain_tree import show_explanation
    from arrival_engine.engine.cli.output import show_line

    trace = result.trace
    if trace is None:
        return
    for item in trace.derived:
        show_line(f"{item.name}: derived from the inputs {item.value}, which confirms ", (item.confirms, "bold"))
    if trace.explanation is not None:
        show_explanation(trace.explanation, session)
