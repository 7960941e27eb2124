"""The object that is an Arrow stream: every way out of it, passes that are left half-way, and notebooks."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from arrival_engine import load_world
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.frames.arrivals import Arrivals
from arrival_engine.engine.frames.published import read_arrivals
from arrival_engine.engine.readable.facts import RunFacts
from arrival_engine.engine.readable.shapes import Shape
from arrival_engine.engine.readable.worlds import WorldSource
from tests.support.reader_worlds import BIG, HALF


@pytest.fixture(scope="module")
def loaded(world):
    return load_world(world.root)


@pytest.fixture(params=["published", "expanded"])
def arrivals(world, loaded, request, monkeypatch):
    """The arrivals, read from part files, and expanded from the world, in several batches."""
    monkeypatch.setattr("arrival_engine.engine.readable.worlds.BATCH_ARRIVALS", 100)
    return read_arrivals(world.root) if request.param == "published" else expanded(loaded)


def expanded(loaded, shape=None):
    return Arrivals(WorldSource(loaded, RunFacts(loaded.receipt), threads=2), shape)


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("arrivals")]


def test_both_sources_give_the_same_rows_and_the_digest_of_the_run(world, loaded):
    published = read_arrivals(world.root)
    assert published.to_arrow().to_pylist() == expanded(loaded).to_arrow().to_pylist()
    assert published.digest == expanded(loaded).digest == str(world.scenario.digest)
    assert len(published) == len(expanded(loaded)) == world.rows.num_rows
    assert published.identity == loaded.identity
    assert published.scenario_id == world.scenario.scenario_id


def test_the_digest_is_known_after_a_pass_and_after_none(loaded):
    passed = expanded(loaded)
    assert passed.to_arrow().num_rows == len(passed)
    assert passed.digest == expanded(loaded, Shape("contract", "text")).digest


FORMS = [(columns, ids) for columns in ("readable", "contract") for ids in ("uint64", "int64", "text", "decimal")]
QUICK = {*FORMS[:4], ("contract", "uint64")}


@pytest.mark.parametrize(
    ("columns", "ids"), [pytest.param(*form, marks=[] if form in QUICK else [pytest.mark.slow]) for form in FORMS]
)
def test_every_way_out_has_the_same_values(world, columns, ids):
    given = read_arrivals(world.root, columns=columns, ids=ids)
    table = given.to_arrow()
    assert table.schema == given.schema
    assert list(given.descriptions) == table.column_names
    rows = table.to_pylist()
    assert pa.table(given).to_pylist() == rows
    assert pa.Table.from_batches(given.batches()).to_pylist() == rows
    assert pl.DataFrame(given).rows() == given.to_polars().rows() == [tuple(row.values()) for row in rows]
    assert in_pandas(given.to_pandas()) == rows
    assert in_pandas(table.to_pandas()) == rows
    assert duckdb.sql("FROM given").to_arrow_table().to_pylist() == rows


def in_pandas(frame):
    """The rows of a DataFrame as Python values; its times with nanoseconds are told by a failure."""
    columns = {name: [None if pd.isna(value) else plainly(value) for value in column] for name, column in frame.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def plainly(value):
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def test_no_id_goes_through_a_float_in_pandas(world):
    frame = read_arrivals(world.root, columns="contract").to_pandas()
    assert {name: str(frame[name].dtype) for name in ("seed", "merchant_id", "site_id", "edge_id")} == {
        "seed": "uint64",
        "merchant_id": "uint64",
        "site_id": "UInt64",
        "edge_id": "UInt64",
    }
    assert {HALF, BIG} <= set(frame["merchant_id"].tolist())
    assert set(frame["site_id"].dropna()) == set(world.rows["site_id"].drop_null().to_pylist())
    people = read_arrivals(world.root).to_pandas()
    assert str(people["place_id"].dtype) == "uint64"
    assert str(people["settlement_utc_offset_minutes"].dtype) == "Int32"
    assert str(people["ts_utc"].dtype) == "datetime64[us, UTC]"
    assert str(people["ts_local"].dtype) == "datetime64[us]"


def test_a_requested_schema_is_given_where_it_can_be(arrivals):
    wanted = arrivals.schema.set(0, pa.field("merchant_id", pa.decimal128(20, 0)))
    reader = pa.RecordBatchReader.from_stream(arrivals, schema=wanted)
    assert reader.read_all()["merchant_id"].type == pa.decimal128(20, 0)


def test_each_stream_is_a_new_pass(arrivals):
    first, second = pa.RecordBatchReader.from_stream(arrivals), pa.RecordBatchReader.from_stream(arrivals)
    assert first.read_next_batch() == second.read_next_batch()
    rest = sum(batch.num_rows for batch in first)
    assert 0 < rest < len(arrivals) == pa.table(arrivals).num_rows


def test_sql_over_arrivals_that_were_never_stored(loaded):
    ours = expanded(loaded)
    with duckdb.connect() as connection:
        connection.register("ours", ours)
        query = "SELECT country, count(*), max(merchant_id) FROM ours GROUP BY ALL ORDER BY ALL"
        found = connection.sql(query).fetchall()
        assert found == connection.sql(query).fetchall()
    assert sum(count for _, count, _ in found) == len(ours)
    assert max(merchant for _, _, merchant in found) == BIG
    assert threads() == []


# --- Passes that end early ----------------------------------------------------------------------------


def limit_in_sql(given):
    with duckdb.connect() as connection:
        connection.register("given", given)
        assert len(connection.sql("SELECT place_id FROM given LIMIT 3").fetchall()) == 3


def error_in_sql(given):
    with duckdb.connect() as connection:
        connection.register("given", given)
        with pytest.raises(duckdb.Error, match="enough"):
            connection.sql("SELECT CASE WHEN arrival_seq > 20 THEN error('enough') END FROM given").fetchall()


def capsule_without_a_reader(given):
    capsule = given.__arrow_c_stream__()
    del capsule


def reader_let_go(given):
    reader = given.to_reader()
    reader.read_next_batch()
    del reader


def stream_let_go(given):
    reader = pa.RecordBatchReader.from_stream(given)
    reader.read_next_batch()
    assert threads()
    del reader


def exception_in_a_loop(given):
    def broken():
        return [batch.num_rows // 0 for batch in given.batches()]

    with pytest.raises(ZeroDivisionError):
        broken()


def generator_closed(given):
    with closing(given.batches()) as batches:
        next(batches)
        assert threads()


@pytest.mark.parametrize(
    "leave",
    [
        limit_in_sql,
        error_in_sql,
        capsule_without_a_reader,
        reader_let_go,
        stream_let_go,
        exception_in_a_loop,
        generator_closed,
    ],
)
def test_a_pass_that_is_left_ends_its_threads(arrivals, leave):
    leave(arrivals)
    gc.collect()
    assert threads() == []
    assert pa.table(arrivals).num_rows == len(arrivals)


INTERRUPTED = """
import sys, threading, time
import duckdb
from arrival_engine import load_world
from arrival_engine.engine.frames.arrivals import Arrivals
from arrival_engine.engine.readable.facts import RunFacts
from arrival_engine.engine.readable.worlds import WorldSource
loaded = load_world(sys.argv[1])
given = Arrivals(WorldSource(loaded, RunFacts(loaded.receipt), threads=2))
len(given.to_arrow())
try:
    if sys.argv[2] == "sql":
        print("begun", flush=True)
        endless = "SELECT sum(hash(g.place_id, a.i, b.i) % 7) FROM given g, range(10000) a(i), range(100000) b(i)"
        duckdb.sql(endless).fetchall()
    while True:
        for batch in given.batches():
            print("begun", flush=True)
