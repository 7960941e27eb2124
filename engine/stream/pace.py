"""Replay in scaled real time: no arrival before its moment, no burst larger than the delay before it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np

from arrival_engine.engine.stream.arrivals import Slice

__all__ = ["TICK_NS", "Clock", "MonotonicClock", "Pacer", "parse_speed"]

# Arrivals due within one tick leave together: a write for each would cost more than the arrivals.
TICK_NS = 10_000_000
_SPEED = re.compile(r"(\d+(?:\.\d+)?|\.\d+)x?", re.ASCII)


class Clock(Protocol):
    """A clock that never goes back, and a way to wait on it."""

    def now_ns(self) -> int:
        """Nanoseconds since some fixed moment."""

    def sleep(self, nanoseconds: int) -> None:
        """Wait at least that long."""


class MonotonicClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        """Nanoseconds since about the start of the machine."""
        return time.monotonic_ns()

    def sleep(self, nanoseconds: int) -> None:
        """Wait at least that long."""
        time.sleep(nanoseconds / 1e9)


def parse_speed(text: str) -> Fraction | None:
    """Seconds of arrivals per second: "60x", "0.5x", or "max" for None. Raises ValueError."""
    if text == "max":
        return None
    number = _SPEED.fullmatch(text)
    speed = Fraction(number[1]) if number else Fraction(0)
    if not speed:
        raise ValueError(f"{text!r} is not a speed; give a number above zero and x, such as 60x, or max")
    return speed


class _Replay(NamedTuple):
    """A replay in progress: `origin_us` in the arrivals' time was `begin_ns` on the clock."""

    speed: Fraction
    origin_us: int
    begin_ns: int

    def reached_us(self, now_ns: int) -> int:
        """The last microsecond that is due."""
        return self.origin_us + int((now_ns - self.begin_ns) * self.speed) // 1000

    def due_ns(self, ts_us: int) -> int:
        """The clock's time at which an instant is due, rounded up."""
        return self.begin_ns + -int((self.origin_us - ts_us) * 1000 // self.speed)


class Pacer:
    """Releases arrivals when they are due: (t - origin) / speed after the first request.

    Arrivals that fell due between two reads leave at the next read, and no others.
    """

    def __init__(self, speed: Fraction, origin_us: int | None, clock: Clock) -> None:
        """origin_us: the instant at which the replay begins; None for that of the first arrival."""
        self._speed = speed
        self._origin_us = origin_us
        self._clock = clock
        self.latest_ns = 0

    def paced(self, slices: Iterable[Slice]) -> Iterator[Slice]:
        """The same arrivals, in pieces that are yielded when due."""
        replay: _Replay | None = None
        for rows, ts_us in slices:
            if replay is None:
                origin_us = int(ts_us[0]) if self._origin_us is None else self._origin_us
                replay = _Replay(self._speed, origin_us, self._clock.now_ns())
            position = 0
            while position < ts_us.size:
                self._wait(replay.due_ns(int(ts_us[position])))
                due = int(np.searchsorted(ts_us, replay.reached_us(self._clock.now_ns()), side="right"))
                yield Slice(rows.slice(position, due - position), ts_us[position:due])
                position = due

    def _wait(self, due_ns: int) -> None:
        """Wait until that moment, for at least a tick; an arrival within a tick of its moment is on time."""
        now_ns = self._clock.now_ns()
        self.latest_ns = max(self.latest_ns, now_ns - due_ns - TICK_NS)
        while now_ns < due_ns:
            self._clock.sleep(max(due_ns - now_ns, TICK_NS))
            now_ns = self._clock.now_ns()
