"""The main job: a sealed run directory to published arrivals, scenario by scenario."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from arrival_engine.contracts import ArrivalError, Code, Notice, check_token, dataset, unforeseen
from arrival_engine.contracts.options import BackendName, EventFormat, FileFormat
from arrival_engine.engine.arrivals.publish import Outcome, Publication, Published, publication, refuse_certain_conflict
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.ledger import ScenarioLedger
from arrival_engine.engine.expand.memory_check import check_memory
from arrival_engine.engine.expand.planning import DEFAULT_BATCH_ARRIVALS, plan
from arrival_engine.engine.process.interrupts import heard_interrupts
from arrival_engine.engine.process.machine import available_cores, peak_rss_bytes
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.records.diagnostics import write_anomalies, write_summary
from arrival_engine.engine.records.rng_events import publish_rng_events, write_rng_events
from arrival_engine.engine.records.rng_logs import update_rng_logs
from arrival_engine.engine.records.run_report import append_line, failure_facts, report_head, scenario_facts, utc_now
from arrival_engine.engine.run.made import Made, WorkerFacts
from arrival_engine.engine.run.part_ledger import abandoned_staging
from arrival_engine.engine.run.production import Workshop, produce_parts
from arrival_engine.engine.rundir.lock import STAGING, clear_leftovers, run_lock
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.staging import staging
from arrival_engine.engine.sealing import Seal, verify_seal
from arrival_engine.engine.storage.directory import Shipping, run_directory
from arrival_engine.engine.storage.url import StoreUrl, parse_place
from arrival_engine.engine.world.load import World, load_world, read_source

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class RunOptions:
    """How to run; none of these changes an arrival. `threads` None means every core this process may use."""

    backend: BackendName = "auto"
    threads: int | None = None
    scenarios: tuple[str, ...] = ()
    batch_arrivals: int = DEFAULT_BATCH_ARRIVALS
    strict: bool = False
    replace: bool = False
    format: FileFormat = "parquet"
    accept_tz_cache: bool = False
    rng_events: EventFormat = "none"
    resume: bool = False
    device_writer: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("backend", get_args(BackendName)),
            ("format", get_args(FileFormat)),
            ("rng_events", get_args(EventFormat)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        for name in ("threads", "batch_arrivals"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.device_writer and (self.backend == "cpu" or self.format != "parquet"):
            raise ValueError(f"device_writer writes Parquet on a CUDA device, not {self.format} by {self.backend}")


@dataclass(frozen=True)
class ScenarioResult:
    """What a run made of one scenario; seconds and phases are wall time."""

    scenario_id: str
    arrivals: int
    physical: int
    virtual: int
    parts: int
    bytes: int
    digest: str
    path: Path | str  # a URL where the run directory is in an object store
    published: Outcome
    merged_rows: int
    fallbacks: Mapping[str, int]
    seconds: float
    phases: Mapping[str, float]
    arrivals_per_second: float
    peak_rss_bytes: int  # of this process, or of a cluster's worker where that is more
    notices: tuple[Notice, ...]
    backend: str
    workers: tuple[WorkerFacts, ...]


@dataclass(frozen=True)
class RunResult:
    """All scenarios of a run, and the backend that expanded them."""

    scenarios: tuple[ScenarioResult, ...]
    backend: str


@dataclass(frozen=True)
class _Job:
    """What all scenarios of one run share."""

    receipt: Receipt
    seal: Seal
    options: RunOptions
    reporter: Reporter
    shipping: Shipping | None
    make: Maker


# What makes a scenario's parts in a staging directory, on from those that are there with `resume`.
Maker = Callable[["_Job", str, Path, bool], Made]


def run(
    run_root: Path | str,
    options: RunOptions | None = None,
    reporter: Reporter | None = None,
    *,
    shipping: Shipping | None = None,
    client: Client | None = None,
) -> RunResult:
    """Check the seal, expand every scenario asked for (default: all), publish, report.

    Each scenario is published whole by rename; a failure leaves earlier publications as they were. Any failure but
    an interruption is also a FAIL line of the run report. `run_root`: a directory, or the URL of one in an object
    store. `shipping`: of the `engine.storage.run_directory` whose working copy `run_root` is. `client`: a
    `distributed.Client` whose workers, with `run_root` at the same path, expand the batches, to the same bytes. Raises
    ArrivalError.
    """
    options, reporter = options or RunOptions(), reporter or Reporter()
    if client is not None and (options.resume or options.threads or options.device_writer):
        raise ValueError("a run on a cluster takes neither threads, which its workers have, nor resume, device_writer")
    place = parse_place(run_root)
    if isinstance(place, StoreUrl):
        with run_directory(place, reporter) as copy:
            return run(copy.root, options, reporter, shipping=copy.shipping, client=client)
    receipt = read_receipt(place)
    started = utc_now()
    try:
        with heard_interrupts(), run_lock(receipt.run_root):
            for name in () if options.resume else clear_leftovers(receipt.run_root):
                reporter.message(f"removed {name}, which a killed run had left behind")
            result = _run(_Start(receipt, options, reporter, shipping, client))
            if options.resume:
                # Of runs that were killed too late, or too early, to be gone on with.
                clear_leftovers(receipt.run_root)
            return result
    except Exception as failure:
        error = failure if isinstance(failure, ArrivalError) else unforeseen(failure)
        told = shipping.outward(error) if shipping else error
        line = {**report_head(receipt.identity, _scenario_of(error), started), **failure_facts(told)}
        # The first failure is the one to report, even where the report cannot be written either.
        with suppress(ArrivalError):
            append_line(receipt, line)
        if error is failure:
            raise
        raise error from failure


def _scenario_of(error: ArrivalError) -> str | None:
    scenario = error.context.get("scenario_id")
    return scenario if isinstance(scenario, str) else None


class _Start(NamedTuple):
    """What a run is given."""

    receipt: Receipt
    options: RunOptions
    reporter: Reporter
    shipping: Shipping | None
    client: Client | None


def _run(start: _Start) -> RunResult:
    receipt, options, reporter = start.receipt, start.options, start.reporter
    for scenario_id in options.scenarios:
        check_token("scenario_id", scenario_id)
    make = _maker(start)
    with reporter.phase("seal check"):
        seal = verify_seal(receipt, reporter)
    for notice in seal.notices:
        reporter.notice(notice)
    unknown = [scenario_id for scenario_id in options.scenarios if scenario_id not in seal.scenario_set]
    if unknown:
        raise ArrivalError(
            Code.S1_OR_S3_OUTPUT_MISSING,
            f"no time grid and bucket counts of scenario {', '.join(unknown)}; sealed: {', '.join(seal.scenario_set)}",
            hint="name scenarios that were sealed, or leave --scenario out for all of them",
            scenarios=list(seal.scenario_set),
        )
    job = _Job(receipt, seal, options, reporter, start.shipping, make)
    wanted = dict.fromkeys(options.scenarios or seal.scenario_set)
    results = [_run_scenario(job, scenario_id) for scenario_id in wanted]
    return RunResult(tuple(results), ", ".join(sorted({result.backend for result in results})))


def _maker(start: _Start) -> Maker:
    options, reporter = start.options, start.reporter
    if start.client is not None:
        if link := start.client.dashboard_link:
            reporter.message(f"Dask dashboard: {link}")
        return partial(_made_on_cluster, start.client)
    backend = choose_backend(options.backend, device_writer=options.device_writer)
    if options.backend == "auto":
        reporter.message(f"backend {backend.name}: {backend.reason}")
    take = start.shipping.take if start.shipping else None
    shop = Workshop(backend, options.threads or available_cores(), options.format, reporter, take)
    return partial(_made_here, shop)


def _run_scenario(job: _Job, scenario_id: str) -> ScenarioResult:
    try:
        abandoned = abandoned_staging(job.receipt.run_root, scenario_id) if job.options.resume else None
        if abandoned:
            result = _expand_and_publish(job, scenario_id, abandoned, resume=True)
            # Only now: until it is published, a run that is interrupted again can be resumed again.
            shutil.rmtree(abandoned, ignore_errors=True)
            return result
        if job.options.resume:
            job.reporter.message(f"nothing to resume for {scenario_id}: starting with its first part")
        with staging(job.receipt.run_root, f"{STAGING}-{scenario_id}") as staged:
            return _expand_and_publish(job, scenario_id, staged, resume=False)
    except ArrivalError as error:
        # So that the run report says whose failure it is, wherever it was noticed.
        error.context.setdefault("scenario_id", scenario_id)
        raise


def _expand_and_publish(job: _Job, scenario_id: str, staged: Path, *, resume: bool) -> ScenarioResult:
    """One scenario: everything is written to `staged` first; arrivals, diagnostics, logs and report appear together."""
    reporter, options = job.reporter, job.options
    begin, before, started = time.perf_counter(), dict(reporter.phases), utc_now()
    made = job.make(job, scenario_id, staged, resume)
    world = made.world
    ledger, parts = made.ledger, made.parts
    accounts = ledger.accounting()
    with reporter.phase("report"):
        write_summary(ledger, staged / "summary.parquet")
        anomalies = write_anomalies(ledger, staged / "anomalies.parquet")
        if options.rng_events != "none":
            write_rng_events(ledger, accounts, staged / "rng_events", options.rng_events)
    with publication() as output:
        with reporter.phase("publish"):
            outcome = _publish(job, output, ledger, staged)
            update_rng_logs(output, world, accounts, utc_now(), staged)
            if job.shipping:
                outcome = _ship(job, job.shipping, ledger)
        seconds = time.perf_counter() - begin
        phases = {name: spent - before.get(name, 0.0) for name, spent in reporter.phases.items()}
        result = ScenarioResult(
            scenario_id=scenario_id,
            arrivals=ledger.digest.rows,
            physical=ledger.digest.rows - ledger.virtual,
            virtual=ledger.virtual,
            parts=len(parts),
            bytes=sum(part.bytes for part in parts),
            digest=str(ledger.digest),
            path=_shown(job, _place(world, "arrival_events_5B")),
            published=outcome,
            merged_rows=world.merged_rows,
            fallbacks=ledger.fallbacks(),
            seconds=seconds,
            phases={name: spent for name, spent in phases.items() if spent > 0.0},
            arrivals_per_second=ledger.digest.rows / seconds,
            peak_rss_bytes=max([peak_rss_bytes(), *(worker.peak_rss_bytes for worker in made.workers)]),
            notices=(*job.seal.notices, *world.notices),
            backend=made.backend,
            workers=made.workers,
        )
        head = report_head(job.receipt.identity, scenario_id, started)
        performance = {**_performance(job, result, made), "anomalies": anomalies}
        append_line(job.receipt, {**head, **_PASSED, **scenario_facts(ledger, accounts), **performance})
    return result


def _made_here(shop: Workshop, job: _Job, scenario_id: str, staged: Path, resume: bool) -> Made:
    """The parts of a scenario, made on this machine."""
    reporter, options = job.reporter, job.options
    with reporter.phase("read"):
        world = load_world(
            job.receipt.run_root,
            scenario_id,
            seal=job.seal,
            strict=options.strict,
            accept_tz_cache=options.accept_tz_cache,
            threads=shop.threads,
        )
    for notice in world.notices:
        reporter.notice(notice)
    with reporter.phase("plan"):
        batches = plan(world, options.batch_arrivals)
        check_memory(batches, shop.threads)
    _refuse_in_vain(job, world, batches.arrivals)
    made = produce_parts(shop, batches, staged, resume=resume)
    return Made(world, made.ledger, made.parts, shop.backend.name, shop.threads, made.thread_seconds)


def _made_on_cluster(client: Client, job: _Job, scenario_id: str, staged: Path, _resume: bool) -> Made:
    """The parts of a scenario, made by the workers of a cluster."""
    from arrival_engine.engine.cluster.production import Order, make_on_cluster

    options = job.options
    # Workers have working directories of their own.
    receipt = replace(job.receipt, run_root=job.receipt.run_root.resolve())
    order = Order(
        source=read_source(receipt, scenario_id, seal=job.seal, strict=options.strict),
        backend=options.backend,
        file_format=options.format,
        batch_arrivals=options.batch_arrivals,
        accept_tz_cache=options.accept_tz_cache,
        before_work=partial(_refuse_in_vain, job),
    )
    return make_on_cluster(client, order, staged.resolve(), job.reporter)


def _refuse_in_vain(job: _Job, world: World, arrivals: int) -> None:
    """Raise IO_WRITE_CONFLICT, before the work, for what could not be published after it."""
    options = job.options
    if not options.replace:
        refuse_certain_conflict(_place(world, "arrival_events_5B"), options.format, arrivals)
    if job.shipping:
        job.shipping.prepare(world, options.format, arrivals, replace=options.replace)


def _publish(job: _Job, output: Publication, ledger: ScenarioLedger, staged: Path) -> Outcome:
    world = ledger.world
    outcome = output.events(
        staged / "events",
        _place(world, "arrival_events_5B"),
        Published(job.options.format, ledger.digest),
        replace=job.options.replace,
    )
    output.file(staged / "summary.parquet", _place(world, "s4_arrival_summary_5B"))
    output.file(staged / "anomalies.parquet", _place(world, "s4_arrival_anomalies_5B"))
    # Events of arrivals that are gone must not stay either.
    if job.options.rng_events != "none" or outcome == "replaced":
        publish_rng_events(output, world, staged / "rng_events", job.options.rng_events)
    return outcome


def _ship(job: _Job, shipping: Shipping, ledger: ScenarioLedger) -> Outcome:
    options = job.options
    made = Published(options.format, ledger.digest)
    return shipping.publish(ledger.world, made, replace=options.replace, rng_events=options.rng_events != "none")


def _shown(job: _Job, path: Path) -> Path | str:
    return job.shipping.url_of(path) if job.shipping else path


def _place(world: World, dataset_id: str) -> Path:
    tokens = world.receipt.identity.tokens(scenario_id=world.scenario_id)
    return dataset(dataset_id).locate(world.receipt.run_root, tokens)


# verify_staged has read the parts back and found them whole, or nothing would be published.
_PASSED = {"status": "PASS", "error_code": None, "error_message": None, "schema_ok": True, "partition_ok": True}


def _performance(job: _Job, result: ScenarioResult, made: Made) -> dict[str, object]:
    """How the run went: what differs from one run of the same scenario to the next."""
    return {
        "backend": made.backend,
        "threads": made.threads,
        **({"workers": [asdict(worker) for worker in made.workers]} if made.workers else {}),
        "batch_arrivals": job.options.batch_arrivals,
        "format": job.options.format,
        "device_writer": job.options.device_writer,
        "rng_events": job.options.rng_events,
        "parts": result.parts,
        "bytes": result.bytes,
        "published": result.published,
        "rows_per_second": result.arrivals_per_second,
        "peak_rss_bytes": result.peak_rss_bytes,
        "thread_seconds": dict(made.thread_seconds),
        "durations": {"wall_ms": round(result.seconds * 1000), "phase_seconds": dict(result.phases)},
    }
