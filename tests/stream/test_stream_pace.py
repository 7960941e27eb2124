"""The pace of a stream, and writing to readers that take their time."""

from __future__ import annotations

import threading
import time
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.stream import StreamOptions, order, stream_to
from arrival_engine.engine.stream.arrivals import SLICE_ROWS, Slice
from arrival_engine.engine.stream.encode import Encoded
from arrival_engine.engine.stream.pace import TICK_NS, Pacer, parse_speed
from arrival_engine.engine.stream.writer import Writer
from arrival_engine.engine.world.load import load_world
from tests.support.streaming import GRID, SECOND, Memory, assert_same, between, instants, lines, sent, streamed
from tests.support.world_disk import rfc3339
from tests.support.worlds import (
    BERLIN_GAP,
)

# --- Pace --------------------------------------------------------------------------------------------


class FakeClock:
    def __init__(self):
        self.ns = 1_000_000_007
        self.slept = []

    def now_ns(self):
        return self.ns

    def sleep(self, nanoseconds):
        self.slept.append(nanoseconds)
        self.ns += nanoseconds


def slices_of(ts_us, piece):
    """Slices of a table with nothing but its instants."""
    for first in range(0, len(ts_us), piece):
        part = np.array(ts_us[first : first + piece], np.int64)
        yield Slice(pa.record_batch({"ts": part}), part)


class TestPace:
    @pytest.mark.parametrize(
        ("text", "speed"),
        [("max", None), ("1x", 1), ("60x", 60), ("60", 60), ("0.5x", Fraction(1, 2)), (".1x", Fraction(1, 10))],
    )
    def test_speeds(self, text, speed):
        assert parse_speed(text) == speed

    @pytest.mark.parametrize("text", ["", "x", "0x", "0.0", "-1x", "1e3x", "fast", "60 x", "inf", "٣x"])
    def test_what_is_no_speed_is_refused(self, text):
        with pytest.raises(ValueError, match="not a speed"):
            parse_speed(text)

    @given(
        st.lists(st.integers(0, 10**7), min_size=1, max_size=60).map(sorted),
        st.sampled_from(["0.3", "1", "7", "1000", "123456.7"]).map(Fraction),
        st.integers(1, 20),
        st.data(),
    )
    def test_never_faster_than_asked_and_no_burst_larger_than_the_delay(self, ts_us, speed, piece, data):
        clock = FakeClock()
        pacer = Pacer(speed, None, clock)
        begin_ns, taken, longest_ns = clock.ns, [], 0
        for rows, part in pacer.paced(slices_of(ts_us, piece)):
            assert rows["ts"].to_numpy().tolist() == part.tolist()
            taken += part.tolist()
            # Every one of them is due, to the nanosecond.
            assert Fraction(clock.ns - begin_ns) * speed >= (taken[-1] - ts_us[0]) * 1000
            late_ns = clock.ns - begin_ns - Fraction((int(part[0]) - ts_us[0]) * 1000) / speed
            # None is later than the consumer's own delay and a tick.
            assert late_ns <= longest_ns + TICK_NS + 1
            delay_ns = data.draw(st.sampled_from([0, 0, 0, 1_000, 10**9]))
            clock.ns += delay_ns
            longest_ns += delay_ns
        assert taken == ts_us
        assert pacer.latest_ns <= longest_ns

    def test_waits_are_as_long_as_the_gaps(self):
        clock = FakeClock()
        ts_us = [0, 30 * SECOND, 30 * SECOND + 1, 90 * SECOND]
        yields = [(clock.ns, part.tolist()) for _, part in Pacer(Fraction(60), None, clock).paced(slices_of(ts_us, 4))]
        begin = yields[0][0]
        assert [part for _, part in yields] == [[0], [30 * SECOND], [30 * SECOND + 1], [90 * SECOND]]
        assert [at - begin for at, _ in yields] == [0, 500_000_000, 510_000_000, 1_500_000_000]

    def test_what_a_tick_holds_leaves_together(self):
        ts_us = list(range(0, 10 * SECOND, 100))
        clock = FakeClock()
        yields = list(Pacer(Fraction(1), None, clock).paced(slices_of(ts_us, SLICE_ROWS)))
        assert len(yields) <= 10 * SECOND * 1000 // TICK_NS + len(ts_us) // SLICE_ROWS + 2

    def test_a_consumer_that_slept_gets_what_it_missed_and_no_more(self):
        clock = FakeClock()
        pacer = Pacer(Fraction(2), None, clock)
        replay = pacer.paced(slices_of([at * SECOND for at in range(100)], 100))
        assert next(replay)[1].tolist() == [0]
        clock.ns += 10 * 10**9
        assert next(replay)[1].tolist() == [at * SECOND for at in range(1, 21)]
        assert pacer.latest_ns == 9_500_000_000 - TICK_NS
        assert next(replay)[1].tolist() == [21 * SECOND]

    @pytest.mark.parametrize(
        ("start", "waited_s"),
        [
            (None, 0),  # the first arrival is the beginning
            (rfc3339(GRID[BERLIN_GAP][0] - 120 * SECOND), 2),
            ("2020-01-01T00:00:00Z", None),  # nobody waits for years before the horizon
        ],
    )
    def test_a_replay_begins_with_the_start_asked_for(self, small_plan, start, waited_s):
        clock, table = FakeClock(), streamed(small_plan)
        options = StreamOptions(start=start, limit=1, speed=Fraction(60), columns=("ts_utc",))
        result = stream_to(small_plan.world, Memory(), options, clock=clock)
        first_us = int(instants(table)[0])
        expected = (first_us - GRID[0][0]) / 60e6 if waited_s is None else waited_s
        if waited_s == 2:
            expected += (int(instants(between(table, GRID[BERLIN_GAP][0], 2**62))[0]) - GRID[BERLIN_GAP][0]) / 60e6
        assert sum(clock.slept) / 1e9 == pytest.approx(expected, abs=0.011)
        assert result.rows == 1

    def test_a_real_clock_is_obeyed(self, small_plan):
        start, _ = GRID[BERLIN_GAP]
        end = start + 40 * SECOND
        expected = between(streamed(small_plan), start, end)
        assert expected.num_rows > 10
        options = {"start": rfc3339(start), "end": rfc3339(end), "format": "arrow"}
        begin = time.monotonic()
        data, result = sent(small_plan.world, speed=Fraction(100), **options)
        seconds = time.monotonic() - begin
        assert seconds >= (int(instants(expected)[-1]) - start) / 100e6
        assert result.seconds < 40.0, "as slow as the world's own clock"
        assert_same(pa.ipc.open_stream(data).read_all(), expected)


