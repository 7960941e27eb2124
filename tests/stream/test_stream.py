"""Arrivals in time order: the stored rows, each format, the pace, and every way in which a stream can end."""

from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine import stream_arrivals
from arrival_engine.contracts import ArrivalError, Code, arrow_schema, check_document
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.run.job import run
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.stream import StreamOptions, arrivals, order, stream_to
from arrival_engine.engine.stream.arrivals import SLICE_ROWS, Slice
from arrival_engine.engine.stream.encode import ID_COLUMNS, Encoded, encoder
from arrival_engine.engine.stream.order import by_bucket, time_order
from arrival_engine.engine.stream.pace import TICK_NS, Pacer, parse_speed
from arrival_engine.engine.stream.sink import Address, DescriptorSink, parse_output
from arrival_engine.engine.stream.window import Window, microseconds, window
from arrival_engine.engine.stream.writer import Writer
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.validation.file_order import table_digest
from arrival_engine.engine.world.load import load_world
from tests.support import reference
from tests.support.compare import assert_same_rows
from tests.support.model import CountRow
from tests.support.product import planned, table_of, write_sealed
from tests.support.world_disk import rfc3339
from tests.support.worlds import (
    ALONE_ONLINE,
    BERLIN,
    BERLIN_GAP,
    BIG_ID,
    HALF,
    NEW_YORK,
    NEW_YORK_GAP,
    ODD_BUCKET,
    ONE_SECOND_BUCKET,
    PARIS,
    SILENT,
    TWO_ZONES,
    VIRTUAL,
    instant_us,
    small_world,
)

GRID = small_world().grid
SCHEMA = arrow_schema("arrival_events_5B")
ORDER = [("ts_utc", "ascending"), ("merchant_id", "ascending"), ("arrival_seq", "ascending")]
SECOND = 1_000_000


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The world that touches every feature of the law, written and sealed."""
    return write_sealed(small_world(), tmp_path_factory.mktemp("stream") / "small")


@pytest.fixture(scope="module")
def small_plan(small):
    return planned(small.run_root)


@pytest.fixture(scope="module")
def tied_plan(tmp_path_factory):
    """A second with so many arrivals that many share their microsecond, within a merchant and across merchants."""
    rows = [
        CountRow(merchant, zone, channel, bucket, 15_000)
        for bucket in (ONE_SECOND_BUCKET, ODD_BUCKET)
        for merchant, zone in ((TWO_ZONES, BERLIN), (VIRTUAL, PARIS), (TWO_ZONES, NEW_YORK))
        for channel in ("card_present", "card_not_present")
    ]
    written = write_sealed(small_world(counts=tuple(rows)), tmp_path_factory.mktemp("stream") / "tied")
    return planned(written.run_root)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A slice of the demo world, expanded and published."""
    run_root = tmp_path_factory.mktemp("stream") / "demo"
    synthesise(run_root, preset="demo", seed=7, scale=0.1)
    seal(run_root)
    return run_root, run(run_root).scenarios[0]


@pytest.fixture(scope="module")
def long_world(tmp_path_factory):
    """Ten million arrivals, some gigabytes of text."""
    rows = [
        CountRow(TWO_ZONES, zone, channel, bucket, 50_000)
        for zone in (BERLIN, NEW_YORK)
        for channel in ("card_present", "mixed")
        for bucket in range(len(GRID))
    ]
    return write_sealed(small_world(counts=tuple(rows)), tmp_path_factory.mktemp("stream") / "long").run_root


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


def independent_digest(table):
    return table_digest(table)


