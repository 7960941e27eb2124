"""What came of a scenario's batches, wherever they were expanded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arrival_engine.engine.arrivals.parts import PartReceipt
from arrival_engine.engine.expand.ledger import ScenarioLedger
from arrival_engine.engine.world.load import World


@dataclass(frozen=True)
class WorkerFacts:
    """One worker of a cluster: seconds from its first shard's begin to its last one's end."""

    worker: str
    shards: int
    arrivals: int
    seconds: float
    arrivals_per_second: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Made:
    """A scenario whose parts are finished, verified and staged.

    world: what it was made from, with the figures of what became of its count rows. threads: batches at once, over
    all workers; thread_seconds: by kind of work; workers: none where this process did the work.
    """

    world: World
    ledger: ScenarioLedger
    parts: tuple[PartReceipt, ...]
    backend: str
    threads: int
    thread_seconds: Mapping[str, float]
    workers: tuple[WorkerFacts, ...] = ()
