"""Catalogs of Iceberg tables: by URL, by name, with tables of others."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from contextlib import closing

import pytest

from arrival_engine.contracts import ArrivalError, Code
from tests.support.hidden import without
from tests.support.lakes import (
    expected,
    other_root,  # noqa: F401 - a fixture
    plain,
    put,
    run_root,  # noqa: F401 - a fixture
)
from tests.support.paths import ROOT
from tests.support.rest_catalog import rest_catalog


def rows(name="arrivals.events", **properties):
    from pyiceberg.catalog import load_catalog

    with closing(load_catalog("arrivals", **properties)) as catalog:
        return plain(catalog.load_table(name).scan().to_arrow())


@pytest.mark.slow
def test_several_tables_in_one_database(run_root, other_root, tmp_path):  # noqa: F811
    url = f"sqlite:///{tmp_path}/catalog.sqlite"
    put(run_root, tmp_path / "one", "iceberg", catalog=url, table="demo.one")
    put(other_root, tmp_path / "two", "iceberg", catalog=url, table="demo.two")
    for name, root in (("one", run_root), ("two", other_root)):
        assert rows(f"demo.{name}", type="sql", uri=url).equals(expected(root, tmp_path / f"rows-{name}"))
    with pytest.raises(ArrivalError, match=r"is not where the table demo.one is: that is in .*/one") as caught:
        put(run_root, tmp_path / "three", "iceberg", catalog=url, table="demo.one")
    assert caught.value.code is Code.IO_WRITE_CONFLICT
    assert not (tmp_path / "three").exists()


def test_second_table_in_one_target_is_refused(run_root, tmp_path):  # noqa: F811
    put(run_root, tmp_path / "table", "iceberg")
    with pytest.raises(ArrivalError, match=r"holds the table arrivals.events") as caught:
        put(run_root, tmp_path / "table", "iceberg", table="other.name")
    assert "--table arrivals.events" in caught.value.hint


def test_rest_catalog(run_root, other_root, tmp_path):  # noqa: F811
    with rest_catalog(tmp_path) as (url, seen):
        assert put(run_root, tmp_path / "table", "iceberg", catalog=url).outcome == "written"
        assert put(run_root, tmp_path / "table", "iceberg", catalog=url).outcome == "identical"
        assert seen.count("POST /namespaces/arrivals/tables/events") == 1
        assert put(other_root, tmp_path / "table", "iceberg", catalog=url, replace=True).outcome == "replaced"
        assert rows(type="rest", uri=url).equals(expected(other_root, tmp_path / "rows"))
    assert not (tmp_path / "table/catalog.sqlite").exists()


@pytest.mark.slow
def test_catalog_of_the_users_configuration(run_root, tmp_path):  # noqa: F811
    url = f"sqlite:///{tmp_path}/mine.sqlite"
    (tmp_path / ".pyiceberg.yaml").write_text(f"catalog:\n  mine:\n    type: sql\n    uri: {url}\n")
    words = ["export", str(run_root), str(tmp_path / "table"), "--to", "iceberg", "--catalog", "mine"]
    done = subprocess.run(
        [sys.executable, "-m", "arrival_engine", *words],
        env={**os.environ, "PYICEBERG_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "load_catalog('mine').load_table('arrivals.events')" in done.stdout
    from pyiceberg.catalog.sql import SqlCatalog

    with closing(SqlCatalog("mine", uri=url)) as catalog:
        assert plain(catalog.load_table("arrivals.events").scan().to_arrow()).equals(
            expected(run_root, tmp_path / "rows")
        )


@pytest.mark.slow
def test_installation_without_databases(run_root, tmp_path):  # noqa: F811
    done = subprocess.run(
        [sys.executable, "-m", "arrival_engine", "export", str(run_root), str(tmp_path / "table"), "--to", "iceberg"],
        env=without(tmp_path, "sqlalchemy"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "this catalog needs a package that this installation lacks" in done.stderr
    assert "pip install 'arrival-engine[iceberg]'" in done.stderr
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    ("catalog", "code", "says", "hint"),
    [
        ("nowhere", Code.IO_READ_FAILED, "cannot open the catalog nowhere", "check --catalog"),
        ("foo://bar", Code.IO_READ_FAILED, "Can't load plugin", "check --catalog"),
        ("http://127.0.0.1:9", Code.IO_READ_FAILED, "cannot open the catalog http://127.0.0.1:9", "check --catalog"),
        ("sqlite:////nowhere/x.sqlite", Code.IO_READ_FAILED, "unable to open database file", "check --catalog"),
        ("mysql://me:word@host/x", Code.OPTION_INVALID, "has a password in it", "~/.pyiceberg.yaml"),
    ],
)
def test_catalog_that_cannot_be_opened(run_root, tmp_path, catalog, code, says, hint):  # noqa: F811
    with pytest.raises(ArrivalError, match=says) as caught:
        put(run_root, tmp_path / "table", "iceberg", catalog=catalog)
    assert caught.value.code is code
    assert hint in caught.value.hint
    assert "word@" not in f"{caught.value}{caught.value.hint}"
    assert not list(tmp_path.iterdir())


# pyiceberg leaves the database open if its catalog cannot be made.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_catalog(run_root, tmp_path):  # noqa: F811
    put(run_root, tmp_path / "table", "iceberg")
    (tmp_path / "table/catalog.sqlite").write_bytes(b"no database")
    with pytest.raises(ArrivalError, match="file is not a database") as caught:
        put(run_root, tmp_path / "table", "iceberg", replace=True)
    assert caught.value.code is Code.IO_READ_FAILED
    del caught
    gc.collect()