class TestOrder:
    def test_rows_are_the_reference_s_in_time_order(self, small, small_plan):
        expected = reference.expand(small_world())
        table = streamed(small_plan)
        rows = sorted(expected.rows, key=lambda row: (row.ts_utc, row.merchant_id, row.arrival_seq))
        assert_same_rows(rows, table, routing_universe_hash=small.routing_universe_hash)
        assert independent_digest(table) == expected.digest

    def test_a_demo_world_s_stream_has_the_rows_and_the_digest_of_its_run(self, demo):
        run_root, result = demo
        table = streamed(load_world(run_root))
        assert independent_digest(table) == result.digest
        published = pa.concat_tables(pq.read_table(part) for part in sorted(result.path.glob("part-*")))
        assert_same(table, in_time_order(published))

    def test_arrivals_of_one_microsecond_are_in_order_of_merchant_and_sequence(self, tied_plan):
        table = streamed(tied_plan)
        ties = np.diff(instants(table)) == 0
        other_merchant = np.diff(table["merchant_id"].to_numpy().astype(np.int64)) != 0
        assert np.count_nonzero(ties & other_merchant) > 100
        assert np.count_nonzero(ties & ~other_merchant) > 100
        assert_same(table, in_time_order(table_of(tied_plan)))

    @pytest.mark.parametrize(("batch", "piece"), [(1, 7), (500, 100_000), (10_000_000, 64)])
    def test_neither_batches_nor_slices_change_anything(self, monkeypatch, small_plan, batch, piece):
        monkeypatch.setattr(order, "BATCH_ARRIVALS", batch)
        monkeypatch.setattr(arrivals, "SLICE_ROWS", piece)
        batches = list(stream_arrivals(small_plan))
        assert max(found.num_rows for found in batches) <= piece
        assert_same(pa.Table.from_batches(batches), in_time_order(table_of(small_plan)))

    def test_a_world_will_do_where_a_plan_does(self, small, small_plan):
        assert_same(streamed(load_world(small.run_root)), streamed(small_plan))

    @given(st.lists(st.integers(-(2**40), 2**62) | st.integers(0, 5), max_size=200))
    def test_the_sort_is_stable_for_any_instants(self, ts_us):
        expected = sorted(range(len(ts_us)), key=ts_us.__getitem__)
        assert time_order(np.array(ts_us, np.int64)).tolist() == expected

    def test_closing_early_stops_the_work(self, tied_plan):
        stream = stream_arrivals(tied_plan)
        next(stream)
        stream.close()
        assert not any(thread.name.startswith("arrivals_") for thread in threading.enumerate())


