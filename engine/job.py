"""The main job: a sealed run directory to published arrivals, scenario by scenario."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from contracts import ArrivalError, Code, Notice, dataset
from engine.assemble import Assembler
from engine.backend import Backend, BackendName, BatchResult, Expander, choose_backend
from engine.batch_checks import check_batch
from engine.lock import run_lock
from engine.machine import available_cores, peak_rss_bytes
from engine.output.metadata import file_metadata
from engine.output.parts import FileFormat, PartReceipt, PartWriter
from engine.output.publish import Outcome, Published, publish_events
from engine.output.verify import verify_staged
from engine.pipeline import Cancellation, ordered
from engine.planning import DEFAULT_BATCH_ARRIVALS, Batch, Plan, plan
from engine.progress import Reporter
from engine.receipt import Receipt, read_receipt
from engine.report.diagnostics import write_anomalies, write_summary
from engine.report.ledger import Ledger
from engine.report.rng_logs import update_rng_logs
from engine.report.run_report import append_line, failure_facts, report_head, scenario_facts, utc_now
from engine.seal import Seal, verify_seal
from engine.staging import publish_files, staging
from engine.world.load import World, load_world, scenario_ids


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
    path: Path
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

    @property
    def threads(self) -> int:
        return self.options.threads or available_cores()


@dataclass
class _WorkSeconds:
    """Thread time by kind of work; threads overlap, so the sum can exceed the wall time."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def spent(self, kind: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[kind] += time.perf_counter() - begin


def run(run_root: Path | str, options: RunOptions | None = None, reporter: Reporter | None = None) -> RunResult:
    """Check the seal, expand every scenario asked for (default: all), publish, report.

    Each scenario is published whole by rename; a failure leaves earlier publications as they were. Any failure but
    an interruption is also a FAIL line of the run report. Raises ArrivalError.
    """
    options, reporter = options or RunOptions(), reporter or Reporter()
    receipt = read_receipt(Path(run_root))
    started = utc_now()
    try:
        with run_lock(receipt.run_root):
            return _run(receipt, options, reporter)
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
    return ArrivalError(
        Code.UNEXPECTED_INTERNAL_ERROR,
        f"{type(failure).__name__}: {failure}",
        hint="this is a defect of the engine; run again with --debug and report the traceback",
    )


def _scenario_of(error: ArrivalError) -> str | None:
    scenario = error.context.get("scenario_id")
    return scenario if isinstance(scenario, str) else None


def _run(receipt: Receipt, options: RunOptions, reporter: Reporter) -> RunResult:
    backend = choose_backend(options.backend)
    if options.backend == "auto":
        reporter.message(f"backend {backend.name}: {backend.reason}")
    with reporter.phase("seal check"):
        seal = verify_seal(receipt, reporter)
    for notice in seal.notices:
        reporter.notice(notice)
    job = _Job(receipt, seal, backend, options, reporter)
    scenarios = options.scenarios or scenario_ids(receipt)
    if not scenarios:
        raise ArrivalError(
            Code.S1_OR_S3_OUTPUT_MISSING,
            f"no bucket counts of seed {receipt.identity.seed} below {receipt.run_root}",
            hint="check the seed and manifest_fingerprint of run_receipt.json",
        )
    return RunResult(tuple(_run_scenario(job, scenario) for scenario in scenarios), backend.name)


