"""Backends that expand batches: the CPU kernel on threads, or CUDA devices, to the same bits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, get_args

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.contracts.options import BackendName, ParityName
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.expand import expand_segments, kernels_are_cached, load_kernel
from arrival_engine.cpu_fallback.tables import FAILED_NO_GROUP, Columns, Results, RowTotals, Work, empty_columns
from arrival_engine.engine.expand.choosing import Amount
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.process.kernel_cache import tell_of_refusals
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.inputs import read_bytes
from arrival_engine.engine.world.load import SealedWorld, World, sealed
from arrival_engine.gpu_kernels import load, simulator
from arrival_engine.gpu_kernels.device import devices, missing_reason, no_writer_reason, unusable_reason
from arrival_engine.gpu_kernels.driver import cuda_state, no_driver_reason
from arrival_engine.gpu_kernels.opening import Opening, begin_opening, take_opening, unavailable

if TYPE_CHECKING:
    from arrival_engine.gpu_kernels.expand import OnDevice

Expander = Callable[[Batch], "BatchResult"]

# What `batch_checks` reads of the columns: all that the host needs of a batch that its device writes.
CHECKED_COLUMNS = ("row", "ts_us", "is_virtual")


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

    on_device: all columns on the device that computed them; `columns` then has those of CHECKED_COLUMNS, the others
    being empty. The thread that expanded the batch calls `release` when `columns` and `on_device` are no longer in use:
    their memory goes to another batch.
    """

    columns: Columns
    on_device: OnDevice | None = None
    release: Callable[[], None] = _nothing_to_release

    def complete(self) -> BatchResult:
        """The result with every column on the host; call it before `release`."""
        if self.on_device is None:
            return self
        return replace(self, columns=self.on_device.completed(self.columns))


@dataclass(frozen=True)
class Backend:
    """A backend that can be used here; `open(plan, reporter)` gives a thread-safe function from batch to result.

    reason: why this one. device_writer: results stay on their device until they are released, and are to be written
    there. notices: of the choice. peak_device_bytes: the most memory that was taken on each device, filled while the
    backend is open.
    """

    name: str
    reason: str
    open: Callable[[Plan, Reporter], AbstractContextManager[Expander]]
    device_writer: bool = False
    notices: tuple[Notice, ...] = ()
    peak_device_bytes: Mapping[str, int] = field(default_factory=dict)


def check_name(name: BackendName) -> None:
    """Raise ValueError for what is not the name of a backend."""
    if name not in get_args(BackendName):
        raise ValueError(f"backend must be one of {', '.join(get_args(BackendName))}, not {name!r}")


def require_backend(name: BackendName, *, device_writer: bool = False) -> None:
    """Before there is a plan: raise for what is missing here, and begin to open devices that were asked for.

    What only shows on a device is raised by `choose_backend`. Loads nothing for `auto`.
    """
    check_name(name)
    if device_writer:
        _require_writer(name)
    elif name == "cuda":
        if reason := missing_reason():
            raise unavailable(reason)
        begin_opening()


def _require_writer(name: BackendName) -> None:
    if name == "cpu":
        raise ValueError("device_writer needs a CUDA device, and the backend asked for is cpu")
    if reason := no_writer_reason():
        raise ArrivalError(
            Code.BACKEND_UNAVAILABLE,
            f"no device can write Parquet files here: {reason}",
            hint="run without --device-writer (the same arrivals, written by the CPU), or see `arrivals doctor`",
        )
    begin_opening()


def choose_backend(name: BackendName, amount: Amount | None = None, *, device_writer: bool = False) -> Backend:
    """The backend asked for, which for a device writer is CUDA; `auto` takes what is quicker for the amount.

    `auto` needs an amount. Raises BACKEND_UNAVAILABLE with the reason when a device is asked for and none can be used,
    or cuDF cannot.
    """
    require_backend(name, device_writer=device_writer)
    if name == "cpu":
        return Backend("cpu", "asked for", _open_cpu)
    if name == "cuda" and (reason := unusable_reason()):
        raise unavailable(reason)
    if name == "cuda" or device_writer:
        return _on_devices("asked for", device_writer=device_writer)
    if amount is None:
        raise ValueError("backend auto chooses by an amount, and none is given")
    return _quicker(amount)


