"""Receipts: what a worker tells the client about a shard it has handed in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.contracts.options import FileFormat
from arrival_engine.contracts.part_names import part_name
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.cluster.shards import Shard
from arrival_engine.engine.process import human
from arrival_engine.engine.run.production import WorkerFacts


@dataclass(frozen=True)
class ShardReceipt:
    """A finished shard: its parts in order, the sums over them, and how the work went.

    rows: count rows; ledger_sha256: of the file with the sums of each. began, ended: seconds by the worker's clock.
    """

    shard: int
    parts: tuple[PartReceipt, ...]
    digest: Digest
    at_start: int
    at_end: int
    rows: int
    ledger_sha256: str
    worker: str
    backend: str
    began: float
    ended: float
    thread_seconds: Mapping[str, float]
    peak_rss_bytes: int
    notices: tuple[Notice, ...]


def check_receipt(receipt: ShardReceipt, shard: Shard, file_format: FileFormat) -> None:
    """A shard's parts have the names and the arrivals that the plan gave them. Raises BUCKET_COUNT_MISMATCH."""
    expected = [
        (part_name(part, file_format), arrivals)
        for part, arrivals in zip(shard.parts, shard.batch_arrivals, strict=True)
    ]
    found = [(part.name, part.rows) for part in receipt.parts]
    if found != expected or receipt.digest != sum((part.digest for part in receipt.parts), Digest()):
        raise ArrivalError(
            Code.BUCKET_COUNT_MISMATCH,
            f"shard {shard.index} was handed in with {sum(rows for _, rows in found)} arrivals in {len(found)} parts; "
            f"the plan has {shard.arrivals} in {len(expected)}",
            hint="this is a defect of the engine; please report it with the run report",
            shard=shard.index,
            worker=receipt.worker,
        )


def worker_facts(receipts: Iterable[ShardReceipt]) -> tuple[WorkerFacts, ...]:
    """What each worker did, by name."""
    of_worker: defaultdict[str, list[ShardReceipt]] = defaultdict(list)
    for receipt in receipts:
        of_worker[receipt.worker].append(receipt)
    return tuple(_facts(worker, done) for worker, done in sorted(of_worker.items()))


def _facts(worker: str, done: list[ShardReceipt]) -> WorkerFacts:
    arrivals = sum(receipt.digest.rows for receipt in done)
    seconds = max(receipt.ended for receipt in done) - min(receipt.began for receipt in done)
    return WorkerFacts(
        worker=worker,
        shards=len(done),
        arrivals=arrivals,
        seconds=seconds,
        arrivals_per_second=human.per_second(arrivals, seconds),
        peak_rss_bytes=max(receipt.peak_rss_bytes for receipt in done),
    )
