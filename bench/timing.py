"""Seconds of a piece of work, repeated; every repeat is kept."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Timing:
    """Wall and processor seconds of each repeat; processor seconds count all threads of the process."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @contextmanager
    def repeat(self) -> Iterator[None]:
        """Time the enclosed work as one more repeat."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)

    def raw(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def repeated(work: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Time `work` after one unmeasured call, which loads code and touches memory for the first time."""
    work()
    timing = Timing()
    for _ in range(repeats):
        with timing.repeat():
            work()
    return timing.raw()


def median(values: Iterable[float]) -> float:
    """The middle one, or the mean of the two middle ones."""
    return statistics.median(values)


def spread(values: Iterable[float]) -> str:
    """'12.1 to 12.9 s': the fastest and the slowest of several seconds."""
    known = sorted(values)
    return f"{known[0]:.3g} to {known[-1]:.3g} s"
