"""The reader matrix: each library's default call on each form of the arrivals, and the page that shows it."""

from __future__ import annotations

import glob
import os
import re
import warnings
from datetime import UTC
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from arrival_engine import expand_counts
from arrival_engine.engine.frames.published import read_arrivals
from tests.support import readers
from tests.support.importing import bucket_text
from tests.support.paths import ROOT
from tests.support.reader_matrix import (
    CASES,
    CONTRACT,
    DISTRIBUTIONS,
    OPENED,
    PLACES,
    SIGNED,
    SLOW,
    TIMES,
    column_table,
    page_tables,
)
from tests.support.reader_rows import expected_row
from tests.support.reader_worlds import instant, tables, wall_clock

PAGE = ROOT / "docs" / "reference" / "readers.md"
MATRIX = "<!-- made by tests/readers/test_matrix.py -->\n"
COLUMNS = "<!-- columns: made by tests/readers/test_matrix.py -->\n"
END = "<!-- until here -->\n"
EXPORTS: dict[str, dict[str, Any]] = {
    "parquet": {},
    "days": {"cluster_by": "day", "partitioned": True},
    "delta": {"to": "delta"},
    "iceberg": {"to": "iceberg"},
    "duckdb": {"to": "duckdb"},
}
IDS = ("merchant_id", "place_id", "seed", "site_id", "edge_id")


class Places:
    """Where each form of the arrivals lies; exports are written when they are first read."""

    def __init__(self, world, folder):
        self._world, self._folder, self._written = world, folder, set()

    def path(self, place):
        if place == "scenario":
            return self._world.scenario.path
        if place == "contract":
            return next(path for path in self._world.scenario.path.parents if path.name == "arrival_events")
        path = self._folder / place
        if place in EXPORTS and place not in self._written:
            read_arrivals(self._world.root).write(path, **EXPORTS[place])
            self._written.add(place)
        return path


