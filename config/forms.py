"""Policies as release 0.1.0 wrote them into its worlds, restated with today's keys.

That release had names of its own for what upstream's policies say; since then these policies have upstream's. Keys and
values that are not known pass through, so that the schema refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Document = dict[str, Any]

# SHA-256 of the packaged file, and of the file of 0.1.0 that had the same meaning. The identity of an imported world is
# a hash over its policies, and another form must not give other arrivals (docs/reference/layouts.md, "Parameter hash").
SAME_MEANING: Mapping[str, tuple[str, str]] = {
    "alias_layout_policy_v1": (
        "8fe7ff94bea9f045725ff20fce7bd4fab46851d514112866d0d6dcff81f731f8",
        "daf2bbdfd3d0b07003d3e7e5e06c869be082d3a1a54220d48797aa24c6f892b1",
    ),
    "arrival_count_config_5B": (
        "69818b3cdbf3dbf4bc68f31db69dcf891f61d089d06e60b85f57ef9f6f64b44b",
        "c14aabb7b72c71beadfe0ee54b83a4871cf03dfc0621f559da549a6a3514d224",
    ),
    "arrival_lgcp_config_5B": (
        "4461cd6115dc42fc710fdc7fccf228b47f04f44717e665d089a307b5bb2ddc52",
        "2f15405dabce9a5291a6882d5d7a56b50f47b642b9cbe4f5c712504bc8250dbc",
    ),
    "bundle_layout_policy_5B": (
        "f05ee8956d8f5765ac04d31202584e6375ec3251860b48adc8b09410957f00e0",
        "252492a1a29f0bcac9cecdcc7df9360ed44efaedcd6c99bc1e356b384627eeee",
    ),
    "day_effect_policy_v1": (
        "9ee17ce9caea697f7142f82bf7d61b54ba47ea652c1f2bef2ea7145dd5039184",
        "36930f844366e60ac6aeaabf6a4705ea5340637ea8e1c0bead72e0a32b6bf5bb",
    ),
    "group_mix_regularizer_v1": (
        "076b68e17308ec36a1b77ca033ed9060c1361e8a56f84b1b4efdb0f718eab62e",
        "41c6e2b8f5d63021d560c4dbb3cef7b0b9f6238b8bdb25cc3013b22d371af493",
    ),
    "route_rng_policy_v1": (
        "0cfc20fe0aadb9a70b062957d5b9843a1a8a715b53ee2be8aa46a72b304a8dd4",
        "f9df23807299f2a3639861f1fa4c5208c4ba08a27122cf9c3f1a397bdd6465c6",
    ),
}

# The same for a packaged file that says something else, which no arrival depends on: what is demanded of arrivals does
# not give an imported world another identity.
SAME_ARRIVALS: Mapping[str, tuple[str, str]] = {
    "validation_policy_5B": (
        "4ff4889c6f6765f60c0c726931cba1e19fb7496ef3799fe2b933f1d3a7e4d176",
        "d701e03e5e7e7a6fb5018939b8deebf1a8d9d32586606913cbca6ad536c9cab6",
    ),
}


def restated(policy_id: str, document: Document) -> Document:
    """The document with today's keys, if it is one that 0.1.0 wrote; else the document itself."""
    older = _OLDER.get(policy_id)
    if older is None or older.key not in document:
        return document
    try:
        return older.restate(document)
    except (KeyError, TypeError, AttributeError, ValueError):
        # Not what 0.1.0 wrote after all; the schema says what is wrong.
        return document


def _route_rng(document: Document) -> Document:
    return {
        **_versioned(document),
        "streams": {name: _stream(**stream) for name, stream in document["streams"].items()},
    }


