"""Version 1 of the four policies that the arrival law contradicts, and what became of each key."""

from __future__ import annotations

from collections.abc import Iterator

from arrival_engine.engine.adopting.counterparts import Rule, either, end, gone, intolerable, law, same

_LAW = "the arrival law 2 replaces version 1's"
_ALWAYS = "always so, and no longer a switch"
_WORD = "each decision has a word of its own"
_STREAM = "one stream per entity, with bucket and draw in the counter"


def _head(policy_id: str) -> Iterator[Rule]:
    yield law("policy_id", policy_id)


_PLACEMENT: tuple[Rule, ...] = (
    *_head("arrival_time_placement_policy_5B"),
    law("placement_kind", "uniform_within_bucket_v1", why=_LAW),
    law("interval_semantics", "[start,end)"),
    law("timestamp_precision", "microsecond"),
    law("draws_per_arrival", 1),
    law("u_mapping/uniform_law", "open_interval_u64", "offset_law/arithmetic", "integers instead of a float in (0, 1)"),
    law("u_mapping/u_from_u64", "(x+0.5)/2^64", "offset_law/formula", "the exact value of the same map"),
    law("offset_quantisation/unit", "microsecond", "offset_law/unit"),
    law("offset_quantisation/law", "floor(u * D_seconds * 1_000_000)", "offset_law/formula", "the same, exactly"),
    gone("offset_quantisation/clamp_end_exclusive", True, "the formula never reaches the end of the bucket"),
    law("ordering/sort_by", ["timestamp_utc", "arrival_seq"], why="the sequence numbers follow from the order"),
    gone("ordering/stable", True, "the order is total: the draw breaks ties"),
    same("guardrails/max_arrivals_per_bucket"),
    same("guardrails/max_bucket_duration_seconds"),
)

_FALLS_BACK = "version 1 states this and falls back all the same; `arrivals run --strict` or the value `fail` stops"

_ROUTING: tuple[Rule, ...] = (
    *_head("arrival_routing_policy_5B"),
    law("virtual_mode_source", "virtual_classification_3B"),
    same("hybrid_policy/p_virtual_hybrid"),
    law("hybrid_policy/coin_source", "arrival_site_pick.first_uniform", why=_WORD),
    gone("physical_router/zone_representation", "tzid", _ALWAYS),
    gone("physical_router/router_key_fields", ["merchant_id", "tzid", "bucket_index"], _STREAM),
    same("physical_router/use_group_weights"),
    law("physical_router/rng_source", "arrival_site_pick", "physical_router/group_source", _WORD),
    gone("physical_router/draws_required_u64", 2, "one word for the zone, one for the site"),
    gone("virtual_router/edge_key_fields", ["merchant_id", "bucket_index"], _STREAM),
    law("virtual_router/rng_source", "arrival_edge_pick", "virtual_router/edge_source", _WORD),
    gone("virtual_router/draws_required_u64", 1, "one word for the edge, and one for the coin of a HYBRID merchant"),
    gone("virtual_router/require_virtual_routing_policy_3B", True, _ALWAYS),
    gone("fail_closed_rules/require_2B_pass", True, _ALWAYS),
    gone("fail_closed_rules/require_3B_pass_for_virtual", True, _ALWAYS),
    either("fail_closed_rules/require_site_alias_tables_for_physical", "fallbacks/no_site_in_zone", _FALLS_BACK),
    either("fail_closed_rules/require_edge_alias_tables_for_virtual", "fallbacks/missing_edge_table", _FALLS_BACK),
    either("fail_closed_rules/forbid_missing_router_rows", "fallbacks/missing_group_table", _FALLS_BACK),
    law(
        "fail_closed_rules/require_site_pick_event_for_hybrid_coin",
        True,
        "hybrid_policy/coin_source",
        "the coin is a word of the edge family",
    ),
    same("realism_floors/hybrid_p_virtual_bounds"),
    gone("realism_floors/require_existing_rng_coin", True, "the coin has a word of its own"),
    gone("realism_floors/require_pass_gates", True, _ALWAYS),
)


def _upstream_family(name: str, state: str, label: str, domain: str) -> Iterator[Rule]:
    """A family of S2 or S3, which version 2 keeps."""
    yield gone(f"families/{name}/family_id", name, "the name is the key")
    for key, value in (("module", f"5B.{state}"), ("substream_label", label), ("domain_key_law", domain)):
        yield law(f"families/{name}/{key}", value)


def _arrival_family(label: str, draws: int) -> Iterator[Rule]:
    """A family of S4, which version 2 replaces."""
    old, new = f"families/S4.{label}.v1", f"families/S4.{label}.v2"
    yield law(f"{old}/family_id", f"S4.{label}.v1", f"{new}/law", "a new family for the new law")
    yield law(f"{old}/module", "5B.S4", f"{new}/module")
    yield law(f"{old}/substream_label", label, f"{new}/substream_label")
    yield law(f"{old}/domain_key_law", "merchant_zone_bucket", f"{new}/domain_key_law", _STREAM)
    for key, value in (("kind", "fixed"), ("draws_u64", draws)):
        yield gone(
            f"{old}/draws_u64_law/{key}", value, "one block of two words per draw; `words` says what they decide"
        )


