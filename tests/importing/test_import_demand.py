"""The demand tables of an imported world: the counts themselves, by cell and week."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import bundle_index, dataset
from arrival_engine.engine.importing import ImportResult
from tests.support.contract_forms import BUNDLE_ENTRY, WORLD_TABLES, faults
from tests.support.importing import BIG, HYBRID_SHOP, ONLINE, SHOPS, Count, Member, Virtual, imported, small_tables

LISTS = {"2A": "files", "3A": "members", "3B": "members", "5A": "entries"}
HOURS_PER_WEEK = 168


def rows(root: Path, result: ImportResult, name: str) -> list[dict[str, Any]]:
    (path,) = dataset(name).files(root, result.identity.tokens(scenario_id=result.scenario_id))
    return pq.read_table(path.outside, partitioning=None).to_pylist()


@pytest.mark.parametrize("name", WORLD_TABLES)
def test_rows_have_the_form_of_the_contract(small, name):
    found = rows(small[0], small[1], name)
    assert found
    assert faults(WORLD_TABLES[name], found) == []


@pytest.mark.parametrize("segment", BUNDLE_ENTRY)
def test_the_entries_of_bundles_have_the_form_of_the_contract(small, segment):
    root, result = small
    index = json.loads(bundle_index(segment).locate(root, result.identity.tokens()).read_bytes())
    assert faults(BUNDLE_ENTRY[segment], index[LISTS[segment]] if segment in LISTS else index) == []


def test_a_cell_has_the_country_of_its_first_site_or_edge_in_the_zone(small):
    cells = {
        (row["merchant_id"], row["tzid"]): row["legal_country_iso"]
        for row in rows(small[0], small[1], "merchant_zone_profile_5A")
    }
    assert cells == {
        (SHOPS, "Europe/Berlin"): "AT",
        (SHOPS, "America/New_York"): "US",
        (HYBRID_SHOP, "Europe/London"): "GB",
        (ONLINE, "Europe/Dublin"): "IE",
        (BIG, "Asia/Kathmandu"): "NP",
    }


def test_a_cell_without_a_site_in_its_zone_has_the_country_of_the_first_one(tmp_path):
    tables = small_tables()
    strange = (Count(BIG, "Europe/Oslo", "", 0, 1), Count(ONLINE, "Asia/Tokyo", "", 0, 1))
    result = imported(replace(tables, counts=(*tables.counts, *strange)), tmp_path / "world")
    profiles = rows(tmp_path / "world", result, "merchant_zone_profile_5A")
    cells = {(row["merchant_id"], row["tzid"]): row["legal_country_iso"] for row in profiles}
    assert (cells[BIG, "Europe/Oslo"], cells[ONLINE, "Asia/Tokyo"]) == ("NP", "IE")


def test_weeks_hold_the_counts_and_volumes_are_per_week(tmp_path):
    tables = small_tables()
    buckets = 2 * HOURS_PER_WEEK + 24
    counts = (
        Count(SHOPS, "Europe/Berlin", "card", 0, 5),
        Count(SHOPS, "Europe/Berlin", "", HOURS_PER_WEEK - 1, 2),
        Count(SHOPS, "Europe/Berlin", "", HOURS_PER_WEEK, 11),
        Count(SHOPS, "America/New_York", "", buckets - 1, 13),
        Count(7, "Europe/Oslo", "", 3, 1),
    )
    sites = (*tables.sites, Member(7, "Europe/Oslo", "NO", 1, 1.0))
    world = tmp_path / "world"
    result = imported(replace(tables, buckets=buckets, counts=counts, sites=sites), world)
    found = rows(world, result, "merchant_zone_scenario_local_5A")
    assert [
        (row["merchant_id"], row["tzid"], row["local_horizon_bucket_index"], row["lambda_local_scenario"])
        for row in found
    ] == [
        (7, "Europe/Oslo", 0, 1.0),
        (SHOPS, "Europe/Berlin", 0, 7.0),
        (SHOPS, "Europe/Berlin", 1, 11.0),
        (SHOPS, "America/New_York", 2, 13.0),
    ]
    volumes = Counter()
    for row in rows(world, result, "merchant_zone_profile_5A"):
        volumes[row["merchant_id"]] += row["weekly_volume_expected"]
    assert volumes[SHOPS] == pytest.approx(31 * HOURS_PER_WEEK / buckets)
    baseline = rows(world, result, "merchant_zone_baseline_local_5A")
    assert [row["lambda_local_base"] for row in baseline] == [
        row["weekly_volume_expected"] for row in rows(world, result, "merchant_zone_profile_5A")
    ]
    (week,) = rows(world, result, "shape_grid_definition_5A")
    assert (week["bucket_duration_minutes"], week["local_day_of_week"]) == (7 * 1440, 1)


def test_a_merchant_without_a_site_has_the_country_of_its_first_edge(tmp_path):
    tables = replace(
        small_tables(),
        counts=(Count(ONLINE, "Europe/Dublin", "", 0, 4),),
        sites=(Member(777, "Europe/Paris", "FR", 1, 1.0),),
        virtual=(Virtual(ONLINE, "VIRTUAL_ONLY", ""),),
        edges=(Member(ONLINE, "Australia/Sydney", "AU", 1, 1.0),),
    )
    result = imported(tables, tmp_path / "world")
    (row,) = rows(tmp_path / "world", result, "merchant_zone_profile_5A")
    assert (row["legal_country_iso"], row["demand_class"]) == ("AU", "imported")