class TestWindow:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00+00:00"),
            ("2026-01-31t09:30:00z", "2026-01-31T09:30:00+00:00"),
            ("2026-01-31 09:30:00.5Z", "2026-01-31T09:30:00.500000+00:00"),
            ("2026-01-31T09:30:00.000001+05:45", "2026-01-31T03:45:00.000001+00:00"),
            ("2026-01-31T09:30:00-12:00", "2026-01-31T21:30:00+00:00"),
            ("2026-01-31T09:30:00.1234560000Z", "2026-01-31T09:30:00.123456+00:00"),
            ("2026-01-31T09:30:00.1234560001Z", "2026-01-31T09:30:00.123457+00:00"),
            ("2026-01-31T23:59:59.9999999Z", "2026-02-01T00:00:00+00:00"),
            ("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.900000+00:00"),
        ],
    )
    def test_moments_are_read_exactly(self, text, expected):
        moment = dt.datetime.fromisoformat(expected)
        assert microseconds(text) == instant_us(expected)
        assert microseconds(moment) == instant_us(expected)
        assert microseconds(moment.astimezone(dt.timezone(dt.timedelta(hours=-3)))) == instant_us(expected)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "now",
            "2026-01-31",
            "2026-01-31T09:30Z",
            "2026-01-31T09:30:00",
            "2026-01-31T09:30:00.Z",
            "2026-01-31T09:30:00+1:00",
            "2026-01-31T09:30:00+25:00",
            "2026-02-30T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T09:30:60Z",
            "٢٠٢٦-01-31T09:30:00Z",
            " 2026-01-31T09:30:00Z",
        ],
    )
    def test_anything_else_is_refused(self, text):
        with pytest.raises(ValueError, match=r"RFC 3339|does not exist"):
            microseconds(text)

    def test_a_naive_datetime_and_a_start_after_the_end_are_refused(self, small_plan):
        with pytest.raises(ValueError, match="time zone"):
            microseconds(dt.datetime(2026, 1, 31))  # noqa: DTZ001
        # At the call already, not when the first batch is asked for.
        with pytest.raises(ValueError, match="after the end"):
            stream_arrivals(small_plan, "2026-02-02T00:00:00Z", "2026-02-01T00:00:00Z")

    def windows():
        start, end = GRID[BERLIN_GAP]
        middle = (start + end) // 2
        horizon = GRID[0][0], GRID[-1][1]
        return {
            "whole bucket": (start, end),
            "from a bucket's edge": (start, None),
            "to a bucket's edge": (None, start),
            "mid-bucket": (middle, middle + 600 * SECOND),
            "across buckets": (GRID[NEW_YORK_GAP][0] + 1, middle),
            "one microsecond before": (start - 1, end - 1),
            "one microsecond after": (start + 1, end + 1),
            "before the horizon": (horizon[0] - 10**12, horizon[0]),
            "after the horizon": (horizon[1], horizon[1] + 10**12),
            "around the horizon": (horizon[0] - 1, horizon[1]),
            "nothing within a bucket": (middle, middle),
            "nothing at an edge": (start, start),
            "an arrival's own moment": "arrival",
        }

    @pytest.mark.parametrize("name", windows())
    def test_a_window_has_exactly_its_rows(self, small_plan, name):
        table = streamed(small_plan)
        bounds = TestWindow.windows()[name]
        if bounds == "arrival":
            ts_us = instants(table)
            bounds = int(ts_us[100]), int(ts_us[200])
        start_us, end_us = bounds
        texts = [None if moment is None else rfc3339(moment) for moment in bounds]
        expected = between(
            table, GRID[0][0] if start_us is None else start_us, GRID[-1][1] if end_us is None else end_us
        )
        assert_same(streamed(small_plan, *texts), expected)

    def test_windows_side_by_side_are_the_whole(self, small_plan):
        ts_us = instants(streamed(small_plan))
        cuts = [None, *(rfc3339(int(at)) for at in ts_us[::311]), None]
        parts = [streamed(small_plan, *pair) for pair in itertools.pairwise(cuts)]
        assert_same(pa.concat_tables(parts), streamed(small_plan))

    def test_time_zones_mean_the_same_moment(self, small_plan):
        assert_same(
            streamed(small_plan, "2026-03-29T02:10:00.25+01:00", dt.datetime(2026, 3, 29, 1, 20, tzinfo=dt.UTC)),
            streamed(small_plan, "2026-03-29T01:10:00.250000Z", "2026-03-28T21:20:00-04:00"),
        )

    def test_nothing_outside_the_window_s_buckets_is_expanded(self, small_plan):
        start, end = GRID[BERLIN_GAP]
        wanted = sum(row.n for row in small_world().counts if row.bucket == BERLIN_GAP)
        assert by_bucket(small_plan, Window(start + 1, end - 1)).arrivals == wanted
        assert by_bucket(small_plan, Window(start, end)).arrivals == wanted
        assert by_bucket(small_plan, Window(start, end + 1)).arrivals == wanted + 13
        assert by_bucket(small_plan, window(None, None)).arrivals == small_plan.arrivals


