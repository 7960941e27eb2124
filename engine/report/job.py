"""`arrivals report`: measure every scenario, draw, write the page and the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import FigureFormat
from arrival_engine.engine.process.extras import require
from arrival_engine.engine.process.interrupts import import_in_steps
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.report.check_plots import phases
from arrival_engine.engine.report.clock_changes import ClockChange
from arrival_engine.engine.report.measure import Measures, measure
from arrival_engine.engine.report.page import Drawn, DrawnPlot, Section, render
from arrival_engine.engine.report.plot import Panel, Plot
from arrival_engine.engine.report.plots import plots_of
from arrival_engine.engine.report.published import Published, find_published
from arrival_engine.engine.report.records import Records, read_anomalies, read_run
from arrival_engine.engine.report.share_plots import gini
from arrival_engine.engine.report.style import LIGHT, ROLES, Palette, drawing
from arrival_engine.engine.report.svg import inline_svg, png_file, svg_file
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.staging import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Pixels that a title above the axes takes.
_TITLE = 24

# Left, bottom, width and height of the drawing, as fractions of a file's width and height.
_MARGINS = (0.012, 0.02, 0.976, 0.96)

# From the ground up, so that each takes a fraction of the second, or of the seconds from a cold disk, that all take.
_DRAWN_WITH = (
    *("matplotlib.rcsetup", "matplotlib.cbook", "matplotlib.transforms", "matplotlib.ticker", "matplotlib.text"),
    *("matplotlib.backend_bases", "matplotlib.axes", "matplotlib.figure", "matplotlib.dates"),
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "jinja2._identifier", "jinja2"),
)

PAGE = "reports/overview/arrivals_report.html"


@dataclass(frozen=True)
class ReportOptions:
    """The scope and outputs of a report.

    scenarios: empty for all published ones. out: None for RUN_ROOT/reports/overview/arrivals_report.html. figures: a
    folder for the figures as files, with one folder per scenario; None for no files.
    """

    scenarios: tuple[str, ...] = ()
    out: Path | None = None
    figures: Path | None = None
    figure_format: FigureFormat = "svg"

    def __post_init__(self) -> None:
        if self.figure_format not in get_args(FigureFormat):
            raise ValueError(f"figure_format must be svg or png, not {self.figure_format!r}")


@dataclass(frozen=True)
class ScenarioOverview:
    """Key figures of a scenario; Gini coefficients over all existing sites and edges."""

    scenario_id: str
    arrivals: int
    physical: int
    virtual: int
    merchants: int
    zones: int
    sites: int
    edges: int
    sites_gini: float
    edges_gini: float
    clock_changes: tuple[ClockChange, ...]


@dataclass(frozen=True)
class ReportResult:
    """The places of page and figures, the counts, and the verdict of validation (None before validation)."""

    page: Path
    figures: tuple[Path, ...]
    scenarios: tuple[ScenarioOverview, ...]
    validated: bool | None


def report(
    run_root: Path | str, options: ReportOptions | None = None, reporter: Reporter | None = None
) -> ReportResult:
    """Write the report of a run's published arrivals: one page, and figures on request, each replaced atomically.

    The same run gives the same bytes. Raises DEPENDENCY_MISSING without the extra `report`, IO_READ_FAILED if nothing
    is published or a file cannot be read, OPTION_INVALID for a scenario that is not published,
    IO_WRITE_FAILED.
    """
    require("report", "`arrivals report`")
    options, reporter = options or ReportOptions(), reporter or Reporter()
    receipt = read_receipt(Path(run_root))
    published = find_published(receipt, options.scenarios)
    with reporter.phase("read records"):
        records = read_run(receipt)
    for notice in records.notices:
        reporter.notice(notice)
    with reporter.phase("read arrivals"):
        measured = [measure(receipt, scenario) for scenario in published]
    with reporter.phase("draw"):
        import_in_steps(*_DRAWN_WITH)
        sections = [
            _section(number, receipt, records, *both)
            for number, both in enumerate(zip(published, measured, strict=True), 1)
        ]
    page = InsidePath.of_user(options.out) if options.out else receipt.run_root / PAGE
    with reporter.phase("write page"):
        replace_file("report", page, render(records, sections, _unpublished(records, published, options)).encode())
    figures: tuple[Path, ...] = ()
    if options.figures is not None:
        with reporter.phase("write figures"):
            figures = tuple(_write_figures(InsidePath(options.figures), options.figure_format, sections))
    overviews = tuple(_overview(measures) for measures in measured)
    return ReportResult(page.outside, figures, overviews, records.verdicts.passed if records.verdicts else None)


def _unpublished(records: Records, published: Sequence[Published], options: ReportOptions) -> list[str]:
    """Sealed scenarios that a report on all scenarios lacks, because they are not published."""
    if options.scenarios or records.seal is None:
        return []
    there = {scenario.scenario_id for scenario in published}
    return [scenario for scenario in records.seal.gate["scenario_set"] if scenario not in there]


def _overview(measures: Measures) -> ScenarioOverview:
    return ScenarioOverview(
        scenario_id=measures.scenario_id,
        arrivals=measures.arrivals,
        physical=measures.physical,
        virtual=measures.virtual,
        merchants=int((measures.merchants.arrivals > 0).sum()),
        zones=len(measures.zones),
        sites=int((measures.sites > 0).sum()),
        edges=int((measures.edges > 0).sum()),
        sites_gini=round(gini(measures.sites), 6),
        edges_gini=round(gini(measures.edges), 6),
        clock_changes=measures.changes,
    )


# --- Drawing ---------------------------------------------------------------------------------------------


def _section(number: int, receipt: Receipt, records: Records, published: Published, measures: Measures) -> Section:
    line = records.lines.get(measures.scenario_id)
    prefix = f"s{number}"
    seconds = {} if line is None else (line.get("durations") or {}).get("phase_seconds") or {}
    return Section(
        published=published,
        measures=measures,
        line=line,
        anomalies=read_anomalies(receipt, measures.scenario_id),
        plots=tuple(_drawn(plot, prefix) for plot in plots_of(measures)),
        speed=_drawn(phases(seconds), prefix) if seconds else None,
    )


def _drawn(plot: Plot, prefix: str) -> DrawnPlot:
    from markupsafe import Markup

    def svg(panel: Panel, size: tuple[int, int], name: str) -> Markup:
        with drawing(ROLES):
            # Safe as markup: matplotlib escapes its texts, and ElementTree the title and description.
            return Markup(inline_svg(_figure([panel], size, ROLES), name, panel.title, panel.shows))  # noqa: S704

    panels = []
    for panel in plot.panels:
        name = f"{prefix}-{panel.name}"
        narrow = svg(panel, panel.narrow, f"{name}-narrow") if panel.narrow else None
        panels.append(Drawn(panel, svg(panel, panel.size, name), narrow))
    return DrawnPlot(plot, tuple(panels))


def _figure(panels: Sequence[Panel], size: tuple[int, int], palette: Palette) -> Figure:
    from matplotlib.figure import Figure

    # 72 dots per inch, the resolution of SVG output: a unit of the drawing is a CSS pixel.
    figure = Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel.draw(axes, palette)
    return figure


# --- Files -----------------------------------------------------------------------------------------------


def _write_figures(folder: InsidePath, form: FigureFormat, sections: Sequence[Section]) -> Iterator[Path]:
    for section in sections:
        for drawn in (*section.plots, *([section.speed] if section.speed else [])):
            path = folder / section.measures.scenario_id / f"{drawn.plot.name}.{form}"
            replace_file("report", path, _file(drawn.plot, form))
            yield path.outside


def _file(plot: Plot, form: FigureFormat) -> bytes:
    """All panels of a plot side by side, under their titles."""
    palette = ROLES if form == "svg" else LIGHT
    width, height = (sum(panel.size[0] for panel in plot.panels), max(panel.size[1] for panel in plot.panels))
    with drawing(palette):
        figure = _figure(plot.panels, (width, height + _TITLE), palette)
        for axes, panel in zip(figure.axes, plot.panels, strict=True):
            axes.set_title(panel.title, weight="bold")
        figure.set_layout_engine("constrained", rect=_MARGINS)
        return svg_file(figure, plot.name, plot.title) if form == "svg" else png_file(figure)
