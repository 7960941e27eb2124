"""The published tables of sites and edges: every arrival joins, and every row is the inputs'."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run, synthesise
from arrival_engine.contracts import dataset
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.imported import sealed_run
from tests.support.importing import imported, small_tables
from tests.support.law import edge_id, site_id
from tests.support.product import write_sealed
from tests.support.worlds import small_world

CPU = RunOptions(backend="cpu", threads=2)
INPUTS = ("s1_site_weights", "site_timezones", "edge_catalogue_3B")
DATASETS = ("arrival_events_5B", "arrival_sites_5B", "arrival_edges_5B", *INPUTS)


def small(root):
    write_sealed(small_world(), root)
    run(root, CPU)


def of_tables(root):
    imported(small_tables(), root)
    sealed_run(root)


def demo(root):
    synthesise(root, preset="demo", seed=3, scale=0.05)
    sealed_run(root)


@pytest.fixture(scope="module", params=[small, of_tables, demo])
def made(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("places") / "run"
    request.param(root)
    return root


@pytest.fixture
def ask(made):
    """Asks DuckDB about the world's datasets, each under its id; gives all rows."""
    database, receipt = duckdb.connect(), read_receipt(made)
    for name in DATASETS:
        scenario = {"scenario_id": "baseline_v1"} if "scenario_id" in dataset(name).path else {}
        tables = [pq.read_table(path.outside, partitioning=None) for path in receipt.files(name, **scenario)]
        database.register(name, pa.concat_tables(tables))
    yield lambda query: database.execute(query).fetchall()
    database.close()


def test_every_physical_arrival_joins_one_site_in_its_zone(ask):
    physical = ask("SELECT count(*) FROM arrival_events_5B WHERE NOT is_virtual")
    joined = """
        SELECT count(*) FROM arrival_events_5B JOIN arrival_sites_5B USING (merchant_id, site_id)
        WHERE tzid = tzid_primary"""
    assert ask(joined) == physical != [(0,)]
    assert ask("SELECT count(*) FROM arrival_events_5B WHERE site_id IS NOT NULL") == physical
    keys = "SELECT DISTINCT merchant_id, site_id FROM arrival_sites_5B"
    assert len(ask(keys)) == len(ask("FROM arrival_sites_5B"))


def test_every_virtual_arrival_joins_one_edge_in_its_zone(ask):
    virtual = ask("SELECT count(*) FROM arrival_events_5B WHERE is_virtual")
    joined = """
        SELECT count(*) FROM arrival_events_5B JOIN arrival_edges_5B AS edge USING (merchant_id, edge_id)
        WHERE edge.tzid_operational = tzid_primary"""
    assert ask(joined) == virtual != [(0,)]
    assert ask("SELECT count(*) FROM arrival_events_5B WHERE edge_id IS NOT NULL") == virtual
    keys = "SELECT DISTINCT merchant_id, edge_id FROM arrival_edges_5B"
    assert len(ask(keys)) == len(ask("FROM arrival_edges_5B"))


def test_the_ids_are_those_of_the_published_formulas(ask):
    sites = ask("SELECT merchant_id, legal_country_iso, site_order, site_id FROM arrival_sites_5B")
    assert [site_id(*row[:3]) for row in sites] == [row[3] for row in sites]
    assert sites == sorted(sites)
    edges = ask("SELECT merchant_id, edge_id, edge_seq_index, edge_hex FROM arrival_edges_5B")
    assert [edge_id(row[0], row[2]) for row in edges] == [row[1] for row in edges]
    assert [format(row[1], "016x") for row in edges] == [row[3] for row in edges]
    assert edges == sorted(edges)


@pytest.mark.parametrize(
    ("source", "published", "columns"),
    [
        ("s1_site_weights", "arrival_sites_5B", "merchant_id, legal_country_iso, site_order, p_weight"),
        ("site_timezones", "arrival_sites_5B", "merchant_id, legal_country_iso, site_order::INTEGER, tzid"),
        (
            *("edge_catalogue_3B", "arrival_edges_5B"),
            "merchant_id, edge_seq_index, country_iso, tzid_operational, edge_weight",
        ),
    ],
)
def test_the_rows_are_those_of_the_inputs(ask, source, published, columns):
    expected, found = (ask(f"SELECT {columns} FROM {name} ORDER BY ALL") for name in (source, published))  # noqa: S608
    assert found == expected


def test_a_later_run_leaves_both_tables_as_they_are(tmp_path):
    root = tmp_path / "run"
    small(root)
    receipt = read_receipt(root)
    paths = [receipt.path("arrival_sites_5B"), receipt.path("arrival_edges_5B")]
    before = [(path.stat().st_ino, path.read_bytes()) for path in paths]
    receipt.path("arrival_events_5B", scenario_id="baseline_v1").remove()
    run(root, CPU)
    assert [(path.stat().st_ino, path.read_bytes()) for path in paths] == before