class TestMerchants:
    @pytest.mark.parametrize("merchants", [(BIG_ID,), (ALONE_ONLINE, TWO_ZONES), (HALF, HALF)])
    def test_only_theirs_and_the_same_as_in_the_whole(self, small, small_plan, merchants):
        table = in_time_order(table_of(small_plan))
        expected = table.filter(pa.compute.is_in(table["merchant_id"], pa.array(merchants, pa.uint64())))
        assert expected.num_rows > 0
        assert_same(streamed(small_plan, merchants=merchants), expected)
        part = load_world(small.run_root, merchant_ids=set(merchants))
        assert_same(streamed(part, merchants=merchants), expected)

    @pytest.mark.parametrize("merchants", [(SILENT,), (TWO_ZONES, 12)])
    def test_one_without_arrivals_is_named(self, small_plan, merchants):
        with pytest.raises(ArrivalError, match=f"merchant {merchants[-1]} has no arrivals") as caught:
            stream_arrivals(small_plan, merchants=merchants)
        assert caught.value.code is Code.S1_OR_S3_OUTPUT_MISSING


# --- Formats -----------------------------------------------------------------------------------------


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


class TestFormats:
    def test_json_lines_are_the_contract_s_rows(self, small_plan):
        data, result = sent(small_plan.world)
        assert data.endswith(b"}\n")
        lines = data.decode().splitlines()
        rows = [json.loads(line) for line in lines]
        expected = texts(streamed(small_plan))
        assert rows == expected
        assert all(list(row) == SCHEMA.names for row in rows)
        check_document("arrival_events_5B", rows[::50], code=Code.SCHEMA_VIOLATION, where="the stream")
        assert lines[17] == json.dumps(expected[17], separators=(",", ":"))
        assert result.rows == len(rows)
        assert result.digest == reference.expand(small_world()).digest

    def test_ids_as_strings_are_strings_wherever_they_are_ids(self, small_plan):
        data, _ = sent(small_plan.world, ids="string")
        rows = [json.loads(line) for line in data.splitlines()]
        for found, expected in zip(rows, texts(streamed(small_plan)), strict=True):
            for name in ID_COLUMNS:
                expected[name] = None if expected[name] is None else str(expected[name])
            assert found == expected

    def test_csv_has_a_header_and_the_same_rows(self, small_plan):
        data, _ = sent(small_plan.world, format="csv")
        header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
        assert header == SCHEMA.names
        for found, expected in zip(rows, texts(streamed(small_plan)), strict=True):
            cells = {name: "" if value is None else str(value) for name, value in expected.items()}
            cells["is_virtual"] = cells["is_virtual"].lower()
            assert dict(zip(header, found, strict=True)) == cells

    def test_csv_read_by_arrow_is_the_record_batches_again(self, small_plan):
        data, _ = sent(small_plan.world, format="csv")
        expected = plain(streamed(small_plan))
        options = pa.csv.ConvertOptions(column_types=expected.schema, strings_can_be_null=True, null_values=[""])
        found = pa.csv.read_csv(io.BytesIO(data), convert_options=options)
        # CSV cannot say which columns never have a null.
        assert_same(found.cast(expected.schema), expected)

    def test_arrow_is_the_record_batches(self, small_plan):
        data, _ = sent(small_plan.world, format="arrow")
        with pa.ipc.open_stream(data) as reader:
            assert reader.schema.equals(SCHEMA)
            table = reader.read_all()
        assert_same(table, streamed(small_plan))
        assert data.endswith(b"\xff\xff\xff\xff\0\0\0\0")

    @pytest.mark.parametrize("file_format", ["jsonl", "csv", "arrow"])
    @pytest.mark.parametrize(
        "columns",
        [("edge_id",), ("channel_group",), ("seed", "scenario_id"), ("site_id", "ts_utc", "merchant_id")],
        ids=",".join,
    )
    def test_columns_asked_for_come_in_that_order(self, small_plan, file_format, columns):
        data, result = sent(small_plan.world, format=file_format, columns=columns)
        expected = streamed(small_plan).select(columns)
        assert result.rows == expected.num_rows
        if file_format == "arrow":
            assert_same(pa.ipc.open_stream(data).read_all(), expected)
        elif file_format == "jsonl":
            assert [json.loads(line) for line in data.splitlines()] == texts(expected)
        else:
            header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
            assert header == list(columns)
            wanted = [["" if cell is None else str(cell) for cell in row.values()] for row in texts(expected)]
            assert rows == wanted

    @pytest.mark.parametrize("file_format", ["jsonl", "csv", "arrow"])
    def test_no_rows_are_a_whole_stream_without_rows(self, small_plan, file_format):
        data, result = sent(small_plan.world, format=file_format, end=rfc3339(GRID[0][0]))
        assert (result.rows, result.digest) == (0, None)
        if file_format == "arrow":
            table = pa.ipc.open_stream(data).read_all()
            assert table.schema.equals(SCHEMA)
            assert table.num_rows == 0
        else:
            assert data.decode() == ("" if file_format == "jsonl" else ",".join(SCHEMA.names) + "\n")

    @pytest.mark.parametrize("limit", [0, 1, 100, 3278, 3279, 4000])
    def test_a_limit_is_kept(self, small_plan, limit):
        whole, _ = sent(small_plan.world)
        data, result = sent(small_plan.world, limit=limit)
        assert data == b"".join(whole.splitlines(keepends=True)[:limit])
        assert (result.rows, result.digest) == (min(limit, 3279), None)

    @pytest.mark.parametrize(
        "output_policy",
        [{"timestamp_encoding": "rfc3339"}, {"timestamp_encoding": "rfc3339", "physical_dual_clock": '"mirror"'}],
        ids=["rfc3339", "mirror"],
    )
    def test_the_output_policy_is_honoured(self, tmp_path, small_plan, output_policy):
        world = planned(write_sealed(small_world(), tmp_path / "world", output_policy=output_policy).run_root).world
        table = pa.Table.from_batches(stream_arrivals(world))
        assert table.schema.field("ts_utc").type == pa.string()
        data, _ = sent(world)
        assert [json.loads(line) for line in data.splitlines()] == plain(table).to_pylist()
        if len(output_policy) == 1:
            assert data == sent(small_plan.world)[0]
        arrow, _ = sent(world, format="arrow")
        assert_same(pa.ipc.open_stream(arrow).read_all(), table)

    @pytest.mark.parametrize("file_format", ["jsonl", "csv"])
    def test_texts_with_every_awkward_character_come_back(self, file_format):
        texts = ["", 'a"b', "c,d", "e\nf", "g\r\nh", "i\\j", "k\tl", "\x01", "é ü 漢 😀", "null", " m ", None, "n"]
        batch = pa.record_batch({"seq": range(len(texts)), "text": pa.array(texts).dictionary_encode()})
        encode = encoder(file_format, batch.schema)
        head, parts = encode.head(), [encode.rows(batch.slice(0, 5)), encode.rows(batch.slice(5))]

        def read(data):
            if file_format == "jsonl":
                return [json.loads(line)["text"] for line in data.decode().split("\n")[:-1]]
            return [row[1] for row in csv.reader(io.StringIO(data.decode(), newline=""))][1:]

        wanted = ["" if text is None and file_format == "csv" else text for text in texts]
        assert read(b"".join([head.data, *(part.data for part in parts)])) == wanted
        # Where each row ends is known, line breaks within it or not.
        first = parts[0]
        assert [read(bytes(head.data) + bytes(first.data[:end])) for end in first.ends] == [
            wanted[: rows + 1] for rows in range(5)
        ]

    def test_a_dictionary_that_changes_is_noticed(self):
        schema = pa.schema([("tzid", pa.dictionary(pa.int32(), pa.string()))])
        encode = encoder("jsonl", schema)
        for tzids in (["Europe/Berlin", "Etc/UTC"], ["Etc/UTC", "Europe/Berlin"]):
            batch = pa.record_batch([pa.array(tzids).dictionary_encode()], schema=schema)
            rows = [json.loads(line) for line in bytes(encode.rows(batch).data).splitlines()]
            assert [row["tzid"] for row in rows] == tzids


