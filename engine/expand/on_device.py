"""Arrivals as batches that stay on the device that computed them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.options import BackendName
from arrival_engine.cpu_fallback.tables import Results, Work
from arrival_engine.engine.expand.backend import check_name, finish_batch
from arrival_engine.engine.expand.batch_checks import check_kept, virtual_arrivals
from arrival_engine.engine.expand.device_layout import device_layout
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.gpu_kernels.columns import arranged, null_counts, owned
from arrival_engine.gpu_kernels.delivery import CupyDelivery, Delivery
from arrival_engine.gpu_kernels.device import DeviceFacts, devices, unusable_reason
from arrival_engine.gpu_kernels.device_batch import BatchArrays, DeviceBatch, Vocabularies

if TYPE_CHECKING:
    from arrival_engine.gpu_kernels.expand import OnDevice

# One batch with the caller and one ahead. A device has two lanes, so more would wait.
DEFAULT_BATCHES = 2


class Source(NamedTuple):
    """A device: what expands a span of segments and keeps the columns there, and where they are delivered."""

    keeping: Callable[[tuple[int, int]], AbstractContextManager[tuple[Results, OnDevice]]]
    delivery: Delivery


def check_request(backend: BackendName) -> None:
    """Raise ValueError for a backend without a device, BACKEND_UNAVAILABLE with the reason if none can be used."""
    check_name(backend)
    if backend == "cpu":
        raise ValueError("on_device needs a CUDA device, and the backend asked for is cpu: pass backend='cuda'")
    if reason := unusable_reason():
        raise ArrivalError(
            Code.BACKEND_UNAVAILABLE,
            f"no arrivals can stay on a device here: {reason}",
            hint="expand without on_device (the same arrivals, as Arrow record batches), or see `arrivals doctor`",
        )


def expand_on_device(plan: Plan, batches: int) -> Generator[DeviceBatch, None, None]:
    """Batches in output order on CuPy's current device and stream, at most `batches` of them unconsumed."""
    with _opened(plan) as source:
        yield from delivered(plan, source, batches)


@contextmanager
def _opened(plan: Plan) -> Iterator[Source]:
    from arrival_engine.gpu_kernels.expand import open_devices

    delivery = CupyDelivery()
    device = _usable_device(delivery.device_id)
    work = Work(plan.world.tables, plan.world.rows, plan.segments, plan.switches)
    with open_devices(work, (device,), Reporter().notice) as expander:
        yield Source(partial(expander.keeping, copied=()), delivery)


def _usable_device(ordinal: int) -> DeviceFacts:
    for device in devices():
        if device.ordinal == ordinal:
            return device
    raise ArrivalError(
        Code.BACKEND_UNAVAILABLE,
        f"CUDA device {ordinal}, which is CuPy's current one, is too old for the kernels",
        hint="make another device current (`with cupy.cuda.Device(n):`), or see `arrivals doctor`",
    )


def delivered(plan: Plan, source: Source, batches: int) -> Generator[DeviceBatch, None, None]:
    """The plan's batches in output order from a source, at most `batches` of them unconsumed."""
    layout = device_layout(plan.world, "expand without on_device")
    vocabularies = Vocabularies(source.delivery)

    def compute(batch: Batch) -> DeviceBatch:
        with source.keeping(batch.segments) as (results, on_device):
            result = finish_batch(plan, batch, results)
            try:
                check_kept(plan, result, on_device.kept)
                with source.delivery.taking():
                    columns = arranged(layout, owned(on_device.kept), 0, batch.arrivals)
                    texts = {column.texts for column in columns if column.texts is not None}
                    used = {key: vocabularies.of(key) for key in texts}
            except MemoryError as failure:
                # The frames of the traceback hold device arrays.
                raise _no_room(on_device.label, batch, failure) from failure.with_traceback(None)
            nulls = null_counts(layout, batch.arrivals, virtual_arrivals(result), _without_channel(plan, batch))
            arrays = BatchArrays(layout.schema, columns, nulls, used)
            return DeviceBatch(batch.index, result.digest, arrays, source.delivery)

    yield from ordered(compute, plan.batches, batches, Cancellation())


def _without_channel(plan: Plan, batch: Batch) -> int:
    """Arrivals of a batch whose channel is null."""
    world, span = plan.world, slice(*batch.rows)
    if world.channels[:1] != ("",):
        return 0
    unnamed = world.tables.entities.channel[world.rows.entity[span]] == 0
    return int(world.rows.arrivals[span][unnamed].sum(dtype=np.int64))


def _no_room(label: str, batch: Batch, failure: MemoryError) -> ArrivalError:
    return ArrivalError(
        Code.RESOURCES_INSUFFICIENT,
        f"{label} has no memory for the columns of batch {batch.index}, {batch.arrivals} arrivals ({failure})",
        hint="plan with a smaller batch_arrivals, drop earlier batches, or stop other programs that use the device",
        batch=batch.index,
    )
