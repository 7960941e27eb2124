"""Published parts in every form, read by the default calls of other programs: nothing of an arrival is lost."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fastparquet import ParquetFile

from arrival_engine import RunOptions, run
from tests.support import readers
from tests.support.product import located, write_sealed
from tests.support.worlds import small_world

CONTRACT = {"timestamp_encoding": "rfc3339", "physical_dual_clock": '"mirror"', "compression": "zstd"}
FORMS = {
    "default": {},
    "plain": {"encoding": "plain"},
    "texts": {"timestamp_encoding": "rfc3339"},
    "plain texts": {"timestamp_encoding": "rfc3339", "encoding": "plain"},
    "mirror": {"physical_dual_clock": '"mirror"'},
    "contract": CONTRACT,
    "plain contract": {**CONTRACT, "encoding": "plain"},
    "none": {"compression": "none"},
    "snappy": {"compression": "snappy"},
    "zstd in small groups": {"compression": "zstd", "row_group_rows": "1024"},
}
CHANGES = {
    bool: lambda value: not value,
    int: lambda value: value - 1,
    str: lambda value: f"{value}?",
    datetime: lambda value: value + timedelta(microseconds=1),
}
# Constants, and for virtual arrivals the operational clock, which is the primary one.
UNDIGESTED = {
    *("manifest_fingerprint", "parameter_hash", "seed", "scenario_id", "s4_spec_version", "routing_universe_hash"),
    *("tzid_operational", "ts_local_operational"),
}
# The others are between these.
QUICK = {"default", "plain", "contract", "plain contract", "none", "zstd in small groups"}
TIMES = ("ts_utc", "ts_local_primary", "ts_local_settlement", "ts_local_operational")


def world():
    """The small world with ten times the arrivals: virtual, physical and hybrid merchants in more than one page."""
    base = small_world()
    return replace(base, counts=tuple(replace(row, n=row.n * 10) for row in base.counts))


class Published:
    """The world's parts in each form, each made on first use."""

    def __init__(self, folder):
        self._folder, self._made = folder, {}

    def __call__(self, form):
        if form not in self._made:
            written = write_sealed(world(), self._folder / form, output_policy=FORMS[form])
            (result,) = run(written.run_root, RunOptions(backend="cpu", batch_arrivals=20_000)).scenarios
            self._made[form] = located("arrival_events_5B", written.run_root, world()), result
        return self._made[form]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return Published(tmp_path_factory.mktemp("readers"))


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[] if form in QUICK else [pytest.mark.slow]) for form in FORMS]
)
def test_every_reader_returns_the_arrivals_of_the_run(published, form):
    folder, result = published(form)
    assert 0 < result.virtual < result.arrivals
    assert result.parts > 1
    found = {name: readers.digest_of(read(folder)) for name, read in readers.READERS.items()}
    assert found == dict.fromkeys(readers.READERS, str(result.digest))


def test_a_changed_value_changes_the_digest(published):
    """The digest that the test above compares is one of every column that can be wrong."""
    table = pq.read_table(published("default")[0], partitioning=None)
    virtual = table.filter(pc.field("is_virtual")).slice(0, 5).to_pylist()
    rows = [*table.filter(~pc.field("is_virtual")).slice(0, 5).to_pylist(), *virtual]
    unchanged = readers.digest_of(pa.Table.from_pylist(rows, table.schema))
    for name in set(table.column_names) - UNDIGESTED:
        row = next(row for row in reversed(rows) if row[name] is not None)
        before = row[name]
        row[name] = CHANGES[type(before)](before)
        assert readers.digest_of(pa.Table.from_pylist(rows, table.schema)) != unchanged, name
        row[name] = before


@pytest.mark.parametrize("form", ["default", "plain", "contract", "plain contract"])
def test_plain_parts_have_no_deltas(published, form):
    folder, _ = published(form)
    for path in folder.glob("*.parquet"):
        metadata = pq.read_metadata(path)
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        found = {
            column.path_in_schema: column.encodings
            for group in groups
            for column in (group.column(index) for index in range(group.num_columns))
        }
        deltas = {name for name, encodings in found.items() if any(text.startswith("DELTA") for text in encodings)}
        assert not deltas or form in ("default", "contract")
        assert form != "default" or {"arrival_seq", *TIMES} <= deltas


@pytest.fixture(scope="module")
def session():
    with readers.spark_session() as spark:
        yield spark


@pytest.mark.slow
@pytest.mark.skipif(bool(readers.no_spark_reason()), reason=readers.no_spark_reason() or "-")
@pytest.mark.parametrize("form", FORMS)
def test_spark_returns_the_arrivals_of_the_run(published, session, form):
    folder, result = published(form)
    assert readers.digest_of(readers.by_spark(session, folder)) == str(result.digest)


# In a process of its own, because fastparquet has also ended the process over pages of deltas without values.
TIMES_BY_FASTPARQUET = """
import sys, fastparquet
for path in sys.argv[1:]:
    times = fastparquet.ParquetFile(path).to_pandas(columns=["ts_utc"])["ts_utc"]
    sys.stdout.buffer.write(times.to_numpy("datetime64[us]").tobytes())
"""


def test_fastparquet_reads_deltas_as_other_times_without_a_word(published):
    """Which is why `encoding: plain` is there, and the readme says so. A fastparquet that decodes them fails here."""
    folder, _ = published("default")
    paths = sorted(folder.glob("*.parquet"))
    done = subprocess.run([sys.executable, "-c", TIMES_BY_FASTPARQUET, *paths], capture_output=True, check=True)
    assert done.stderr == b""
    found = np.frombuffer(done.stdout, np.int64)
    wanted = pq.read_table(folder, columns=["ts_utc"], partitioning=None)["ts_utc"].cast(pa.int64())
    assert np.count_nonzero(found != wanted.to_numpy()) > 1000


def test_fastparquet_refuses_the_deltas_of_texts(published):
    folder, _ = published("contract")
    with next(folder.glob("*.parquet")).open("rb") as part, pytest.raises(NotImplementedError, match="Encoding 7"):
        ParquetFile(part).to_pandas(columns=["ts_utc"])


@pytest.mark.parametrize("form", ["plain", "plain contract"])
def test_fastparquet_reads_plain_values(published, form):
    folder, result = published(form)
    tables = []
    for path in folder.glob("*.parquet"):
        with path.open("rb") as part:
            tables.append(pa.Table.from_pandas(ParquetFile(part).to_pandas(), preserve_index=False))
    assert readers.digest_of(pa.concat_tables(tables, promote_options="permissive")) == str(result.digest)
