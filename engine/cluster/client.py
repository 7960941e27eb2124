"""The Dask client of a run: open it, run tasks to their end, name their failures."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from typing import Any, TypeAlias, TypeVar

from arrival_engine.contracts import ArrivalError, Code, unforeseen
from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.cluster.tls import TlsFiles, client_security, private_security
from arrival_engine.engine.process.extras import require
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter

# distributed.Client, most of whose methods carry no types.
Client: TypeAlias = Any
Result = TypeVar("Result")

LOCAL = "local"
CONNECT_S = 30
WITHOUT_WORKERS_S = 60.0
_LOOK_AGAIN_S = 1.0
_SEE_THAT_THEY_ARE_UP = (
    "see that scheduler and workers are up and have this version of the engine; nothing was published"
)
# A shared file system may fail for a moment; any other failure of a task would repeat.
_WORTH_ANOTHER_TRY = frozenset({Code.IO_READ_FAILED, Code.IO_WRITE_FAILED})
_TRIES = 3


@contextmanager
def open_client(scheduler: str, workers: int | None = None, tls: TlsFiles | None = None) -> Iterator[Client]:
    """A client of the scheduler at an address such as tcp://host:8786, or of a cluster of processes made for the time.

    scheduler: an address or "local"; workers: processes of one thread each, for "local" alone (default: one a core);
    tls: for an address that begins with tls:// (default: those of Dask's configuration).
    Raises DEPENDENCY_MISSING without Dask, CLUSTER_UNAVAILABLE where no scheduler answers, and as `client_security`.
    """
    require("dask", "a run on a cluster")
    distributed: Any = importlib.import_module("distributed")
    _silence_logs()
    if scheduler != LOCAL:
        with _connected(distributed, scheduler, client_security(scheduler, tls)) as client:
            yield client
        return
    with (
        distributed.LocalCluster(
            n_workers=workers or available_cores(),
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            # Any user of this machine can reach the scheduler's port, and a client can have any code run.
            security=private_security(),
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _connected(distributed: Any, scheduler: str, security: Any) -> Client:
    try:
        return distributed.Client(scheduler, timeout=CONNECT_S, security=security)
    except (OSError, ValueError) as failure:
        hint = "start one with `dask scheduler`, and give its address as tcp://HOST:PORT"
        if security is not None:
            hint = (
                "see that a scheduler with --tls-ca-file, --tls-cert and --tls-key listens there, and that the same "
                "authority signed its certificate and this client's"
            )
        raise ArrivalError(
            Code.CLUSTER_UNAVAILABLE,
            f"no Dask scheduler answers at {scheduler}: {failure}",
            hint=hint,
            scheduler=scheduler,
        ) from failure


def _silence_logs() -> None:
    """Keep Dask from logging to standard error: what matters of it, a run's own error says.

    For good, since its threads log tracebacks even after a client that lost its scheduler is closed.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def wait_for_workers(client: Client) -> int:
    """Threads of all workers, once there is a worker. Raises CLUSTER_UNAVAILABLE where none comes."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except TimeoutError as failure:
        raise ArrivalError(
            Code.CLUSTER_UNAVAILABLE,
            f"the Dask scheduler at {client.scheduler.address} has no workers",
            hint=f"start some with `dask worker {shell_word(client.scheduler.address)}`, where they see the run "
            "directory at the same path",
        ) from failure
    return sum(client.nthreads().values())


def shared(client: Client, value: object, name: str) -> Any:
    """An argument for many tasks, which goes through the scheduler once; made again where its holder dies."""
    return client.submit(_same, value, key=name, pure=False)


def _same(value: object) -> object:
    return value


def completed(
    client: Client, task: Callable[..., Result], calls: Sequence[tuple[Any, ...]], name: str
) -> Generator[tuple[int, Result], None, None]:
    """The position of each call and its result, as they finish; tasks are named `name`-position-try.

    Dask learns how long tasks take by the first word of their names: one word for one kind of work, or it believes
    that what takes seconds is as short as something else, and piles it up on one worker.
    Ending early, by an error, a closed iterator or Ctrl-C, cancels what is left. Raises the ArrivalError of a task,
    RESOURCES_INSUFFICIENT or UNEXPECTED_INTERNAL_ERROR for another exception of one, and CLUSTER_UNAVAILABLE where
    Dask cannot finish it.
    """
    done: Queue[Any] = Queue()
    watch = _Watch(client)
    pending: dict[Any, tuple[int, int]] = {}

    def submit(position: int, attempt: int) -> None:
        future = client.submit(task, *calls[position], key=f"{name}-{position}-{attempt}", pure=False)
        pending[future] = (position, attempt)
        future.add_done_callback(done.put)

    try:
        for position in range(len(calls)):
            submit(position, 1)
        while pending:
            future = watch.wait(lambda: done.get(timeout=_LOOK_AGAIN_S))
            position, attempt = pending.pop(future)
            try:
                result = _result(future, watch)
            except ArrivalError as error:
                if error.code not in _WORTH_ANOTHER_TRY or attempt == _TRIES:
                    raise
                submit(position, attempt + 1)
                continue
            except Exception as failure:
                raise _named(failure, f"{name}-{position}") from failure
            yield position, result
    finally:
        # A lost scheduler has nothing left to cancel.
        with suppress(Exception):
            client.cancel(list(pending))


def _result(future: Any, watch: _Watch) -> Any:
    """The result of a finished task; a result that was lost with its worker is computed again first."""

    def look() -> Any:
        try:
            return future.result(timeout=_LOOK_AGAIN_S)
        except TimeoutError as failure:
            if future.done():
                raise
            raise Empty from failure

    return watch.wait(look)


class _Watch:
    """Waits while there are workers: Dask would wait for ever, and a local cluster's may not come back."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._without_since: float | None = None

    def wait(self, look: Callable[[], Any]) -> Any:
        """What `look` gives, once it no longer raises Empty. Raises CLUSTER_UNAVAILABLE without workers."""
        while True:
            try:
                return look()
            except Empty:
                self._check()

    def _check(self) -> None:
        now = time.monotonic()
        try:
            if self._client.status != "running" or self._client.nthreads():
                self._without_since = None
                return
        except OSError as failure:
            raise ArrivalError(
                Code.CLUSTER_UNAVAILABLE,
                f"the Dask scheduler no longer answers: {failure}",
                hint=_SEE_THAT_THEY_ARE_UP,
            ) from failure
        self._without_since = self._without_since or now
        if now - self._without_since >= WITHOUT_WORKERS_S:
            raise ArrivalError(
                Code.CLUSTER_UNAVAILABLE,
                f"the Dask scheduler has had no workers for {WITHOUT_WORKERS_S:.0f} s",
                hint="start workers, and see in their logs why the others are gone; nothing was published",
            )