_S2, _S3 = "families/S2.latent_vector.v1", "families/S3.bucket_count.v1"
_INPUTS = ["manifest_fingerprint", "parameter_hash", "seed", "scenario_id", "family_id", "domain_key"]

_RNG: tuple[Rule, ...] = (
    *_head("arrival_rng_policy_5B"),
    law("rng_engine", "philox2x64-10"),
    law("block_outputs_u64", 2),
    law("uniform_law", "open_interval_u64", "laws/v1/uniform_law"),
    law("counter_width_bits", 128),
    law("wrap_policy", "abort_on_wrap", "laws/v1/counter_law/wrap_policy"),
    law("encoding/string_encoding", "UTF-8"),
    law("encoding/uer", "u32be_len_prefix"),
    law("encoding/seed_encoding", "LE64"),
    law("encoding/hash", "SHA256"),
    law("encoding/key_bytes", [0, 8]),
    law("encoding/counter_hi_bytes", [8, 16], "laws/v1/counter_hi_bytes"),
    law("encoding/counter_lo_bytes", [16, 24], "laws/v1/counter_lo_bytes"),
    *_upstream_family("S2.latent_vector.v1", "S2", "latent_vector", "group_id"),
    law(f"{_S2}/draws_u64_law/kind", "box_muller_u2_vector"),
    law(f"{_S2}/draws_u64_law/uniforms_per_standard_normal", 2, f"{_S2}/draws_u64_law/uniforms_per_normal"),
    law(f"{_S2}/draws_u64_law/latent_dims", "horizon_buckets_H"),
    *_upstream_family("S3.bucket_count.v1", "S3", "bucket_count", "merchant_zone_bucket"),
    law(f"{_S3}/draws_u64_law/kind", "by_count_law"),
    law(f"{_S3}/draws_u64_law/when_lambda_zero", 0, f"{_S3}/draws_u64_law/zero"),
    law(f"{_S3}/draws_u64_law/laws/poisson", 1, f"{_S3}/draws_u64_law/poisson"),
    law(f"{_S3}/draws_u64_law/laws/nb2", 2, f"{_S3}/draws_u64_law/nb2"),
    *_arrival_family("arrival_time_jitter", 1),
    *_arrival_family("arrival_site_pick", 2),
    *_arrival_family("arrival_edge_pick", 1),
    law("derivation/domain_sep", "5B.rng.v1", "laws/v1/domain_sep"),
    law("derivation/required_inputs", _INPUTS),
    law("derivation/forbid_inputs", ["run_id"]),
)


def _demands(block: str, *keys: str) -> Iterator[Rule]:
    """Checks that version 2 always makes."""
    for key in keys:
        yield law(f"{block}/{key}", True)


def _demanded_by(block: str, *keys: str) -> Iterator[Rule]:
    """Checks that version 2 always makes, where `severity` decides what a breach does."""
    for key in keys:
        yield law(f"{block}/{key}", True, f"{block}/severity", "always checked; `severity` says what a breach does")


def _sentinels(level: str) -> Iterator[Rule]:
    old, new = "calibration_sentinels", f"calibration_sentinels/{level}"
    for name in ("top10_tz_share_max", "weekend_share_delta_pp_max"):
        yield same(f"{old}/{name}_{level}", f"{new}/{name}")
    for name, bounds in (("virtual_share", "virtual_share"), ("residual_std", "residual_sd")):
        for place, which in enumerate(("min", "max")):
            yield end(f"{old}/{name}_{which}_{level}", f"{new}/{bounds}", place)


_S3_EVENTS = "events of S3 are not read here"
_GRID, _INTENSITY, _COUNTS, _ARRIVALS = (
    f"structural_checks/{name}"
    for name in ("s1_time_grid", "s2_realised_intensity", "s3_bucket_counts", "s4_arrival_events")
)
_STREAMS, _BUDGETS, _TRACE = (f"rng_accounting_checks/{name}" for name in ("streams", "budgets", "trace"))
_LGCP, _COUNT, _TIME, _ROUTED = (f"realism_checks/{name}_realism" for name in ("lgcp", "count", "time", "routing"))
_EXACT_CLOCKS = "every clock is exact, so that one wrong clock fails the run"
_OWN_COUNTERS = "each count row has counters of its own, which do not follow one another"

