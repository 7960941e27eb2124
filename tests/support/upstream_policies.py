"""Policies as the reference pipeline has them: its keys and laws, as facts of its contract, with values of our own."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arrival_engine.config import packaged_bytes
from arrival_engine.config.strict import parse_json, parse_yaml
from arrival_engine.contracts import dataset

# Those that do not contradict the engine, and are read as they are.
ACCEPTED = (
    "route_rng_policy_v1",
    "alias_layout_policy_v1",
    "day_effect_policy_v1",
    "group_mix_regularizer_v1",
    "time_grid_policy_5B",
    "grouping_policy_5B",
    "arrival_lgcp_config_5B",
    "arrival_count_config_5B",
    "bundle_layout_policy_5B",
)

PLACEMENT: dict[str, Any] = {
    "policy_id": "arrival_time_placement_policy_5B",
    "version": "v1.0.1",
    "placement_kind": "uniform_within_bucket_v1",
    "interval_semantics": "[start,end)",
    "timestamp_precision": "microsecond",
    "draws_per_arrival": 1,
    "u_mapping": {"uniform_law": "open_interval_u64", "u_from_u64": "(x+0.5)/2^64"},
    "offset_quantisation": {
        "unit": "microsecond",
        "law": "floor(u * D_seconds * 1_000_000)",
        "clamp_end_exclusive": True,
    },
    "ordering": {"sort_by": ["timestamp_utc", "arrival_seq"], "stable": True},
    "guardrails": {"max_arrivals_per_bucket": 40000, "max_bucket_duration_seconds": 7200},
}

ROUTING: dict[str, Any] = {
    "policy_id": "arrival_routing_policy_5B",
    "version": "v1.0.0",
    "virtual_mode_source": "virtual_classification_3B",
    "hybrid_policy": {"p_virtual_hybrid": 0.4, "coin_source": "arrival_site_pick.first_uniform"},
    "physical_router": {
        "zone_representation": "tzid",
        "router_key_fields": ["merchant_id", "tzid", "bucket_index"],
        "use_group_weights": True,
        "rng_source": "arrival_site_pick",
        "draws_required_u64": 2,
    },
    "virtual_router": {
        "edge_key_fields": ["merchant_id", "bucket_index"],
        "rng_source": "arrival_edge_pick",
        "draws_required_u64": 1,
        "require_virtual_routing_policy_3B": True,
    },
    "fail_closed_rules": {
        "require_2B_pass": True,
        "require_3B_pass_for_virtual": True,
        "require_site_alias_tables_for_physical": True,
        "require_edge_alias_tables_for_virtual": True,
        "forbid_missing_router_rows": True,
        "require_site_pick_event_for_hybrid_coin": True,
    },
    "realism_floors": {
        "hybrid_p_virtual_bounds": [0.1, 0.7],
        "require_existing_rng_coin": True,
        "require_pass_gates": True,
    },
}


def _family(family_id: str, state: str, label: str, domain: str, law: dict[str, Any]) -> dict[str, Any]:
    return {
        "family_id": family_id,
        "module": f"5B.{state}",
        "substream_label": label,
        "domain_key_law": domain,
        "draws_u64_law": law,
    }


RNG: dict[str, Any] = {
    "policy_id": "arrival_rng_policy_5B",
    "version": "v1.1.0",
    "rng_engine": "philox2x64-10",
    "block_outputs_u64": 2,
    "uniform_law": "open_interval_u64",
    "counter_width_bits": 128,
    "wrap_policy": "abort_on_wrap",
    "encoding": {
        "string_encoding": "UTF-8",
        "uer": "u32be_len_prefix",
        "seed_encoding": "LE64",
        "hash": "SHA256",
        "key_bytes": [0, 8],
        "counter_hi_bytes": [8, 16],
        "counter_lo_bytes": [16, 24],
    },
    "families": [
        _family(
            "S2.latent_vector.v1",
            "S2",
            "latent_vector",
            "group_id",
            {
                "kind": "box_muller_u2_vector",
                "uniforms_per_standard_normal": 2,
                "latent_dims": "horizon_buckets_H",
            },
        ),
        _family(
            "S3.bucket_count.v1",
            "S3",
            "bucket_count",
            "merchant_zone_bucket",
            {"kind": "by_count_law", "when_lambda_zero": 0, "laws": {"poisson": 1, "nb2": 2}},
        ),
        *(
            _family(f"S4.{label}.v1", "S4", label, "merchant_zone_bucket", {"kind": "fixed", "draws_u64": draws})
            for label, draws in (("arrival_time_jitter", 1), ("arrival_site_pick", 2), ("arrival_edge_pick", 1))
        ),
    ],
    "derivation": {
        "domain_sep": "5B.rng.v1",
        "required_inputs": ["manifest_fingerprint", "parameter_hash", "seed", "scenario_id", "family_id", "domain_key"],
        "forbid_inputs": ["run_id"],
    },
}

VALIDATION: dict[str, Any] = {
    "policy_id": "validation_policy_5B",
    "version": "v1.0.1",
    "require_upstream_pass": {
        "layer1_required": ["1A", "1B", "2A", "3A", "3B"],
        "layer2_required": ["5A"],
        "optional": ["2B"],
    },
    "structural_checks": {
        "s1_time_grid": {
            "require_bucket_index_contiguous": True,
            "require_half_open_intervals": True,
            "require_duration_seconds_matches_policy": True,
            "max_buckets_per_scenario": 4000,
        },
        "s2_realised_intensity": {
            "require_nonnegative_lambda": True,
            "require_finite_lambda": True,
            "require_lambda_zero_implies_count_zero": True,
            "max_lambda_realised": 150000.5,
        },
        "s3_bucket_counts": {
            "require_integer_counts": True,
            "require_counts_nonnegative": True,
            "max_count_per_bucket": 40000,
            "require_no_rng_event_when_lambda_zero": True,
        },
        "s4_arrival_events": {
            "require_event_time_in_bucket": True,
            "require_time_half_open": True,
            "require_sorted_within_bucket": True,
            "require_exactly_N_events_per_bucket": True,
            "require_routing_keys_present": True,
        },
    },
    "rng_accounting_checks": {
        "streams": {
            "require_monotonic_counters": True,
            "require_next_before_equals_prev_after": True,
            "forbid_counter_overlap": True,
            "abort_on_wrap": True,
        },
        "budgets": {
            "s2_latent_vector": {"require_one_event_per_group_when_enabled": True, "draws_u64_expected": "2H"},
            "s3_bucket_count": {
                "poisson_draws_u64": 1,
                "nb2_draws_u64": 2,
                "require_no_event_when_deterministic_zero": True,
            },
            "s4_time_jitter_draws_u64": 1,
            "s4_site_pick_draws_u64": 2,
            "s4_edge_pick_draws_u64": 1,
        },
        "trace": {"require_trace_row_per_rng_event": True, "require_append_after_each_event": True},
    },
    "realism_checks": {
        "lgcp_realism": {
            "require_mean_factor_near_one": True,
            "mean_factor_abs_tol": 0.06,
            "require_factor_bounds_respected": True,
            "min_factor": 0.15,
            "max_factor": 6.0,
        },
        "count_realism": {
            "require_nontrivial_nonzero_fraction": True,
            "min_nonzero_bucket_fraction": 0.02,
            "require_heavy_tail": True,
            "p99_p50_ratio_min": 3.5,
        },
        "time_realism": {"require_not_all_at_bucket_start": True, "min_distinct_offsets_per_1000_events": 60},
        "routing_realism": {
            "require_2B_pass_if_physical_present": True,
            "require_physical_and_virtual_coverage_when_present": True,
            "require_no_missing_alias_rows": True,
            "require_country_mix_close_if_virtual": True,
            "ip_country_max_abs_dev": 0.06,
        },
    },
    "civil_time_gates": {
        "max_civil_mismatch_rate": 0.004,
        "max_one_hour_shift_rate": 0.002,
        "dst_window_hour_bin_mae_pp_max": 1.25,
        "dst_window_min_support": 40,
        "dst_window_min_exposed_windows": 4,
        "dst_window_min_total_support": 1500,
    },
    "calibration_sentinels": {
        "evaluation_mode": "warn_only",
        "min_sample_rows": 20000,
        "top10_tz_share_max_b": 0.75,
        "top10_tz_share_max_bplus": 0.65,
        "virtual_share_min_b": 0.02,
        "virtual_share_max_b": 0.09,
        "virtual_share_min_bplus": 0.04,
        "virtual_share_max_bplus": 0.11,
        "weekend_share_delta_pp_max_b": 0.25,
        "weekend_share_delta_pp_max_bplus": 0.15,
        "residual_std_min_b": 1.1,
        "residual_std_max_b": 1.7,
        "residual_std_min_bplus": 1.2,
        "residual_std_max_bplus": 1.55,
    },
    "failure_policy": {"mode": "fail_closed", "max_warnings": 5},
}

VERSION_1 = {document["policy_id"]: document for document in (RNG, ROUTING, PLACEMENT, VALIDATION)}


def _bundle_layout() -> dict[str, Any]:
    """Upstream's groups name roles of their own, and members that only its own S5 could write."""

    def members(*rows: tuple[str, str, str]) -> list[dict[str, str]]:
        return [{"dataset_id": name, "role": role, "path": path} for name, role, path in rows]

    labels = ("lgcp_gaussian", "time_jitter", "site_pick", "edge_pick")
    events = [(f"rng_event_arrival_{label}", "rng_event", f"rng/rng_event_arrival_{label}.parquet") for label in labels]
    reports = [(f"s{n}_run_report_5B", "run_report", f"reports/s{n}_run_report_5B.json") for n in range(1, 6)]
    groups = {
        "core_validation": members(
            ("validation_report_5B", "report", "validation_report_5B.json"),
            ("validation_issue_table_5B", "issues", "validation_issue_table_5B.parquet"),
        ),
        "gate_receipts": members(
            ("s0_gate_receipt_5B", "receipt", "receipts/s0_gate_receipt_5B.json"),
            ("sealed_inputs_5B", "receipt", "receipts/sealed_inputs_5B.json"),
        ),
        "rng_evidence": members(
            ("rng_audit_log", "rng_audit", "rng/rng_audit_log.jsonl"),
            ("rng_trace_log", "rng_trace", "rng/rng_trace_log.jsonl"),
            *events,
        ),
        "run_reports": members(*reports),
    }
    return {
        "policy_id": "bundle_layout_policy_5B",
        "version": "v1.0.0",
        "layout_version": "v1",
        "bundle_root_template": "data/layer2/5B/validation/manifest_fingerprint={manifest_fingerprint}/",
        "index_filename": "index.json",
        "passed_flag_filename": "_passed.flag",
        "index_schema_ref": "schemas.layer2.yaml#/validation/validation_bundle_index_5B",
        "index_ordering": "path_ascii_lex",
        "evidence_groups": {
            name: {"required": name == "core_validation", "members": rows} for name, rows in groups.items()
        },
        "member_rules": {"require_relative_paths": True, "forbid_parent_segments": True, "role_field": "role"},
        "notes": "The default layout.",
    }