def _named(failure: Exception, task: str) -> ArrivalError:
    from distributed import CancelledError, KilledWorker

    if isinstance(failure, KilledWorker):
        return ArrivalError(
            Code.CLUSTER_UNAVAILABLE,
            f"task {task} was given up: workers died while they ran it, {failure.allowed_failures + 1} by now",
            hint="most often memory is short: lower --batch-arrivals or give workers more; nothing was published",
            task=task,
        )
    # The engine names its own OS errors: this one is of Dask's connections, or of a worker without a package.
    if isinstance(failure, (CancelledError, ImportError, OSError)):
        return ArrivalError(
            Code.CLUSTER_UNAVAILABLE,
            f"task {task} did not get to its end: {type(failure).__name__}: {failure}",
            hint=_SEE_THAT_THEY_ARE_UP,
            task=task,
        )
    return unforeseen(failure)


class ShardProgress:
    """Arrivals written, shard by shard, as workers tell it; a shard that is begun again counts once."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._written: dict[int, int] = {}
        self._lock = threading.Lock()

    def hear(self, event: tuple[float, dict[str, int]]) -> None:
        """Take in what a worker tells."""
        _, told = event
        self.reached(told["shard"], told["arrivals"])

    def reached(self, shard: int, arrivals: int) -> None:
        """So many arrivals of the shard are written, or more were before."""
        with self._lock:
            further = arrivals - self._written.get(shard, 0)
            if further > 0:
                self._written[shard] = arrivals
                self._reporter.advance(further)


@contextmanager
def heard_progress(client: Client, topic: str, progress: ShardProgress) -> Iterator[None]:
    """Within, what workers tell under `topic` reaches `progress`."""
    client.subscribe_topic(topic, progress.hear)
    try:
        yield
    finally:
        with suppress(Exception):
            client.unsubscribe_topic(topic)