class TestOptions:
    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"format": "xml"}, "format"),
            ({"ids": "hex"}, "ids"),
            ({"ids": "string", "format": "csv"}, "jsonl alone"),
            ({"ids": "string", "format": "arrow"}, "jsonl alone"),
            ({"speed": Fraction(0)}, "above zero"),
            ({"limit": -1}, "negative"),
            ({"columns": ("merchant",)}, "no column 'merchant'"),
            ({"columns": ("seed", "seed")}, "more than once"),
            ({"start": "yesterday"}, "RFC 3339"),
            ({"start": "2026-02-02T00:00:00Z", "end": "2026-02-01T00:00:00Z"}, "after the end"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong, said):
        with pytest.raises(ValueError, match=said):
            StreamOptions(**wrong)

    @pytest.mark.parametrize(
        ("options", "filtered"),
        [
            ({}, False),
            ({"columns": ("seed",), "format": "csv"}, False),
            ({"merchants": (TWO_ZONES,)}, True),
            ({"limit": 10**9}, True),
            ({"start": rfc3339(GRID[0][0])}, True),
            ({"end": rfc3339(GRID[-1][1])}, True),
        ],
    )
    def test_a_digest_is_told_of_whole_scenarios_only(self, small_plan, options, filtered):
        _, result = sent(small_plan.world, **options)
        assert (result.digest is None) == filtered
        assert ("digest" in str(result)) == (not filtered)

    def test_a_window_outside_the_horizon_is_a_notice(self, small_plan):
        for options, found in (({"start": "2027-01-01T00:00:00Z"}, 1), ({"end": "2020-01-01T00:00:00Z"}, 1), ({}, 0)):
            reporter = Reporter()
            stream_to(small_plan.world, Memory(), StreamOptions(limit=1, **options), reporter)
            assert [notice.code for notice in reporter.notices] == ["WINDOW_OUTSIDE_HORIZON"] * found


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
        with pytest.raises(ValueError, match="no speed"):
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


