"""`read_arrivals`: which scenario, what is in the way, other runs meanwhile; worlds without arrivals or with texts."""

from __future__ import annotations

import shutil
from dataclasses import replace

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from arrival_engine import RunOptions, read_arrivals, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.merchant_names.ids import id64
from arrival_engine.engine.sealing import seal
from tests.support import reader_worlds
from tests.support.importing import imported
from tests.support.product import write_sealed
from tests.support.worlds import small_world


@pytest.fixture
def copied(world, tmp_path):
    """A run directory of one's own."""
    shutil.copytree(world.root, tmp_path / "run")
    return tmp_path / "run"


def partition(root):
    (found,) = root.glob("data/layer2/5B/arrival_events/seed=*/manifest_fingerprint=*/scenario_id=*")
    return found


def test_the_only_scenario_need_not_be_named(world):
    scenario = world.scenario.scenario_id
    assert read_arrivals(world.root, scenario).digest == read_arrivals(str(world.root)).digest


def test_one_of_several_scenarios_must_be_named(copied):
    folder = partition(copied)
    shutil.copytree(folder, folder.with_name("scenario_id=other"))
    with pytest.raises(ArrivalError, match="several scenarios; published: baseline_v1, other") as caught:
        read_arrivals(copied)
    assert caught.value.code is Code.OPTION_INVALID
    assert len(read_arrivals(copied, "other")) == len(read_arrivals(copied, "baseline_v1"))


def test_a_scenario_that_is_not_published_is_refused_with_those_that_are(world):
    with pytest.raises(ArrivalError, match="no arrivals of 'nought'; published: baseline_v1") as caught:
        read_arrivals(world.root, "nought")
    assert caught.value.code is Code.OPTION_INVALID


def test_a_run_directory_that_has_published_nothing_is_told_how_to(copied):
    shutil.rmtree(partition(copied))
    with pytest.raises(ArrivalError, match="has no published arrivals") as caught:
        read_arrivals(copied)
    assert caught.value.code is Code.IO_READ_FAILED
    assert caught.value.hint == "publish them first with `arrivals run RUN_ROOT`"


def test_something_that_is_no_run_directory_is_refused(tmp_path):
    with pytest.raises(ArrivalError, match="no such directory"):
        read_arrivals(tmp_path / "nowhere")
    with pytest.raises(ArrivalError, match="has no run receipt"):
        read_arrivals(tmp_path)


def test_parts_of_two_publications_are_refused(copied):
    first = min(partition(copied).iterdir())
    shutil.copy(first, first.with_name("part-000003-0123456789ab.parquet"))
    with pytest.raises(ArrivalError, match="parts of several publications") as caught:
        read_arrivals(copied)
    assert caught.value.code is Code.IO_READ_FAILED


def test_nothing_but_footers_is_read_before_rows_are_asked_for(copied):
    for inputs in ("s1_site_weights", "edge_catalogue"):
        (folder,) = copied.glob(f"data/*/*/{inputs}")
        shutil.rmtree(folder)
    arrivals = read_arrivals(copied, columns="contract")
    assert arrivals.to_arrow().num_rows == len(arrivals)
    with pytest.raises(ArrivalError, match="s1_site_weights is missing"):
        read_arrivals(copied).to_arrow()
    assert "cannot be read" in repr(read_arrivals(copied))


def test_a_pass_over_arrivals_that_a_run_replaces_gives_the_old_ones_or_an_error(copied):
    before = read_arrivals(copied)
    batches = before.batches()
    assert next(batches).num_rows
    run(copied, RunOptions(backend="cpu", threads=1, batch_arrivals=200, replace=True))
    with pytest.raises(ArrivalError, match="is no longer there") as caught:
        list(batches)
    assert caught.value.code is Code.IO_READ_FAILED
    assert "another run has replaced these arrivals" in caught.value.hint
    with pytest.raises(ArrivalError, match="is no longer there"):
        before.to_arrow()
    with pytest.raises(pa.ArrowInvalid, match="another run has replaced these arrivals"):
        pa.table(before)
    assert read_arrivals(copied).digest == before.digest
    assert pa.table(read_arrivals(copied)).num_rows == len(before)