def _stream(
    *, rng_stream_id: Any, key_basis: Any, counter: Document, events: Document, draws_per_unit: Document, **more: Any
) -> Document:
    unit = dict(draws_per_unit)
    return {
        **more,
        "rng_stream_id": rng_stream_id,
        "basis": {
            "key_basis": key_basis,
            "counter_start": {"hi": counter["start_hi"], "lo": counter["start_lo"]},
            "counter_step_per_event": counter["step"],
            "counter_wrap_policy": counter["wrap_policy"],
        },
        "event_families": {
            name: {**event, "substream_label": name, "draws": str(event["draws"])} for name, event in events.items()
        },
        "draws_per_unit": {f"draws_per_{unit.pop('unit')}": unit.pop("draws"), **unit},
    }


def _alias_layout(document: Document) -> Document:
    now = _versioned(document)
    now["weight_source"] = {**document["weight_source"], "id": document["weight_source"]["mode"]}
    now["floor_spec"] = {**document["floor_spec"], "fallback": document["fallback"]["mode"]}
    now["required_s1_provenance"] = {"weight_source": True, "quantised_bits": True, "floor_applied": True}
    mixture = dict(document["profile_mixture_v2"])
    if mixture.pop("hash_tag") != "2B.S1.profile_mixture_v2":
        raise ValueError(mixture)
    sizes, alpha = mixture["merchant_size_buckets"], mixture["concentration_alpha_by_bucket"]
    small, mid = sizes["small_sites_max"], sizes["mid_sites_max"]
    mixture["merchant_size_buckets"] = {
        "small": {"min_sites": 1, "max_sites": small},
        "mid": {"min_sites": small + 1, "max_sites": mid},
        "large": {"min_sites": mid + 1},
    }
    mixture["concentration_alpha_by_bucket"] = {
        size: {profile: by_size[size] for profile, by_size in alpha.items()} for size in mixture["mixture_weights"]
    }
    mixture["deterministic_seed_scope"] = "merchant_id"
    return {**now, "profile_mixture_v2": mixture}


def _versioned(document: Document) -> Document:
    now = dict(document)
    label = now.pop("version")
    return {**now, "policy_version": label, "version_tag": label}


# What 0.1.0 listed by path alone.
_MEMBERS = {
    "validation_issue_table_5B.parquet": ("validation_issue_table_5B", "issue_table"),
    "validation_report_5B.json": ("validation_report_5B", "validation_report"),
    "receipts/s0_gate_receipt_5B.json": ("s0_gate_receipt_5B", "gate_receipt"),
    "receipts/sealed_inputs_5B.json": ("sealed_inputs_5B", "sealed_inputs"),
    "rng/rng_audit_log.jsonl": ("rng_audit_log", "rng_audit"),
    "rng/rng_trace_log.jsonl": ("rng_trace_log", "rng_trace"),
    "reports/segment_state_runs.jsonl": ("segment_state_runs", "run_report"),
}
_BUNDLE_KEYS = {
    "root": "bundle_root_template",
    "failed_root": "failed_root_template",
    "index_file": "index_filename",
    "flag_file": "passed_flag_filename",
    "relative_paths_only": "require_relative_paths",
    "forbid_parent_steps": "forbid_parent_segments",
}


def _bundle_layout(document: Document) -> Document:
    def renamed(keys: Document) -> Document:
        return {_BUNDLE_KEYS.get(key, key): value for key, value in keys.items()}

    groups = {name: {**group, "members": _members(group)} for name, group in document["evidence_groups"].items()}
    return {
        **renamed(document),
        "index_schema_ref": "schemas.layer2.yaml#/validation/validation_bundle_index_5B",
        "member_rules": renamed(document["member_rules"]),
        "evidence_groups": groups,
    }


def _members(group: Document) -> list[Document]:
    return [
        {"dataset_id": dataset_id, "role": role, "path": path}
        for path in group["members"]
        for dataset_id, role in [_MEMBERS[path]]
    ]


class _Older(NamedTuple):
    """A key that only 0.1.0's document has, and how to restate it."""

    key: str
    restate: Callable[[Document], Document]


_OLDER = {
    "route_rng_policy_v1": _Older("version", _route_rng),
    "alias_layout_policy_v1": _Older("version", _alias_layout),
    "bundle_layout_policy_5B": _Older("root", _bundle_layout),
}