except (KeyboardInterrupt, RuntimeError, duckdb.Error):
    # DuckDB has an error of its own for an interrupt that comes while it takes rows. Threads that are in a pass then
    # end on their own.
    for _ in range(600):
        if threading.active_count() == 1:
            break
        time.sleep(0.05)
    print([thread.name for thread in threading.enumerate()], flush=True)
"""


@pytest.mark.parametrize("reader", [pytest.param("sql", marks=pytest.mark.slow), "loop"])
def test_an_interrupt_ends_the_pass_and_its_threads(world, reader):
    command = [sys.executable, "-c", INTERRUPTED, str(world.root), reader]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "['MainThread']", err
    assert process.returncode == 0


# --- Notebooks ----------------------------------------------------------------------------------------


def test_a_notebook_shows_the_first_rows(arrivals):
    text, html = repr(arrivals), arrivals._repr_html_()
    assert text.splitlines()[0] == f"{len(arrivals)} arrivals of scenario {arrivals.scenario_id}"
    assert len(text.splitlines()) == 2 + 5
    assert max(map(len, text.splitlines())) <= 120
    assert html.count("<tr>") == 1 + 5
    assert html.count("<th ") == len(arrivals.schema.names)
    assert threads() == []


def test_texts_of_a_world_cannot_write_markup_or_control_a_terminal(arrivals, monkeypatch):
    evil = "<script>\x1b[2J"
    monkeypatch.setattr(type(arrivals._source), "scenario_id", evil, raising=False)
    monkeypatch.setitem(vars(arrivals._source), "scenario_id", evil)
    assert "<script>" not in arrivals._repr_html_()
    assert "\x1b" not in repr(arrivals) + arrivals._repr_html_()


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_pandas"), ("polars", "to_polars")])
def test_a_package_that_is_not_there_is_named(arrivals, monkeypatch, package, method):
    monkeypatch.setattr(f"{Arrivals.__module__}.find_spec", lambda _: None)
    with pytest.raises(ArrivalError, match=f"needs {package}") as caught:
        getattr(arrivals, method)()
    assert caught.value.code is Code.DEPENDENCY_MISSING
    assert caught.value.hint == f"pip install {package}"
