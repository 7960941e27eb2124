"""2B: site weights, the site alias blob, day effects and group weights.

docs/reference/layouts.md, "Site weights", "Day effects" and "Group weights", has the laws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrival_engine.contracts.arrow_columns import coded, constant
from arrival_engine.engine.synth import kernels
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.intensity import Scene
from arrival_engine.engine.synth.kernels import DayModel, DayRows, GroupRule, Profile
from arrival_engine.engine.synth.sites import site_columns
from arrival_engine.engine.world_files.shelf import Shelf
from arrival_engine.engine.world_files.sites import WeightLabels, write_site_weights

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_COMPONENTS = ("hub_spoke", "heavy_tail", "near_uniform")
_MISSING_DAYS = 5
# 2B's code has these, not its policies: texts in its hashes, and the most sites of a small and of a medium merchant
# of the day effects.
_PROFILE_TAG, _JITTER_TAG, _PHASE_TAG = "2B.S1.profile_mixture_v2", "2B.S3.sigma_jitter", "2B.S3.weekly_phase"
_SEGMENT_SITES = (8, 24)


class MerchantGroups(NamedTuple):
    """Zones in which a merchant has sites: `start` int64[N+1] into `zone` int64[G] ascending, `share` float64[G]."""

    start: Ints
    zone: Ints
    share: Floats


def _length_prefixed(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "little") + data


def _hashed_unit(*parts: object) -> float:
    """H(parts) of docs/reference/layouts.md, "Site weights", in (0, 1)."""
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return ((int.from_bytes(digest[:8], "big") >> 11) + 0.5) * 2.0**-53


def write_weights(scene: Scene, shelf: Shelf) -> Floats:
    """Write `s1_site_weights`, the alias blob and its index; return the weights, float64[S]."""
    placement, population = scene.placement, scene.population
    policy = scene.policies.document("alias_layout_policy_v1")
    start = np.searchsorted(placement.site_merchant, np.arange(len(population.merchant) + 1))
    weight = kernels.site_weights(_profile(scene, policy["profile_mixture_v2"], start.astype(np.int64)))
    labels = WeightLabels(
        source=policy["weight_source"]["mode"],
        quantised_bits=policy["quantised_bits"],
        policy_sha256=scene.policies.sha256("alias_layout_policy_v1"),
    )
    write_site_weights(site_columns(scene), weight, shelf, labels)
    return weight


def _size_class(sites: int, small: int, mid: int) -> str:
    """The size of a merchant; `small` and `mid` are the most sites of a merchant of that size."""
    if sites <= small:
        return "small"
    return "mid" if sites <= mid else "large"


def _profile(scene: Scene, law: Any, start: Ints) -> Profile:
    identity = scene.identity
    bounds = [int(law["merchant_size_buckets"][size]["max_sites"]) for size in ("small", "mid")]
    orders = scene.placement.site_order.tolist()
    rank = np.empty(len(orders), np.int64)
    component: list[int] = []
    alpha: list[float] = []
    cap: list[float] = []
    second: list[float] = []
    for m, merchant in enumerate(scene.population.merchant.tolist()):
        first, end = int(start[m]), int(start[m + 1])
        size = _size_class(end - first, *bounds)
        basis = (identity.manifest_fingerprint, identity.seed, _PROFILE_TAG, merchant)
        rank[first:end] = _ranks([_hashed_unit(*basis, order, "site") for order in orders[first:end]])
        pick = _hashed_unit(*basis, "component")
        edges = np.cumsum([float(law["mixture_weights"][size][name]) for name in _COMPONENTS])
        component.append(min(int(np.searchsorted(edges, pick, side="right")), len(_COMPONENTS) - 1))
        alpha.append(float(law["concentration_alpha_by_bucket"][size][_COMPONENTS[component[-1]]]))
        cap.append(float(law["top1_soft_cap_by_bucket"][size]))
        second.append(float(law["min_secondary_mass"][size]))
    return Profile(start, rank, np.array(component, np.int64), np.array(alpha), np.array(cap), np.array(second))


def _ranks(values: list[float]) -> Ints:
    """1 for the greatest value; equal values (same site order in two countries) by position."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(-np.array(values), kind="stable")] = np.arange(1, len(values) + 1)
    return ranks


def merchant_groups(scene: Scene, weight: Floats) -> MerchantGroups:
    """Zones of each merchant's sites with the summed weight of the sites there."""
    merchants, zones = len(scene.population.merchant), len(scene.geography.tzids)
    cell = scene.placement.site_merchant * zones + scene.placement.site_zone
    mass: Floats = np.bincount(cell, weights=weight, minlength=merchants * zones).astype(np.float64)
    present = np.unique(cell)
    start = np.searchsorted(present, np.arange(merchants + 1) * zones).astype(np.int64)
    return MerchantGroups(start, present % zones, mass[present])


class _Rows(NamedTuple):
    """Key columns of (merchant, day, group) rows."""

    merchant: Ints
    day: Ints
    group: Ints


