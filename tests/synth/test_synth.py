"""Synthetic worlds: the same bytes again, every contract kept, the upstream laws recomputed, every feature there."""

import hashlib
import json
import math
import os
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from arrival_engine.config import packaged_bytes, policy_ids, resolve_policy
from arrival_engine.contracts import check_document, conform, dataset, datasets
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.geography import load_geography
from arrival_engine.engine.synth.kernels import cos_turns, exp_portable, log_portable, normal_quantile
from arrival_engine.engine.synth.placement import place
from arrival_engine.engine.synth.population import populate
from arrival_engine.engine.synth.presets import world_identity, world_spec
from tests.support.paths import ROOT
from tests.support.synthesised import BUCKETS, SCENARIO, Made, contents, rows_of

GOLDEN = "dcea02359890d0e84e8a458f840959cc2873addce39303e1dd10f481c633293b"


# ------------------------------------------------------------------ the world as a whole


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        synthesise(tmp_path / name, preset="demo", seed=seed, scale=0.05)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert str(tmp_path).encode() not in b"".join(first.values())
    shared = first.keys() & other.keys()
    assert all(path.startswith(("config/", "reports/")) or path == "run_receipt.json" for path in shared)
    counts = {
        name: pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / name).rglob("s3_bucket*.parquet")))
        for name in "ac"
    }
    assert counts["a"].column("count_N") != counts["c"].column("count_N")


def test_values_are_those_of_this_generator_version(tmp_path):
    # Raise GENERATOR_VERSION along with this digest when a world is meant to change.
    world = Made(tmp_path, synthesise(tmp_path, preset="demo", seed=1, scale=0.1))
    state = hashlib.sha256()
    for name, column in (
        ("s3_bucket_counts_5B", "count_N"),
        ("s2_realised_intensity_5B", "lambda_realised"),
        ("s1_site_weights", "p_weight"),
        ("s4_group_weights", "p_group"),
        ("site_locations", "lon_deg"),
        ("edge_catalogue_3B", "edge_weight"),
    ):
        state.update(world.array(name, column).tobytes())
    assert state.hexdigest() == GOLDEN


@pytest.mark.slow
def test_a_plain_processor_gives_the_same_bytes(tmp_path):
    # No vector units, no fused multiply-add: compiled for the baseline of the architecture.
    synthesise(tmp_path / "here", preset="demo", seed=5, scale=0.1)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from arrival_engine.engine.synth import synthesise\n"
        "synthesise(Path(sys.argv[1]), preset='demo', seed=5, scale=0.1)\n"
    )
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "ARRIVALS_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "plain")],
        cwd=ROOT,
        env=os.environ | plain,
        timeout=300,
        check=True,
    )
    assert contents(tmp_path / "here") == contents(tmp_path / "plain")


def test_every_sealed_dataset_and_policy_is_there_and_conforms(world):
    for entry in datasets():
        if not (entry.sealed or entry.role in ("policy", "member")) or (
            entry.owner_segment == "5B" and (entry.role == "member")
        ):
            continue
        if entry.id == "merchant_names_5B":
            # Ids of synthetic merchants are numbers.
            continue
        files = [path.outside for path in entry.files(world.root, world.tokens)]
        assert files, entry.id
        if entry.format == "parquet":
            for path in files:
                table = pq.read_table(path)
                assert conform(entry.id, table, where=entry.id).num_rows == table.num_rows > 0
        elif entry.format == "json" and entry.role != "policy":
            document = json.loads(entry.locate(world.root, world.tokens).read_bytes())
            check_document(entry.schema, document, code=entry.on_invalid, where=entry.id)
    for policy_id in policy_ids():
        assert (world.root / dataset(policy_id).path).read_bytes() == packaged_bytes(policy_id)
        assert resolve_policy(policy_id, run_root=world.root).origin == "run"


def test_every_table_carries_the_identity_of_its_path(world):
    identity = world.result.identity
    expected = {
        "manifest_fingerprint": identity.manifest_fingerprint,
        "parameter_hash": identity.parameter_hash,
        "seed": identity.seed,
        "scenario_id": SCENARIO,
    }
    for entry in datasets():
        if entry.sealed and entry.format == "parquet" and entry.id != "merchant_names_5B":
            table = world.table(entry.id)
            for name in expected.keys() & set(table.column_names):
                assert pc.unique(table.column(name)).to_pylist() == [expected[name]], entry.id
    receipt = json.loads((world.root / "run_receipt.json").read_bytes())
    assert receipt | expected | {"run_id": identity.run_id} == receipt | {"scenario_id": SCENARIO}


