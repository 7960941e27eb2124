"""Exports to a store that speaks the S3 protocol."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code
from tests.support.lakes import (
    expected,
    other_root,  # noqa: F401 - a fixture
    plain,
    put,
    run_root,  # noqa: F401 - a fixture
)
from tests.support.paths import ROOT
from tests.support.processes import At
from tests.support.s3_server import ENVIRONMENT, server  # noqa: F401 - a fixture

# By format: options that it needs in a store.
FORMATS = ("parquet", "delta", "iceberg", "duckdb")


@pytest.fixture
def place(server, tmp_path, request):  # noqa: F811
    """A prefix of its own."""
    return Place(server, request.node.name.translate(str.maketrans("[]", "--")), tmp_path)


class Place:
    """A target in the store, and the catalog for it."""

    def __init__(self, server, name, folder):  # noqa: F811
        self.server, self.name, self.folder = server, name, folder

    @property
    def url(self):
        return self.server.url(f"{self.name}/with space ü")

    def put(self, run_root, to, **options):  # noqa: F811
        more = {"catalog": f"sqlite:///{self.folder}/catalog.sqlite"} if to == "iceberg" else {"ids": "int64"}
        return put(run_root, self.url, to, **{**more, **options})

    def objects(self):
        """Every object of this test but descriptions, with its bytes."""
        store = self.server.store(self.name)
        return {
            item.path: store.read_bytes(item.path, 1 << 28) for item in store.list() if "croissant" not in item.path
        }

    def described(self):
        store = self.server.store(self.name)
        return json.loads(store.read_bytes("with space ü.croissant.json", 1 << 24))

    def holds(self, to, wanted):
        """Whether readers of the format get these rows; DuckDB tells Arrow nothing of nulls."""
        return plain(getattr(self, f"_{to}")()).cast(wanted.schema).equals(wanted)

    def _parquet(self):
        store = self.server.store(f"{self.name}/with space ü")
        return pa.concat_tables(pq.read_table(store.open_input_file(item.path)) for item in store.list())

    def _delta(self, version=None):
        from deltalake import DeltaTable

        options = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server.port}", "AWS_ALLOW_HTTP": "true"}
        options["AWS_REGION"] = "us-east-1"
        table = DeltaTable(self.url.partition("?")[0], version=version, storage_options=options)
        return table.to_pyarrow_table()

    def _iceberg(self):
        from pyiceberg.catalog.sql import SqlCatalog

        properties = {"s3.endpoint": f"http://127.0.0.1:{self.server.port}", "s3.region": "us-east-1"}
        catalog = SqlCatalog("arrivals", uri=f"sqlite:///{self.folder}/catalog.sqlite", **properties)
        with closing(catalog):
            return catalog.load_table("arrivals.events").scan().to_arrow()

    def _duckdb(self):
        import duckdb

        copy = self.folder / "copy.duckdb"
        copy.write_bytes(self.server.store(self.name).read_bytes("with space ü", 1 << 28))
        with duckdb.connect(str(copy), read_only=True) as database:
            return database.sql("FROM arrivals").to_arrow_table()


def check(place, run_root, other_root, tmp_path, to):  # noqa: F811
    first = place.put(run_root, to)
    assert first.outcome == "written"
    assert place.holds(to, expected(run_root, tmp_path / "rows"))
    assert place.described()["arrivals:digest"] == first.digest
    before = place.objects()
    assert place.put(run_root, to).outcome == "identical"
    assert place.objects() == before
    with pytest.raises(ArrivalError, match="holds another export") as caught:
        place.put(other_root, to)
    assert caught.value.code is Code.IO_WRITE_CONFLICT
    assert place.objects() == before
    second = place.put(other_root, to, replace=True)
    assert second.outcome == "replaced"
    assert place.holds(to, expected(other_root, tmp_path / "others"))
    assert place.described()["arrivals:digest"] == second.digest
    assert not any("arrivals-export" in path or "incomplete" in path for path in place.objects())


def test_a_delta_table_in_a_store(place, run_root, other_root, tmp_path):  # noqa: F811
    check(place, run_root, other_root, tmp_path, "delta")
    assert plain(place._delta(version=0)).equals(expected(run_root, tmp_path / "again"))


@pytest.mark.slow
@pytest.mark.parametrize("to", ["parquet", "iceberg", "duckdb"])
def test_a_table_in_a_store(place, run_root, other_root, tmp_path, to):  # noqa: F811
    check(place, run_root, other_root, tmp_path, to)


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_two_at_once_in_a_store(place, run_root, other_root, to):  # noqa: F811
    told = []

    def second():
        with pytest.raises(ArrivalError, match="is writing to") as caught:
            place.put(other_root, to)
        told.append(caught.value.code)

    place.put(run_root, to, reporter=_Beginning("commit", second))
    assert told == [Code.IO_WRITE_CONFLICT]
    assert place.put(run_root, to).outcome == "identical"


class _Beginning(At):
    """Does something once, when a phase begins."""

    def _on_phase_start(self, name):
        if name == self._phase:
            self._act()


# A process that kills itself when a phase begins, or when rows have been written.
_KILLED = """
import os, signal, sys
from arrival_engine.engine.exporting import ExportOptions, export
from arrival_engine.engine.process.progress import Reporter
class Phases(Reporter):
    def _on_phase_start(self, name):
        if name == sys.argv[4]:
            os.kill(os.getpid(), signal.SIGKILL)
    def advance(self, amount=1):
        if sys.argv[4] == "advance":
            os.kill(os.getpid(), signal.SIGKILL)
