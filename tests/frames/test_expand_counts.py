"""Arrivals of tables in memory: those of import, seal and run, computed without a file."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine import ArrivalError, Arrivals, Code, ImportRequest, Reporter, expand_counts, import_world, run, seal
from arrival_engine.engine.frames import counts as counts_module
from tests.support.any_tables import any_tables
from tests.support.importing import bucket_text, small_tables, write_tables
from tests.support.in_memory import assert_same_world, coffee, in_memory, on_disk

# --- The same as on disk --------------------------------------------------------------------------------


def published_digest(run_root, **request):
    import_world(ImportRequest(run_root, **request))
    seal(run_root)
    (scenario,) = run(run_root).scenarios
    return scenario.digest


def tables_of(tables, folder):
    """The tables of the support as the files of a request, and the options that they need."""
    options = {"start": tables.start, "end": bucket_text(tables.start, tables.buckets), "bucket": "1h"}
    return {**write_tables(tables, folder), **options, "seed": tables.seed}


def test_the_digest_is_that_of_import_seal_and_run(tmp_path):
    wanted = published_digest(tmp_path / "world", **coffee(), seed=7)
    arrivals = expand_counts(**coffee(), seed=7)
    assert arrivals.digest == wanted
    assert len(arrivals) == int(wanted.partition("-")[0])
    frames: dict[str, Any] = {name: table.to_pandas() for name, table in coffee().items()}
    assert expand_counts(**frames, seed=7).digest == wanted
    others: dict[str, Any] = {name: pl.DataFrame(table) for name, table in coffee().items()}
    assert expand_counts(**others, seed=7).digest == wanted
    assert expand_counts(**coffee(), seed=8).digest != wanted


def test_hybrid_and_virtual_merchants_and_the_largest_id_are_the_same(tmp_path):
    request = tables_of(small_tables(), tmp_path / "tables")
    wanted = published_digest(tmp_path / "world", **request)
    assert expand_counts(**request).digest == wanted


GROUPS = pa.table(
    {
        "merchant_id": pa.array([101, 101, 202], pa.uint64()),
        "tz": ["Europe/Berlin", "America/New_York", "Europe/London"],
        "weight": [0.25, 0.5, 1.0],
    }
)


def local_days():
    days = pd.DataFrame(
        {
            "merchant_id": [1, 1, 2, 1],
            "tz": ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Europe/Berlin"],
            "bucket_start": [dt.date(2026, 3, 29), dt.date(2026, 3, 8), dt.date(2026, 4, 5), dt.date(2026, 3, 30)],
            "count": [100, 50, 200, 3],
        }
    )
    sites = days[["merchant_id", "tz"]].drop_duplicates().assign(country="DE", weight=1.0)
    return {"counts": days, "sites": sites, "bucket": "local-day"}


def numbered():
    """Counts by the numbers of buckets of several lengths, in a table of their own."""
    grid = pd.DataFrame(
        {
            "bucket_start": pd.to_datetime(["2026-03-28T23:00Z", "2026-03-29T00:00Z", "2026-03-29T00:30Z"]),
            "bucket_end": pd.to_datetime(["2026-03-29T00:00Z", "2026-03-29T00:30Z", "2026-03-29T02:30Z"]),
        }
    )
    counts = pd.DataFrame(
        {"merchant_id": 1, "tz": "Europe/Berlin", "bucket_index": [0, 1, 2, 2], "count": [5, 0, 7, 2]}
    )
    sites = pd.DataFrame({"merchant_id": [1], "tz": ["Europe/Berlin"], "country": ["DE"], "weight": [1.0]})
    return {"counts": counts, "sites": sites, "grid": grid}


def named():
    counts = pd.DataFrame(
        {
            "merchant_id": ["Café am Ring", "b", "Café am Ring"],
            "tz": "Europe/Berlin",
            "bucket_start": pd.to_datetime(["2026-03-29T01:00Z", "2026-03-29T02:00Z", "2026-03-29T02:00Z"]),
            "count": [4, 5, 6],
        }
    )
    sites = pd.DataFrame({"merchant_id": ["b", "Café am Ring"], "tz": "Europe/Berlin", "country": "DE", "weight": 2.5})
    return {"counts": counts, "sites": sites, "merchant_ids": "text"}


def grouped(tmp_path):
    return {**tables_of(small_tables(), tmp_path / "tables"), "group_weights": GROUPS}


def early_and_late(start):
    """A bucket over the end of a year, where the rules of a zone may be known by that year only."""
    zones = ["Europe/Dublin", "Africa/Casablanca", "America/New_York", "Australia/Lord_Howe"]
    times = pd.to_datetime([start] * 4, utc=True)
    counts = pd.DataFrame({"merchant_id": 1, "tz": zones, "bucket_start": times, "count": 50})
    return {"counts": counts, "sites": pd.DataFrame({"merchant_id": 1, "tz": zones, "country": "IE", "weight": 1.0})}


REQUESTS = {
    "before 1970": lambda _: early_and_late("1919-12-31T23:00Z"),
    "before time zones": lambda _: early_and_late("1850-06-30T23:00Z"),
    "at the end of a year": lambda _: early_and_late("2037-12-31T23:00Z"),
    "after the last year of rules": lambda _: early_and_late("2201-07-01T02:00Z"),
    "example": lambda _: {**coffee(), "seed": 2**64 - 1, "scenario_id": "höchste Last"},
    "every mode": lambda tmp_path: tables_of(small_tables(), tmp_path / "tables"),
    "group weights": grouped,
    "zones by weights of sites": lambda _: {**coffee(), "zones": "weights"},
    "local days": lambda _: local_days(),
    "buckets by number": lambda _: numbered(),
    "merchants by text": lambda _: named(),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_world_is_that_of_import_and_seal(name, tmp_path):
    request = REQUESTS[name](tmp_path)
    assert_same_world(in_memory(**request), on_disk(tmp_path / "world", **request))


@settings(max_examples=5)
@given(any_tables(), st.sampled_from(("counts", "weights")))
def test_any_tables_are_the_same_in_memory(tables, zones):
    with tempfile.TemporaryDirectory(prefix="arrivals-frames-") as folder:
        request = {**tables_of(tables, Path(folder) / "tables"), "zones": zones}
        assert_same_world(in_memory(**request), on_disk(Path(folder) / "world", **request))


def test_batches_do_not_depend_on_threads():
    one, two = (expand_counts(**coffee(), threads=threads).to_arrow() for threads in (1, 2))
    assert one == two


def test_merchants_texts_are_a_column():
    table = expand_counts(**named()).to_arrow()
    assert set(table["merchant"].to_pylist()) == {"Café am Ring", "b"}
    assert table.num_rows == 15


# --- Options --------------------------------------------------------------------------------------------


def test_bounds_may_be_datetimes():
    start, end = dt.datetime(2026, 3, 23, tzinfo=dt.UTC), pd.Timestamp("2026-04-06T02:00", tz="Europe/Berlin")
    texts = expand_counts(**coffee(), start="2026-03-23T00:00Z", end="2026-04-06T00:00Z")
    assert expand_counts(**coffee(), start=start, end=end).identity == texts.identity
    with pytest.raises(ArrivalError, match="has no zone"):
        expand_counts(**coffee(), start=start.replace(tzinfo=None))


def test_a_seed_may_be_numpys():
    assert expand_counts(**coffee(), seed=np.uint64(7)).identity == expand_counts(**coffee(), seed=7).identity


def test_renames_may_be_a_mapping_and_one_column_may_be_left_out():
    tables = coffee()
    tables["counts"] = (
        tables["counts"].rename_columns({"count": "n"}).append_column("note", pa.nulls(tables["counts"].num_rows))
    )
    arrivals = expand_counts(**tables, rename={"n": "count"}, ignore="note")
    assert arrivals.identity == expand_counts(**coffee()).identity


def test_columns_and_ids_are_those_asked_for():
    arrivals = expand_counts(**coffee(), columns="contract", ids="text")
    assert isinstance(arrivals, Arrivals)
    assert len(arrivals.schema) == 21
    assert pa.types.is_dictionary(arrivals.schema.field("merchant_id").type)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"columns": "all"}, "columns must be one of"),
        ({"ids": "int32"}, "ids must be one of"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"backend": "gpu"}, "backend must be one of"),
        ({"zones": "sites"}, "zones must be one of 'counts', 'weights', not 'sites'"),
        ({"merchant_ids": "uuid"}, "merchant_ids must be one of"),
        ({"decimal": ";"}, "decimal must be one of"),
        ({"thousands": "_"}, "thousands must be one of"),
    ],
)
def test_words_that_are_not_options_are_refused_before_a_table_is_read(option, says):
    with pytest.raises(ValueError, match=says):
        expand_counts(None, None, **option)


def test_faults_are_those_of_an_import():
    tables = coffee()
    tables["sites"] = tables["sites"].slice(0, 1)
    with pytest.raises(ArrivalError) as caught:
        expand_counts(**tables)
    assert caught.value.code is Code.SITE_RESOLUTION_FAILED
    assert "table counts, row" in caught.value.message
    assert caught.value.hint


# --- What is told ---------------------------------------------------------------------------------------


def repeated():
    tables = numbered()
    tables["counts"] = pd.concat([tables["counts"]] * 2)
    return tables


def test_notices_are_warnings_and_stay_with_the_arrivals():
    with pytest.warns(UserWarning, match="count rows repeat a key") as told:
        arrivals = expand_counts(**repeated())
    assert told[0].filename == __file__
    assert [notice.code for notice in arrivals.notices] == ["COUNT_ROWS_MERGED"]


def test_a_reporter_has_notices_and_phases_instead():
    reporter = Reporter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrivals = expand_counts(**repeated(), reporter=reporter)
    assert list(reporter.notices) == list(arrivals.notices)
    assert {"read tables", "join tables", "world"} <= set(reporter.phases)


def test_tables_without_a_flaw_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert expand_counts(**coffee()).notices == ()


# --- Nothing on disk ------------------------------------------------------------------------------------

WITHOUT_FILES = """
import sys
sys.addaudithook(lambda event, args: opened.append(args) if event == "open" else made.append((event, args)) if event in
    ("os.mkdir", "os.rename", "os.symlink", "os.link", "tempfile.mkstemp", "tempfile.mkdtemp") else None)
