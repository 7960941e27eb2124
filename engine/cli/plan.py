"""`arrivals plan`: the size and time of a run, without running."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from arrival_engine.contracts.options import BackendName, FileFormat
from arrival_engine.engine.cli.output import headline, present, show_block
from arrival_engine.engine.cli.places import BATCH_ARRIVALS, PLACE, open_place, scratch_option
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import Choice, WholeNumber
from arrival_engine.engine.process import human
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    from arrival_engine.engine.forecast.forecast import ForecastResult, ScenarioForecast


@click.command(
    epilog="Example: arrivals plan runs/large --batch-arrivals 8000000 --workers 64",
    short_help="Show a run's batches, shards, size and time without running.",
)
@click.argument("run_root", type=PLACE)
@click.option("--batch-arrivals", type=BATCH_ARRIVALS, help="Most arrivals per batch, as for a run.")
@click.option("--workers", type=WholeNumber(1), help="Worker processes of one thread.  [default: one per core]")
@click.option("--scenario", "scenarios", multiple=True, metavar="ID", help="Only this scenario; may be repeated.")
@click.option("--backend", type=Choice(get_args(BackendName)), help="Backend to time.  [default: auto]")
@click.option("--format", "file_format", type=Choice(get_args(FileFormat)), help="[default: parquet]")
@scratch_option
@output_options
@click.pass_context
def command(
    context: click.Context, /, run_root: Place, file_format: str | None, scratch: Path | None, **given: object
) -> None:
    """Count the output of a run of the sealed world under RUN_ROOT, and time a second of it; publish nothing.

    Arrivals, batches and shards are exact. Bytes and seconds are estimated from sample batches, expanded on one core of
    this machine and written to RUN_ROOT/tmp (to the directory for temporary files if RUN_ROOT is read-only).
    """
    session = session_of(context)

    from arrival_engine.engine.forecast.forecast import ForecastOptions, forecast

    given["format"] = file_format
    options = {name: value for name, value in given.items() if value not in (None, ())}
    with session.reporter() as reporter, open_place(run_root, reporter, scratch, writes=False) as directory:
        result = forecast(directory.root, ForecastOptions(**options), reporter)  # type: ignore[arg-type] # click's own types
    present(context, result, _show)


def _show(result: ForecastResult) -> None:
    for scenario in result.scenarios:
        _show_scenario(scenario)


def _show_scenario(plan: ScenarioForecast) -> None:
    count, amount, size = human.count, human.amount, human.size
    workers = amount(plan.workers, "workers")
    rows = [
        ("count rows", f"{count(plan.count_rows)} of {amount(plan.entities, 'entities')}"),
        ("segments", f"{count(plan.segments)} of {amount(plan.merchants, 'merchants')}"),
        ("batches", f"{count(plan.batches)} of at most {amount(plan.batch_arrivals, 'arrivals')}, one part file each"),
        ("shards", f"{count(plan.shards)} for {workers}, of at most {amount(plan.largest_shard, 'arrivals')}"),
        ("memory", f"{size(plan.run_memory_bytes)} for a run in one process here"),
        ("", f"{size(plan.worker_memory_bytes)} per worker of a cluster"),
        ("", f"{size(plan.table_bytes)} of either are lookup tables"),
    ]
    if plan.calibration and plan.expected_bytes is not None and plan.seconds is not None:
        timed = plan.calibration
        rate = human.speed(timed.arrivals, timed.work_seconds, "arrivals")
        each = plan.expected_bytes / plan.arrivals
        rows += [
            ("output", f"about {size(plan.expected_bytes)}, {each:.1f} bytes per arrival"),
            ("time", f"about {human.duration(plan.seconds)} for {workers} with a core like this, after the seal check"),
            ("timed", f"{rate} on one core ({timed.backend}), over {amount(timed.arrivals, 'arrivals')}"),
        ]
    headline(f"{plan.scenario_id}: {amount(plan.arrivals, 'arrivals')}")
    show_block(*rows)