def lines(*given_texts):
    data = "".join(given_texts).encode()
    return Encoded(memoryview(data), len(given_texts), np.cumsum([len(text.encode()) for text in given_texts]))


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


# --- The command -------------------------------------------------------------------------------------


def command_line(*arguments):
    return [sys.executable, "-m", "arrival_engine", "stream", *map(str, arguments)]


ENVIRONMENT = {**os.environ, "COLUMNS": "100"}


def stream(*arguments, **options):
    return subprocess.run(command_line(*arguments), env=ENVIRONMENT, capture_output=True, check=False, **options)


@contextmanager
def streaming(*arguments):
    """A stream at work, killed at the end if it still is."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command_line(*arguments), env=ENVIRONMENT, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


class Listener:
    """Takes one connection and reads it to its end, or closes it after so many bytes."""

    def __init__(self, host="127.0.0.1", most_bytes=None):
        self._socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._most = most_bytes
        self.port = self._socket.getsockname()[1]
        self.data = b""
        self._thread = threading.Thread(target=self._listen)

    def _listen(self):
        connection, _ = self._socket.accept()
        with connection:
            while self._most is None or len(self.data) < self._most:
                data = connection.recv(65_536)
                if not data:
                    return
                self.data += data

    def __enter__(self):
        self._socket.settimeout(30)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(30)
        self._socket.close()


def read_some(process):
    """At least a megabyte of a stream."""
    data = b""
    while len(data) < 1 << 20:
        data += process.stdout.read(1 << 20)
    return data


def read_rest(process):
    """What comes until the stream ends, and what was said about it."""
    data = b"".join(iter(lambda: process.stdout.read(1 << 20), b""))
    return data, process.stderr.read().decode()


class TestCommand:
    def test_it_streams_a_scenario_and_says_how_much(self, small):
        done = stream(small.run_root)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == sent(load_world(small.run_root))[0]
        said = done.stderr.decode()
        assert "streamed 3,279 arrivals in " in said
        assert "arrivals/s" in said
        assert said.rstrip().endswith(f"digest {reference.expand(small_world()).digest}")

    def test_every_option_at_once(self, small):
        start, end = rfc3339(GRID[BERLIN_GAP][0]), rfc3339(GRID[ODD_BUCKET][0])
        done = stream(
            *(small.run_root, "--scenario", "baseline_v1", "--from", start, "--to", end, "--limit", 9),
            *("--merchant", BIG_ID, "--merchant", TWO_ZONES, "--speed", "1000000x", "--format", "csv"),
            *("--columns", "ts_utc, merchant_id", "--ids", "number", "--accept-tz-cache", "--output", "-", "--quiet"),
        )
        assert (done.returncode, done.stderr) == (0, b"")
        world = load_world(small.run_root)
        expected = streamed(world, start, end, merchants=(BIG_ID, TWO_ZONES)).slice(0, 9)
        assert expected.num_rows == 9
        wanted = [f"{row['ts_utc']},{row['merchant_id']}" for row in texts(expected)]
        assert done.stdout.decode().splitlines() == ["ts_utc,merchant_id", *wanted]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--speed", "warp"), "no speed"),
            (("--from", "2026-02-30T00:00:00Z"), "does not exist"),
            (("--to", "tomorrow"), "RFC 3339"),
            (("--from", "2026-03-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z"), "after the end"),
            (("--columns", "seed,,ts_utc"), "no column ''"),
            (("--columns", "amount"), "no column 'amount'; there are manifest_fingerprint"),
            (("--ids", "string", "--format", "arrow"), "jsonl alone"),
            (("--merchant", "-1"), "merchant"),
            (("--limit", "-1"), "limit"),
            (("--format", "xml"), "xml"),
            (("--output", "arrivals.jsonl"), "neither - (standard output) nor tcp://"),
            (("--output", "tcp://203.0.113.9:80"), "no network client"),
            (("--output", "tcp://example.com:80"), "no network client"),
            (("--output", "tcp://0.0.0.0:80"), "no network client"),
            (("--output", "tcp://127.0.0.1"), "neither"),
            (("--output", "tcp://127.0.0.1:0"), "port"),
            (("--output", "tcp://127.0.0.1:65536"), "port"),
            (("--json",), "--json"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_bad_usage_exits_2_and_says_why(self, capsys, tmp_path, arguments, said):
        assert main(["stream", str(tmp_path), *arguments]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert said in " ".join(shown.err.split())

    def test_a_merchant_without_arrivals_is_a_named_failure(self, small, capfd):
        assert main(["stream", str(small.run_root), "--merchant", "12", "--quiet"]) == 1
        assert "merchant 12 has no arrivals" in capfd.readouterr().err

    def test_a_full_disk_is_a_named_failure(self, small_plan):
        with Path("/dev/full").open("wb") as full, pytest.raises(ArrivalError, match="No space left") as caught:
            stream_to(small_plan.world, DescriptorSink(full.fileno()))
        assert caught.value.code is Code.IO_WRITE_FAILED

    def test_a_reader_that_has_had_enough_is_no_error(self, long_world):
        shell = " ".join(command_line(long_world, "--quiet")) + " | head -n 3; echo ${PIPESTATUS[0]}"
        done = subprocess.run(["bash", "-c", shell], env=ENVIRONMENT, capture_output=True, check=False, timeout=60)
        assert done.stderr == b""
        *found, code = done.stdout.splitlines(keepends=True)
        assert code == b"0\n"
        assert b"".join(found) == sent(load_world(long_world), limit=3)[0]

    def test_an_interrupted_stream_ends_with_a_whole_line(self, long_world):
        with streaming(long_world) as process:
            data = read_some(process)
            process.send_signal(signal.SIGINT)
            rest, said = read_rest(process)
            assert process.wait(20) == 130
        data += rest
        assert data.endswith(b"}\n")
        assert data.startswith(sent(load_world(long_world), limit=1000)[0])
        rows = data.count(b"\n")
        assert json.loads(data.splitlines()[-1])["seed"] == 42
        assert f"streamed {rows:,} arrivals" in said
        assert "torn" not in said
        assert said.splitlines()[-1] == "interrupted: the stream was cut short"

    def test_a_terminated_arrow_stream_ends_with_a_whole_message(self, long_world):
        with streaming(long_world, "--format", "arrow") as process:
            data = read_some(process)
            process.send_signal(signal.SIGTERM)
            rest, said = read_rest(process)
            assert process.wait(20) == 143
        data += rest
        table = pa.ipc.open_stream(data).read_all()
        assert table.num_rows % SLICE_ROWS == 0
        assert f"streamed {table.num_rows:,} arrivals" in said
        assert not data.endswith(b"\xff\xff\xff\xff\0\0\0\0"), "a reader could take it for complete"

    def test_an_interruption_needs_no_reader(self, long_world):
        """And while nobody reads, memory does not grow."""
        with streaming(long_world, "--format", "arrow") as process:
            process.stdout.read(1)
            time.sleep(0.5)
            before = psutil.Process(process.pid).memory_info().rss
            time.sleep(0.5)
            grown = psutil.Process(process.pid).memory_info().rss - before
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert b"may be torn" in process.stderr.read()
        assert grown < 64 << 20

    @pytest.mark.parametrize(
        ("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("127.0.0.1", "localhost")]
    )
    def test_a_local_listener_gets_everything(self, small, host, written):
        try:
            listener = Listener(host)
        except OSError as reason:
            pytest.skip(f"this machine has no {host}: {reason}")
        with listener:
            arguments = ["stream", str(small.run_root), "--quiet", "--output", f"tcp://{written}:{listener.port}"]
            assert main(arguments) == 0
        assert listener.data == sent(load_world(small.run_root))[0]

    @pytest.mark.parametrize("most_bytes", [1, 200_000])
    def test_a_listener_that_goes_away_is_a_failure(self, long_world, capsys, most_bytes):
        with Listener(most_bytes=most_bytes) as listener:
            address = f"tcp://127.0.0.1:{listener.port}"
            assert main(["stream", str(long_world), "--quiet", "--output", address]) == 1
        said = capsys.readouterr().err
        assert "IO_WRITE_FAILED" in said
        assert f"{address} stopped taking arrivals" in said

    def test_a_listener_that_drops_the_last_bytes_is_a_failure(self, small, capsys):
        """All of it fits the system's buffers: only the end of the stream shows that nobody took it."""
        with Listener(most_bytes=1) as listener:
            address = f"tcp://127.0.0.1:{listener.port}"
            code = main(["stream", str(small.run_root), "--quiet", "--output", address])
        assert (code, "stopped taking arrivals" in capsys.readouterr().err) == (1, True)

    def test_nobody_listening_is_a_named_failure(self, small, capsys):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert main(["stream", str(small.run_root), "--quiet", "--output", f"tcp://127.0.0.1:{port}"]) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"nobody takes connections at tcp://127.0.0.1:{port}" in said
        assert f"nc -l 127.0.0.1 {port}" in said

    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("-", None),
            ("tcp://127.0.0.1:9000", Address("127.0.0.1", 9000)),
            ("tcp://127.8.8.8:1", Address("127.8.8.8", 1)),
            ("tcp://[::1]:65535", Address("::1", 65535)),
            ("tcp://localhost:80", Address("127.0.0.1", 80)),
        ],
    )
    def test_outputs(self, text, address):
        assert parse_output(text) == address
        if address is not None and "localhost" not in text:
            assert str(address) == text
