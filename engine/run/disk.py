"""Sync finished parts to disk in the background."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing


class DiskSync:
    """fsync on a separate thread: workers that waited for the disk spent a third of their time idle.

    A context manager; leaving it without `wait` drops the files still queued. `backlog` bounds the queue.
    """

    def __init__(self, backlog: int | None = None) -> None:
        self._backlog = backlog
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk-sync")
        self._pending: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def sync(self, path: InsidePath, then: Callable[[], object]) -> None:
        """Queue a finished file; `then` is called once it is on disk. Blocks while the queue is full."""
        self._pending.append(self._thread.submit(_sync, path, then))
        if self._backlog is not None:
            self._wait(self._backlog)

    def wait(self) -> None:
        """Return when every file is on disk. Raises IO_WRITE_FAILED, or what `then` raises, for the first."""
        self._wait(0)

    def _wait(self, at_most: int) -> None:
        while len(self._pending) > at_most:
            self._pending.pop(0).result()


def _sync(path: InsidePath, then: Callable[[], object]) -> None:
    with writing("arrivals", path):
        path.sync()
    then()