def _run_scenario(job: _Job, scenario_id: str) -> ScenarioResult:
    reporter, options = job.reporter, job.options
    begin, before, started = time.perf_counter(), dict(reporter.phases), utc_now()
    with staging(job.receipt.run_root, f"arrivals-{scenario_id}") as staged:
        with reporter.phase("read"):
            world = load_world(
                job.receipt.run_root,
                scenario_id,
                seal=job.seal,
                strict=options.strict,
                accept_tz_cache=options.accept_tz_cache,
                threads=job.threads,
            )
        for notice in world.notices:
            reporter.notice(notice)
        with reporter.phase("plan"):
            batches = plan(world, options.batch_arrivals)
        ledger, parts, work = _expand_and_write(job, batches, staged / "events")
        with reporter.phase("report"):
            write_summary(ledger, staged / "summary.parquet")
            anomalies = write_anomalies(ledger, staged / "anomalies.parquet")
        with reporter.phase("publish"):
            final = dataset("arrival_events_5B").locate(job.receipt.run_root, _tokens(world))
            outcome = publish_events(
                staged / "events",
                final,
                Published(options.format, ledger.digest),
                replace=options.replace,
                retired=staged / "retired",
            )
            _publish_diagnostics(world, staged, outcome)
            accounts = ledger.accounting()
            update_rng_logs(world, accounts, utc_now(), staged)
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
        path=final,
        published=outcome,
        merged_rows=world.merged_rows,
        fallbacks=ledger.fallbacks(),
        seconds=seconds,
        phases={name: spent for name, spent in phases.items() if spent > 0.0},
        arrivals_per_second=ledger.digest.rows / seconds,
        peak_rss_bytes=peak_rss_bytes(),
        notices=(*job.seal.notices, *world.notices),
    )
    performance = {
        "backend": job.backend.name,
        "threads": job.threads,
        "batch_arrivals": options.batch_arrivals,
        "format": options.format,
        "parts": result.parts,
        "bytes": result.bytes,
        "published": outcome,
        "anomalies": anomalies,
        "rows_per_second": result.arrivals_per_second,
        "peak_rss_bytes": result.peak_rss_bytes,
        "durations": {"wall_ms": round(seconds * 1000), "phase_seconds": dict(result.phases)},
        "thread_seconds": dict(work),
    }
    # verify_staged has read the parts back and found them whole, or nothing would be published.
    checks = {
        "status": "PASS",
        "error_code": None,
        "error_message": None,
        "schema_ok": True,
        "partition_ok": True,
    }
    facts = scenario_facts(ledger, accounts)
    append_line(
        job.receipt,
        {**report_head(job.receipt.identity, scenario_id, started), **checks, **facts, **performance},
    )
    return result


def _expand_and_write(
    job: _Job, batches: Plan, directory: Path
) -> tuple[Ledger, tuple[PartReceipt, ...], Mapping[str, float]]:
    """Every batch to a part file in `directory`, on threads; the parts are read back before this returns."""
    assembler, ledger, work = Assembler(batches.world), Ledger(batches.world), _WorkSeconds()
    directory.mkdir()
    writer = PartWriter(
        directory,
        assembler.schema,
        batches.world.settings.output,
        job.options.format,
        file_metadata(batches.world),
    )
    cancellation = Cancellation()

    def produce(expander: Expander, batch: Batch) -> tuple[BatchResult, PartReceipt]:
        cancellation.check()
        with work.spent("expand"):
            result = expander(batch)
            check_batch(batches, result)
        with work.spent("assemble and write"):
            part = writer.write(batch.index, _record_batches(job, assembler, result, cancellation), result.digest)
        return result, part

    parts: list[PartReceipt] = []
    with job.backend.open(batches, job.reporter) as expander, job.reporter.phase("expand and write"):
        job.reporter.expect("arrivals", batches.arrivals)
        for result, part in ordered(lambda batch: produce(expander, batch), batches.batches, job.threads, cancellation):
            ledger.add(result)
            parts.append(part)
        if not parts:
            # A scenario without arrivals is a dataset with no rows, not a missing one.
            parts.append(writer.write(0, iter(()), ledger.digest))
    with job.reporter.phase("verify"):
        verify_staged(directory, assembler.schema, parts)
    return ledger, tuple(parts), work.seconds


def _record_batches(
    job: _Job, assembler: Assembler, result: BatchResult, cancellation: Cancellation
) -> Iterator[pa.RecordBatch]:
    size, step = result.batch.arrivals, assembler.row_group_rows
    for first in range(0, size, step):
        cancellation.check()
        last = min(first + step, size)
        yield assembler.assemble(result, first, last)
        job.reporter.advance(last - first)


def _tokens(world: World) -> dict[str, str]:
    return world.receipt.identity.tokens(scenario_id=world.scenario_id)


def _publish_diagnostics(world: World, staged: Path, outcome: Outcome) -> None:
    """Summary and anomalies follow the events: the same events have the same ones, so those stay if they stand."""
    for dataset_id, name in (("s4_arrival_summary_5B", "summary"), ("s4_arrival_anomalies_5B", "anomalies")):
        final = dataset(dataset_id).locate(world.receipt.run_root, _tokens(world))
        if outcome != "identical" or not final.exists():
            publish_files([(staged / f"{name}.parquet", final)])
