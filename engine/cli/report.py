"""`arrivals report`: a page for people about a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import Session, output_options, session_of
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.report import ReportResult, ScenarioOverview

_SPREAD = ("merchants", "zones", "sites", "edges")
_VALIDATED = {True: "passed", False: "did not pass", None: "not yet: run `arrivals validate`"}


@click.command(
    epilog="Example: arrivals report runs/small --figures figures --figure-format png",
    short_help="Write one HTML page about a run: what was run, what came out.",
)
@click.argument("run_root", type=LOCAL)
@click.option(
    "--scenario", "scenarios", multiple=True, metavar="ID", help="May be repeated.  [default: all published ones]"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The page.  [default: RUN_ROOT/reports/overview/arrivals_report.html]",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the figures as files too, a folder for each scenario.",
)
@click.option("--figure-format", type=click.Choice(["svg", "png"]), help="Of --figures.  [default: svg]")
@output_options
@click.pass_context
def command(
    context: click.Context,
    run_root: Path,
    scenarios: tuple[str, ...],
    out: Path | None,
    figures: Path | None,
    figure_format: str | None,
) -> None:
    """Write one self-contained page about the arrivals published under RUN_ROOT.

    It opens from disk, in light and dark, and prints. Each plot says what a healthy run looks like. The same run gives
    the same page.
    """
    if figure_format and figures is None:
        raise click.UsageError("--figure-format needs --figures", context)
    session = session_of(context)
    session.on_interrupt = "an earlier report, if there was one, is still in place"

    from arrival_engine.engine.report import ReportOptions, write_report

    options = ReportOptions(scenarios, out, figures, "png" if figure_format == "png" else "svg")
    with session.reporter() as reporter:
        result = write_report(run_root, options, reporter)
    _show(result, session)


def _show(result: ReportResult, session: Session) -> None:
    from arrival_engine.engine.cli.output import emit_json, plain, results_console, show_facts, show_line

    if session.json:
        document = plain(result)
        emit_json({"status": "PASS", **(document if isinstance(document, dict) else {})})
        return
    if session.quiet:
        return
    console = results_console()
    for scenario in result.scenarios:
        show_line((f"{scenario.scenario_id}: {human.amount(scenario.arrivals, 'arrivals')}", "bold"))
        show_facts(console, ((f"  {name}", value) for name, value in _facts(scenario)))
    rows = [("validated", _VALIDATED[result.validated])]
    if result.figures:
        parents = sorted({str(path.parent) for path in result.figures})
        rows.append(("figures", f"{len(result.figures)} in {', '.join(parents)}"))
    show_facts(console, [*rows, ("page", str(result.page))])


def _facts(scenario: ScenarioOverview) -> list[tuple[str, str]]:
    return [
        ("routes", f"{human.count(scenario.physical)} physical, {human.count(scenario.virtual)} virtual"),
        ("spread", ", ".join(human.amount(getattr(scenario, name), name) for name in _SPREAD)),
        ("clock changes", str(len(scenario.clock_changes))),
    ]
