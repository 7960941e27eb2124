"""The arrivals of a world, expanded on every pass, as a source."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

import pyarrow as pa

from arrival_engine.contracts import Identity
from arrival_engine.contracts.options import BackendName
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult, choose_backend
from arrival_engine.engine.expand.batch_checks import check_batch
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.engine.expand.planning import Batch, plan
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.readable.facts import Facts
from arrival_engine.engine.world.load import World

__all__ = ["WorldSource"]

T = TypeVar("T")

# A quarter of a million: the first rows come at once, and a call for a batch costs nothing beside its arrivals.
BATCH_ARRIVALS = 1 << 18


class WorldSource:
    """The arrivals of a world, expanded on `threads` threads (default: the cores), or on devices by another `backend`.

    Nothing is stored: each pass computes the arrivals again. At most one batch per thread is kept, of 262,144 arrivals
    or of one bucket of a merchant that has more.
    """

    def __init__(self, world: World, facts: Facts, *, threads: int | None = None, backend: BackendName = "cpu") -> None:
        self._plan = plan(world, BATCH_ARRIVALS)
        self._threads = threads or available_cores()
        self._backend = backend
        self._digest: Digest | None = None
        self.facts: Facts = facts

    @property
    def rows(self) -> int:
        """Exact number of arrivals."""
        return self._plan.arrivals

    @property
    def scenario_id(self) -> str:
        """Scenario."""
        return self._plan.world.scenario_id

    @property
    def identity(self) -> Identity:
        """Identity of the world."""
        return self._plan.world.identity

    @property
    def seal_digest(self) -> str | None:
        """Digest of the sealed inputs; None for a world that was never sealed."""
        return self._plan.world.seal_digest

    def digest(self) -> str:
        """The digest of all arrivals, computed by a pass unless one was completed before. Errors as of `batches`."""
        if self._digest is None:
            with closing(self._expanded(_without_rows)) as expanded:
                self._digest = sum((digest for digest, _ in expanded), Digest())
        return str(self._digest)

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """All arrivals in output order. Raises ArrivalError for a fallback that the policy forbids."""
        total = Digest()
        with closing(self._expanded(Assembler(self._plan.world).whole)) as expanded:
            for digest, rows in expanded:
                total += digest
                yield rows
        self._digest = total

    def _expanded(self, finish: Callable[[BatchResult], T]) -> Generator[tuple[Digest, T], None, None]:
        amount = Amount(self._plan.arrivals, min(self._threads, available_cores()))
        with choose_backend(self._backend, amount).open(self._plan, Reporter()) as expander:

            def compute(batch: Batch) -> tuple[Digest, T]:
                result = expander(batch)
                check_batch(self._plan, result)
                return result.digest, finish(result)

            yield from ordered(compute, self._plan.batches, self._threads, Cancellation())


def _without_rows(result: BatchResult) -> None:
    """Only the digest is wanted."""
