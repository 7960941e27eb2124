"""A stream from a world to a sink: expand, pace, encode, write, report."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import get_args

import pyarrow as pa

from arrival_engine.contracts import Notice
from arrival_engine.contracts.columns import table_shape
from arrival_engine.contracts.guesses import did_you_mean
from arrival_engine.contracts.options import IdForm, StreamFormat
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.process import human
from arrival_engine.engine.process.interrupts import heard_interrupts
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.stream.arrivals import Slice, time_ordered
from arrival_engine.engine.stream.encode import Encoder, encoder
from arrival_engine.engine.stream.order import buckets_in, by_bucket
from arrival_engine.engine.stream.pace import Clock, MonotonicClock, Pacer
from arrival_engine.engine.stream.sink import Sink
from arrival_engine.engine.stream.window import Moment, Window, window
from arrival_engine.engine.stream.writer import Writer
from arrival_engine.engine.world.load import World

__all__ = ["StreamOptions", "StreamResult", "stream_to"]

# How long an interrupted stream waits for its reader to take the rest of a row.
_LAST_ROW_SECONDS = 2.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class StreamOptions:
    """What to stream and how; no option changes an arrival.

    start, end: the window, without its end. merchants: by id or text, () for all. speed: seconds of arrivals per
    second, None for as fast as the sink reads. columns: () for all 21. limit: the most arrivals.
    """

    start: Moment = None
    end: Moment = None
    merchants: tuple[int | str, ...] = ()
    speed: Fraction | None = None
    format: StreamFormat = "jsonl"
    columns: tuple[str, ...] = ()
    ids: IdForm = "number"
    limit: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("format", get_args(StreamFormat)), ("ids", get_args(IdForm))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.ids == "string" and self.format != "jsonl":
            raise ValueError(f"ids as strings are for jsonl alone: {self.format} readers keep all 64 bits")
        if self.speed is not None and self.speed <= 0:
            raise ValueError(f"speed must be above zero, not {self.speed}")
        if self.limit is not None and self.limit < 0:
            raise ValueError(f"limit must not be negative: {self.limit}")
        self._check_columns()
        window(self.start, self.end)

    def _check_columns(self) -> None:
        known = [column.name for column in table_shape("arrival_events_5B").columns]
        for name in self.columns:
            if name not in known:
                guess = did_you_mean(name, known)
                raise ValueError(
                    f"there is no column {name!r}{f' ({guess})' if guess else ''}; there are {', '.join(known)}"
                )
            if self.columns.count(name) > 1:
                raise ValueError(f"column {name} is named more than once")

    @property
    def window(self) -> Window:
        """From start to end."""
        return window(self.start, self.end)

    @property
    def is_filtered(self) -> bool:
        """Whether some arrivals may be left out."""
        return bool(self.merchants) or self.limit is not None or not self.window.is_whole


@dataclass(frozen=True)
class StreamResult:
    """The rows that the sink took, seconds, and the digest, None if arrivals were left out.

    latest_seconds: the largest delay of an arrival after its moment; 0 without a speed.
    """

    rows: int
    seconds: float
    digest: str | None
    latest_seconds: float

    def __str__(self) -> str:
        rate = human.speed(self.rows, self.seconds, "arrivals")
        text = f"streamed {human.amount(self.rows, 'arrivals')} in {human.duration(self.seconds)}, {rate}"
        if self.latest_seconds > 0:
            text += f", at most {human.duration(self.latest_seconds)} late"
        return f"{text}, digest {self.digest}" if self.digest is not None else text


def stream_to(
    world: World,
    sink: Sink,
    options: StreamOptions | None = None,
    reporter: Reporter | None = None,
    clock: Clock | None = None,
) -> StreamResult:
    """Stream a world's arrivals in time order to a sink, waiting while it takes none.

    Raises BrokenPipeError if the reader of a pipe has closed it, IO_WRITE_FAILED for any other failure of the sink. An
    interruption leaves the output at the end of a row, unless its reader takes nothing for two seconds.
    """
    stream = _Stream(world, options or StreamOptions(), reporter or Reporter(), clock or MonotonicClock())
    with heard_interrupts():
        return stream.to(sink)


class _Stream:
    """One stream, from plan to bytes, and its result."""

    def __init__(self, world: World, options: StreamOptions, reporter: Reporter, clock: Clock) -> None:
        self._options, self._reporter, self._clock = options, reporter, clock
        self._window = options.window
        with reporter.phase("plan"):
            self._plan = by_bucket(plan(world), self._window, options.merchants or None)
        self._assembler = Assembler(self._plan.world)
        self._digest = Digest()
        self._is_complete = False
        self._pacer = Pacer(options.speed, self._origin_us(), clock) if options.speed is not None else None
        self._begin_ns = clock.now_ns()

    def to(self, sink: Sink) -> StreamResult:
        self._say_if_outside()
        self._begin_ns = self._clock.now_ns()
        writer = Writer(sink)
        try:
            with self._reporter.phase("stream"):
                self._reporter.expect("arrivals", self._total())
                self._send(writer)
        finally:
            torn = "" if writer.stop(_LAST_ROW_SECONDS) else "; its reader takes nothing, the last row may be torn"
            result = self._result(writer.rows)
            self._reporter.message(f"{result}{torn}")
        return result

    def _send(self, writer: Writer) -> None:
        columns = list(self._options.columns or self._assembler.schema.names)
        schema = pa.schema([self._assembler.schema.field(name) for name in columns])
        encode: Encoder = encoder(self._options.format, schema, self._options.ids)
        writer.put(encode.head())
        with closing(self._slices()) as slices:
            for rows, _ in slices:
                writer.put(encode.rows(rows.select(columns)))
                self._reporter.advance(rows.num_rows)
        writer.put(encode.tail())
        writer.close()
        self._is_complete = True

    def _slices(self) -> Generator[Slice]:
        slices = self._limited(self._expanded())
        yield from slices if self._pacer is None else self._pacer.paced(slices)

    def _expanded(self) -> Iterator[Slice]:
        for batch in time_ordered(self._plan, self._window, self._reporter):
            yield from batch.slices(self._assembler)
            self._digest += batch.result.digest

    def _limited(self, slices: Iterator[Slice]) -> Iterator[Slice]:
        left = self._options.limit
        if left is None:
            yield from slices
            return
        while left > 0 and (piece := next(slices, None)) is not None:
            yield Slice(piece.rows.slice(0, left), piece.ts_us[:left])
            left -= piece.ts_us.size

    def _result(self, rows: int) -> StreamResult:
        is_whole = self._is_complete and not self._options.is_filtered
        return StreamResult(
            rows=rows,
            seconds=(self._clock.now_ns() - self._begin_ns) / 1e9,
            digest=str(self._digest) if is_whole else None,
            latest_seconds=self._pacer.latest_ns / 1e9 if self._pacer else 0.0,
        )

    def _horizon(self) -> Window:
        grid = self._plan.world.tables.grid
        return Window(int(grid.start_us[0]), int(grid.start_us[-1]) + int(grid.duration_us[-1]))

    def _origin_us(self) -> int | None:
        """The start of the replay: the requested start, within the horizon, or None for the first arrival."""
        return max(self._window.start_us, self._horizon().start_us) if self._window.has_start else None

    def _total(self) -> int | None:
        """The total of arrivals, if known: the part of a bucket that the window cuts is unknown."""
        grid = self._plan.world.tables.grid
        first, last = buckets_in(self._plan.world, self._window)
        if first < last:
            ends_us = int(grid.start_us[last - 1]) + int(grid.duration_us[last - 1])
            if self._window.start_us > grid.start_us[first] or self._window.end_us < ends_us:
                return None
        limit = self._options.limit
        return self._plan.arrivals if limit is None else min(self._plan.arrivals, limit)

    def _say_if_outside(self) -> None:
        horizon = self._horizon()
        if self._window.start_us >= horizon.end_us or self._window.end_us <= horizon.start_us:
            start, end = (_text(moment) for moment in horizon)
            message = f"nothing to stream: scenario {self._plan.world.scenario_id} runs from {start} to {end}"
            self._reporter.notice(Notice("WINDOW_OUTSIDE_HORIZON", message, {"start": start, "end": end}))


def _text(moment_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=moment_us)).isoformat().replace("+00:00", "Z")