def _packaged(policy_id: str) -> dict[str, Any]:
    parse = parse_json if dataset(policy_id).format == "json" else parse_yaml
    document: dict[str, Any] = json.loads(json.dumps(parse(packaged_bytes(policy_id)), default=float))
    return document


def upstream_documents() -> dict[str, dict[str, Any]]:
    """A fresh copy of every policy of the reference pipeline, by id."""
    # The packaged files have upstream's keys; what upstream's have besides is added, and other values are put in.
    documents = {policy_id: _packaged(policy_id) for policy_id in ACCEPTED}
    documents["bundle_layout_policy_5B"] = _bundle_layout()
    documents["alias_layout_policy_v1"]["notes"] = "Weights are drawn per merchant."
    documents["alias_layout_policy_v1"]["required_index_fields"]["header"].reverse()
    documents["group_mix_regularizer_v1"] |= {"sha256_hex": "6" * 64, "notes": "Blends towards equal weights."}
    documents["arrival_count_config_5B"]["max_count_per_bucket"] = 40000
    documents["grouping_policy_5B"]["realism_targets"]["min_group_members_median"] = 2
    return {**documents, **copy.deepcopy(VERSION_1)}


def write_upstream(root: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Path]:
    """Write the pipeline's policies below `root`, with top-level `changes` by policy; their paths by id."""
    paths = {}
    for policy_id, document in upstream_documents().items():
        path = dataset(policy_id).locate(root, {})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**document, **(changes or {}).get(policy_id, {})}, indent=1), encoding="utf-8")
        paths[policy_id] = path
    return paths
