"""Files of a synthetic world in the contract's own forms, for readers other than this engine."""

import hashlib
import json
import math
from datetime import timedelta

import numpy as np
import pytest

from arrival_engine.contracts import ArrivalError, Code, bundle_index
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.synth.shapes import CLASSES
from tests.support.contract_forms import (
    BUNDLE_ENTRY,
    BUNDLE_INDEX,
    TEST_INPUTS,
    TEST_POPULATION,
    TEST_THRESHOLDS,
    WORLD_TABLES,
    faults,
)
from tests.support.synthesised import BUCKETS, HORIZON, SCENARIO, Made, by_entity, rows_of

LISTS = {"2A": "files", "3A": "members", "3B": "members", "5A": "entries"}
CELL = ("merchant_id", "legal_country_iso", "tzid")


@pytest.mark.parametrize("name", WORLD_TABLES)
def test_rows_have_the_form_of_the_contract(world, name):
    assert faults(WORLD_TABLES[name], world.table(name).slice(0, 5000).to_pylist()) == []


@pytest.mark.parametrize("segment", BUNDLE_ENTRY)
def test_a_bundle_index_has_the_form_of_its_segment(world, segment):
    index = json.loads(bundle_index(segment).locate(world.root, world.tokens).read_bytes())
    if segment in LISTS:
        assert faults(BUNDLE_INDEX[segment], [index]) == []
        index = index[LISTS[segment]]
    assert isinstance(index, list)
    assert faults(BUNDLE_ENTRY[segment], index) == []


@pytest.mark.parametrize("segment", ["1A", "1B", "2A"])
def test_a_bundle_index_of_files_lists_every_file_but_itself_and_the_flag(world, segment):
    folder = bundle_index(segment).folder(world.root, world.tokens)
    index = json.loads((folder / "index.json").read_bytes())
    listed = {entry["path"] for entry in (index if isinstance(index, list) else index["files"])}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == listed | {"index.json", "_passed.flag"}


def test_the_tests_of_virtual_routing_have_the_forms_of_the_contract(world):
    rows = world.table("virtual_validation_contract_3B").to_pylist()
    assert [row["test_id"] for row in rows] == sorted({row["test_id"] for row in rows})
    for name, form in (("target_population", TEST_POPULATION), ("inputs", TEST_INPUTS)):
        assert faults(form, [row[name] for row in rows]) == []
    assert faults(TEST_THRESHOLDS, [row["thresholds"] for row in rows]) == []
    datasets = [entry for row in rows for entry in row["inputs"]["datasets"]]
    assert faults("logical_id:text role:text", datasets) == []
    assert faults("schema_anchor:text role:text", [item for row in rows for item in row["inputs"]["fields"]]) == []


def test_every_virtual_merchant_has_edges_if_asked(tmp_path):
    def made(name, **options):
        root = tmp_path / name
        return Made(root, synthesise(root, preset="demo", seed=5, scale=0.25, **options))

    plain, complete = made("plain"), made("complete", complete_edges=True)
    assert plain.result.identity != complete.result.identity
    assert plain.result.merchants == complete.result.merchants
    for world, without in ((plain, 1), (complete, 0)):
        modes = rows_of(world, "virtual_classification_3B", "merchant_id", "virtual_mode")
        virtual = {merchant for merchant, mode in modes if mode != "NON_VIRTUAL"}
        assert len(virtual - set(world.column("edge_catalogue_3B", "merchant_id"))) == without
        assert world.features()["virtual_merchants_without_edges"] == without
        report = json.loads((world.root / "reports/synth_report.json").read_bytes())
        assert report["complete_edges"] is (without == 0)
    assert synthesise(tmp_path / "plain", preset="demo", seed=5, scale=0.25, complete_edges=False).reused
    with pytest.raises(ArrivalError) as caught:
        synthesise(tmp_path / "plain", preset="demo", seed=5, scale=0.25, complete_edges=True)
    assert caught.value.code is Code.IO_WRITE_CONFLICT


