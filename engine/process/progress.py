"""Progress of a run: phases, counts and notices.

    Reporter                silent; times phases, counts, keeps notices; safe to use from several threads
      LineReporter          a plain line per finished phase, and one per interval of silence
      JsonReporter          the same as one JSON object per line
      NoticeReporter        notices only (`--quiet`)
      TerminalReporter      a live bar, in `engine.process.terminal`

All output goes to standard error; standard output is for results.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self, TextIO

from arrival_engine.contracts.errors import Notice
from arrival_engine.contracts.safe_text import json_line, visible
from arrival_engine.engine.process import human
from arrival_engine.engine.process.streams import TolerantStream

__all__ = ["JsonReporter", "LineReporter", "NoticeReporter", "Reporter", "Status"]

RATE_WINDOW_S = 10.0
# Samples closer together than this are merged, so that a million small advances cost no memory.
_SAMPLE_GAP_S = 0.1


class Status(NamedTuple):
    """One moment of a run, in seconds; `total` is None if unknown, `remaining_s` if nothing advances."""

    phase: str
    phase_s: float
    unit: str
    done: int
    total: int | None
    per_second: float
    remaining_s: float | None
    idle_s: float


class _Running(NamedTuple):
    name: str
    since: float


class _Count(NamedTuple):
    unit: str
    total: int | None
    phase: _Running | None


class Reporter:
    """Keeps times and counts silently; subclasses report by overriding the `_on_...` methods.

    These are called without the lock, because a terminal holds its own lock while it asks for `status()`.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._last_sign = self._began
        self._running: list[_Running] = []
        self._seconds: dict[str, float] = {}
        self._counting = _Count("", None, None)
        self._done = 0
        self._samples: deque[tuple[float, int]] = deque()
        self._notices: list[Notice] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the enclosed work under `name`; a name used again adds up, also across threads."""
        with self._lock:
            running = _Running(name, self._sign())
            self._running.append(running)
            self._seconds.setdefault(name, 0.0)
        self._on_phase_start(name)
        finished = False
        try:
            yield
            finished = True
        finally:
            with self._lock:
                seconds = self._sign() - running.since
                self._running.remove(running)
                self._seconds[name] += seconds
                if self._counting.phase is running:
                    # The next phase must not show the count of this one.
                    self._begin_count(_Count("", None, None))
            self._on_phase_end(name, seconds, finished)

    def expect(self, unit: str, total: int | None) -> None:
        """Count `unit`s from zero until the current phase ends; `total` is None if unknown."""
        with self._lock:
            self._sign()
            self._begin_count(_Count(unit, total, self._running[-1] if self._running else None))

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units as done."""
        with self._lock:
            now = self._sign()
            self._done += amount
            if len(self._samples) > 1 and now - self._samples[-2][0] < _SAMPLE_GAP_S:
                self._samples.pop()
            self._samples.append((now, self._done))
            self._forget_old_samples(now)

    def notice(self, notice: Notice) -> None:
        """Keep a warning and show it."""
        with self._lock:
            self._sign()
            self._notices.append(notice)
        self._on_notice(notice)

    def message(self, text: str) -> None:
        """Show one sentence that is neither a warning nor a result."""
        with self._lock:
            self._sign()
        self._on_message(text)

    @property
    def phases(self) -> dict[str, float]:
        """Seconds per finished phase, in order of first start."""
        with self._lock:
            return dict(self._seconds)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Every notice so far."""
        with self._lock:
            return tuple(self._notices)

    def status(self) -> Status:
        """The current moment; rate and remaining time are over the last `RATE_WINDOW_S` seconds."""
        with self._lock:
            now = self._clock()
            self._forget_old_samples(now)
            running = self._running[-1] if self._running else _Running("", now)
            per_second = self._recent_rate(now)
            remaining = None
            total = self._counting.total
            if total is not None and per_second > 0.0:
                remaining = max(total - self._done, 0) / per_second
            return Status(
                phase=" > ".join(dict.fromkeys(item.name for item in self._running)),
                phase_s=now - running.since,
                unit=self._counting.unit,
                done=self._done,
                total=total,
                per_second=per_second,
                remaining_s=remaining,
                idle_s=now - self._last_sign,
            )

    @property
    def elapsed_s(self) -> float:
        """Seconds since this reporter was made."""
        return self._clock() - self._began

    def close(self) -> None:
        """Stop reporting; measurements stay readable."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin_count(self, counting: _Count) -> None:
        self._counting, self._done = counting, 0
        self._samples.clear()
        self._samples.append((self._last_sign, 0))

    def _sign(self) -> float:
        self._last_sign = self._clock()
        return self._last_sign

    def _forget_old_samples(self, now: float) -> None:
        # Keep the newest sample from before the window: the window's first step began there.
        while len(self._samples) > 1 and self._samples[1][0] <= now - RATE_WINDOW_S:
            self._samples.popleft()

    def _recent_rate(self, now: float) -> float:
        if not self._samples:
            return 0.0
        then, before = self._samples[0]
        return human.per_second(self._done - before, now - then)

    def _on_phase_start(self, name: str) -> None:
        """Called when a phase begins."""

    def _on_phase_end(self, name: str, seconds: float, finished: bool) -> None:
        """Called when a phase ends; `finished` is False when an exception ended it."""

    def _on_notice(self, notice: Notice) -> None:
        """Called for every notice."""

    def _on_message(self, text: str) -> None:
        """Called for every message."""


