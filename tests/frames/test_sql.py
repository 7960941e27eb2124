"""SQL over arrivals that are not stored: DuckDB reads them as often as it likes, and stops what it does not need."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from contextlib import closing

import duckdb
import numpy as np
import pandas as pd
import pytest

from arrival_engine import Arrivals, expand_counts
from tests.support.in_memory import coffee

MERCHANTS, HOURS, EACH = 40, 240, 250


@pytest.fixture(scope="module")
def arrivals():
    return expand_counts(**coffee(), seed=7)


@pytest.fixture(scope="module")
def many():
    """2,400,000 arrivals in ten batches."""
    hours = pd.date_range("2026-03-20", periods=HOURS, freq="h", tz="UTC")
    counts = pd.DataFrame(
        {
            "merchant_id": np.repeat(np.arange(1, MERCHANTS + 1), HOURS),
            "tz": "Europe/Berlin",
            "bucket_start": np.tile(hours, MERCHANTS),
            "count": EACH,
        }
    )
    sites = pd.DataFrame(
        {"merchant_id": np.arange(1, MERCHANTS + 1), "tz": "Europe/Berlin", "country": "DE", "weight": 1.0}
    )
    return expand_counts(counts, sites, threads=2)


class Counted:
    """A source that counts the batches that are taken of it, and the passes that have ended."""

    def __init__(self, source):
        self.source, self.taken, self.ended = source, 0, 0

    def __getattr__(self, name):
        return getattr(self.source, name)

    def batches(self):
        try:
            with closing(self.source.batches()) as batches:
                for batch in batches:
                    self.taken += 1
                    yield batch
        finally:
            self.ended += 1


def ended(counted, passes):
    """Whether that many passes have ended, and no thread of any is left, within ten seconds."""
    for _ in range(200):
        gc.collect()
        if counted.ended == passes and not [t for t in threading.enumerate() if t.name.startswith("arrivals")]:
            return True
        time.sleep(0.05)
    return False


def test_a_registered_object_is_a_table(arrivals):
    con = duckdb.connect()
    con.register("events", arrivals)
    asked = "select count(*), count(distinct place_id), min(ts_local) from events"
    assert con.execute(asked).fetchall() == con.execute(asked).fetchall()
    table = arrivals.to_arrow()
    assert con.execute("select count(*), sum(bucket_index) from events").fetchone() == (
        len(arrivals),
        sum(table["bucket_index"].to_pylist()),
    )


def test_a_variable_is_a_table(arrivals):
    con = duckdb.connect()
    assert con.execute("select count(*) from arrivals").fetchall() == [(len(arrivals),)]


def test_a_join_with_itself_reads_it_twice(arrivals):
    asked = "select count(*) from arrivals a join arrivals b using (merchant_id, arrival_seq) where a.ts_utc = b.ts_utc"
    assert duckdb.connect().execute(asked).fetchall() == [(len(arrivals),)]


def test_local_days_come_out_of_sql_as_they_are(arrivals):
    con = duckdb.connect()
    con.register("events", arrivals)
    found = con.execute(
        "select merchant_id, ts_local::date::text, count(*) from events group by all order by all"
    ).fetchall()
    frame = arrivals.to_pandas()
    wanted = frame.groupby(["merchant_id", frame["ts_local"].dt.strftime("%Y-%m-%d")]).size()
    assert found == [(*key, size) for key, size in wanted.items()]


def test_a_limit_ends_the_pass_and_its_threads(many):
    counted = Counted(many.source)
    con = duckdb.connect()
    con.register("events", Arrivals(counted, many.shape))
    assert con.execute("select count(*) from events").fetchone() == (MERCHANTS * HOURS * EACH,)
    assert ended(counted, 1)
    whole = counted.taken
    assert len(con.execute("select ts_local, place_id from events limit 3").fetchall()) == 3
    assert ended(counted, 2)
    assert whole < counted.taken < 2 * whole


def test_an_error_in_a_query_ends_the_pass_and_its_threads(many):
    counted = Counted(many.source)
    con = duckdb.connect()
    con.register("events", Arrivals(counted, many.shape))
    with pytest.raises(duckdb.Error):
        con.execute("select error('no more') from events").fetchall()
    assert ended(counted, 1)


MEMORY = """
import resource, sys
import duckdb
import numpy as np, pandas as pd
import arrival_engine as ae
merchants, hours, each = 100, 240, int(sys.argv[1])
at = pd.date_range("2026-03-20", periods=hours, freq="h", tz="UTC")
counts = pd.DataFrame({"merchant_id": np.repeat(np.arange(1, merchants + 1), hours), "tz": "Europe/Berlin",
    "bucket_start": np.tile(at, merchants), "count": each})
sites = pd.DataFrame({"merchant_id": np.arange(1, merchants + 1), "tz": "Europe/Berlin", "country": "DE"})
sites["weight"] = 1.0
arrivals = ae.expand_counts(counts, sites, threads=2, backend="cpu")
con = duckdb.connect()
con.execute("set threads = 2; set enable_progress_bar = false")
con.register("arrivals", arrivals)
rows, _ = con.execute("select count(*), sum(arrival_seq) from arrivals").fetchone()
assert rows == merchants * hours * each
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_arrivals():
    few, many = (
        int(subprocess.check_output([sys.executable, "-c", MEMORY, str(each)], text=True)) for each in (100, 1600)
    )
    # 36,000,000 more arrivals of about 100 bytes each, in kibibytes.
    assert many - few < 36_000_000 * 100 / 1024 / 10


def test_two_queries_at_once_do_not_disturb_each_other(many):
    found = []

    def ask():
        con = duckdb.connect()
        con.register("events", many)
        found.append(con.execute("select count(*), sum(arrival_seq) from events").fetchone())

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert found[0] == found[1]