def test_the_identity_of_the_demo_is_what_it_was(world):
    named = hashlib.sha256(b"arrival-engine.synth|manifest_fingerprint|1|demo|42|1.0").hexdigest()
    assert world.result.identity.manifest_fingerprint == named


# --- Demand


def test_the_scenario_spans_the_grid(world):
    (row,) = world.table("scenario_manifest_5A").to_pylist()
    grid = rows_of(world, "s1_time_grid_5B", "bucket_start_utc", "bucket_end_utc")
    assert (row["horizon_start_utc"], row["horizon_end_utc"]) == (grid[0][0], grid[-1][1])
    assert (row["scenario_id"], row["is_baseline"], row["is_stress"]) == (SCENARIO, True, False)


def test_a_profile_is_an_entity_with_its_class_and_a_week_of_it(world):
    profiles = rows_of(world, "merchant_zone_profile_5A", "merchant_id", "tzid", "demand_class")
    grouped = rows_of(world, "s1_grouping_5B", "merchant_id", "zone_representation", "demand_class")
    assert profiles == grouped
    allotted = rows_of(world, "zone_alloc", *CELL)
    assert rows_of(world, "merchant_zone_profile_5A", *CELL) == allotted == sorted(set(allotted))
    weekly = world.array("merchant_zone_profile_5A", "weekly_volume_expected")
    # An hour of the counts' baseline is the weekly volume times the hour's shape, whose mean is 1 / 168.
    base = by_entity(world, "s2_realised_intensity_5B", "lambda_baseline")
    whole_weeks = base[:, : BUCKETS // 168 * 168].sum(axis=1) / (BUCKETS // 168)
    assert np.allclose(weekly, whole_weeks, rtol=0.02)
    assert np.array_equal(weekly == 0, base.sum(axis=1) == 0)


def test_the_days_of_a_week_share_its_demand(world):
    assert rows_of(
        world, "shape_grid_definition_5A", "bucket_index", "local_day_of_week", "bucket_duration_minutes"
    ) == [(day, day + 1, 1440) for day in range(7)]
    assert set(world.column("shape_grid_definition_5A", "local_minutes_since_midnight")) == {0}
    shares = {}
    columns = ("demand_class", "legal_country_iso", "tzid", "bucket_index", "shape_value")
    rows = rows_of(world, "class_zone_shape_5A", *columns)
    assert [row[:4] for row in rows] == sorted({row[:4] for row in rows})
    for *key, day, share in rows:
        shares.setdefault(tuple(key), []).append(share)
        assert day == len(shares[tuple(key)]) - 1
    assert all(math.isclose(math.fsum(week), 1.0) for week in shares.values())
    assert {key[0] for key in shares} <= {item.name for item in CLASSES}
    profiles = rows_of(world, "merchant_zone_profile_5A", "demand_class", "legal_country_iso", "tzid")
    assert shares.keys() == set(profiles)


def test_the_baseline_and_the_scenario_are_the_weeks_of_the_profiles(world):
    weekly = world.array("merchant_zone_profile_5A", "weekly_volume_expected")
    keys = rows_of(world, "merchant_zone_profile_5A", *CELL)
    base = world.array("merchant_zone_baseline_local_5A", "lambda_local_base").reshape(-1, 7)
    assert rows_of(world, "merchant_zone_baseline_local_5A", *CELL)[::7] == keys
    assert np.allclose(base.sum(axis=1), weekly)
    days = BUCKETS // 24
    scenario = world.array("merchant_zone_scenario_local_5A", "lambda_local_scenario").reshape(-1, days)
    assert rows_of(world, "merchant_zone_scenario_local_5A", *CELL)[::days] == keys
    assert world.column("merchant_zone_scenario_local_5A", "local_horizon_bucket_index")[:days] == list(range(days))
    for day in range(days):
        weekday = (HORIZON + timedelta(days=day)).weekday()
        assert np.array_equal(scenario[:, day], base[:, weekday])
    assert math.isclose(scenario.sum(), world.result.expected_arrivals, rel_tol=0.05)
