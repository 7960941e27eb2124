"""`arrivals report`: one page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from arrival_engine.contracts.options import FigureFormat
from arrival_engine.engine.cli.output import headline, present, results_console, show_block, show_facts
from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import Choice, FilePath, FolderPath
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.report import ReportResult, ScenarioOverview

_SPREAD = ("merchants", "zones", "sites", "edges")
_VALIDATED = {True: "passed", False: "did not pass", None: "not yet: run `arrivals validate`"}


@click.command(
    epilog="Example: arrivals report runs/small --figures figures --figure-format png",
    short_help="Write one HTML page about a run and its arrivals.",
)
@click.argument("run_root", type=LOCAL)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="ID",
    help="Only this scenario; may be repeated.  [default: all published scenarios]",
)
@click.option(
    "--out",
    type=FilePath(),
    metavar="FILE",
    help="File of the page.  [default: RUN_ROOT/reports/overview/arrivals_report.html]",
)
@click.option(
    "--figures",
    type=FolderPath(),
    metavar="DIR",
    help="Write the figures as files too, in one folder per scenario.",
)
@click.option("--figure-format", type=Choice(get_args(FigureFormat)), help="Format of --figures.  [default: svg]")
@output_options
@click.pass_context
def command(
    context: click.Context,
    run_root: Path,
    scenarios: tuple[str, ...],
    out: Path | None,
    figures: Path | None,
    figure_format: FigureFormat | None,
) -> None:
    """Write one self-contained page about the arrivals published under RUN_ROOT.

    It opens from disk, in light or dark mode, and prints. Each plot says what a healthy run looks like. The same run
    gives the same page.
    """
    if figure_format and figures is None:
        raise click.UsageError("--figure-format needs --figures", context)
    session = session_of(context)
    session.on_interrupt = "an earlier report, if there was one, is still in place"

    from arrival_engine.engine.report import ReportOptions, report

    options = ReportOptions(scenarios, out, figures, **({"figure_format": figure_format} if figure_format else {}))
    with session.reporter() as reporter:
        result = report(run_root, options, reporter)
    present(context, result, _show)


def _show(result: ReportResult) -> None:
    for scenario in result.scenarios:
        headline(f"{scenario.scenario_id}: {human.amount(scenario.arrivals, 'arrivals')}", "bold")
        show_block(*_facts(scenario))
    rows = [("validated", _VALIDATED[result.validated])]
    if result.figures:
        parents = sorted({str(path.parent) for path in result.figures})
        rows.append(("figures", f"{len(result.figures)} in {', '.join(parents)}"))
    show_facts(results_console(), [*rows, ("page", str(result.page))])


def _facts(scenario: ScenarioOverview) -> list[tuple[str, str]]:
    return [
        ("routes", f"{human.count(scenario.physical)} physical, {human.count(scenario.virtual)} virtual"),
        ("spread", ", ".join(human.amount(getattr(scenario, name), name) for name in _SPREAD)),
        ("clock changes", str(len(scenario.clock_changes))),
    ]
