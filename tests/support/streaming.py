"""Streams to be compared: collected rows, plain rows in time order, and sinks in memory."""

from __future__ import annotations

import datetime as dt
import random

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc

from arrival_engine import stream_arrivals
from arrival_engine.contracts import arrow_schema
from arrival_engine.engine.stream import StreamOptions, stream_to
from arrival_engine.engine.stream.encode import Encoded
from tests.support.worlds import (
    small_world,
)

GRID = small_world().grid


SCHEMA = arrow_schema("arrival_events_5B")


ORDER = [("ts_utc", "ascending"), ("merchant_id", "ascending"), ("arrival_seq", "ascending")]


SECOND = 1_000_000


def streamed(source, *given_window, **options):
    """Every batch of a stream as one table; each must have the contract's schema."""
    return pa.Table.from_batches(stream_arrivals(source, *given_window, **options), SCHEMA)


def plain(table):
    """The table with its texts plain, since two dictionaries may give the same texts other codes."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields)).combine_chunks()


def in_time_order(table):
    return plain(table).sort_by(ORDER)


def instants(table):
    return table["ts_utc"].cast(pa.int64()).to_numpy()


def between(table, start_us, end_us):
    """The part of a table in time order that a window leaves."""
    first, last = np.searchsorted(instants(table), (start_us, end_us))
    return table.slice(first, max(last - first, 0))


def assert_same(found, expected):
    found, expected = plain(found), plain(expected)
    assert found.schema.equals(expected.schema)
    assert found.equals(expected)


class Memory:
    """A sink in memory that takes as much at a time as it likes."""

    def __init__(self, seed=0):
        self.data = bytearray()
        self.finished = False
        self._random = random.Random(seed)

    def write(self, data):
        taken = self._random.randint(1, len(data))
        self.data += data[:taken]
        return taken

    def finish(self):
        self.finished = True

    def failure(self, error):
        return error


def sent(world, **options):
    """What a stream writes, and its result."""
    sink = Memory()
    result = stream_to(world, sink, StreamOptions(**options))
    assert sink.finished
    return bytes(sink.data), result


def texts(table):
    """Rows as the contract writes them: times as RFC 3339 text, ids as integers."""
    rows = plain(table).to_pylist()
    for row in rows:
        for name, value in row.items():
            if isinstance(value, dt.datetime):
                suffix = "Z" if name == "ts_utc" else ""
                row[name] = value.strftime("%Y-%m-%dT%H:%M:%S.%f") + suffix
    return rows


def lines(*given_texts):
    data = "".join(given_texts).encode()
    return Encoded(memoryview(data), len(given_texts), np.cumsum([len(text.encode()) for text in given_texts]))