def test_the_demo_is_small_and_about_a_million_arrivals(world):
    result = world.result
    assert result.bytes <= 20_000_000
    assert result.bytes == sum(len(data) for path, data in contents(world.root).items()) - sum(
        (world.root / name).stat().st_size for name in ("reports/synth_report.json", "run_receipt.json")
    )
    assert abs(result.arrivals - 1_000_000) <= 10_000
    assert (result.merchants, result.entities, result.count_rows) == (60, 480, 480 * BUCKETS)
    assert not result.reused


def test_the_result_says_what_the_tables_hold(world):
    result = world.result
    counts, intensity = (
        world.array("s3_bucket_counts_5B", "count_N"),
        world.array("s3_bucket_counts_5B", "lambda_realised"),
    )
    assert result.count_rows == len(counts)
    assert result.arrivals == int(counts.sum())
    assert result.zero_share == np.count_nonzero(counts == 0) / len(counts)
    assert math.isclose(result.expected_arrivals, math.fsum(intensity), rel_tol=1e-9)
    assert result.merchants == len(set(world.column("s3_bucket_counts_5B", "merchant_id")))
    assert result.sites == world.table("site_locations").num_rows
    zones = {*world.text("site_timezones", "tzid"), *world.text("s3_bucket_counts_5B", "zone_representation")}
    assert result.tzids == len(zones)
    mode = dict(rows_of(world, "virtual_classification_3B", "merchant_id", "virtual_mode"))
    owners = set(world.column("edge_catalogue_3B", "merchant_id"))
    total = Counter()
    merchants = world.array("s3_bucket_counts_5B", "merchant_id")
    for merchant in np.unique(merchants).tolist():
        if merchant in owners:
            total[mode[merchant]] += int(counts[merchants == merchant].sum())
    virtual = (total["VIRTUAL_ONLY"] + 0.35 * total["HYBRID"]) / result.arrivals
    assert math.isclose(result.virtual_share, virtual)
    assert 0.015 < virtual < 0.03


# ------------------------------------------------------------------ features


def test_every_kind_of_merchant_is_there(world):
    modes = Counter(world.column("virtual_classification_3B", "virtual_mode"))
    assert min(modes["NON_VIRTUAL"], modes["HYBRID"], modes["VIRTUAL_ONLY"]) >= 1
    flags = rows_of(world, "virtual_classification_3B", "is_virtual", "virtual_mode")
    assert all(is_virtual == (mode != "NON_VIRTUAL") for is_virtual, mode in flags)
    counted = set(world.column("s3_bucket_counts_5B", "merchant_id"))
    everyone = set(world.column("virtual_classification_3B", "merchant_id"))
    assert counted < everyone == set(world.column("site_locations", "merchant_id"))
    assert sum(merchant > 2**63 for merchant in counted) == 1
    virtual = {m for m, mode in rows_of(world, "virtual_classification_3B", "merchant_id", "virtual_mode")
               if mode != "NON_VIRTUAL"}  # fmt: skip
    assert set(world.column("virtual_settlement_3B", "merchant_id")) == virtual
    without_edges = virtual - set(world.column("edge_catalogue_3B", "merchant_id"))
    assert len(without_edges) == world.features()["virtual_merchants_without_edges"] == 1


def test_some_merchants_lack_group_weights_on_some_or_all_days(world):
    effects = Counter(rows_of(world, "s3_day_effects", "merchant_id", "utc_day"))
    weights = Counter(rows_of(world, "s4_group_weights", "merchant_id", "utc_day"))
    days = 90
    missing = Counter(merchant for merchant, day in effects.keys() - weights.keys())
    assert weights.keys() < effects.keys()
    assert all(effects[key] == weights[key] for key in weights)
    features = world.features()
    never = [merchant for merchant, count in missing.items() if count == days]
    sometimes = [merchant for merchant, count in missing.items() if count == 5]
    assert len(never) == features["merchants_never_with_group_weights"] >= 1
    assert len(sometimes) == features["merchants_sometimes_without_group_weights"] >= 1
    # Without weights the count row's zone decides, and there must be one with arrivals and without a site.
    sites = set(rows_of(world, "site_timezones", "merchant_id", "tzid"))
    merchants, zones, counts = (
        world.array("s3_bucket_counts_5B", "merchant_id"),
        world.text("s3_bucket_counts_5B", "zone_representation"),
        world.array("s3_bucket_counts_5B", "count_N"),
    )
    busy = set(zip(merchants[counts > 0].tolist(), zones[counts > 0].tolist(), strict=True))
    orphans = {merchant for merchant, zone in busy - sites}
    assert set(never) <= orphans <= set(never) | set(sometimes)


