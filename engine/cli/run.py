"""`arrivals run`: the main job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arrival_engine.engine.cli.places import BATCH_ARRIVALS, PLACE, open_place, scratch_option
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    from arrival_engine.engine.run.making import Maker


@click.command(
    epilog="Example: arrivals run runs/small --threads 2 --batch-arrivals 500000",
    short_help="Expand the sealed world into arrival events.",
)
@click.argument("run_root", type=PLACE)
@click.option("--backend", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: auto]")
@click.option("--threads", type=click.IntRange(1), help="Batches at once.  [default: every core]")
@click.option("--scenario", "scenarios", multiple=True, metavar="ID", help="Only this one; may be repeated.")
@click.option(
    "--batch-arrivals",
    type=BATCH_ARRIVALS,
    help="The most arrivals in a batch, hence in a part file; threads x batch bounds the memory.",
)
@click.option("--strict", is_flag=True, help="Fail where a policy would fall back.")
@click.option("--replace", is_flag=True, help="Replace a published output that differs.")
@click.option("--resume", is_flag=True, help="Go on where a killed run was, after verifying the parts it finished.")
@click.option("--format", "file_format", type=click.Choice(["parquet", "arrow"]), help="[default: parquet]")
@click.option("--device-writer", is_flag=True, help="Write Parquet with cuDF on the device: same rows, other bytes.")
@click.option(
    "--rng-events",
    type=click.Choice(["parquet", "jsonl"]),
    is_flag=False,
    flag_value="parquet",
    help="Also write one random-number event a count row and family.  [parquet where no format is named]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Expand on the workers of a Dask scheduler, tcp://HOST:PORT, or of a cluster made here: local.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes of --scheduler local.  [default: one a core]")
@scratch_option
@click.option("--accept-tz-cache", is_flag=True, help="Only warn where the tz cache and the pinned tzdata disagree.")
@output_options
@click.pass_context
def command(
    context: click.Context,
    /,
    run_root: Place,
    file_format: str | None,
    scratch: Path | None,
    scheduler: str | None,
    workers: int | None,
    **given: Any,
) -> None:
    """Expand every count of the sealed world under RUN_ROOT (a directory, a URL) and publish `arrival_events_5B`.

    The inputs are compared with their seal first. Output appears under its published path complete or not at
    all; the same inputs give the same arrivals for any number of threads or workers and any batch size.
    """
    _check_combination(run_root, scheduler, {**given, "workers": workers, "scratch": scratch})
    session = session_of(context)

    from arrival_engine.engine.cli.summary import show_run
    from arrival_engine.engine.run.job import run
    from arrival_engine.engine.run.options import RunOptions

    # RunOptions owns the defaults; only what was said on the command line is passed on.
    given["format"] = file_format
    options = {name: value for name, value in given.items() if value not in (None, ())}
    if given["device_writer"] and (given["backend"] == "cpu" or file_format == "arrow"):
        raise click.UsageError("--device-writer writes Parquet on a CUDA device: no --backend cpu, no --format arrow")
    with (
        session.reporter() as reporter,
        open_place(run_root, reporter, scratch) as directory,
        _maker(scheduler, workers) as maker,
    ):
        result = run(directory.root, RunOptions(**options), reporter, maker=maker, shipping=directory.shipping)
    show_run(result, session)


def _check_combination(run_root: Place, scheduler: str | None, given: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing together."""
    if given["resume"] and not isinstance(run_root, Path):
        raise click.UsageError("--resume needs a directory of this machine: of a URL, nothing stays here to go on with")
    if given["workers"] and scheduler != "local":
        raise click.UsageError("--workers is for --scheduler local: other schedulers have the workers they have")
    if scheduler is None:
        return
    if scheduler != "local" and "://" not in scheduler:
        raise click.UsageError(f"--scheduler takes an address such as tcp://HOST:8786, or local, not {scheduler!r}")
    if given["threads"]:
        raise click.UsageError("--threads is for a run without --scheduler: a cluster runs a batch a worker thread")
    if given["resume"]:
        raise click.UsageError("--resume is for a run without --scheduler: a cluster does a lost worker's shards again")
    if given["device_writer"]:
        raise click.UsageError("--device-writer is for a run without --scheduler: workers use Arrow's writer")
    if scheduler != "local" and not isinstance(run_root, Path) and given["scratch"] is None:
        raise click.UsageError(
            "the workers need the working copy of a URL: name a directory that they share with --scratch"
        )


@contextmanager
def _maker(scheduler: str | None, workers: int | None) -> Iterator[Maker | None]:
    if scheduler is None:
        yield None
        return
    from arrival_engine.engine.cluster.client import open_client
    from arrival_engine.engine.cluster.production import DaskMaker

    with open_client(scheduler, workers) as client:
        yield DaskMaker(client)