_VALIDATION: tuple[Rule, ...] = (
    *_head("validation_policy_5B"),
    same("require_upstream_pass/layer1_required"),
    same("require_upstream_pass/layer2_required"),
    same("require_upstream_pass/optional"),
    *_demands(_GRID, "require_bucket_index_contiguous", "require_half_open_intervals"),
    law(f"{_GRID}/require_duration_seconds_matches_policy", True, f"{_GRID}/require_duration_matches_bounds"),
    same(f"{_GRID}/max_buckets_per_scenario"),
    *_demands(_INTENSITY, "require_nonnegative_lambda", "require_finite_lambda"),
    *_demands(_INTENSITY, "require_lambda_zero_implies_count_zero"),
    same(f"{_INTENSITY}/max_lambda_realised"),
    *_demands(_COUNTS, "require_integer_counts", "require_counts_nonnegative"),
    same(f"{_COUNTS}/max_count_per_bucket"),
    gone(f"{_COUNTS}/require_no_rng_event_when_lambda_zero", True, _S3_EVENTS),
    *_demands(_ARRIVALS, "require_event_time_in_bucket", "require_time_half_open", "require_sorted_within_bucket"),
    *_demands(_ARRIVALS, "require_exactly_N_events_per_bucket", "require_routing_keys_present"),
    law(
        f"{_STREAMS}/require_monotonic_counters",
        True,
        f"{_STREAMS}/require_after_minus_before_equals_blocks",
    ),
    gone(f"{_STREAMS}/require_next_before_equals_prev_after", True, _OWN_COUNTERS),
    law(f"{_STREAMS}/forbid_counter_overlap", True, f"{_STREAMS}/require_no_overlap"),
    gone(f"{_STREAMS}/abort_on_wrap", True, "the counter of a draw cannot wrap"),
    gone(
        f"{_BUDGETS}/s2_latent_vector/require_one_event_per_group_when_enabled", True, "events of S2 are not read here"
    ),
    gone(f"{_BUDGETS}/s2_latent_vector/draws_u64_expected", "2H", "events of S2 are not read here"),
    gone(f"{_BUDGETS}/s3_bucket_count/poisson_draws_u64", 1, _S3_EVENTS),
    gone(f"{_BUDGETS}/s3_bucket_count/nb2_draws_u64", 2, _S3_EVENTS),
    gone(f"{_BUDGETS}/s3_bucket_count/require_no_event_when_deterministic_zero", True, _S3_EVENTS),
    law(f"{_BUDGETS}/s4_time_jitter_draws_u64", 1, f"{_BUDGETS}/s4_time"),
    law(f"{_BUDGETS}/s4_site_pick_draws_u64", 2, f"{_BUDGETS}/s4_site_physical"),
    law(f"{_BUDGETS}/s4_edge_pick_draws_u64", 1, f"{_BUDGETS}/s4_edge_virtual"),
    law(f"{_TRACE}/require_trace_row_per_rng_event", True, f"{_TRACE}/require_totals_match_events"),
    gone(f"{_TRACE}/require_append_after_each_event", True, "the trace is written once, with the events"),
    *_demanded_by(_LGCP, "require_mean_factor_near_one", "require_factor_bounds_respected"),
    same(f"{_LGCP}/mean_factor_abs_tol", f"{_LGCP}/mean_factor_abs_tolerance"),
    end(f"{_LGCP}/min_factor", f"{_LGCP}/factor_bounds", 0),
    end(f"{_LGCP}/max_factor", f"{_LGCP}/factor_bounds", 1),
    *_demanded_by(_COUNT, "require_nontrivial_nonzero_fraction", "require_heavy_tail"),
    same(f"{_COUNT}/min_nonzero_bucket_fraction", f"{_COUNT}/nonzero_fraction_min"),
    same(f"{_COUNT}/p99_p50_ratio_min"),
    *_demands(_TIME, "require_not_all_at_bucket_start"),
    same(f"{_TIME}/min_distinct_offsets_per_1000_events"),
    *_demands(_ROUTED, "require_2B_pass_if_physical_present", "require_physical_and_virtual_coverage_when_present"),
    *_demands(_ROUTED, "require_no_missing_alias_rows"),
    *_demanded_by(_ROUTED, "require_country_mix_close_if_virtual"),
    same(f"{_ROUTED}/ip_country_max_abs_dev"),
    intolerable("civil_time_gates/max_civil_mismatch_rate", _EXACT_CLOCKS),
    intolerable("civil_time_gates/max_one_hour_shift_rate", _EXACT_CLOCKS),
    *(
        same(f"civil_time_gates/{name}")
        for name in (
            "dst_window_hour_bin_mae_pp_max",
            "dst_window_min_support",
            "dst_window_min_exposed_windows",
            "dst_window_min_total_support",
        )
    ),
    same("calibration_sentinels/evaluation_mode"),
    same("calibration_sentinels/min_sample_rows"),
    *_sentinels("b"),
    *_sentinels("bplus"),
    law("failure_policy/mode", "fail_closed"),
    same("failure_policy/max_warnings"),
)

RULES: dict[str, tuple[Rule, ...]] = {
    "arrival_time_placement_policy_5B": _PLACEMENT,
    "arrival_routing_policy_5B": _ROUTING,
    "arrival_rng_policy_5B": _RNG,
    "validation_policy_5B": _VALIDATION,
}
