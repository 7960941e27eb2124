"""`arrivals plan`: what a run would make and take, without running."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arrival_engine.engine.cli.places import BATCH_ARRIVALS, PLACE, open_place, scratch_option
from arrival_engine.engine.cli.session import Session, output_options, session_of
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    from arrival_engine.engine.forecast.forecast import ForecastResult, ScenarioForecast


@click.command(
    epilog="Example: arrivals plan runs/large --batch-arrivals 8000000 --workers 64",
    short_help="Show a run's batches, shards, size and time without running.",
)
@click.argument("run_root", type=PLACE)
@click.option("--batch-arrivals", type=BATCH_ARRIVALS, help="As for a run.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes of one thread.  [default: one a core]")
@click.option("--scenario", "scenarios", multiple=True, metavar="ID", help="Only this one; may be repeated.")
@click.option("--backend", type=click.Choice(["auto", "cpu", "cuda"]), help="What is timed.  [default: auto]")
@click.option("--format", "file_format", type=click.Choice(["parquet", "arrow"]), help="[default: parquet]")
@scratch_option
@output_options
@click.pass_context
def command(
    context: click.Context, /, run_root: Place, file_format: str | None, scratch: Path | None, **given: object
) -> None:
    """Count what a run of the sealed world under RUN_ROOT would make, and time a second of it; publish nothing.

    Arrivals, batches and shards are exact. Bytes and seconds follow from sample batches that are expanded and
    written to RUN_ROOT/tmp, on one core of this machine.
    """
    session = session_of(context)

    from arrival_engine.engine.forecast.forecast import ForecastOptions, forecast

    given["format"] = file_format
    options = {name: value for name, value in given.items() if value not in (None, ())}
    with session.reporter() as reporter, open_place(run_root, reporter, scratch, writes=False) as directory:
        result = forecast(directory.root, ForecastOptions(**options), reporter)  # type: ignore[arg-type] # click's own types
    _show(result, session)


def _show(result: ForecastResult, session: Session) -> None:
    from arrival_engine.engine.cli.output import emit_json, plain

    if session.json:
        document = plain(result)
        emit_json({"status": "PASS", **(document if isinstance(document, dict) else {})})
    elif not session.quiet:
        for scenario in result.scenarios:
            _show_scenario(scenario)


def _show_scenario(plan: ScenarioForecast) -> None:
    from arrival_engine.engine.cli.output import results_console, show_facts, show_line
    from arrival_engine.engine.process import human

    count, size = human.count, human.size
    workers = f"{count(plan.workers)} workers"
    rows = [
        ("count rows", f"{count(plan.count_rows)} of {count(plan.entities)} entities"),
        ("segments", f"{count(plan.segments)} of {count(plan.merchants)} merchants"),
        ("batches", f"{count(plan.batches)} of at most {count(plan.batch_arrivals)} arrivals, a part file each"),
        ("shards", f"{count(plan.shards)} for {workers}, of at most {count(plan.largest_shard)} arrivals"),
        ("memory", f"{size(plan.worker_memory_bytes)} a worker, {size(plan.table_bytes)} of it lookup tables"),
    ]
    if plan.calibration and plan.expected_bytes is not None and plan.seconds is not None:
        timed = plan.calibration
        rate = human.rate(timed.arrivals_per_second, "arrivals")
        each = plan.expected_bytes / plan.arrivals
        rows += [
            ("output", f"about {size(plan.expected_bytes)}, {each:.1f} bytes an arrival"),
            ("time", f"about {human.duration(plan.seconds)} for {workers} with a core like this, after the seal check"),
            ("timed", f"{rate} on one core ({timed.backend}), over {count(timed.arrivals)} arrivals"),
        ]
    show_line((f"{plan.scenario_id}: {count(plan.arrivals)} arrivals", "bold green"))
    show_facts(results_console(), ((f"  {name}", value) for name, value in rows))
