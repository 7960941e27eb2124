"""Backends that expand batches: the CPU kernel on threads, or CUDA devices, to the same bits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, get_args

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.options import BackendName, ParityName
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.expand import expand_segments, kernels_are_cached, load_kernel
from arrival_engine.cpu_fallback.tables import FAILED_NO_GROUP, Columns, Results, RowTotals, Work, empty_columns
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.process.kernel_cache import tell_of_refusals
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.inputs import read_bytes
from arrival_engine.engine.world.load import World
from arrival_engine.gpu_kernels import load, simulator
from arrival_engine.gpu_kernels.device import DeviceFacts, devices, no_writer_reason, unusable_reason

if TYPE_CHECKING:
    from arrival_engine.gpu_kernels.expand import OnDevice

Expander = Callable[[Batch], "BatchResult"]


def _nothing_to_release() -> None:
    """Release of a result that holds no device."""


@dataclass(frozen=True)
class BatchSums:
    """Sums over one batch, without its arrivals; row_totals has one entry per count row of the batch."""

    batch: Batch
    row_totals: RowTotals
    digest: Digest
    at_start: int
    at_end: int


@dataclass(frozen=True)
class BatchResult(BatchSums):
    """Arrivals of one batch in output order, and the sums over them.

    on_device: the same columns on the device that computed them. The thread that expanded the batch calls `release`
    when `columns` and `on_device` are no longer in use: their memory goes to another batch.
    """

    columns: Columns
    on_device: OnDevice | None = None
    release: Callable[[], None] = _nothing_to_release


@dataclass(frozen=True)
class Backend:
    """A backend that can be used here; `open(plan, reporter)` gives a thread-safe function from batch to result.

    device_writer: results stay on their device until they are released, and are to be written there.
    """

    name: str
    reason: str
    open: Callable[[Plan, Reporter], AbstractContextManager[Expander]]
    device_writer: bool = False


def choose_backend(name: BackendName, *, device_writer: bool = False) -> Backend:
    """The backend asked for; `auto` takes CUDA where a usable device is there, and has to for a device writer.

    Raises BACKEND_UNAVAILABLE with the reason when a device is asked for and none can be used, or cuDF cannot.
    """
    if name not in get_args(BackendName):
        raise ValueError(f"backend must be one of {', '.join(get_args(BackendName))}, not {name!r}")
    if device_writer:
        return _device_writer(name)
    if name == "cpu":
        return Backend("cpu", "asked for", _open_cpu)
    reason = unusable_reason()
    if not reason:
        found = devices()
        labels = ", ".join(device.label for device in found)
        return Backend("cuda", labels, partial(_open_cuda, found))
    if name == "auto":
        return Backend("cpu", reason, _open_cpu)
    raise ArrivalError(
        Code.BACKEND_UNAVAILABLE,
        f"the CUDA backend cannot be used here: {reason}",
        hint="use --backend cpu (the same arrivals, bit for bit), or see `arrivals doctor`",
    )


def _device_writer(name: BackendName) -> Backend:
    if name == "cpu":
        raise ValueError("device_writer needs a CUDA device, and the backend asked for is cpu")
    if reason := no_writer_reason():
        raise ArrivalError(
            Code.BACKEND_UNAVAILABLE,
            f"no device can write Parquet files here: {reason}",
            hint="run without --device-writer (the same arrivals, written by the CPU), or see `arrivals doctor`",
        )
    found = devices()
    labels = ", ".join(device.label for device in found)
    return Backend("cuda", labels, partial(_open_cuda, found, keeping=True), device_writer=True)


def parity_backend(name: ParityName) -> Backend:
    """One side of a parity check: as `choose_backend`, and `cudasim`, the CUDA kernels in numba's simulator.

    The simulator expands about a thousand arrivals per second, one batch at a time for any number of threads.
    Raises BACKEND_UNAVAILABLE with the reason when the side cannot be had here.
    """
    if name not in get_args(ParityName):
        raise ValueError(f"a side of a parity check must be one of {', '.join(get_args(ParityName))}, not {name!r}")
    if name != "cudasim":
        return choose_backend(name)
    if reason := simulator.unusable_reason():
        raise ArrivalError(
            Code.BACKEND_UNAVAILABLE,
            f"the CUDA simulator cannot be used here: {reason}",
            hint="pip install 'numba-cuda>=0.30,<0.31'",
        )
    return Backend("cudasim", "asked for", _open_simulator)


@contextmanager
def _open_cpu(plan: Plan, reporter: Reporter) -> Iterator[Expander]:
    work = _work(plan)
    if not kernels_are_cached():
        reporter.message("compiling the CPU kernel: once after an installation or an update, a few seconds")
    with reporter.phase("load kernels"):
        load_kernel(work)
    tell_of_refusals(reporter)
    # Memory of released batches, for later ones. Fresh memory costs one page fault per page, and threads that fault at
    # the same time wait for one another: a sixth of the expansion.
    spare: deque[Columns] = deque()
    largest = max((batch.arrivals for batch in plan.batches), default=0)

    def expand(batch: Batch) -> BatchResult:
        try:
            room = spare.pop()
        except IndexError:
            room = empty_columns(largest)
        result = finish_batch(plan, batch, expand_segments(work, batch.segments, room))
        return replace(result, release=partial(spare.append, room))

    yield expand


def _work(plan: Plan) -> Work:
    return Work(plan.world.tables, plan.world.rows, plan.segments, plan.switches)


def count_files(world: World, library: str = "cudf") -> load.CountFiles:
    """The count files and entity names of a world, for a library that reads them on a device."""
    entities = world.tables.entities
    names = load.EntityNames(
        world.tables.merchants.id[entities.merchant],
        [world.tzids[code] for code in entities.zone.tolist()],
        [world.channels[code] for code in entities.channel.tolist()],
        entities.merchant,
    )
    files = world.receipt.files("s3_bucket_counts_5B", scenario_id=world.scenario_id)
    readers = tuple(partial(read_bytes, world.receipt, path) for path in files)
    return load.CountFiles(readers, names, library)


def has_all_rows(world: World) -> bool:
    """Whether the world holds every count row of the scenario's files; a shard of a cluster holds only its own."""
    return world.rows.entity.size == world.input_rows - world.zero_rows - world.merged_rows


