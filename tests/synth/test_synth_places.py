"""Sites, edges, weights and upstream bundles of synthetic worlds, recomputed."""

import hashlib
import json
import math
from collections import Counter
from datetime import datetime
from statistics import NormalDist

import numpy as np
import pytest

from arrival_engine.contracts import bundle_index, dataset
from arrival_engine.engine.alias_blobs.decode import decode_2b, decode_3b
from arrival_engine.engine.alias_blobs.index import site_index
from arrival_engine.engine.tz.tzc1 import decode
from tests.support.law import edge_id, philox2x64
from tests.support.synthesised import hashed_unit, picked, rows_of, unit

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


def test_the_site_alias_blob_holds_the_site_weights(world):
    (blob,) = world.files("s2_alias_blob")
    slices = decode_2b(blob.read_bytes(), site_index(world.document("s2_alias_index"), "index"), "alias.bin")
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


INDEX_LISTS = {"2A": "files", "3A": "members", "3B": "members", "5A": "entries"}


@pytest.mark.parametrize("segment", ["1A", "1B", "2A", "2B", "3A", "3B", "5A"])
def test_upstream_bundles_pass_by_their_own_laws(world, segment):
    folder = bundle_index(segment).folder(world.root, world.tokens)
    index = json.loads(bundle_index(segment).locate(world.root, world.tokens).read_bytes())
    base = world.root if segment == "2B" else folder
    entries = index if isinstance(index, list) else index[INDEX_LISTS[segment]]
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
        if segment not in ("1A", "1B"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256_hex"]