def test_count_keys_repeat_where_countries_share_a_zone(world):
    allocation = rows_of(world, "zone_alloc", "merchant_id", "tzid")
    assert len(allocation) - len(set(allocation)) == world.features()["repeated_entities"] > 0
    counts = world.table("s3_bucket_counts_5B").filter(pc.field("count_N") > 0)
    keys = counts.group_by(["merchant_id", "zone_representation", "bucket_index"]).aggregate([("count_N", "count")])
    assert pc.max(keys.column("count_N_count")).as_py() > 1


@pytest.mark.parametrize(("preset", "scale"), [("reference", 0.01), ("demo", 0.05)])
def test_the_smallest_worlds_still_hold_all_three_modes(tmp_path, preset, scale):
    result = synthesise(tmp_path, preset=preset, seed=3, scale=scale)
    world = Made(tmp_path, result)
    assert set(world.column("virtual_classification_3B", "virtual_mode")) == {"NON_VIRTUAL", "HYBRID", "VIRTUAL_ONLY"}
    target = world_spec(preset, 3, scale)
    assert (result.merchants, result.count_rows) == (target.merchants, result.entities * BUCKETS)
    assert abs(result.arrivals / target.arrivals - 1) < 0.02
    assert pc.max(world.table("s3_bucket_counts_5B").column("merchant_id")).as_py() > 2**63


@pytest.mark.parametrize("seed", [1, 42])
def test_the_reference_has_the_scale_of_the_real_run(seed):
    spec = world_spec("reference", seed, 1.0)
    draws = Draws(world_identity(spec).manifest_fingerprint)
    geography = load_geography(spec.preset.zones_per_country)
    population = populate(spec, draws, Fraction(35, 100))
    placement = place(spec, geography, population, draws)
    assert (spec.merchants, spec.arrivals) == (886, 116_400_000)
    assert len(placement.entity_pair) == 14_661
    assert 14_661 * BUCKETS == 31_667_760
    zones = set(placement.site_zone[population.counted[placement.site_merchant]].tolist())
    assert len(zones) == len(geography.tzids) == 139
    assert 23_500 <= len(placement.site_pair) <= 24_500
    sites = np.sort(population.sites[population.counted])
    median, p90, p99 = np.percentile(sites, [50, 90, 99])
    assert (median, p90) == (16, 36)
    assert 150 < p99 < 190
    assert sites[-1] > 1000
    keys = set(zip(placement.entity_merchant.tolist(), placement.entity_zone.tolist(), strict=True))
    assert 0.14 < 1 - len(keys) / 14_661 < 0.18
    edges = population.edges[population.edges > 0]
    assert set(edges.tolist()) == {500}


# ------------------------------------------------------------------ portable functions


def test_portable_functions_agree_with_the_library():
    for x in np.linspace(-700, 700, 4001).tolist():
        assert math.isclose(exp_portable(x), math.exp(x), rel_tol=5e-16)
        y = math.exp(x)
        assert math.isclose(log_portable(y), math.log(y), rel_tol=5e-16, abs_tol=1e-300)
    for t in np.linspace(-3, 3, 4001).tolist():
        assert abs(cos_turns(t) - math.cos(2 * math.pi * t)) < 4e-15
    for u in [2.0**-54, 1e-12, *np.linspace(0.001, 0.999, 999).tolist(), 1 - 2.0**-53]:
        exact = NormalDist().inv_cdf(u)
        assert abs(normal_quantile(u) - exact) <= 1.3e-9 * abs(exact) + 1e-15
    assert exp_portable(-1000.0) == 0.0
    assert exp_portable(1000.0) == math.inf
    assert log_portable(1.0) == 0.0
