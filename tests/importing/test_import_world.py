"""Imported worlds: the same from any form of the same tables, expanded as the reference expands them."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.config import resolve_policy
from arrival_engine.contracts import Code, check_document, conform, datasets
from arrival_engine.contracts.inside import inside
from arrival_engine.engine.importing import ImportRequest, import_world
from tests.support.any_tables import any_tables
from tests.support.imported import assert_expands_like_the_reference, sealed_run
from tests.support.importing import (
    BIG,
    HYBRID_SHOP,
    ONLINE,
    SHOPS,
    Form,
    contents,
    imported,
    small_tables,
    write_tables,
)
from tests.support.worlds import instant_us

# --- The world as a whole -----------------------------------------------------------------------------


def test_every_dataset_conforms_and_carries_the_identity(small):
    root, result = small
    tokens = result.identity.tokens(scenario_id=result.scenario_id)
    absent = []
    for entry in datasets():
        if not entry.sealed or entry.role not in ("dataset", "policy"):
            continue
        found = [inside(root) / entry.path] if entry.role == "policy" else entry.files(root, tokens)
        files = [path.outside for path in found]
        if not files or not all(path.is_file() for path in files):
            absent.append(entry.id)
            continue
        if entry.role == "policy":
            assert resolve_policy(entry.id, run_root=root).origin == "run"
        elif entry.format == "parquet":
            for path in files:
                conform(entry.id, pq.read_table(path, partitioning=None), where=path.name)
        elif entry.format == "json":
            (path,) = files
            check_document(entry.schema, json.loads(path.read_bytes()), code=Code.SCHEMA_VIOLATION, where=entry.id)
    # What no table of a user's says: coordinates, intensities, groups, day effects, allocation; and the names of
    # merchants, whose ids are numbers here.
    assert absent == [
        "s1_grouping_5B",
        "s2_realised_intensity_5B",
        "merchant_names_5B",
        "site_locations",
        "s3_day_effects",
        "zone_alloc",
        "zone_alloc_universe_hash",
    ]


def test_the_result_says_what_the_tables_hold(small):
    _, result = small
    tables = small_tables()
    assert result.arrivals == sum(row.count for row in tables.counts)
    assert (result.merchants, result.hybrid_merchants, result.virtual_merchants) == (4, 1, 1)
    assert (result.sites, result.edges, result.tzids) == (7, 5, 9)
    assert (result.buckets, result.bucket_seconds) == (9, 3600)
    assert (result.start_utc, result.end_utc) == ("2026-03-28T22:00:00Z", "2026-03-29T07:00:00Z")
    assert (result.input_rows, result.zero_rows, result.merged_rows) == (48, 3, 0)
    assert result.count_rows == 45
    assert result.virtual_share == pytest.approx((72 + 0.35 * 96) / result.arrivals)
    assert not result.reused


def test_the_small_tables_expand_as_the_reference_expands_them(tmp_path):
    tables = small_tables()
    result = imported(tables, tmp_path / "world")
    expected = assert_expands_like_the_reference(tables, tmp_path / "world", result)
    of = {merchant: [row for row in expected.rows if row.merchant_id == merchant] for merchant in (SHOPS, ONLINE, BIG)}
    # Arrivals keep to their count rows' zones, across the clock change, which the London and Berlin nights have.
    assert all(row.tzid_primary == row.zone_representation for row in of[SHOPS])
    assert {row.is_virtual for row in of[ONLINE]} == {True}
    assert {row.is_virtual for row in expected.rows if row.merchant_id == HYBRID_SHOP} == {True, False}
    offsets = {row.ts_local_primary - row.ts_utc for row in of[SHOPS] if row.tzid_primary == "Europe/Berlin"}
    assert offsets == {3600 * 10**6, 7200 * 10**6}


# --- The same tables, the same world ---------------------------------------------------------------


FORMS = (
    Form(shuffle=1),
    Form(files=3),
    Form("parquet"),
    Form("parquet", shuffle=2, files=2),
    Form(by_index=True),
    Form("parquet", by_index=True),
)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_order_files_and_formats_do_not_matter(small, tmp_path, form):
    root, result = small
    again = imported(small_tables(), tmp_path / "world", form)
    assert again.identity == result.identity
    # `small` may be sealed by now, which adds files.
    written = contents(tmp_path / "world")
    assert written == {path: data for path, data in contents(root).items() if path in written}


def test_repeated_rows_add_up_and_zeros_do_not_matter(small, tmp_path):
    _, result = small
    tables = small_tables()
    split = []
    for row in tables.counts:
        if row.count > 1:
            split += [row._replace(count=1), row._replace(count=row.count - 1)]
        elif row.count:
            split.append(row)
    again = imported(replace(tables, counts=tuple(split)), tmp_path / "world")
    assert again.identity == result.identity
    assert again.merged_rows == sum(row.count > 1 for row in tables.counts)
    assert again.zero_rows == 0
    assert [notice.code for notice in again.notices] == ["COUNT_ROWS_MERGED"]


def test_sites_and_edges_without_numbers_are_numbered_by_what_they_are(tmp_path):
    tables = small_tables()
    identities = set()
    for name, rows in (("a", tables.sites), ("b", tables.sites[::-1])):
        files = write_tables(tables, tmp_path / name)
        for path, members in ((files["sites"][0], rows), (files["edges"][0], tables.edges)):
            lines = [f"{m.merchant_id},{m.tz},{m.country},{m.weight}" for m in members]
            path.write_text("\n".join(["merchant_id,tz,country,weight", *lines]) + "\n")
        identities.add(import_world(ImportRequest(tmp_path / f"world-{name}", **files)).identity)
    assert len(identities) == 1
    (path,) = (tmp_path / "world-a").rglob("s1_site_weights/**/part-*.parquet")
    table = pq.read_table(path, partitioning=None)
    keys = zip(*(table[name].to_pylist() for name in ("merchant_id", "legal_country_iso", "site_order")), strict=True)
    assert [key for key in keys if key[0] == SHOPS] == [
        (SHOPS, "AT", 1),
        (SHOPS, "DE", 1),
        (SHOPS, "DE", 2),
        (SHOPS, "US", 1),
    ]


CHANGES: dict[str, Any] = {
    "count": lambda t: {"counts": (t.counts[0]._replace(count=8), *t.counts[1:])},
    "channel": lambda t: {"counts": (t.counts[0]._replace(channel="cash"), *t.counts[1:])},
    "bucket": lambda t: {"counts": (t.counts[0]._replace(bucket=8), *t.counts[1:])},
    "grid": lambda _: {"buckets": 10},
    "weight": lambda t: {"sites": (t.sites[0]._replace(weight=3.5), *t.sites[1:])},
    "country": lambda t: {"sites": (t.sites[0]._replace(country="CH"), *t.sites[1:])},
    "order": lambda t: {"sites": (t.sites[0]._replace(order=4), *t.sites[1:])},
    "mode": lambda t: {"virtual": (t.virtual[0]._replace(mode="VIRTUAL_ONLY"), *t.virtual[1:])},
    "settlement": lambda t: {"virtual": (t.virtual[0]._replace(settlement_tz=""), *t.virtual[1:])},
    "edge": lambda t: {"edges": (t.edges[0]._replace(weight=4.0), *t.edges[1:])},
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_contents_are_another_world(small, tmp_path, change):
    _, result = small
    tables = small_tables()
    other = imported(replace(tables, **CHANGES[change](tables)), tmp_path / "world")
    assert other.identity.manifest_fingerprint != result.identity.manifest_fingerprint


def test_seed_and_scenario_are_identity_and_no_content(small, tmp_path):
    _, result = small
    other = imported(replace(small_tables(), seed=2**64 - 1), tmp_path / "world", scenario_id="höchste Last")
    assert other.identity.manifest_fingerprint == result.identity.manifest_fingerprint
    assert other.identity.run_id != result.identity.run_id
    run_result = sealed_run(tmp_path / "world")
    assert [scenario.scenario_id for scenario in run_result.scenarios] == ["höchste Last"]


# --- Any valid tables -----------------------------------------------------------------------------


@settings(max_examples=12)
@given(any_tables(), st.sampled_from(("csv", "parquet")), st.integers(1, 2**32))
def test_any_valid_tables_import_and_expand_and_shuffled_rows_are_the_same_world(tables, kind, shuffle):
    folder = Path(tempfile.mkdtemp(prefix="arrivals-import-"))
    try:
        result = imported(tables, folder / "a")
        again = imported(tables, folder / "b", Form(kind, shuffle))
        assert contents(folder / "a") == contents(folder / "b")
        assert again.identity == result.identity
        assert_expands_like_the_reference(tables, folder / "a", result)
    finally:
        shutil.rmtree(folder)


def test_instants_of_the_support_are_the_products(small):
    # The helpers write times by the standard library; the grid that came of them is the one that was meant.
    root, _ = small
    (path,) = root.rglob("s1_time_grid_5B.parquet")
    starts = pq.read_table(path, partitioning=None)["bucket_start_utc"].to_pylist()
    first = instant_us(small_tables().start)
    assert [instant_us(text) for text in starts] == [first + 3600 * 10**6 * bucket for bucket in range(9)]
