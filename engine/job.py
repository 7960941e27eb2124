"""The main job: a sealed run directory to published arrivals, scenario by scenario."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from contracts import ArrivalError, Code, Notice, check_token, dataset
from engine.backend import Backend, BackendName, choose_backend
from engine.interrupts import heard_interrupts
from engine.lock import STAGING, clear_leftovers, run_lock
from engine.machine import available_cores, peak_rss_bytes
from engine.memory import check_memory
from engine.output.part_ledger import abandoned_staging
from engine.output.parts import FileFormat
from engine.output.publish import Outcome, Publication, Published, publication, refuse_certain_conflict
from engine.planning import DEFAULT_BATCH_ARRIVALS, plan
from engine.production import Workshop, produce_parts
from engine.progress import Reporter
from engine.receipt import Receipt, read_receipt
from engine.report.diagnostics import write_anomalies, write_summary
from engine.report.ledger import Ledger
from engine.report.rng_events import EventFormat, publish_rng_events, write_rng_events
from engine.report.rng_logs import update_rng_logs
from engine.report.run_report import append_line, failure_facts, report_head, scenario_facts, utc_now
from engine.seal import Seal, verify_seal
from engine.staging import staging
from engine.world.load import World, load_world

if TYPE_CHECKING:
    from engine.storage import Shipping


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
    peak_rss_bytes: int
    notices: tuple[Notice, ...]


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
    backend: Backend
    options: RunOptions
    reporter: Reporter
    shipping: Shipping | None

    @property
    def workshop(self) -> Workshop:
        threads = self.options.threads or available_cores()
        return Workshop(self.backend, threads, self.options.format, self.reporter)


def run(
    run_root: Path | str,
    options: RunOptions | None = None,
    reporter: Reporter | None = None,
    *,
    shipping: Shipping | None = None,
) -> RunResult:
    """Check the seal, expand every scenario asked for (default: all), publish, report.

    Each scenario is published whole by rename; a failure leaves earlier publications as they were. Any failure but
    an interruption is also a FAIL line of the run report. `shipping`: of the `engine.storage.run_directory` whose
    working copy `run_root` is. Raises ArrivalError.
    """
    options, reporter = options or RunOptions(), reporter or Reporter()
    receipt = read_receipt(Path(run_root))
    started = utc_now()
    try:
        with heard_interrupts(), run_lock(receipt.run_root):
            for name in () if options.resume else clear_leftovers(receipt.run_root):
                reporter.message(f"removed {name}, which a killed run had left behind")
            return _run(receipt, options, reporter, shipping)
    except Exception as failure:
        error = failure if isinstance(failure, ArrivalError) else _unexpected(failure)
        line = {**report_head(receipt.identity, _scenario_of(error), started), **failure_facts(error)}
        # The first failure is the one to report, even where the report cannot be written either.
        with suppress(ArrivalError):
            append_line(receipt, line)
        if error is failure:
            raise
        raise error from failure


def _unexpected(failure: Exception) -> ArrivalError:
    if isinstance(failure, MemoryError):
        return ArrivalError(
            Code.UNEXPECTED_INTERNAL_ERROR,
            f"out of memory: {str(failure) or 'an allocation failed'}",
            hint="lower --batch-arrivals or --threads, or give the process more memory; nothing was published",
        )
    return ArrivalError(
        Code.UNEXPECTED_INTERNAL_ERROR,
        f"{type(failure).__name__}: {failure}",
        hint="this is a defect of the engine; run again with --debug and report the traceback",
    )


def _scenario_of(error: ArrivalError) -> str | None:
    scenario = error.context.get("scenario_id")
    return scenario if isinstance(scenario, str) else None


def _run(receipt: Receipt, options: RunOptions, reporter: Reporter, shipping: Shipping | None) -> RunResult:
    for scenario_id in options.scenarios:
        check_token("scenario_id", scenario_id)
    backend = choose_backend(options.backend)
    if options.backend == "auto":
        reporter.message(f"backend {backend.name}: {backend.reason}")
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
    job = _Job(receipt, seal, backend, options, reporter, shipping)
    wanted = dict.fromkeys(options.scenarios or seal.scenario_set)
    results = [_run_scenario(job, scenario_id) for scenario_id in wanted]
    return RunResult(tuple(results), backend.name)


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
    with reporter.phase("read"):
        world = load_world(
            job.receipt.run_root,
            scenario_id,
            seal=job.seal,
            strict=options.strict,
            accept_tz_cache=options.accept_tz_cache,
            threads=job.workshop.threads,
        )
    for notice in world.notices:
        reporter.notice(notice)
    with reporter.phase("plan"):
        batches = plan(world, options.batch_arrivals)
        check_memory(batches, job.workshop.threads)
    if not options.replace:
        refuse_certain_conflict(_place(world, "arrival_events_5B"), options.format, batches.arrivals)
    if job.shipping:
        job.shipping.prepare(world, options.format, batches.arrivals, replace=options.replace)
    made = produce_parts(job.workshop, batches, staged, resume=resume)
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
            update_rng_logs(world, accounts, utc_now(), staged)
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
            peak_rss_bytes=peak_rss_bytes(),
            notices=(*job.seal.notices, *world.notices),
        )
        head = report_head(job.receipt.identity, scenario_id, started)
        performance = {**_performance(job, result), "anomalies": anomalies, "thread_seconds": dict(made.thread_seconds)}
        append_line(job.receipt, {**head, **_PASSED, **scenario_facts(ledger, accounts), **performance})
    return result


def _publish(job: _Job, output: Publication, ledger: Ledger, staged: Path) -> Outcome:
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


def _ship(job: _Job, shipping: Shipping, ledger: Ledger) -> Outcome:
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


def _performance(job: _Job, result: ScenarioResult) -> dict[str, object]:
    """How the run went: what differs from one run of the same scenario to the next."""
    return {
        "backend": job.backend.name,
        "threads": job.workshop.threads,
        "batch_arrivals": job.options.batch_arrivals,
        "format": job.options.format,
        "rng_events": job.options.rng_events,
        "parts": result.parts,
        "bytes": result.bytes,
        "published": result.published,
        "rows_per_second": result.arrivals_per_second,
        "peak_rss_bytes": result.peak_rss_bytes,
        "durations": {"wall_ms": round(result.seconds * 1000), "phase_seconds": dict(result.phases)},
    }