@pytest.fixture(scope="module")
def places(world, tmp_path_factory):
    return Places(world, tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def session():
    with readers.spark_session() as spark:
        yield spark


class Names(dict):
    """The names that a call uses, each imported when it is first used."""

    def __missing__(self, name):
        made = MAKERS[name]()
        self[name] = made
        return made


def _module(name):
    def load():
        import importlib

        return importlib.import_module(name)

    return load


def _member(module, name):
    return lambda: getattr(_module(module)(), name)


MAKERS = {
    "pd": _module("pandas"),
    "pl": _module("polars"),
    "duckdb": _module("duckdb"),
    "pa": lambda: pa,
    "pq": _module("pyarrow.parquet"),
    "ds": _module("pyarrow.dataset"),
    "dd": _module("dask.dataframe"),
    "ParquetFile": _member("fastparquet", "ParquetFile"),
    "SessionContext": _member("datafusion", "SessionContext"),
    "DeltaTable": _member("deltalake", "DeltaTable"),
    "load_catalog": _member("pyiceberg.catalog", "load_catalog"),
    "glob": lambda: glob,
    "read_arrivals": lambda: read_arrivals,
}


def called(code, place, world, places, session, given=None):
    """What a call gives, as an Arrow table; `given` is the object to call, by default that of the published parts."""
    names = Names(arrivals=given or read_arrivals(world.root), RUN_ROOT=world.root)
    path = places.path(place)
    if session is not None:
        names["spark"] = session()
    if place == "iceberg":
        names["table"] = eval(OPENED.replace("FOLDER", str(path)), {}, names)  # noqa: S307 - as the page has it
    with warnings.catch_warnings():
        # Of libraries about themselves.
        for kind in (ResourceWarning, DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        code = code.replace("FOLDER", str(path)).replace("FILE", str(path))
        try:
            # The page's words are run as they are.
            return as_arrow(eval(code, {}, names))  # noqa: S307
        finally:
            if "table" in names:
                names["table"].catalog.close()


def as_arrow(result):
    """A library's table as Arrow's."""
    package = type(result).__module__.partition(".")[0]
    if package == "dask":
        result, package = result.compute(), "pandas"
    if package == "pandas":
        return pa.Table.from_pandas(result, preserve_index=False)
    if isinstance(result, pa.Table):
        return result
    method = next(name for name in ("to_arrow_table", "to_arrow", "toArrow") if name in dir(result))
    return getattr(result, method)()


def integer(value):
    """An id in any of its forms, exactly; floats and other things stay what they are."""
    if isinstance(value, Decimal) and value == int(value):
        return int(value)
    return value


def plain(name, value):
    value = integer(value) if name in IDS else value
    return value.astimezone(UTC) if name == "ts_utc" else value


def rows_of(table):
    rows = [{name: plain(name, value) for name, value in row.items()} for row in table.to_pylist()]
    return sorted(rows, key=lambda row: (row["merchant_id"], row["arrival_seq"]))


def signed(value):
    return value - 2**64 if value >= 2**63 else value


def expected(world, place):
    rows = world.rows.to_pylist()
    if place not in CONTRACT:
        rows = [expected_row(row, signed if place in SIGNED else int) for row in rows]
    return sorted(
        ({name: plain(name, value) for name, value in row.items()} for row in rows),
        key=lambda row: (row["merchant_id"], row["arrival_seq"]),
    )


def changed_columns(table, wanted, place):
    """Columns with any value that is another one, or of another type, and ids with another sign."""
    found = rows_of(table)
    assert len(found) == len(wanted)
    of_id = {pa.int64()} if place in SIGNED else {pa.uint64(), pa.decimal128(20, 0)}
    return {name for name in IDS if name in table.column_names and table[name].type not in of_id} | {
        name
        for name in wanted[0]
        if any(
            ours[name] != theirs.get(name) or type(ours[name]) is not type(theirs.get(name))
            for ours, theirs in zip(wanted, found, strict=True)
        )
    }


def assert_clocks(rows):
    """Each wall clock is the standard library's, and with its offset is one instant: in the repeated hour too."""
    for row in rows:
        tzid = row.get("tzid") or row["tzid_primary"]
        local = row.get("ts_local") or row["ts_local_primary"]
        assert local == wall_clock(row["ts_utc"], tzid)
        if "utc_offset_minutes" in row:
            assert instant(local, row["utc_offset_minutes"]) == row["ts_utc"].replace(tzinfo=None)


def ids(case):
    return f"{case.place}-{case.reader}-{re.sub(r'[^a-z_]+', ' ', case.call.lower()).strip()}"


def marked(case):
    marks = []
    if case.reader in SLOW:
        marks = [
            pytest.mark.slow,
            pytest.mark.skipif(bool(readers.no_spark_reason()), reason=readers.no_spark_reason() or "-"),
        ]
    return pytest.param(case, id=ids(case), marks=marks)


@pytest.fixture(scope="module")
def in_memory():
    """The same arrivals, of tables in memory."""
    given = tables()
    return expand_counts(
        frame(given.counts, bucket="bucket_index"),
        frame(given.sites, order="site_order"),
        virtual_merchants=frame(given.virtual),
        edges=frame(given.edges, order="edge_order"),
        start=given.start,
        end=bucket_text(given.start, given.buckets),
        bucket="1h",
        seed=given.seed,
    )


def frame(rows, **names):
    return pd.DataFrame([row._asdict() for row in rows]).rename(columns=names)


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_a_call_gives_what_the_page_says(case, world, places, request):
    session = (lambda: request.getfixturevalue("session")) if case.reader == "Spark" else None
    wanted = expected(world, case.place)
    if case.raises:
        kind, text = case.raises
        with pytest.raises(Exception, match=re.escape(text)) as caught:
            called(case.call, case.place, world, places, session)
        assert caught.type.__name__ == kind
    else:
        table = called(case.call, case.place, world, places, session)
        assert changed_columns(table, wanted, case.place) == set(case.changed)
        assert set(table.column_names) - set(wanted[0]) <= {"day"}
        if not set(case.changed) & set(TIMES):
            assert_clocks(rows_of(table))
    if case.instead:
        table = called(case.instead, case.place, world, places, session)
        assert changed_columns(table, wanted, case.place) == set()
        assert_clocks(rows_of(table))


@pytest.mark.parametrize("case", [marked(case) for case in CASES if case.place == "object"])
def test_a_call_gives_the_same_of_arrivals_that_were_never_stored(case, world, places, in_memory, request):
    session = (lambda: request.getfixturevalue("session")) if case.reader == "Spark" else None
    table = called(case.instead or case.call, case.place, world, places, session, in_memory)
    assert changed_columns(table, expected(world, case.place), case.place) == set()


def versions():
    pins = dict(
        re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    return {reader: pins[distribution] for reader, distribution in DISTRIBUTIONS.items()}


@pytest.mark.parametrize(
    ("begin", "made"), [(COLUMNS, column_table), (MATRIX, lambda: page_tables(versions()))], ids=["columns", "matrix"]
)
def test_the_page_shows_what_the_tests_hold(begin, made):
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    shown, _, after = rest.partition(END)
    if os.environ.get("ARRIVALS_UPDATE_SNAPSHOTS"):
        PAGE.write_text(f"{before}{begin}{made()}{END}{after}", encoding="utf-8")
    else:
        assert shown == made()


def test_the_page_says_of_each_refusal_what_to_do():
    assert all(case.instead for case in CASES if case.raises)
    assert {case.place for case in CASES} == set(PLACES)