@contextmanager
def _open_cuda(
    found: tuple[DeviceFacts, ...], plan: Plan, reporter: Reporter, *, keeping: bool = False
) -> Iterator[Expander]:
    from arrival_engine.gpu_kernels.expand import open_devices

    files = count_files(plan.world) if load.reader()[0] == "cuDF" and has_all_rows(plan.world) else None
    with ExitStack() as stack:
        with reporter.phase("load kernels"):
            expander = stack.enter_context(open_devices(_work(plan), found, reporter.notice, files=files))

        def expand(batch: Batch) -> BatchResult:
            if keeping:
                return keep_batch(plan, batch, expander.keeping(batch.segments))
            return finish_batch(plan, batch, expander.expand(batch.segments))

        yield expand


def keep_batch(plan: Plan, batch: Batch, kept: AbstractContextManager[tuple[Results, OnDevice]]) -> BatchResult:
    """As `finish_batch`, keeping the device until the result is released; a failed batch releases it at once."""
    with ExitStack() as stack:
        results, on_device = stack.enter_context(kept)
        result = finish_batch(plan, batch, results)
        return replace(result, on_device=on_device, release=stack.pop_all().close)


@contextmanager
def _open_simulator(plan: Plan, reporter: Reporter) -> Iterator[Expander]:
    def expand(batch: Batch) -> BatchResult:
        results, notices = process.expand(batch.segments)
        for notice in notices:
            reporter.notice(notice)
        return finish_batch(plan, batch, results)

    with simulator.Simulator() as process:
        with reporter.phase("load kernels"):
            process.open(_work(plan))
        yield expand


def finish_batch(plan: Plan, batch: Batch, results: Results) -> BatchResult:
    """A backend's arrays as a result. Raises SITE_RESOLUTION_FAILED for a fallback that the policy forbids."""
    columns, row_totals, totals = results
    if totals.failure[0]:
        raise _forbidden_fallback(plan, batch, int(totals.failure[0]), int(totals.failure[1]))
    return BatchResult(
        batch=batch,
        row_totals=row_totals,
        digest=Digest(batch.arrivals, int(totals.digest[0]), int(totals.digest[1])),
        at_start=int(totals.at_start[0]),
        at_end=int(totals.at_end[0]),
        columns=columns,
    )


def _forbidden_fallback(plan: Plan, batch: Batch, failure: int, batch_row: int) -> ArrivalError:
    world = plan.world
    row = batch.rows[0] + batch_row
    entity = world.rows.entity[row]
    entities = world.tables.entities
    merchant = int(world.tables.merchants.id[entities.merchant[entity]])
    where = {
        "merchant_id": merchant,
        "zone_representation": world.tzids[entities.zone[entity]],
        "channel_group": world.channels[entities.channel[entity]],
        "bucket_index": int(world.rows.bucket[row]),
    }
    if failure == FAILED_NO_GROUP:
        day = world.tables.grid.day[world.rows.bucket[row]].astype("datetime64[D]")
        problem, switch = f"has no tz group weights on {day}", "missing_group_table"
    else:
        problem, switch = "drew a tz group in which it has no site", "no_site_in_zone"
    return ArrivalError(
        Code.SITE_RESOLUTION_FAILED,
        f"merchant {merchant} {problem}, and the routing policy forbids the fallback",
        hint=f"complete the 2B tables, or run without --strict and with fallbacks.{switch} set to its fallback",
        **where,
    )
