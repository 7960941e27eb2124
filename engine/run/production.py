"""Produce parts: every batch of a plan expanded, checked, encoded and written, on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from arrival_engine.contracts import Notice
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import FileFormat
from arrival_engine.contracts.oserrors import writing
from arrival_engine.engine.arrivals.metadata import file_metadata
from arrival_engine.engine.arrivals.part_file import DIGEST_KEY
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.arrivals.verify import verify_part, verify_staged
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import Backend, BatchResult, Expander
from arrival_engine.engine.expand.batch_checks import check_batch
from arrival_engine.engine.expand.ledger import Ledger, ScenarioLedger
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.pages.parts import ParquetParts
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.process.work_seconds import Spent, WorkSeconds
from arrival_engine.engine.run.arrow_parts import ArrowParts
from arrival_engine.engine.run.device_parts import DevicePartWriter
from arrival_engine.engine.run.disk import DiskSync
from arrival_engine.engine.run.finished_parts import compare_file, compare_part
from arrival_engine.engine.run.part_ledger import FinishedPart, PartLedger
from arrival_engine.engine.rundir.hashing import content_sha256


@dataclass(frozen=True)
class Workshop:
    """What production works with: backend, number of threads, file format."""

    backend: Backend
    threads: int
    file_format: FileFormat
    reporter: Reporter
    # Moves each verified part out of the staging directory, for runs whose output does not fit on this machine.
    take: Callable[[InsidePath], None] | None = None

    @property
    def backlog(self) -> int | None:
        """How many parts may wait to be taken; None without a limit."""
        return 2 * self.threads if self.take else None


@dataclass(frozen=True)
class WorkerFacts:
    """One worker of a cluster: seconds from the start of its first shard to the end of its last."""

    worker: str
    shards: int
    arrivals: int
    seconds: float
    arrivals_per_second: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Made:
    """Parts that are finished, verified and staged, in order, and the sums per count row behind them.

    threads: batches at once, over all workers; thread_seconds: by kind of work; workers: none where this process did
    the work. backend_reason: why this backend; empty where workers chose. notices: of backends. peak_device_bytes: the
    most memory that was taken on each device of this process.
    """

    ledger: ScenarioLedger
    parts: tuple[PartReceipt, ...]
    backend: str
    backend_reason: str
    threads: int
    thread_seconds: Mapping[str, float]
    workers: tuple[WorkerFacts, ...] = ()
    notices: tuple[Notice, ...] = ()
    peak_device_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Finishing:
    """Hashes a part that is on disk, enters it in the ledger, and hands it to `take`; `parts` by index."""

    directory: InsidePath
    schema: pa.Schema
    entries: PartLedger
    take: Callable[[InsidePath], None] | None
    parts: dict[int, PartReceipt]
    taken: set[str] = field(default_factory=set)

    def __call__(self, index: int, written: PartReceipt) -> None:
        part = self.hashed(index, written)
        self.entries.record(index, part)
        if self.take:
            verify_part(self.directory, self.schema, part)
            self.take(self.directory / part.name)
            self.taken.add(part.name)

    def hashed(self, index: int, written: PartReceipt) -> PartReceipt:
        """The receipt of part `index`, with the hash of its file."""
        self.parts[index] = replace(written, sha256=content_sha256([self.directory / written.name]))
        return self.parts[index]


@dataclass(frozen=True)
class _Production:
    """Expands batches, on any thread, and writes each to its part or compares it with the part that is finished."""

    plan: Plan
    assembler: Assembler
    writer: ParquetParts | ArrowParts | DevicePartWriter
    directory: InsidePath
    finished: Mapping[int, FinishedPart]
    reporter: Reporter
    work: WorkSeconds
    cancellation: Cancellation = field(default_factory=Cancellation)

    def __call__(self, expander: Expander, batch: Batch) -> tuple[BatchResult, PartReceipt]:
        self.cancellation.check()
        with self.work.spent("expand"):
            result = expander(batch)
        with ExitStack() as held:
            held.callback(result.release)
            with self.work.spent("check"):
                check_batch(self.plan, result)
            if batch.index in self.finished:
                with self.work.spent("compare"):
                    return result, self._compared(result, self.finished[batch.index])
            part = self.writer.write(result)
            self.reporter.advance(result.batch.arrivals)
            return result, part

    def _compared(self, result: BatchResult, part: FinishedPart) -> PartReceipt:
        path = self.directory / part.name
        if isinstance(self.writer, ParquetParts):
            compare_file(path, part.sha256, self.writer.pieces(result))
            self.reporter.advance(result.batch.arrivals)
        else:
            self._compare_rows(path, result, part)
        return PartReceipt(part.name, result.batch.arrivals, path.stat().st_size, result.digest, part.sha256)

    def _compare_rows(self, path: InsidePath, result: BatchResult, part: FinishedPart) -> None:
        """What other writers made is compared by rows: they promise nothing of their bytes."""
        metadata = {**file_metadata(self.plan.world), DIGEST_KEY: str(result.digest)}
        schema = self.assembler.schema.with_metadata(metadata)
        compare_part(path, part.sha256, schema, self._record_batches(result.complete()))

    def _record_batches(self, result: BatchResult) -> Iterator[pa.RecordBatch]:
        for batch in self.assembler.batches(result):
            yield batch
            # Resumed here once the batch is compared.
            self.cancellation.check()
            self.reporter.advance(batch.num_rows)


def produce_parts(shop: Workshop, plan: Plan, staged: InsidePath, *, resume: bool = False) -> Made:
    """Write every batch to a part file in `staged`/events; all are on disk and verified when this returns.

    `resume` takes over the parts that a killed run finished in `staged`, each compared with its arrivals. Raises the
    ArrivalError of the first batch, in part order, that failed.
    """
    directory, reporter = staged / "events", shop.reporter
    # Arrow keeps memory that reading has freed, and encoding Parquet parts does not use it.
    pa.default_memory_pool().release_unused()
    assembler, ledger = Assembler(plan.world), Ledger(plan.world)
    work = WorkSeconds()
    writer = _part_writer(shop, plan, directory, assembler, work.spent)
    device_writer = writer.name if isinstance(writer, DevicePartWriter) else None
    entries = PartLedger(staged, plan, shop.file_format, device_writer)
    finished = _finished_parts(entries, plan, directory, reporter) if resume else {}
    if not resume:
        with writing("arrivals", directory):
            directory.mkdir()
        entries.begin()
    produce = _Production(plan, assembler, writer, directory, finished, reporter, work)
    parts: dict[int, PartReceipt] = {}
    finish = _Finishing(directory, assembler.schema, entries, shop.take, parts)
    for notice in shop.backend.notices:
        reporter.notice(notice)
    with shop.backend.open(plan, reporter) as expander, DiskSync(shop.backlog) as disk:
        with reporter.phase("expand and write"):
            reporter.expect("arrivals", plan.arrivals)
            results = ordered(partial(produce, expander), plan.batches, shop.threads, produce.cancellation)
            # Closing ends the workers before their directory is removed, also when the loop fails.
            with closing(results):
                for result, receipt in results:
                    index = result.batch.index
                    ledger.add(result)
                    if index in finished:
                        parts[index] = receipt
                    else:
                        disk.sync(directory / receipt.name, partial(finish, index, receipt))
            if not plan.batches:
                # A scenario without arrivals is a dataset without rows, not a missing dataset.
                empty = writer.write_empty(ledger.digest)
                disk.sync(directory / empty.name, partial(finish.hashed, 0, empty))
        with reporter.phase("upload" if shop.take else "sync to disk"):
            disk.wait()
    in_order = tuple(parts[index] for index in sorted(parts))
    with reporter.phase("verify"):
        verify_staged(directory, assembler.schema, [part for part in in_order if part.name not in finish.taken])
    backend = shop.backend
    return Made(
        ledger,
        in_order,
        backend.name,
        backend.reason,
        shop.threads,
        work.seconds,
        notices=backend.notices,
        peak_device_bytes=dict(backend.peak_device_bytes),
    )


def _part_writer(
    shop: Workshop, plan: Plan, directory: InsidePath, assembler: Assembler, spent: Spent
) -> ParquetParts | ArrowParts | DevicePartWriter:
    if shop.backend.device_writer:
        return DevicePartWriter(directory, plan.world, assembler, spent)
    if shop.file_format == "arrow":
        return ArrowParts(directory, plan.world, assembler, spent)
    writer = ParquetParts(directory, plan.world, assembler, spent)
    writer.load_kernels(shop.reporter)
    return writer


def _finished_parts(
    entries: PartLedger, plan: Plan, directory: InsidePath, reporter: Reporter
) -> dict[int, FinishedPart]:
    finished = entries.resume(reporter.message)
    rows = sum(plan.batches[index].arrivals for index in finished)
    reporter.message(
        f"resuming: {len(finished)} parts with {rows:,} arrivals are finished in {directory}; "
        "each is compared with its arrivals"
    )
    return finished
