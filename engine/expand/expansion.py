"""Arrivals as a stream of batches, without files: Arrow record batches, or columns that stay on a device."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Literal, overload

import pyarrow as pa

from arrival_engine.contracts.options import BackendName
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult, choose_backend
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered

if TYPE_CHECKING:
    from arrival_engine.gpu_kernels.device_batch import DeviceBatch


@overload
def expand(
    plan: Plan, *, backend: BackendName = "cpu", threads: int | None = None, on_device: Literal[False] = False
) -> Generator[pa.RecordBatch, None, None]: ...


@overload
def expand(
    plan: Plan, *, backend: BackendName = "cpu", threads: int | None = None, on_device: Literal[True]
) -> Generator[DeviceBatch, None, None]: ...


@overload
def expand(
    plan: Plan, *, backend: BackendName = "cpu", threads: int | None = None, on_device: bool
) -> Generator[pa.RecordBatch, None, None] | Generator[DeviceBatch, None, None]: ...


def expand(
    plan: Plan, *, backend: BackendName = "cpu", threads: int | None = None, on_device: bool = False
) -> Generator[pa.RecordBatch, None, None] | Generator[DeviceBatch, None, None]:
    """Yield the plan's arrivals in output order, one record batch per plan batch, with the contract's 21 columns.

    Batches are computed a few ahead on `threads` threads (default: the cores this process may use). Closing the
    iterator stops them. Raises ArrivalError for a fallback that the policy forbids.

    With `on_device`, the backend must be `cuda` or `auto`, and each batch is a `DeviceBatch`. It lies on the device
    that is CuPy's current one when the first batch is asked for, and belongs to the stream that is current then. With
    `threads` threads (default: 2), at most as many batches are computed and not yet consumed. Raises ValueError for
    another backend, ArrivalError with BACKEND_UNAVAILABLE if no device can be used, ROUTING_POLICY_INVALID if the
    output policy asks for times as texts, RESOURCES_INSUFFICIENT if a device has no memory for a batch.
    """
    if not on_device:
        return _on_host(plan, backend, threads)
    from arrival_engine.engine.expand.on_device import DEFAULT_BATCHES, check_request, expand_on_device

    check_request(backend)
    return expand_on_device(plan, threads or DEFAULT_BATCHES)


def _on_host(plan: Plan, backend: BackendName, threads: int | None) -> Generator[pa.RecordBatch, None, None]:
    assembler, cores = Assembler(plan.world), available_cores()
    amount = Amount(plan.arrivals, min(threads or cores, cores))
    with choose_backend(backend, amount).open(plan, Reporter()) as expand_batch:

        def compute(batch: Batch) -> pa.RecordBatch:
            result: BatchResult = expand_batch(batch)
            return assembler.whole(result)

        yield from ordered(compute, plan.batches, threads or cores, Cancellation())
