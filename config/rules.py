"""Rules over several keys of one policy, which its JSON Schema cannot state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Fault = tuple[str, str]
"""Key path (`a.b.c`) and what is wrong there."""


def first_fault(policy_id: str, document: Mapping[str, Any]) -> Fault | None:
    """The first broken rule of a schema-valid policy, or None."""
    rule = _RULES.get(policy_id)
    return next(rule(document), None) if rule else None


def _routing(document: Mapping[str, Any]) -> Iterator[Fault]:
    bounds = document["realism_floors"]["hybrid_p_virtual_bounds"]
    yield from _ascending("realism_floors.hybrid_p_virtual_bounds", bounds)
    share = document["hybrid_policy"]["p_virtual_hybrid"]
    if not bounds[0] <= share <= bounds[1]:
        yield (
            "hybrid_policy.p_virtual_hybrid",
            f"value {share} is outside realism_floors.hybrid_p_virtual_bounds [{bounds[0]}, {bounds[1]}]",
        )


def _time_grid(document: Mapping[str, Any]) -> Iterator[Fault]:
    guards = document["guardrails"]
    if guards["min_horizon_days"] > guards["max_horizon_days"]:
        yield "guardrails.min_horizon_days", "is above max_horizon_days"


def _lgcp(document: Mapping[str, Any]) -> Iterator[Fault]:
    sigma, scale = (document["hyperparam_law"][name] for name in ("sigma", "length_scale_buckets"))
    kernel = document["kernel"]["length_scale_buckets_bounds"]
    yield from _ascending("kernel.length_scale_buckets_bounds", kernel)
    yield from _ascending("hyperparam_law.sigma.sigma_bounds", sigma["sigma_bounds"])
    where = "hyperparam_law.length_scale_buckets"
    yield from _ascending(f"{where}.length_scale_bounds", scale["length_scale_bounds"])
    sigma_classes, scale_classes = sigma["class_multipliers"], scale["class_multipliers"]
    if sigma_classes.keys() != scale_classes.keys():
        odd = sorted(sigma_classes.keys() ^ scale_classes.keys())
        yield f"{where}.class_multipliers", f"differs from sigma's classes by {odd}"
    floor = document["realism_floors"]["require_sigma_distinct_values_min"]
    if len(set(sigma_classes.values())) < floor:
        yield "hyperparam_law.sigma.class_multipliers", f"has fewer than {floor} distinct values"
    if document["clipping"]["min_factor"] >= document["clipping"]["max_factor"]:
        yield "clipping.min_factor", "is not below max_factor"


def _count(document: Mapping[str, Any]) -> Iterator[Fault]:
    law, floors = document["nb2"]["kappa_law"], document["realism_floors"]
    yield from _ascending("nb2.kappa_law.kappa_bounds", law["kappa_bounds"])
    least, most = floors["max_count_per_bucket_min"], floors["lambda_zero_eps_max"]
    if document["max_count_per_bucket"] < least:
        yield "max_count_per_bucket", f"is below realism_floors.max_count_per_bucket_min {least}"
    if document["lambda_zero_eps"] > most:
        yield "lambda_zero_eps", f"is above realism_floors.lambda_zero_eps_max {most}"
    floor = floors["require_kappa_distinct_values_min"]
    if len(set(law["class_multipliers"].values())) < floor:
        yield "nb2.kappa_law.class_multipliers", f"has fewer than {floor} distinct values"


def _day_effect(document: Mapping[str, Any]) -> Iterator[Fault]:
    days, sigma = document["day_range"], document["sigma_gamma_policy_v2"]
    if days["start_day"] > days["end_day"]:
        yield "day_range.start_day", f"{days['start_day']} is after end_day {days['end_day']}"
    if sigma["sigma_min"] > sigma["sigma_max"]:
        yield "sigma_gamma_policy_v2.sigma_min", "is above sigma_max"
    if sigma["gamma_clip"]["min"] > sigma["gamma_clip"]["max"]:
        yield "sigma_gamma_policy_v2.gamma_clip.min", "is above max"
    segments = sigma["merchant_segments"]
    if segments["small_sites_max"] >= segments["mid_sites_max"]:
        yield "sigma_gamma_policy_v2.merchant_segments.small_sites_max", "is not below mid_sites_max"


def _alias_layout(document: Mapping[str, Any]) -> Iterator[Fault]:
    mixture = document["profile_mixture_v2"]
    for size, weights in mixture["mixture_weights"].items():
        if sum(weights.values()) != 1:
            yield f"profile_mixture_v2.mixture_weights.{size}", f"sums to {sum(weights.values())}, not 1"
    sizes = mixture["merchant_size_buckets"]
    if sizes["small_sites_max"] >= sizes["mid_sites_max"]:
        yield "profile_mixture_v2.merchant_size_buckets.small_sites_max", "is not below mid_sites_max"


def _validation(document: Mapping[str, Any]) -> Iterator[Fault]:
    upstream = document["require_upstream_pass"]
    demanded = [*upstream["layer1_required"], *upstream["layer2_required"]]
    for segment in upstream["optional"]:
        if segment in demanded:
            yield "require_upstream_pass.optional", f"lists {segment}, which is also required"
    factor = document["realism_checks"]["lgcp_realism"]["factor_bounds"]
    yield from _ascending("realism_checks.lgcp_realism.factor_bounds", factor)
    for level in ("b", "bplus"):
        sentinels = document["calibration_sentinels"][level]
        for name in ("virtual_share", "residual_sd"):
            yield from _ascending(f"calibration_sentinels.{level}.{name}", sentinels[name])


def _ascending(key: str, bounds: list[Any]) -> Iterator[Fault]:
    if bounds[0] > bounds[1]:
        yield key, f"[{bounds[0]}, {bounds[1]}] is not ascending"


_RULES: dict[str, Callable[[Mapping[str, Any]], Iterator[Fault]]] = {
    "arrival_routing_policy_5B": _routing,
    "time_grid_policy_5B": _time_grid,
    "arrival_lgcp_config_5B": _lgcp,
    "arrival_count_config_5B": _count,
    "day_effect_policy_v1": _day_effect,
    "alias_layout_policy_v1": _alias_layout,
    "validation_policy_5B": _validation,
}
