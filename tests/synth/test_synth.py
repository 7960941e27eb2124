"""Synthetic worlds: the same bytes again, every contract kept, the upstream laws recomputed, every feature there."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from statistics import NormalDist
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from arrival_engine.config import packaged_bytes, policy_ids, resolve_policy
from arrival_engine.contracts import ArrivalError, Code, check_document, conform, dataset, datasets
from arrival_engine.cpu_fallback.streams import StreamFamily, derive_stream
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.geography import load_geography
from arrival_engine.engine.synth.kernels import cos_turns, exp_portable, log_portable, normal_quantile
from arrival_engine.engine.synth.placement import place
from arrival_engine.engine.synth.policies import load_policies
from arrival_engine.engine.synth.population import populate
from arrival_engine.engine.synth.presets import WorldSpec, world_identity, world_spec
from arrival_engine.engine.tz.tzc1 import decode
from arrival_engine.engine.world.alias_blob import decode_2b, decode_3b
from tests.support.law import edge_id, philox2x64
from tests.support.paths import ROOT

SCENARIO = "baseline_v1"
HORIZON = datetime(2026, 1, 1, tzinfo=UTC)
BUCKETS = 2160
GOLDEN = "dcea02359890d0e84e8a458f840959cc2873addce39303e1dd10f481c633293b"


class Made:
    """A world on disk, read back by the dictionary alone."""

    def __init__(self, root, result):
        self.root = root
        self.result = result
        self.tokens = result.identity.tokens(scenario_id=SCENARIO)
        self._tables = {}

    def files(self, name):
        return dataset(name).files(self.root, self.tokens)

    def table(self, name):
        if name not in self._tables:
            self._tables[name] = pa.concat_tables(pq.read_table(path) for path in self.files(name))
        return self._tables[name]

    def column(self, name, column):
        return self.table(name).column(column).to_pylist()

    def array(self, name, column):
        return self.table(name).column(column).to_numpy()

    def text(self, name, column):
        return np.array(pc.cast(self.table(name).column(column), pa.string()).to_pylist())

    def document(self, name):
        (path,) = self.files(name)
        return json.loads(path.read_bytes())

    def features(self):
        return json.loads((self.root / "reports/synth_report.json").read_bytes())["features"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    return Made(root, synthesise(root, preset="demo", seed=42))


def contents(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "tmp"
    }


def rows_of(world, name, *columns):
    return list(zip(*(world.column(name, column) for column in columns), strict=True))


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
        files = entry.files(world.root, world.tokens)
        assert files, entry.id
        if entry.format == "parquet":
            for path in files:
                table = pq.read_table(path)
                assert conform(entry.id, table, where=entry.id).num_rows == table.num_rows > 0
        elif entry.format == "json" and entry.role != "policy":
            check_document(entry.schema, json.loads(files[0].read_bytes()), code=entry.on_invalid, where=entry.id)
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
        if entry.sealed and entry.format == "parquet":
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


# ------------------------------------------------------------------ grid, intensity, counts


def test_the_grid_is_hourly_over_the_horizon(world):
    starts = world.column("s1_time_grid_5B", "bucket_start_utc")
    wanted = [HORIZON + timedelta(hours=b) for b in range(BUCKETS + 1)]
    texts = [moment.strftime("%Y-%m-%dT%H:%M:%S.000000Z") for moment in wanted]
    assert starts == texts[:-1]
    assert world.column("s1_time_grid_5B", "bucket_end_utc") == texts[1:]
    assert texts[-1] == "2026-04-01T00:00:00.000000Z"
    assert world.column("s1_time_grid_5B", "bucket_index") == list(range(BUCKETS))
    assert world.column("s1_time_grid_5B", "local_day_of_week") == [moment.isoweekday() for moment in wanted[:-1]]


def test_count_rows_stand_by_merchant_country_zone_and_bucket(world):
    entities = rows_of(world, "zone_alloc", "merchant_id", "legal_country_iso", "tzid")
    assert entities == sorted(entities)
    assert len(entities) == world.result.entities
    for name in ("s3_bucket_counts_5B", "s2_realised_intensity_5B"):
        assert world.array(name, "merchant_id")[::BUCKETS].tolist() == [merchant for merchant, _, _ in entities]
        assert world.text(name, "zone_representation")[::BUCKETS].tolist() == [zone for _, _, zone in entities]
        buckets = world.array(name, "bucket_index").reshape(-1, BUCKETS)
        assert (buckets == np.arange(BUCKETS)).all()
        merchants = world.array(name, "merchant_id").reshape(-1, BUCKETS)
        assert (merchants == merchants[:, :1]).all()
    channels = rows_of(world, "s1_grouping_5B", "merchant_id", "zone_representation", "channel_group")
    per_key = Counter(key for *key_parts, _ in set(channels) for key in [tuple(key_parts)])
    assert set(per_key.values()) == {1}
    assert world.text("s3_bucket_counts_5B", "channel_group")[::BUCKETS].tolist() == [row[2] for row in channels]


def by_entity(world, name, column):
    return world.array(name, column).reshape(-1, BUCKETS)


def test_zones_that_3a_gives_no_site_have_no_arrivals_and_others_do(world):
    expected = by_entity(world, "s2_realised_intensity_5B", "lambda_realised").sum(axis=1)
    sites = world.array("zone_alloc", "zone_site_count")
    assert ((expected > 0) == (sites > 0)).all()
    assert (sites == 0).any()


def test_the_weekly_shape_follows_local_clocks_across_the_march_changes(world):
    base = by_entity(world, "s2_realised_intensity_5B", "lambda_baseline")
    zones = world.text("s2_realised_intensity_5B", "zone_representation")[::BUCKETS]
    moments = [HORIZON + timedelta(hours=b) for b in range(BUCKETS)]
    changed = 0
    for zone in ("America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Sydney"):
        local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
        hours = np.array([moment.weekday() * 24 + moment.hour for moment in local])
        changed += len({moment.utcoffset() for moment in local}) > 1
        for entity in np.flatnonzero((zones == zone) & (base.sum(axis=1) > 0)).tolist():
            for hour in range(168):
                assert len(set(base[entity, hours == hour].tolist())) == 1
            assert len(set(base[entity].tolist())) > 5
    assert changed >= 2


def test_entities_of_a_group_share_one_latent_factor_within_its_bounds(world):
    base = by_entity(world, "s2_realised_intensity_5B", "lambda_baseline")
    realised = by_entity(world, "s2_realised_intensity_5B", "lambda_realised")
    groups = world.text("s1_grouping_5B", "group_id")
    factors = {}
    with np.errstate(invalid="ignore"):
        ratio = realised / base
    for entity in np.flatnonzero(base.sum(axis=1) > 0).tolist():
        mine = ratio[entity]
        seen = mine[~np.isnan(mine)]
        assert seen.min() > 0.2 * (1 - 1e-6)
        assert seen.max() < 5 * (1 + 1e-6)
        known = factors.setdefault(groups[entity], mine)
        both = ~np.isnan(mine) & ~np.isnan(known)
        assert np.allclose(mine[both], known[both], rtol=3e-7, atol=0)
    pooled = np.concatenate([known[~np.isnan(known)] for known in factors.values()])
    assert abs(pooled.mean() - 1) < 0.05
    # An OU path with a length of a day: neighbouring hours are alike, far ones are not.
    logs = [np.log(known[~np.isnan(known)]) for known in factors.values() if not np.isnan(known).any()]
    lag1 = np.mean([np.corrcoef(path[1:], path[:-1])[0, 1] for path in logs])
    lag96 = np.mean([np.corrcoef(path[96:], path[:-96])[0, 1] for path in logs])
    assert lag1 > 0.9
    assert abs(lag96) < 0.25


def test_group_ids_follow_the_grouping_law(world):
    rows = rows_of(
        world, "s1_grouping_5B", "merchant_id", "zone_representation", "channel_group", "demand_class", "group_id"
    )
    mode = dict(rows_of(world, "virtual_classification_3B", "merchant_id", "virtual_mode"))
    for merchant, zone, channel, demand, group_id in rows:
        zone_group = f"zg{hashlib.sha256(f'5B.zone_group|{zone}'.encode()).digest()[0] % 16:02d}"
        band = "physical" if mode[merchant] == "NON_VIRTUAL" else "virtual"
        text = f"5B.group|{SCENARIO}|{demand}|{channel}|{band}|{zone_group}|{merchant}"
        bucket = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 32
        assert group_id == f"g|baseline|{demand}|{channel}|{band}|{zone_group}|b{bucket:02d}"


def unit(word):
    return ((word >> 11) + 0.5) / 2**53


def poisson(mean, u):
    term = total = math.exp(-mean)
    n = 0
    while total < u:
        n += 1
        term *= mean / n
        total += term
    return n


def count_by_the_law(mean, kappa, words):
    normal = NormalDist()
    s2 = math.log(1 + 1 / kappa)
    rate = math.exp(math.log(mean) - s2 / 2 + math.sqrt(s2) * normal.inv_cdf(unit(words[0])))
    u = unit(words[1])
    if rate <= 50:
        return poisson(rate, u)
    return max(math.floor(rate + math.sqrt(rate) * normal.inv_cdf(u) + 0.5), 0)


def test_counts_follow_the_nb2_law_from_the_stored_intensity(world):
    identity = world.result.identity
    family = StreamFamily(
        "S3.bucket_count.v2", identity.manifest_fingerprint, identity.parameter_hash, identity.seed, SCENARIO
    )
    law = resolve_policy("arrival_count_config_5B").document["nb2"]["kappa_law"]
    demand = world.column("s1_grouping_5B", "demand_class")
    keys = rows_of(world, "zone_alloc", "merchant_id", "legal_country_iso", "tzid")
    means = by_entity(world, "s3_bucket_counts_5B", "mu")
    counts = by_entity(world, "s3_bucket_counts_5B", "count_N")
    assert (counts[means == 0] == 0).all()
    checked = different = above_fifty = 0
    for entity in np.flatnonzero(means.sum(axis=1) > 0)[::4].tolist():
        merchant, country, zone = keys[entity]
        key, high = derive_stream(family, f"merchant_id={merchant}|legal_country_iso={country}|zone={zone}")
        kappa = float(law["base_by_scenario_band"]["baseline"] * law["class_multipliers"][demand[entity]])
        for bucket in range(0, BUCKETS, 37):
            mean = float(means[entity, bucket])
            if mean > 1e-9:
                wanted = count_by_the_law(mean, min(max(kappa, 2), 200), philox2x64(bucket, high, key))
                # The library's normal quantile is closer than the law's approximation, which may tip a count.
                different += wanted != counts[entity, bucket]
                assert abs(wanted - int(counts[entity, bucket])) <= 1
                checked += 1
                above_fifty += mean > 60
    assert checked > 1000
    assert above_fifty > 3
    assert different <= checked // 1000


def test_counts_are_as_spread_as_the_law_says(world):
    means, counts = (by_entity(world, "s3_bucket_counts_5B", name) for name in ("mu", "count_N"))
    residual = (counts - means)[means > 1]
    assert abs(residual.sum()) < 4 * math.sqrt((means[means > 1] * (1 + means[means > 1] / 10)).sum())
    assert 1.0 < (residual / np.sqrt(means[means > 1])).std() < 3.0
    assert np.array_equal(means, by_entity(world, "s3_bucket_counts_5B", "lambda_realised"))
    assert np.array_equal(means, by_entity(world, "s2_realised_intensity_5B", "lambda_realised"))
    assert not np.any(world.table("s3_bucket_counts_5B").column("count_capped").to_numpy())


# ------------------------------------------------------------------ sites and 2B


def test_site_tables_agree_and_number_sites_from_one(world):
    keys = ("merchant_id", "legal_country_iso", "site_order")
    sites = rows_of(world, "site_locations", *keys)
    assert sites == sorted(set(sites))
    assert sites == rows_of(world, "site_timezones", *keys) == rows_of(world, "s1_site_weights", *keys)
    runs = {}
    for merchant, country, order in sites:
        runs.setdefault((merchant, country), []).append(order)
    assert all(orders == list(range(1, len(orders) + 1)) for orders in runs.values())
    allotted = Counter()
    for merchant, country, sites_there in rows_of(
        world, "zone_alloc", "merchant_id", "legal_country_iso", "zone_site_count"
    ):
        allotted[merchant, country] += sites_there
    assert allotted == {pair: len(runs[pair]) for pair in allotted}


def hashed_unit(*parts):
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return unit(int.from_bytes(digest[:8], "big"))


def site_weights_by_the_law(identity, merchant, orders):
    size = 0 if len(orders) <= 3 else 1 if len(orders) <= 8 else 2
    basis = (identity.manifest_fingerprint, identity.seed, "2B.S1.profile_mixture_v2", merchant)
    pick = hashed_unit(*basis, "component")
    hub, tail = ((0.58, 0.85), (0.42, 0.80), (0.30, 0.75))[size]
    component = "hub" if pick < hub else "tail" if pick < tail else "uniform"
    alpha = {"hub": (2.2, 1.85, 1.55), "tail": (1.45, 1.25, 1.05), "uniform": (0.28, 0.22, 0.16)}[component][size]
    scores = [hashed_unit(*basis, order, "site") for order in orders]
    ranking = sorted(range(len(orders)), key=lambda i: (-scores[i], i))
    raw = [0.0] * len(orders)
    for rank, i in enumerate(ranking, 1):
        if component == "uniform":
            raw[i] = 1 + alpha / (rank + 1)
        else:
            raw[i] = rank ** -max(alpha, 1 if component == "hub" else 0.5)
    if component == "hub":
        raw[ranking[0]] += max(1, alpha * max(2, len(orders) // 2))
    p = [value / sum(raw) for value in raw]
    cap, floor = ((0.80, 0.06), (0.70, 0.04), (0.60, 0.025))[size]
    top = p[ranking[0]]
    if len(orders) > 1 and top > cap:
        p = [cap if i == ranking[0] else value * (1 - cap) / (1 - top) for i, value in enumerate(p)]
    if len(orders) > 1:
        p[ranking[1]] = max(p[ranking[1]], floor)
    return [value / sum(p) for value in p]


def test_site_weights_follow_the_profile_mixture(world):
    per_merchant = {}
    for merchant, order, weight in rows_of(world, "s1_site_weights", "merchant_id", "site_order", "p_weight"):
        per_merchant.setdefault(merchant, []).append((order, weight))
    assert {1, 2} <= {len(sites) for sites in per_merchant.values()} | {1, 2}
    for merchant, sites in per_merchant.items():
        wanted = site_weights_by_the_law(world.result.identity, merchant, [order for order, _ in sites])
        assert np.allclose([weight for _, weight in sites], wanted, rtol=1e-12, atol=0)
        assert abs(math.fsum(weight for _, weight in sites) - 1) < 1e-12


def picked(slices, m):
    first, end = int(slices.start[m]), int(slices.start[m + 1])
    keep = slices.prob_q[first:end] / 2.0 ** int(slices.qbits[m])
    out = keep / (end - first)
    np.add.at(out, slices.alias[first:end].astype(np.int64), (1 - keep) / (end - first))
    return out


def test_the_site_alias_blob_holds_the_site_weights(world):
    (blob,) = world.files("s2_alias_blob")
    slices = decode_2b(blob.read_bytes(), world.document("s2_alias_index"), "alias.bin")
    merchants = world.array("s1_site_weights", "merchant_id")
    weights = world.array("s1_site_weights", "p_weight")
    assert slices.merchant.tolist() == sorted(set(merchants.tolist()))
    for m, merchant in enumerate(slices.merchant):
        assert np.abs(picked(slices, m) - weights[merchants == merchant]).max() <= 1.2e-7
    policy = (world.root / dataset("alias_layout_policy_v1").path).read_bytes()
    assert world.document("s2_alias_index")["policy_digest"] == hashlib.sha256(policy).hexdigest()


def test_day_effects_follow_their_stream(world):
    identity = world.result.identity

    def prefixed(text):
        return len(text).to_bytes(4, "little") + text.encode()

    master = hashlib.sha256(
        prefixed("2B.S3.master") + bytes.fromhex(identity.manifest_fingerprint) + identity.seed.to_bytes(8, "little")
    ).digest()
    digest = hashlib.sha256(master + prefixed("2B.S3.day_effects") + prefixed("2B.day_effects.gamma")).digest()
    key = int.from_bytes(digest[24:], "little")
    base = int.from_bytes(digest[16:32], "big")
    rows = rows_of(
        world,
        "s3_day_effects",
        *("merchant_id", "utc_day", "tz_group_id", "gamma", "log_gamma", "sigma_gamma"),
        *("rng_counter_hi", "rng_counter_lo"),
    )
    assert [row[:3] for row in rows] == sorted(row[:3] for row in rows)
    sites = Counter()
    for merchant, _, order in rows_of(world, "site_locations", "merchant_id", "legal_country_iso", "site_order"):
        sites[merchant] = max(sites[merchant], order)
    tilts = {"Europe": 1.02, "America": 1.01, "Asia": 0.99, "Africa": 1.01, "Pacific": 0.99}
    for rank in range(0, len(rows), 97):
        merchant, day, zone, gamma, log_gamma, sigma, high, low = rows[rank]
        counter = (base + rank) % 2**128
        assert (high << 64) | low == counter
        size = 0 if sites[merchant] <= 8 else 1 if sites[merchant] <= 24 else 2
        seeded = (identity.manifest_fingerprint, identity.seed)
        jitter = 1 + 0.08 * (2 * hashed_unit(*seeded, "2B.S3.sigma_jitter", merchant) - 1)
        wanted = (0.095, 0.09, 0.085)[size] * tilts.get(zone.split("/")[0], 1.0) * jitter
        assert math.isclose(sigma, min(max(wanted, 0.06), 0.16), rel_tol=1e-12)
        u = unit(philox2x64(counter % 2**64, counter >> 64, key)[0])
        phase = 2 * math.pi * hashed_unit(*seeded, "2B.S3.weekly_phase", merchant)
        weekday = datetime.fromisoformat(day).weekday()
        wave = (0.012, 0.010, 0.008)[size] * math.sin(2 * math.pi * weekday / 7 + phase)
        level = -(sigma**2) / 2 + sigma * NormalDist().inv_cdf(u) + wave
        assert math.isclose(gamma, min(max(math.exp(level), 0.65), 1.45), rel_tol=1e-8)
        assert math.isclose(log_gamma, math.log(gamma), rel_tol=1e-9, abs_tol=1e-12)


def regularised(p):
    if len(p) < 2:
        return p
    groups = len(p)

    def blend(p, a):
        return [(1 - a) * value + a / groups for value in p]

    def entropy(p):
        return -sum(value * math.log(value) for value in p)

    p = blend(p, 0.52)
    if max(p) > 0.68:
        p = blend(p, (max(p) - 0.68) / (max(p) - 1 / groups))
    if entropy(p) < 0.62:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if entropy(blend(p, middle)) < 0.62 else (low, middle)
        p = blend(p, high)
    return [value / sum(p) for value in p]


def test_group_weights_are_the_regularised_shares_of_each_day(world):
    share = Counter()
    zone_of = rows_of(world, "site_timezones", "merchant_id", "tzid")
    for (merchant, zone), weight in zip(zone_of, world.column("s1_site_weights", "p_weight"), strict=True):
        share[merchant, zone] += weight
    gamma = {
        (merchant, day, zone): value
        for merchant, day, zone, value in rows_of(
            world, "s3_day_effects", "merchant_id", "utc_day", "tz_group_id", "gamma"
        )
    }
    days = {}
    for row in rows_of(
        world, "s4_group_weights", "merchant_id", "utc_day", "tz_group_id", "p_group", "base_share", "gamma", "mass_raw"
    ):
        days.setdefault(row[:2], []).append(row)
    for (merchant, day), rows in list(days.items())[::7]:
        mass = [share[merchant, row[2]] * gamma[merchant, day, row[2]] for row in rows]
        wanted = regularised([value / sum(mass) for value in mass])
        assert np.allclose([row[3] for row in rows], wanted, rtol=1e-9, atol=0)
        assert abs(math.fsum(row[3] for row in rows) - 1) < 1e-12
        assert np.allclose([row[6] for row in rows], mass, rtol=1e-12)
        assert all(row[5] == gamma[merchant, day, row[2]] for row in rows)


# ------------------------------------------------------------------ 3A, 3B, 2A, gates


def test_the_zone_universe_hash_chains_its_digests(world):
    document = world.document("zone_alloc_universe_hash")
    names = ("zone_alpha_digest", "theta_digest", "zone_floor_digest", "day_effect_digest", "zone_alloc_parquet_digest")
    text = "".join(document[name] for name in names)
    assert document["routing_universe_hash"] == hashlib.sha256(text.encode()).hexdigest()
    assert set(world.column("zone_alloc", "routing_universe_hash")) == {document["routing_universe_hash"]}


def test_edges_carry_the_ids_weights_and_digests_of_3b(world):
    rows = world.table("edge_catalogue_3B").to_pylist()
    keys = [(row["merchant_id"], row["edge_id"]) for row in rows]
    assert keys == sorted(set(keys))
    chains = {}
    for row in rows:
        assert row["edge_id"] == f"{edge_id(row['merchant_id'], row['edge_seq_index']):016x}"
        event = f"{row['rng_stream_id']}|{row['merchant_id']}|{row['edge_seq_index']}"
        assert row["rng_event_id"] == hashlib.sha256(event.encode()).hexdigest()
        body = {name: value for name, value in row.items() if name != "edge_digest"}
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        assert row["edge_digest"] == hashlib.sha256(text.encode()).hexdigest()
        chains.setdefault(row["merchant_id"], []).append(bytes.fromhex(row["edge_digest"]))
    index = world.table("edge_catalogue_index_3B").to_pylist()
    assert [row["scope"] for row in index] == ["MERCHANT"] * len(chains) + ["GLOBAL"]
    digests = [hashlib.sha256(b"".join(chain)) for chain in chains.values()]
    assert [row["edge_digest"] for row in index[:-1]] == [digest.hexdigest() for digest in digests]
    whole = hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()
    assert index[-1]["edge_catalogue_digest_global"] == whole
    path = world.root / index[-1]["edge_catalogue_path"]
    assert path.stat().st_size == index[-1]["edge_catalogue_size_bytes"]

    (blob,) = world.files("edge_alias_blob_3B")
    slices = decode_3b(blob.read_bytes(), world.table("edge_alias_index_3B"), "edges")
    merchants, weights = (world.array("edge_catalogue_3B", name) for name in ("merchant_id", "edge_weight"))
    for m, merchant in enumerate(slices.merchant):
        mine = weights[merchants == merchant]
        assert abs(math.fsum(mine) - 1) < 1e-12
        assert np.abs(picked(slices, m) - mine).max() <= 1.2e-7


def test_the_edge_universe_hash_covers_the_index_files(world):
    document = world.document("edge_universe_hash_3B")
    for name in ("edge_alias_index", "edge_catalogue_index"):
        (path,) = world.files(f"{name}_3B")
        assert document[f"{name}_digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    order = ("cdn_weights_digest", "edge_alias_index_digest", "edge_catalogue_index_digest", "virtual_rules_digest")
    universe = hashlib.sha256(b"".join(bytes.fromhex(document[name]) for name in order)).hexdigest()
    assert document["universe_hash"] == universe
    policy = world.document("virtual_routing_policy_3B")
    assert policy["edge_universe_hash"] == universe
    assert all((world.root / path).is_file() for path in policy["artefact_paths"].values())


def test_the_zone_cache_knows_every_zone_of_the_world(world):
    (path,) = world.files("tz_timetable_cache_bin")
    zones = decode(path.read_bytes(), "cache")
    used = {*world.text("site_timezones", "tzid"), *world.text("edge_catalogue_3B", "tzid_operational")}
    used |= {*world.text("zone_alloc", "tzid"), *world.text("virtual_settlement_3B", "tzid_settlement")}
    assert used <= set(zones.tzids)
    manifest = world.document("tz_timetable_cache_manifest")
    assert manifest["tz_index_digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["rle_cache_bytes"] == path.stat().st_size


@pytest.mark.parametrize("segment", ["1A", "1B", "2A", "2B", "3A", "3B", "5A"])
def test_upstream_bundles_pass_by_their_own_laws(world, segment):
    folder = dataset(f"validation_bundle_{segment}").locate(world.root, world.tokens)
    index = world.document(f"validation_bundle_index_{segment}")
    base = world.root if segment == "2B" else folder
    entries = index if isinstance(index, list) else index.get("members") or index["entries"]
    if segment == "3A":
        ordered = sorted(entries, key=lambda entry: entry["logical_id"])
        digest = hashlib.sha256("".join(entry["sha256_hex"] for entry in ordered).encode()).hexdigest()
    else:
        ordered = sorted(entries, key=lambda entry: entry["path"])
        digest = hashlib.sha256(b"".join((base / entry["path"]).read_bytes() for entry in ordered)).hexdigest()
    flag = (folder / "_passed.flag").read_bytes()
    if segment == "5A":
        fingerprint = world.result.identity.manifest_fingerprint
        assert json.loads(flag) == {"manifest_fingerprint": fingerprint, "bundle_digest_sha256": digest}
    else:
        assert flag == f"sha256_hex = {digest}\n".encode()
    for entry in entries:
        path = base / entry["path"] if (base / entry["path"]).is_file() else world.root / entry["path"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256_hex"]


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


# ------------------------------------------------------------------ where it goes


def refused(code, says, root, **arguments):
    with pytest.raises(ArrivalError, match=says) as caught:
        synthesise(root, **{"preset": "demo", "seed": 5, "scale": 0.05} | arguments)
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


def test_the_same_world_is_left_alone_and_anything_else_refused(tmp_path):
    root = tmp_path / "world"
    made = synthesise(root, preset="demo", seed=5, scale=0.05)
    (root / "logs").mkdir()
    (root / "logs" / "later.txt").write_text("from a later stage")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "synth.lock"}
    again = synthesise(root, preset="demo", seed=5, scale=0.05)
    assert again.reused
    assert not made.reused
    assert (again.arrivals, again.identity, again.bytes) == (made.arrivals, made.identity, made.bytes)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "synth.lock"}

    conflict = Code.IO_WRITE_CONFLICT
    refused(conflict, "holds another run", root, seed=6)
    refused(conflict, "holds another run", root, scale=0.06666)
    (counts,) = root.rglob("s3_bucket_counts_5B.parquet")
    data = counts.read_bytes()
    counts.write_bytes(data[:-1] + b"X")
    assert "s3_bucket_counts_5B.parquet" in str(refused(conflict, "differs", root))
    counts.unlink()
    refused(conflict, "is gone", root)
    counts.write_bytes(data)
    assert synthesise(root, preset="demo", seed=5, scale=0.05).reused
    policy = root / dataset("arrival_routing_policy_5B").path
    policy.write_bytes(policy.read_bytes() + b"\n")
    refused(conflict, "arrival_routing_policy_5B.yaml differs", root)
    (root / "reports" / "synth_report.json").unlink()
    refused(conflict, "no readable", root)


def test_foreign_files_are_never_written_beside(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    refused(Code.IO_WRITE_CONFLICT, "notes.txt", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    refused(Code.IO_WRITE_CONFLICT, "is a file", tmp_path / "notes.txt")


def test_what_a_killed_attempt_left_behind_goes(tmp_path):
    left = tmp_path / "tmp" / "synth-killed" / "data"
    left.mkdir(parents=True)
    (left / "half.parquet").write_bytes(b"PAR1")
    synthesise(tmp_path, preset="demo", seed=5, scale=0.05)
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["synth.lock"]
    assert not list(tmp_path.rglob("half.parquet"))


def test_a_full_disk_is_a_named_error_and_leaves_no_world(tmp_path):
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from arrival_engine.contracts import ArrivalError\n"
        "import arrival_engine.engine.synth.world\n"
        "from arrival_engine.engine.synth import synthesise\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
        "try:\n"
        "    synthesise(Path(sys.argv[1]), preset='demo', seed=5, scale=0.5)\n"
        "except ArrivalError as error:\n"
        "    print(error.code)\n"
    )
    root = tmp_path / "world"
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == Code.IO_WRITE_FAILED
    assert [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()] == ["tmp/synth.lock"]
    assert not synthesise(root, preset="demo", seed=5, scale=0.05).reused
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"preset": "huge"}, "no preset 'huge'"),
        ({"scale": 0.01}, "leaves 1 merchants"),
        ({"scale": 0.0}, "scale 0.0"),
        ({"scale": -1.0}, "scale -1.0"),
        ({"scale": float("nan")}, "scale nan"),
        ({"scale": 1e6}, "scale 1000000.0"),
        ({"preset": "reference", "scale": 0.001}, "leaves 1 merchants"),
    ],
)
def test_impossible_worlds_are_refused_before_anything_is_written(tmp_path, arguments, says):
    refused(Code.UNEXPECTED_INTERNAL_ERROR, says, tmp_path / "world", **arguments)
    assert not (tmp_path / "world").exists()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_uint64_is_refused(tmp_path, seed):
    refused(Code.PARTITION_OR_PK_VIOLATION, "seed", tmp_path / "world", seed=seed)
    assert not (tmp_path / "world").exists()


def test_the_largest_seed_works(tmp_path):
    result = synthesise(tmp_path, preset="demo", seed=2**64 - 1, scale=0.05)
    world = Made(tmp_path, result)
    assert pc.unique(world.table("s3_bucket_counts_5B").column("seed")).to_pylist() == [2**64 - 1]


class LongSpec(WorldSpec):
    """A horizon one day longer than the day effects."""

    def days(self):
        return [*super().days(), datetime(2026, 4, 1, tzinfo=UTC)]


def test_day_effects_must_reach_over_the_horizon():
    load_policies(world_spec("demo", 1, 1.0))
    with pytest.raises(ArrivalError, match="2026-03-31, the horizon is 2026-01-01 to 2026-04-01") as caught:
        load_policies(LongSpec(**vars(world_spec("demo", 1, 1.0))))
    assert caught.value.code == Code.ROUTING_POLICY_INVALID
