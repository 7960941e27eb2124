"""Thread time by kind of work."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

# Times what it encloses, as work of the kind that is named.
Spent = Callable[[str], AbstractContextManager[None]]


def untimed(kind: str) -> AbstractContextManager[None]:  # noqa: ARG001 - a Spent
    """Time nothing."""
    return nullcontext()


@dataclass
class WorkSeconds:
    """Wall seconds of threads by kind of work; threads overlap, so the sum can exceed the wall time."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def spent(self, kind: str) -> Iterator[None]:
        """A Spent that adds to `seconds`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[kind] += time.perf_counter() - begin
