"""`arrivals demo`: the whole way once, on a small world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.cli.output import present, show_line, show_next
from arrival_engine.engine.cli.places import LOCAL
from arrival_engine.engine.cli.run import show_scenario
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.run.scenario import ScenarioResult
    from arrival_engine.engine.validation.check import CheckResult

DEFAULT_DIRECTORY = Path("arrivals-demo")
PRESET = "demo"
SEED = 42


@dataclass(frozen=True)
class DemoResult:
    """The outcome of a demo.

    reused: the world was there from an earlier demo; example_merchant: the first one of the published arrivals.
    """

    run_root: Path
    reused: bool
    scenarios: tuple[ScenarioResult, ...]
    checks: tuple[CheckResult, ...]
    example_merchant: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check of every scenario held and the recomputed digests equal the run's."""
        pairs = zip(self.checks, self.scenarios, strict=True)
        same = all(check.digest == scenario.digest for check, scenario in pairs)
        return same and all(ok for check in self.checks for _, ok, _ in check.checks)


@click.command(
    epilog="Example: arrivals demo /tmp/arrivals-demo",
    short_help="Make a small world, seal it, run it and check it.",
)
@click.argument("directory", type=LOCAL, default=DEFAULT_DIRECTORY)
@output_options
@click.pass_context
def command(context: click.Context, directory: Path) -> None:
    """Make a world of about a million arrivals, seal it, run it and check the published arrivals.

    Everything goes to DIRECTORY (default: ./arrivals-demo). The world of an earlier demo there is used again.
    """
    session = session_of(context)
    session.on_interrupt = "nothing half-written was published; run the demo again to go on"
    with session.reporter() as reporter:
        result = _demo(directory, reporter)
    present(context, result, _show, passed=result.passed)


def _demo(run_root: Path, reporter: Reporter) -> DemoResult:
    from arrival_engine.engine.run.job import run
    from arrival_engine.engine.run.options import RunOptions
    from arrival_engine.engine.sealing import seal
    from arrival_engine.engine.synth import synthesise
    from arrival_engine.engine.validation.check import check_published

    begin = reporter.elapsed_s
    world = synthesise(run_root, preset=PRESET, seed=SEED, reporter=reporter)
    seal(run_root, reporter)
    result = run(run_root, RunOptions(), reporter)
    with reporter.phase("check"):
        checks = tuple(check_published(run_root, scenario.scenario_id) for scenario in result.scenarios)
    merchant = _first_merchant(InsidePath(Path(result.scenarios[0].path)))
    return DemoResult(run_root, world.reused, result.scenarios, checks, merchant, reporter.elapsed_s - begin)


def _first_merchant(published: InsidePath) -> int:
    from arrival_engine.engine.rundir.arrow_files import open_parquet

    with open_parquet(published.glob("*.parquet")[0]) as first:
        return int(next(first.iter_batches(batch_size=1, columns=["merchant_id"]))[0][0].as_py())


def _show(result: DemoResult) -> None:
    for scenario, checked in zip(result.scenarios, result.checks, strict=True):
        show_scenario(scenario)
        show_line()
        show_line("Checked by reading the files again:")
        same = checked.digest == scenario.digest
        agreement = ("digest", same, f"{checked.digest} recomputed from the files")
        for name, holds, detail in (*checked.checks, agreement):
            mark: tuple[str, str] = ("  ok   ", "green") if holds else ("  FAIL ", "bold red")
            show_line(mark, f"{name}: {detail}")
    root = shell_word(str(result.run_root))
    show_line()
    show_line(f"The world and its arrivals are in {result.run_root} ({human.duration(result.seconds)}).")
    show_next(
        f"validate {root}",
        f"explain {root} --merchant {result.example_merchant} --seq 1",
        f"stream {root} --limit 3",
    )