def test_databases_show_the_failure_of_a_pass(copied):
    gone = read_arrivals(copied)
    assert gone.schema
    shutil.rmtree(partition(copied))
    with duckdb.connect() as connection:
        connection.register("gone", gone)
        with pytest.raises(duckdb.Error, match=r"IO_READ_FAILED.*no longer there.*another run has replaced"):
            connection.sql("SELECT count(DISTINCT ts_utc) FROM gone").fetchall()


def published(tables, root, **options):
    imported(tables, root, **options)
    seal(root)
    return run(root, RunOptions(backend="cpu", threads=1))


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    root = tmp_path_factory.mktemp("empty") / "run"
    given = small_world()
    write_sealed(replace(given, counts=tuple(replace(row, n=0) for row in given.counts)), root)
    run(root, RunOptions(backend="cpu", threads=1))
    return root


@pytest.mark.parametrize("columns", ["readable", "contract"])
def test_a_world_without_arrivals_has_its_columns(empty, world, columns):
    arrivals = read_arrivals(empty, columns=columns)
    assert len(arrivals) == 0
    assert arrivals.digest == "0-" + "0" * 32
    table = arrivals.to_arrow()
    assert table.num_rows == 0
    assert table.schema == read_arrivals(world.root, columns=columns).schema
    full = read_arrivals(world.root, columns=columns).to_pandas()
    assert arrivals.to_pandas().dtypes.drop(categories(full)).equals(full.dtypes.drop(categories(full)))
    assert arrivals.to_polars().shape == (0, len(table.column_names))
    assert duckdb.sql("SELECT count(*) FROM arrivals").fetchall() == [(0,)]
    assert repr(arrivals).startswith("0 arrivals of scenario baseline_v1")
    assert arrivals._repr_html_().count("<tr>") == 1


def categories(frame):
    return [name for name, kind in frame.dtypes.items() if isinstance(kind, pd.CategoricalDtype)]


@pytest.mark.parametrize(("to", "read"), [("parquet", pd.read_parquet), ("duckdb", None)])
def test_an_export_without_arrivals_can_be_read(empty, tmp_path, to, read):
    target = tmp_path / "target"
    assert read_arrivals(empty).write(target, to).arrivals == 0
    if read is None:
        with duckdb.connect(target, read_only=True) as connection:
            assert connection.sql("SELECT count(*) FROM arrivals").fetchall() == [(0,)]
    else:
        assert read(target).shape == (0, len(read_arrivals(empty).schema.names))


def names_of(frame):
    return dict(zip(frame["merchant_id"].tolist(), frame["merchant"].tolist(), strict=True))


def test_merchants_that_are_texts_stand_beside_their_ids(world, tmp_path):
    root = tmp_path / "run"
    published(reader_worlds.tables(), root, merchant_ids="text")
    arrivals = read_arrivals(root)
    assert arrivals.schema.names[:3] == ["merchant_id", "merchant", "arrival_seq"]
    rows = arrivals.to_arrow().select(["merchant_id", "merchant"]).to_pylist()
    assert all(row["merchant_id"] == id64(row["merchant"]) for row in rows)
    assert sorted({row["merchant"] for row in rows}) == sorted(
        {str(row.merchant_id) for row in reader_worlds.tables().counts}
    )
    target = tmp_path / "export"
    arrivals.write(target)
    frame = pd.read_parquet(target)
    assert dict(zip(frame["merchant_id"], frame["merchant"], strict=True)) == {
        row["merchant_id"]: row["merchant"] for row in rows
    }
    assert "merchant" not in read_arrivals(root, columns="contract").schema.names
    assert "merchant" not in read_arrivals(world.root).schema.names
