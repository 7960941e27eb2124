"""Arrivals as a stream of Arrow record batches, without files."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from arrival_engine.contracts.options import BackendName
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult, choose_backend
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered


def expand(plan: Plan, *, backend: BackendName = "cpu", threads: int | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the plan's arrivals in output order, one record batch a plan batch, with the contract's 21 columns.

    Batches are computed a few ahead on `threads` threads (default: the cores this process may use). Closing the
    iterator stops them. Raises ArrivalError for a fallback that the policy forbids.
    """
    assembler = Assembler(plan.world)
    with choose_backend(backend).open(plan, Reporter()) as expand_batch:

        def compute(batch: Batch) -> pa.RecordBatch:
            result: BatchResult = expand_batch(batch)
            return assembler.whole(result)

        yield from ordered(compute, plan.batches, threads or available_cores(), Cancellation())
