"""Run a function over items on threads, with results in order, bounded look-ahead and prompt stops."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class CancelledError(Exception):
    """A worker stopped because the run is ending for another reason."""


class Cancellation:
    """Set once by the thread that ends the run; workers look at it between pieces of work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask all workers to stop."""
        self._event.set()

    def check(self) -> None:
        """Raise CancelledError if the run is ending."""
        if self._event.is_set():
            raise CancelledError


def ordered(
    function: Callable[[T], R], items: Iterable[T], threads: int, cancellation: Cancellation, ahead: int = 0
) -> Generator[R, None, None]:
    """Yield function(item) for each item in order, computed on `threads` threads.

    At most threads + ahead results are unconsumed, so memory stays bounded if the consumer is slow. An error is
    raised at its item's place, so timing does not decide which of several errors is reported. An early end (error,
    closed generator or Ctrl-C) cancels the workers and waits for them.
    """
    pending: deque[Future[R]] = deque()
    finished = False
    executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="arrivals")
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) >= threads + ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        finished = True
    finally:
        if not finished:
            cancellation.set()
        executor.shutdown(wait=True, cancel_futures=True)
