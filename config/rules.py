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


def _alias_layout(document: Mapping[str, Any]) -> Iterator[Fault]:
    for part, names in document["required_index_fields"].items():
        # As long as the schema's list of names, so a name is missing if another is repeated.
        if len(set(names)) < len(names):
            yield f"required_index_fields.{part}", "repeats a field"
    mixture = document["profile_mixture_v2"]
    for size, weights in mixture["mixture_weights"].items():
        if sum(weights.values()) != 1:
            yield f"profile_mixture_v2.mixture_weights.{size}", f"sums to {sum(weights.values())}, not 1"
    sizes = mixture["merchant_size_buckets"]
    for below, size in (("small", "mid"), ("mid", "large")):
        least = sizes[below]["max_sites"] + 1
        if sizes[size]["min_sites"] != least:
            yield (
                f"profile_mixture_v2.merchant_size_buckets.{size}.min_sites",
                f"value {sizes[size]['min_sites']} is not {least}, one more than {below}.max_sites",
            )
    if sizes["mid"]["min_sites"] > sizes["mid"]["max_sites"]:
        yield "profile_mixture_v2.merchant_size_buckets.mid.min_sites", "is above max_sites"


# The members that the engine writes: their dataset ids and their paths, which readers of a bundle rely on.
BUNDLE_MEMBERS = {
    "validation_issue_table_5B": "validation_issue_table_5B.parquet",
    "validation_report_5B": "validation_report_5B.json",
    "s0_gate_receipt_5B": "receipts/s0_gate_receipt_5B.json",
    "sealed_inputs_5B": "receipts/sealed_inputs_5B.json",
    "rng_audit_log": "rng/rng_audit_log.jsonl",
    "rng_trace_log": "rng/rng_trace_log.jsonl",
    "segment_state_runs": "reports/segment_state_runs.jsonl",
}


def _bundle_layout(document: Mapping[str, Any]) -> Iterator[Fault]:
    groups = document["evidence_groups"]
    members = [(name, member) for name, group in groups.items() for member in group["members"]]
    seen: set[str] = set()
    for name, member in members:
        where = f"evidence_groups.{name}.members"
        for taken in (member["dataset_id"], member["path"]):
            if taken in seen:
                yield where, f"lists {taken} twice"
        # A dataset and its member may bear one name.
        seen |= {member["dataset_id"], member["path"]}
        path = BUNDLE_MEMBERS.get(member["dataset_id"], member["path"])
        if member["path"] != path:
            yield where, f"puts {member['dataset_id']} at {member['path']}, and its readers expect {path}"
        elif member["path"] in BUNDLE_MEMBERS.values() and member["dataset_id"] not in BUNDLE_MEMBERS:
            yield where, f"puts {member['dataset_id']} in the place of another member, {path}"
    core = {member["dataset_id"] for member in groups["core_validation"]["members"]}
    if core != {"validation_issue_table_5B", "validation_report_5B"}:
        yield "evidence_groups.core_validation.members", "is not the report and the issue table"


# The segments without which arrivals have no ground. More may be required, and 2B is wherever sites are drawn.
_UPSTREAM = {"layer1_required": ("1A", "1B", "2A", "3A", "3B"), "layer2_required": ("5A",)}


def _validation(document: Mapping[str, Any]) -> Iterator[Fault]:
    upstream = document["require_upstream_pass"]
    for key, segments in _UPSTREAM.items():
        if missing := [segment for segment in segments if segment not in upstream[key]]:
            yield f"require_upstream_pass.{key}", f"lacks {', '.join(missing)}, which must have passed"
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
    "bundle_layout_policy_5B": _bundle_layout,
    "validation_policy_5B": _validation,
}