more = {"catalog": sys.argv[5]} if sys.argv[3] == "iceberg" else {"ids": "int64"}
export(sys.argv[1], sys.argv[2], ExportOptions(to=sys.argv[3], replace=True, **more), Phases())
"""


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["advance", "commit"])
@pytest.mark.parametrize("to", FORMATS)
def test_killed_export_to_a_store_leaves_what_was_there(place, run_root, other_root, tmp_path, to, phase):  # noqa: F811
    catalog = f"sqlite:///{tmp_path}/catalog.sqlite"
    for root, before in ((run_root, None), (other_root, run_root)):
        if before is not None:
            place.put(before, to)
            rows = expected(before, tmp_path / "before")
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(root), place.url, to, phase, catalog],
            env={**os.environ, **ENVIRONMENT},
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL
        if before is not None:
            assert place.holds(to, rows)
    place.put(other_root, to, replace=True)
    assert place.holds(to, expected(other_root, tmp_path / "rows"))
    named = [path for path in place.objects() if path.endswith(".parquet")]
    assert len(named) == {"parquet": 1, "delta": 2, "iceberg": 2, "duckdb": 0}[to]
    assert not any("arrivals-export" in path or "incomplete" in path for path in place.objects())


@pytest.mark.slow
def test_reader_of_a_folder_fails_while_files_are_put_in_place(place, run_root):  # noqa: F811
    from arrival_engine.engine.exporting.parquet_store import _OBSTACLES
    from arrival_engine.engine.storage import open_store

    place.put(run_root, "parquet")
    store = open_store(place.url)
    for name in _OBSTACLES:
        store.write_bytes(name, b"not Parquet")
    listed = [item.path for item in store.list()]
    assert (listed[0], listed[-1]) == _OBSTACLES
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(store.key(), filesystem=store.filesystem)
    # A killed export left it, and may not have finished it.
    assert place.put(run_root, "parquet").outcome == "written"


@pytest.mark.slow
def test_iceberg_in_a_store_needs_a_catalog(place, run_root):  # noqa: F811
    with pytest.raises(ArrivalError, match="needs a catalog") as caught:
        place.put(run_root, "iceberg", catalog=None)
    assert caught.value.code is Code.OPTION_INVALID
    assert "--catalog sqlite:///" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_bucket_that_is_not_there_is_named(server, run_root, tmp_path, to):  # noqa: F811
    catalog = f"sqlite:///{tmp_path}/catalog.sqlite" if to == "iceberg" else None
    with pytest.raises(ArrivalError) as caught:
        put(run_root, server.url("table", bucket="nowhere"), to, catalog=catalog)
    assert caught.value.code in (Code.IO_READ_FAILED, Code.IO_WRITE_FAILED)
    assert "check the bucket's name and region" in caught.value.hint
