"""Arrivals in time order: the stored rows, whole, by window and by merchant."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine import stream_arrivals
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.moments import microseconds
from arrival_engine.engine.stream import arrivals, order
from arrival_engine.engine.stream.order import by_bucket, time_order
from arrival_engine.engine.stream.window import Window, window
from arrival_engine.engine.validation.file_order import table_digest
from arrival_engine.engine.world.load import load_world
from tests.support import reference
from tests.support.compare import assert_same_rows
from tests.support.product import table_of
from tests.support.streaming import GRID, SECOND, assert_same, between, in_time_order, instants, streamed
from tests.support.world_disk import rfc3339
from tests.support.worlds import (
    ALONE_ONLINE,
    BERLIN_GAP,
    BIG_ID,
    HALF,
    NEW_YORK_GAP,
    SILENT,
    TWO_ZONES,
    instant_us,
    small_world,
)


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
        stream: Any = stream_arrivals(tied_plan)
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

    @staticmethod
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
        assert caught.value.code is Code.OPTION_INVALID
