"""`arrivals run`: the main job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from arrival_engine.contracts.options import BackendName, EventFormat, FileFormat
from arrival_engine.engine.cli.output import headline, present, show_block
from arrival_engine.engine.cli.places import BATCH_ARRIVALS, PLACE, open_place, scratch_option
from arrival_engine.engine.cli.session import output_options, session_of
from arrival_engine.engine.cli.values import Choice, FilePath, WholeNumber
from arrival_engine.engine.process import human
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    from arrival_engine.engine.cluster.tls import TlsFiles
    from arrival_engine.engine.run.job import RunResult
    from arrival_engine.engine.run.making import Maker
    from arrival_engine.engine.run.production import WorkerFacts
    from arrival_engine.engine.run.scenario import ScenarioResult

_PUBLISHED = {
    "published": "published",
    "identical": "published before, left as it is",
    "replaced": "published in place of a different one",
}
_COMPARED = {
    "statements": "the digest that its parts state; --replace compares their bytes",
    "manifest": "the digest that its manifest states, and names and sizes of its parts; --replace compares their bytes",
    "bytes": "every byte",
}


@click.command(
    epilog="Example: arrivals run runs/small --threads 2 --batch-arrivals 500000",
    short_help="Expand the sealed world into arrival events.",
)
@click.argument("run_root", type=PLACE)
@click.option("--backend", type=Choice(get_args(BackendName)), help="[default: auto]")
@click.option("--threads", type=WholeNumber(1), help="Batches expanded at once.  [default: one per core]")
@click.option("--scenario", "scenarios", multiple=True, metavar="ID", help="Only this scenario; may be repeated.")
@click.option(
    "--batch-arrivals",
    type=BATCH_ARRIVALS,
    help="Most arrivals per batch, and so per part file; memory grows with threads x batch.",
)
@click.option("--strict", is_flag=True, help="Fail if a policy would fall back.")
@click.option("--replace", is_flag=True, help="Replace a published output that differs.")
@click.option("--resume", is_flag=True, help="Continue a killed run after verifying the parts it finished.")
@click.option("--format", "file_format", type=Choice(get_args(FileFormat)), help="[default: parquet]")
@click.option("--device-writer", is_flag=True, help="Write Parquet with cuDF on the device: same rows, other bytes.")
@click.option(
    "--rng-events",
    type=Choice([name for name in get_args(EventFormat) if name != "none"]),
    is_flag=False,
    flag_value="parquet",
    help="Write one RNG event per count row and stream family.  [parquet if no format is given]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Expand on the workers of a Dask scheduler (tcp:// or tls://HOST:PORT), or of a cluster started here (local).",
)
@click.option("--tls-ca-file", type=FilePath(), help="Certificate authority of a tls:// scheduler, in PEM format.")
@click.option("--tls-cert", type=FilePath(), help="This client's certificate, signed by that authority.")
@click.option("--tls-key", type=FilePath(), help="The certificate's key.  [default: in the certificate's file]")
@click.option("--workers", type=WholeNumber(1), help="Worker processes of --scheduler local.  [default: one per core]")
@scratch_option
@click.option("--accept-tz-cache", is_flag=True, help="Only warn if the tz cache and the pinned tzdata disagree.")
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
    """Expand every count of the sealed world under RUN_ROOT (a directory or a URL) and publish `arrival_events_5B`.

    The inputs are compared with their seal first. Output appears under its published path complete or not at all. The
    same inputs give the same arrivals for any number of threads or workers and any batch size.
    """
    _check_combination(run_root, scheduler, {**given, "workers": workers, "scratch": scratch})
    tls = _tls(scheduler, *(given.pop(name) for name in ("tls_ca_file", "tls_cert", "tls_key")))
    session = session_of(context)

    from arrival_engine.engine.run.job import run
    from arrival_engine.engine.run.options import RunOptions

    # RunOptions owns the defaults, so only options that were given are passed on.
    given["format"] = file_format
    options = {name: value for name, value in given.items() if value not in (None, ())}
    if given["device_writer"] and (given["backend"] == "cpu" or file_format == "arrow"):
        raise click.UsageError(
            "--device-writer writes Parquet on a CUDA device: give neither --backend cpu nor --format arrow"
        )
    with (
        session.reporter() as reporter,
        open_place(run_root, reporter, scratch) as directory,
        _maker(scheduler, workers, tls) as maker,
    ):
        result = run(directory.root, RunOptions(**options), reporter, maker=maker, shipping=directory.shipping)
    present(context, result, _show)


def _check_combination(run_root: Place, scheduler: str | None, given: Mapping[str, Any]) -> None:
    """Refuse options that contradict each other."""
    if given["resume"] and not isinstance(run_root, Path):
        raise click.UsageError("--resume needs a local directory: a run on a URL leaves nothing here to continue from")
    if given["workers"] and scheduler != "local":
        raise click.UsageError("--workers is for --scheduler local: other schedulers have workers already")
    if scheduler is None:
        return
    if scheduler != "local" and "://" not in scheduler:
        raise click.UsageError(f"--scheduler takes an address such as tcp://HOST:8786, or local, not {scheduler!r}")
    if given["threads"]:
        raise click.UsageError("--threads is for a run without --scheduler: a cluster runs one batch per worker thread")
    if given["resume"]:
        raise click.UsageError(
            "--resume is for a run without --scheduler: a cluster repeats the shards of a lost worker"
        )
    if given["device_writer"]:
        raise click.UsageError("--device-writer is for a run without --scheduler: workers write on the CPU")
    if scheduler != "local" and not isinstance(run_root, Path) and given["scratch"] is None:
        raise click.UsageError(
            "the workers need the working copy of a URL: give a directory that they share as --scratch"
        )


def _tls(scheduler: str | None, ca_file: Path | None, cert: Path | None, key: Path | None) -> TlsFiles | None:
    """The files of a client under TLS, as far as any is given."""
    if ca_file is None and cert is None and key is None:
        return None
    if scheduler is None or not scheduler.startswith("tls://"):
        raise click.UsageError("--tls-ca-file, --tls-cert and --tls-key are for --scheduler tls://HOST:PORT")
    if ca_file is None or cert is None:
        raise click.UsageError("TLS needs --tls-ca-file and --tls-cert together, and --tls-key if the key is apart")

    from arrival_engine.engine.cluster.tls import TlsFiles

    return TlsFiles(ca_file, cert, key)


@contextmanager
def _maker(scheduler: str | None, workers: int | None, tls: TlsFiles | None) -> Iterator[Maker | None]:
    if scheduler is None:
        yield None
        return
    from arrival_engine.engine.cluster.client import open_client
    from arrival_engine.engine.cluster.production import DaskMaker

    with open_client(scheduler, workers, tls) as client:
        yield DaskMaker(client)


def _show(result: RunResult) -> None:
    for scenario in result.scenarios:
        show_scenario(scenario)


def show_scenario(scenario: ScenarioResult) -> None:
    """Print the summary of one scenario of a run."""
    headline(f"{scenario.scenario_id}: {human.amount(scenario.arrivals, 'arrivals')}")
    phases = ", ".join(f"{name} {human.duration(spent)}" for name, spent in scenario.phases.items())
    fallbacks = ", ".join(f"{name} {human.count(n)}" for name, n in scenario.fallbacks.items() if n)
    seconds = human.duration(scenario.seconds)
    show_block(
        ("routes", f"{human.count(scenario.physical)} physical, {human.count(scenario.virtual)} virtual"),
        ("files", f"{human.count(scenario.parts)}, {human.size(scenario.bytes)}"),
        ("digest", scenario.digest),
        ("speed", human.speed(scenario.arrivals, scenario.seconds, "arrivals")),
        ("time", f"{seconds} ({phases})" if phases else seconds),
        *_worker_rows(scenario.workers),
        ("memory", f"{human.size(scenario.peak_rss_bytes)} at most"),
        *((label, f"{human.size(taken)} at most") for label, taken in scenario.peak_device_bytes.items()),
        ("merged", f"{human.count(scenario.merged_rows)} count rows that repeated a key"),
        ("fallbacks", fallbacks or "none"),
        ("output", f"{_PUBLISHED[scenario.published]}: {scenario.path}"),
        *([("compared", _COMPARED[scenario.compared])] if scenario.compared else []),
    )


def _worker_rows(workers: tuple[WorkerFacts, ...]) -> list[tuple[str, str]]:
    slowest_first = sorted(workers, key=lambda worker: worker.arrivals_per_second)
    if not slowest_first:
        return []
    ends = (slowest_first[0], slowest_first[-1])
    rates = [human.speed(worker.arrivals, worker.seconds, "arrivals") for worker in ends]
    return [("workers", f"{human.count(len(workers))}, from {rates[0]} to {rates[1]}")]