class NoticeReporter(Reporter):
    """Shows notices and nothing else."""

    def __init__(self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock=clock)
        self._out = TolerantStream(stream if stream is not None else sys.stderr)
        self._line_lock = threading.Lock()

    def _write(self, line: str) -> None:
        with self._line_lock:
            self._out.write(visible(line) + "\n")
            self._out.flush()

    def _on_notice(self, notice: Notice) -> None:
        self._write(f"warning {notice.code}: {notice.message}")


class _PulsingReporter(NoticeReporter):
    """Reports from its own thread when a phase runs and nothing was written for `interval` seconds."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stream, clock=clock)
        self._interval = interval
        self._spoke = threading.Event()
        self._closed = False
        self._pulse = threading.Thread(target=self._beat, name="progress", daemon=True)
        self._pulse.start()

    def close(self) -> None:
        self._closed = True
        self._spoke.set()
        self._pulse.join()

    def _write(self, line: str) -> None:
        super()._write(line)
        self._spoke.set()

    def _on_phase_start(self, name: str) -> None:  # noqa: ARG002 - for subclasses
        # An interval of silence begins with the phase, or a phase that has just begun would be "still" working.
        self._spoke.set()

    def _beat(self) -> None:
        while not self._closed:
            if self._spoke.wait(self._interval):
                self._spoke.clear()
                continue
            status = self.status()
            if status.phase:
                self._on_pulse(status)

    def _on_pulse(self, status: Status) -> None:
        """Called after `interval` seconds of silence while a phase runs."""


class LineReporter(_PulsingReporter):
    """Plain lines that begin with the seconds since the start: one per phase, when it ends, and signs of life."""

    def _say(self, text: str) -> None:
        self._write(f"[{self.elapsed_s:7.1f} s] {text}")

    def _on_phase_end(self, name: str, seconds: float, finished: bool) -> None:
        self._say(f"{name}: {'done in' if finished else 'stopped after'} {human.duration(seconds)}")

    def _on_notice(self, notice: Notice) -> None:
        self._say(f"warning {notice.code}: {notice.message}")

    def _on_message(self, text: str) -> None:
        self._say(text)

    def _on_pulse(self, status: Status) -> None:
        if status.idle_s >= self._interval or not status.unit:
            so_far = human.duration(status.phase_s)
            self._say(f"{status.phase}: still working, {so_far} so far; {waiting(status)}")
        else:
            self._say(f"{status.phase}: {counted(status)}")


class JsonReporter(_PulsingReporter):
    """One JSON object per line: `{"event": "phase"|"progress"|"notice"|"message", "elapsed_s": ..., ...}`."""

    def _emit(self, event: str, **fields: object) -> None:
        record = {"event": event, "elapsed_s": round(self.elapsed_s, 3), **fields}
        self._write(json_line(record, separators=(",", ":")))

    def _on_phase_start(self, name: str) -> None:
        self._emit("phase", name=name, state="started")

    def _on_phase_end(self, name: str, seconds: float, finished: bool) -> None:
        self._emit("phase", name=name, state="done" if finished else "stopped", seconds=round(seconds, 3))

    def _on_notice(self, notice: Notice) -> None:
        self._emit("notice", **notice.to_dict())

    def _on_message(self, text: str) -> None:
        self._emit("message", text=text)

    def _on_pulse(self, status: Status) -> None:
        self._emit("progress", **status._asdict())


def counted(status: Status) -> str:
    """Done, total, rate and remaining time as one phrase."""
    text = human.part(status.done, status.total, status.unit)
    if status.total:
        text += f" ({100.0 * status.done / status.total:.1f} %)"
    text += f", {human.rate(status.per_second, status.unit)}"
    if status.remaining_s is not None:
        text += f", {human.duration(status.remaining_s)} left"
    return text


def waiting(status: Status) -> str:
    """The state of a phase that is waiting, as one phrase."""
    if not status.unit or status.done == 0:
        return "nothing finished yet"
    so_far = human.amount(status.done, status.unit)
    return f"no {status.unit} finished for {human.duration(status.idle_s)}, {so_far} so far"
