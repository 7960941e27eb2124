"""One scenario of a run: made in a staging directory, published with its records, entered in the run report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Notice
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.moments import utc_now
from arrival_engine.contracts.part_names import publication_token
from arrival_engine.engine.arrivals.publish import (
    Comparison,
    Outcome,
    Publication,
    Published,
    Voucher,
    publication,
    refuse_certain_conflict,
)
from arrival_engine.engine.expand.ledger import ScenarioLedger
from arrival_engine.engine.process import human
from arrival_engine.engine.process.machine import peak_rss_bytes
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.records.diagnostics import write_anomalies, write_summary
from arrival_engine.engine.records.places import write_edges, write_sites
from arrival_engine.engine.records.rng_events import publish_rng_events, write_rng_events
from arrival_engine.engine.records.rng_logs import update_rng_logs
from arrival_engine.engine.records.run_report import append_line, report_head, scenario_facts
from arrival_engine.engine.run.making import Maker, Order
from arrival_engine.engine.run.options import RunOptions
from arrival_engine.engine.run.part_ledger import abandoned_staging
from arrival_engine.engine.run.production import Made, WorkerFacts
from arrival_engine.engine.rundir.flag import flag_of
from arrival_engine.engine.rundir.lock import STAGING
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.staging import staging
from arrival_engine.engine.sealing import Seal
from arrival_engine.engine.storage.directory import Shipping
from arrival_engine.engine.world.load import World


@dataclass(frozen=True)
class ScenarioResult:
    """What a run made of one scenario; seconds and phases are wall time, thread_seconds are by kind of work."""

    scenario_id: str
    arrivals: int
    physical: int
    virtual: int
    parts: int
    bytes: int
    digest: str
    path: Path | str  # a URL where the run directory is in an object store
    published: Outcome
    # What "identical" rests on: the parts' own statements, the manifest of a store and its parts' sizes, or all bytes.
    compared: Comparison | None
    merged_rows: int
    fallbacks: Mapping[str, int]
    seconds: float
    phases: Mapping[str, float]
    arrivals_per_second: float
    peak_rss_bytes: int  # of this process, or of a cluster's worker where that is more
    notices: tuple[Notice, ...]
    backend: str
    backend_reason: str
    threads: int  # batches at once, over all workers
    thread_seconds: Mapping[str, float]
    workers: tuple[WorkerFacts, ...]
    peak_device_bytes: Mapping[str, int]  # the most memory taken on each device of this process

    def performance(self, options: RunOptions) -> dict[str, object]:
        """How the run went, for the run report: what differs from one run of the same scenario to the next."""
        return {
            "backend": self.backend,
            **({"backend_reason": self.backend_reason} if self.backend_reason else {}),
            "notices": [notice.code for notice in self.notices],
            "threads": self.threads,
            **({"workers": [asdict(worker) for worker in self.workers]} if self.workers else {}),
            "batch_arrivals": options.batch_arrivals,
            "format": options.format,
            "device_writer": options.device_writer,
            "rng_events": options.rng_events,
            "parts": self.parts,
            "bytes": self.bytes,
            "published": self.published,
            "rows_per_second": self.arrivals_per_second,
            "peak_rss_bytes": self.peak_rss_bytes,
            **({"peak_device_bytes": dict(self.peak_device_bytes)} if self.peak_device_bytes else {}),
            "thread_seconds": dict(self.thread_seconds),
            "durations": {"wall_ms": round(self.seconds * 1000), "phase_seconds": dict(self.phases)},
        }


@dataclass(frozen=True)
class Job:
    """What all scenarios of one run share; `shipping` where the run directory is in an object store."""

    receipt: Receipt
    seal: Seal
    options: RunOptions
    reporter: Reporter
    maker: Maker
    shipping: Shipping | None


def run_scenario(job: Job, scenario_id: str) -> ScenarioResult:
    """Make, publish and report one scenario; with `resume`, continue what a killed run left."""
    try:
        with _staged(job, scenario_id) as (staged, resume):
            return _made_and_published(job, scenario_id, staged, resume=resume)
    except ArrivalError as error:
        # The run report names the scenario of a failure, whichever step noticed it.
        error.context.setdefault("scenario_id", scenario_id)
        raise


@contextmanager
def _staged(job: Job, scenario_id: str) -> Iterator[tuple[InsidePath, bool]]:
    """A staging directory, and whether a killed run left finished parts in it."""
    run_root = job.receipt.run_root
    abandoned = abandoned_staging(run_root, scenario_id) if job.options.resume else None
    if abandoned:
        yield abandoned, True
        # Not before: until publication, a run that is interrupted again can be resumed again.
        abandoned.discard()
        return
    if job.options.resume:
        job.reporter.message(f"nothing to resume for {scenario_id}: starting with its first part")
    with staging(run_root, f"{STAGING}-{scenario_id}") as fresh:
        yield fresh, False


def _made_and_published(job: Job, scenario_id: str, staged: InsidePath, *, resume: bool) -> ScenarioResult:
    """Write everything to `staged` first; arrivals, diagnostics, logs and report then appear together."""
    reporter, options = job.reporter, job.options
    begin, before, started = time.perf_counter(), dict(reporter.phases), utc_now()
    order = Order(job.receipt, job.seal, scenario_id, options, lambda world, size: _refuse_conflict(job, world, size))
    made = job.maker.make(order, staged, reporter, resume=resume)
    ledger, world = made.ledger, made.ledger.world
    accounts = ledger.accounting()
    with reporter.phase("report"):
        write_summary(ledger, staged / "summary.parquet")
        anomalies = write_anomalies(ledger, staged / "anomalies.parquet")
        write_sites(job.receipt, staged / "sites.parquet")
        write_edges(job.receipt, staged / "edges.parquet")
        if options.rng_events != "none":
            write_rng_events(ledger, accounts, staged / "rng_events", options.rng_events)
    flag = flag_of(job.receipt)
    with publication(Voucher(flag, staged / flag.name)) as output:
        with reporter.phase("publish"):
            outcome = _publish(job, output, made, staged)
            set_aside = update_rng_logs(output, world, accounts, utc_now(), staged)
            if job.shipping:
                outcome = _ship(job, job.shipping, ledger)
        for notice in set_aside:
            reporter.notice(notice)
        result = _result(job, made, outcome, time.perf_counter() - begin, before, set_aside)
        head = report_head(job.receipt.identity, scenario_id, started)
        facts = scenario_facts(ledger, accounts)
        performance = result.performance(options)
        append_line(job.receipt, {**head, **_PASSED, **facts, **performance, "anomalies": anomalies})
    return result


# verify_staged has read the parts back and found them whole, or nothing would be published.
_PASSED = {"status": "PASS", "error_code": None, "error_message": None, "schema_ok": True, "partition_ok": True}


def _result(
    job: Job,
    made: Made,
    outcome: Outcome,
    seconds: float,
    before: Mapping[str, float],
    set_aside: Sequence[Notice],
) -> ScenarioResult:
    ledger, world = made.ledger, made.ledger.world
    path = job.receipt.path("arrival_events_5B", scenario_id=world.scenario_id)
    phases = {name: spent - before.get(name, 0.0) for name, spent in job.reporter.phases.items()}
    return ScenarioResult(
        scenario_id=world.scenario_id,
        arrivals=ledger.digest.rows,
        physical=ledger.digest.rows - ledger.virtual,
        virtual=ledger.virtual,
        parts=len(made.parts),
        bytes=sum(part.bytes for part in made.parts),
        digest=str(ledger.digest),
        path=job.shipping.url_of(path) if job.shipping else path.outside,
        published=outcome,
        compared=_compared(job) if outcome == "identical" else None,
        merged_rows=world.merged_rows,
        fallbacks=ledger.fallbacks(),
        seconds=seconds,
        phases={name: spent for name, spent in phases.items() if spent > 0.0},
        arrivals_per_second=human.per_second(ledger.digest.rows, seconds),
        peak_rss_bytes=max([peak_rss_bytes(), *(worker.peak_rss_bytes for worker in made.workers)]),
        notices=(*job.seal.notices, *world.notices, *made.notices, *set_aside),
        backend=made.backend,
        backend_reason=made.backend_reason,
        threads=made.threads,
        thread_seconds=made.thread_seconds,
        workers=made.workers,
        peak_device_bytes=made.peak_device_bytes,
    )


def _compared(job: Job) -> Comparison:
    if job.options.replace:
        return "bytes"
    return "manifest" if job.shipping else "statements"


def _refuse_conflict(job: Job, world: World, arrivals: int) -> None:
    """Raise IO_WRITE_CONFLICT before the work if its result could not be published."""
    options = job.options
    if not options.replace:
        final = job.receipt.path("arrival_events_5B", scenario_id=world.scenario_id)
        refuse_certain_conflict(final, options.format, arrivals)
    if job.shipping:
        job.shipping.prepare(world, options.format, arrivals, replace=options.replace)


def _publish(job: Job, output: Publication, made: Made, staged: InsidePath) -> Outcome:
    ledger, options = made.ledger, job.options
    world = ledger.world

    def final(dataset_id: str) -> InsidePath:
        return job.receipt.path(dataset_id, scenario_id=world.scenario_id)

    expected = Published(options.format, ledger.digest)
    token = publication_token(part.sha256 for part in made.parts)
    outcome = output.events(
        staged / "events",
        final("arrival_events_5B"),
        expected,
        token,
        replace=options.replace,
        vouched=job.shipping is None,
    )
    output.file(staged / "summary.parquet", final("s4_arrival_summary_5B"))
    output.file(staged / "anomalies.parquet", final("s4_arrival_anomalies_5B"))
    output.file(staged / "sites.parquet", final("arrival_sites_5B"))
    output.file(staged / "edges.parquet", final("arrival_edges_5B"))
    # Events of arrivals that were replaced go too.
    if options.rng_events != "none" or outcome == "replaced":
        publish_rng_events(output, world, staged / "rng_events", options.rng_events)
    return outcome


def _ship(job: Job, shipping: Shipping, ledger: ScenarioLedger) -> Outcome:
    options = job.options
    made = Published(options.format, ledger.digest)
    return shipping.publish(ledger.world, made, replace=options.replace, rng_events=options.rng_events != "none")