# --- Writing -----------------------------------------------------------------------------------------


class Stalled(Memory):
    """A reader that takes some bytes, then nothing until it is told to go on, then one byte at a time."""

    def __init__(self, first_bytes, error=None):
        super().__init__()
        self._left = first_bytes
        self._error = error
        self.stalled, self.go_on = threading.Event(), threading.Event()

    def write(self, data):
        taken = min(self._left, len(data)) if self._left else 1
        if self._left == 0:
            self.stalled.set()
            assert self.go_on.wait(30)
            if self._error is not None:
                raise self._error
        else:
            self._left -= taken
        self.data += data[:taken]
        return taken


class TestWriter:
    def test_partial_writes_lose_nothing(self):
        for seed in range(20):
            sink = Memory(seed)
            writer = Writer(sink)
            for number in range(10):
                writer.put(lines(*[f"row {number} {at}\n" for at in range(number)]))
            writer.close()
            assert sink.data.decode() == "".join(f"row {n} {at}\n" for n in range(10) for at in range(n))
            assert (writer.rows, sink.finished) == (45, True)

    @pytest.mark.parametrize(("first_bytes", "rows"), [(1, 1), (3, 1), (4, 2), (8, 2), (9, 2), (10, 3), (15, 3)])
    def test_stopping_ends_after_the_row_that_was_begun(self, first_bytes, rows):
        sink, given_rows = Stalled(first_bytes), ["one\n", "tw\n\no\n", "three\n"]
        writer = Writer(sink)
        writer.put(lines(*given_rows))
        writer.put(lines("never\n"))
        assert sink.stalled.wait(5)
        # One more byte is on its way already.
        threading.Timer(0.05, sink.go_on.set).start()
        assert writer.stop(5)
        assert bytes(sink.data).decode() == "".join(given_rows[:rows])
        assert (writer.rows, sink.finished) == (rows, False)

    def test_what_has_no_rows_apart_is_finished_whole(self):
        sink = Stalled(3)
        writer = Writer(sink)
        writer.put(Encoded(memoryview(b"x" * 1000), 7, None))
        assert sink.stalled.wait(5)
        sink.go_on.set()
        assert writer.stop(5)
        assert (len(sink.data), writer.rows) == (1000, 7)

    def test_a_reader_that_takes_nothing_is_given_up(self):
        sink = Stalled(2)
        writer = Writer(sink)
        writer.put(lines("one\n"))
        assert sink.stalled.wait(5)
        assert not writer.stop(0.05)
        assert writer.rows == 0
        sink.go_on.set()

    def test_an_error_of_the_sink_reaches_whoever_writes(self):
        sink = Stalled(2, OSError(28, "No space left on device"))
        writer = Writer(sink)
        sink.go_on.set()
        writer.put(lines("one\n"))
        with pytest.raises(OSError, match="No space"):
            writer.close()
        with pytest.raises(OSError, match="No space"):
            writer.put(lines("two\n"))
        assert (bytes(sink.data), sink.finished) == (b"on", False)

    def test_while_nobody_reads_nothing_is_made(self, long_world):
        sink, reporter, world = Stalled(100, OSError(32, "gone")), Reporter(), load_world(long_world)
        assert world.arrivals > 50 * order.BATCH_ARRIVALS

        def stream():
            with pytest.raises(OSError, match="gone"):
                stream_to(world, sink, StreamOptions(columns=("ts_utc",)), reporter)

        thread = threading.Thread(target=stream)
        thread.start()
        assert sink.stalled.wait(20)
        time.sleep(0.5)
        assert reporter.status().done <= 3 * SLICE_ROWS
        sink.go_on.set()
        thread.join(20)
        assert not thread.is_alive()