def _row_keys(groups: MerchantGroups, days: int) -> _Rows:
    sizes = np.diff(groups.start)
    merchant = np.repeat(np.arange(len(sizes)), sizes * days)
    within = np.arange(len(merchant)) - np.repeat(groups.start[:-1] * days, sizes * days)
    size = sizes[merchant]
    return _Rows(merchant, within // size, groups.start[merchant] + within % size)


def write_group_tables(scene: Scene, shelf: Shelf, groups: MerchantGroups, draws: Draws) -> None:
    """`s3_day_effects` and `s4_group_weights` over the horizon's days; some merchants lack the latter."""
    days = [day.date() for day in scene.spec.days()]
    keys = _row_keys(groups, len(days))
    columns = {
        "merchant_id": pa.array(scene.population.merchant[keys.merchant]),
        "utc_day": coded(keys.day, [day.isoformat() for day in days]),
        "tz_group_id": coded(groups.zone[keys.group], scene.geography.tzids),
    }
    policy = scene.policies.document("day_effect_policy_v1")
    model = _day_model(scene, policy, groups, np.array([day.weekday() for day in days], np.int64))
    size = len(keys.merchant)
    rows = DayRows(np.empty(size), np.empty(size), np.empty(size, np.uint64), np.empty(size, np.uint64))
    kernels.day_effects(model, rows)
    stamp = shelf.common(size, "created_utc")
    shelf.table(
        "s3_day_effects",
        {
            **columns,
            "gamma": pa.array(rows.gamma),
            "log_gamma": pa.array(rows.log_gamma),
            "sigma_gamma": pa.array(model.sigma[keys.group]),
            "rng_stream_id": constant(policy["rng_stream_id"], size),
            "rng_counter_lo": pa.array(rows.low),
            "rng_counter_hi": pa.array(rows.high),
            **stamp,
        },
    )
    weights = kernels.group_weights(groups.start, groups.share, rows.gamma, _group_rule(scene))
    table = pa.table(
        {
            **columns,
            "p_group": pa.array(np.ascontiguousarray(weights[:, 0])),
            "base_share": pa.array(np.minimum(groups.share, 1.0)[keys.group]),
            "gamma": pa.array(rows.gamma),
            **stamp,
            "mass_raw": pa.array(np.ascontiguousarray(weights[:, 1])),
            "denom_raw": pa.array(np.ascontiguousarray(weights[:, 2])),
        }
    )
    shelf.table("s4_group_weights", table.filter(pa.array(_kept(scene, keys, len(days), draws))))


def _group_rule(scene: Scene) -> GroupRule:
    rule = scene.policies.document("group_mix_regularizer_v1")
    fewest = rule["apply_when_groups_ge"] if rule["enabled"] else 1 << 62
    strength, cap, floor = (
        float(rule[name]) for name in ("regularization_strength", "max_p_group_soft_cap", "entropy_floor")
    )
    return GroupRule(int(fewest), strength, cap, floor)


def _kept(scene: Scene, keys: _Rows, days: int, draws: Draws) -> npt.NDArray[np.bool_]:
    missing = np.zeros((len(scene.population.merchant), days), np.bool_)
    missing[scene.placement.never] = True
    for m in scene.placement.sometimes.tolist():
        order = draws.order(f"missing days of {scene.population.merchant[m]}", days)
        missing[m, order[:_MISSING_DAYS]] = True
    return ~missing[keys.merchant, keys.day]


def _day_model(scene: Scene, policy: Any, groups: MerchantGroups, weekday: Ints) -> DayModel:
    identity, law = scene.identity, policy["sigma_gamma_policy_v2"]
    low, high = float(law["sigma_min"]), float(law["sigma_max"])
    jitter = law["sigma_jitter_by_merchant"]
    tilt = _zone_multiplier(law["sigma_multiplier_by_tz_group"])
    zone_tilt = np.array([tilt(tzid) for tzid in scene.geography.tzids])
    # Distinct site orders, as upstream counts them: sites of other countries repeat the numbers.
    distinct = np.zeros(len(scene.population.merchant), np.int64)
    np.maximum.at(distinct, scene.placement.pair_merchant, scene.placement.pair_sites)
    sigma = np.empty(len(groups.zone))
    amplitude: list[float] = []
    phase: list[float] = []
    for m, merchant in enumerate(scene.population.merchant.tolist()):
        size = _size_class(int(distinct[m]), *_SEGMENT_SITES)
        basis = (identity.manifest_fingerprint, identity.seed)
        wobble = 2.0 * _hashed_unit(*basis, _JITTER_TAG, merchant) - 1.0
        base = float(law["sigma_base_by_segment"][size]) * (1.0 + float(jitter["amplitude"]) * wobble)
        mine = slice(int(groups.start[m]), int(groups.start[m + 1]))
        sigma[mine] = np.clip(base * zone_tilt[groups.zone[mine]], low, high)
        amplitude.append(float(law["weekly_component_amp_by_segment"][size]))
        phase.append(_hashed_unit(*basis, _PHASE_TAG, merchant))
    clip = np.array([float(law["gamma_clip"]["min"]), float(law["gamma_clip"]["max"])])
    counter = _day_counter(scene, policy)
    return DayModel(groups.start, sigma, np.array(amplitude), np.array(phase), weekday, counter, clip)


def _zone_multiplier(law: Any) -> Callable[[str], float]:
    def multiplier(tzid: str) -> float:
        rules = (rule["multiplier"] for rule in law["prefix_rules"] if tzid.startswith(rule["prefix"]))
        return float(next(rules, law["default"]))

    return multiplier


def _day_counter(scene: Scene, policy: Any) -> npt.NDArray[np.uint64]:
    """Key, high and low counter word of 2B.S3's stream (docs/reference/layouts.md, "Day effects")."""
    identity, derivation = scene.identity, policy["rng_derivation"]
    master = hashlib.sha256(
        _length_prefixed(derivation["domain_master"])
        + bytes.fromhex(identity.manifest_fingerprint)
        + identity.seed.to_bytes(8, "little")
    ).digest()
    names = _length_prefixed(derivation["domain_stream"]) + _length_prefixed(policy["rng_stream_id"])
    digest = hashlib.sha256(master + names).digest()
    key = int.from_bytes(digest[24:], "little")
    # The policy's low64_rule and counter_split_rule; the key and the lower counter word share bytes.
    high, low = int.from_bytes(digest[16:24], "big"), int.from_bytes(digest[24:], "big")
    return np.array([key, high, low], np.uint64)