opened, made = [], []
import pandas as pd
import arrival_engine as ae
hours = pd.date_range("2026-03-29", periods=24, freq="h", tz="UTC")
counts = pd.DataFrame({"merchant_id": 1, "tz": "Europe/Berlin", "bucket_start": hours, "count": 40})
sites = pd.DataFrame({"merchant_id": [1], "tz": ["Europe/Berlin"], "country": ["DE"], "weight": [1.0]})
arrivals = ae.expand_counts(counts, sites, backend="cpu")
assert len(arrivals.to_pandas()) == 960 and arrivals.digest
written = [path for path, mode, flags in opened if flags and flags & 3 or mode and set(mode) & set("wax+")]
print([path for path in written if not str(path).startswith(sys.argv[1])], made)
"""


def test_no_file_is_opened_for_writing_and_no_folder_made(tmp_path):
    from arrival_engine.cpu_fallback.jit import cache_directory

    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WITHOUT_FILES, str(cache_directory())]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
    assert list(tmp_path.iterdir()) == []


def test_the_signature_has_every_option_of_an_import():
    import dataclasses
    import inspect

    from arrival_engine.engine.importing.request import TableRequest

    options = inspect.signature(counts_module.expand_counts).parameters
    assert {field.name for field in dataclasses.fields(TableRequest)} <= set(options)