def _quicker(amount: Amount) -> Backend:
    # Each reason costs more to find than the one before it.
    if reason := no_driver_reason() or amount.too_few():
        return Backend("cpu", reason, _open_cpu)
    if reason := unusable_reason():
        notices = (_device_left_out(reason),) if cuda_state().devices else ()
        return Backend("cpu", reason, _open_cpu, notices=notices)
    from arrival_engine.gpu_kernels.machine_code import cuda_kernels_are_cached

    cached = all(cuda_kernels_are_cached(device.compute_capability) for device in devices())
    reason = amount.compared(cached=cached)
    if amount.cpu_s <= amount.device_s(cached=cached):
        return Backend("cpu", reason, _open_cpu)
    return _on_devices(reason)


def _device_left_out(reason: str) -> Notice:
    return Notice("DEVICE_LEFT_OUT", f"the CPU expands the arrivals, because no CUDA device can be used: {reason}")


def _on_devices(reason: str, *, device_writer: bool = False) -> Backend:
    found = devices()
    labels = ", ".join(device.label for device in found)
    peaks: dict[str, int] = {}
    opened = partial(_open_cuda, take_opening(), peaks, keeping=device_writer)
    return Backend("cuda", f"{labels}: {reason}", opened, device_writer=device_writer, peak_device_bytes=peaks)


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
    """The count files and entity names of a world of a run directory, for a library that reads them on a device."""
    entities = world.tables.entities
    names = load.EntityNames(
        world.tables.merchants.id[entities.merchant],
        [world.tzids[code] for code in entities.zone.tolist()],
        [world.channels[code] for code in entities.channel.tolist()],
        entities.merchant,
    )
    receipt = sealed(world).receipt
    files = receipt.files("s3_bucket_counts_5B", scenario_id=world.scenario_id)
    readers = tuple(partial(read_bytes, receipt, path) for path in files)
    return load.CountFiles(readers, names, library)


def has_all_rows(world: World) -> bool:
    """Whether the world holds every count row of the scenario's files; a shard of a cluster holds only its own."""
    return world.rows.entity.size == world.input_rows - world.zero_rows - world.merged_rows


@contextmanager
def _open_cuda(
    opening: Opening, peaks: dict[str, int], plan: Plan, reporter: Reporter, *, keeping: bool = False
) -> Iterator[Expander]:
    from arrival_engine.gpu_kernels.expand import COLUMNS, Reserved, expanding

    rows: load.RowSource = load.uploaded_rows
    world = plan.world
    if load.reader()[0] == "cuDF" and isinstance(world, SealedWorld) and has_all_rows(world):
        rows = load.device_rows(count_files(world), reporter.notice)
    reserved = Reserved([batch.segments for batch in plan.batches], CHECKED_COLUMNS if keeping else COLUMNS)
    with ExitStack() as stack:
        with reporter.phase("load kernels"):
            lanes = opening.result()
            expander = stack.enter_context(expanding(_work(plan), lanes, reporter.notice, rows=rows, reserved=reserved))
        tell_of_refusals(reporter)
        expander.peak_bytes = peaks

        def expand(batch: Batch) -> BatchResult:
            if keeping:
                return keep_batch(plan, batch, expander.keeping(batch.segments, CHECKED_COLUMNS))
            return lend_batch(plan, batch, expander.leased(batch.segments))

        yield expand


def lend_batch(plan: Plan, batch: Batch, leased: tuple[Results, Callable[[], None]]) -> BatchResult:
    """As `finish_batch`, lending host memory until the result is released; a failed batch releases it at once."""
    results, release = leased
    with ExitStack() as stack:
        stack.callback(release)
        result = finish_batch(plan, batch, results)
        return replace(result, release=stack.pop_all().close)


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
        **world.known_as(merchant),
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
        f"merchant {world.told(merchant)} {problem}, and the routing policy forbids the fallback",
        hint=f"complete the 2B tables, or run without --strict and with fallbacks.{switch} set to its fallback",
        **where,
    )
