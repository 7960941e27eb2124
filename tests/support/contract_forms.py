"""The contract's forms of rows and documents, as facts: which fields there must be, of which kind, and which may be.

A form is one text: `name:kind` per field, `?` before an optional one, `...` where others are allowed. Null stands for
an absent optional field, because a column has a value in every row. `kind?` takes null as a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_PATTERNS = {
    "hex64": r"[a-f0-9]{64}",
    "hex32": r"[a-f0-9]{32}",
    "iso2": r"[A-Z]{2}",
    "tzid": r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*",
    "micros": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    "wall": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}",
    "decimal": r"0|[1-9]\d{0,38}",
    "text": r"[\s\S]*",
}
_OPEN, _OPTIONAL, _NULL = "...", "?", "?"


def _integer(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


_KINDS = {
    "id64": lambda value: _integer(value, 1, 2**64 - 1),
    "u64": lambda value: _integer(value, 0, 2**64 - 1),
    "count": lambda value: _integer(value, 0, 2**63 - 1),
    "index": lambda value: _integer(value, 1, 2**63 - 1),
    "weekday": lambda value: _integer(value, 1, 7),
    "minute": lambda value: _integer(value, 0, 1439),
    "amount": lambda value: type(value) in (int, float) and value >= 0,
    "flag": lambda value: type(value) is bool,
    "object": lambda value: type(value) is dict,
    "list": lambda value: type(value) is list,
    "texts": lambda value: type(value) is list and all(type(item) is str for item in value),
}


def _is(value: Any, kind: str) -> bool:
    if kind.endswith(_NULL) and value is None:
        return True
    kind = kind.removesuffix(_NULL)
    if kind in _KINDS:
        return bool(_KINDS[kind](value))
    if kind in _PATTERNS:
        return type(value) is str and re.fullmatch(_PATTERNS[kind], value, re.ASCII) is not None
    # Else the kind lists its values.
    return type(value) is str and value in kind.split("|")


def faults(form: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the rows, each fault once."""
    return list(dict.fromkeys(fault for row in rows for fault in _row_faults(form.split(), row)))


def _row_faults(form: list[str], row: Mapping[str, Any]) -> Iterator[str]:
    known = set()
    for field in form:
        if field == _OPEN:
            continue
        name, _, kind = field.lstrip(_OPTIONAL).partition(":")
        known.add(name)
        value = row.get(name)
        if field.startswith(_OPTIONAL) and value is None:
            continue
        if name not in row:
            yield f"{name} is missing"
        elif not _is(value, kind):
            yield f"{name} is no {kind}: {value!r}"
    if _OPEN not in form:
        yield from (f"{name} is not known" for name in row.keys() - known)


_SEVERITIES = "ERROR|WARN|INFO"
_WORLD = "manifest_fingerprint:hex64 parameter_hash:hex64"
_CELL = "merchant_id:id64 legal_country_iso:iso2 tzid:tzid"

# --- Worlds

BUNDLE_LISTED = "artifact_id:text kind:text path:text mime:text? notes:text?"
BUNDLE_FILE = "path:text sha256_hex:hex64"
BUNDLE_MEMBER = "logical_id:text path:text schema_ref:text sha256_hex:hex64 role:text ?size_bytes:count ?notes:text"
BUNDLE_INDEX = {
    "2A": "files:list",
    "3A": f"{_WORLD} s6_receipt_digest:hex64 members:list ?metadata:object",
    "3B": f"{_WORLD} s5_manifest_digest:hex64 members:list ?metadata:object",
    "5A": "manifest_fingerprint:hex64 segment_id:5A s5_spec_version:text generated_utc:micros entries:list "
    "?overall_status:PASS|FAIL|WARN ?summary:object ...",
}
BUNDLE_ENTRY = {
    "1A": BUNDLE_LISTED,
    "1B": BUNDLE_LISTED,
    "2A": BUNDLE_FILE,
    "2B": BUNDLE_FILE,
    "3A": BUNDLE_MEMBER,
    "3B": BUNDLE_MEMBER,
    "5A": BUNDLE_FILE,
}
WORLD_TABLES = {
    "scenario_manifest_5A": "manifest_fingerprint:hex64 scenario_id:text scenario_version:text "
    "horizon_start_utc:micros horizon_end_utc:micros is_baseline:flag is_stress:flag ?labels:texts "
    "?scenario_config_ids:texts",
    "merchant_zone_profile_5A": f"{_WORLD} {_CELL} demand_class:text ?weekly_volume_expected:amount "
    "?weekly_volume_unit:text ?class_source:text ...",
    "shape_grid_definition_5A": "parameter_hash:hex64 scenario_id:text bucket_index:count local_day_of_week:weekday "
    "local_minutes_since_midnight:minute bucket_duration_minutes:index ?time_grid_version:text ...",
    "class_zone_shape_5A": "parameter_hash:hex64 scenario_id:text demand_class:text ?legal_country_iso:iso2 "
    "?tzid:tzid bucket_index:count shape_value:amount s2_spec_version:text ...",
    "merchant_zone_baseline_local_5A": f"{_WORLD} scenario_id:text {_CELL} bucket_index:count s3_spec_version:text "
    "lambda_local_base:amount ...",
    "merchant_zone_scenario_local_5A": f"manifest_fingerprint:hex64 ?parameter_hash:hex64 scenario_id:text {_CELL} "
    "local_horizon_bucket_index:count lambda_local_scenario:amount s4_spec_version:text "
    "?overlay_factor_total:amount",
    "virtual_validation_contract_3B": "manifest_fingerprint:hex64 test_id:text "
    "test_type:IP_COUNTRY_MIX|SETTLEMENT_CUTOFF|EDGE_USAGE_VS_WEIGHT|ROUTING_RECEIPT|EDGE_HETEROGENEITY|"
    "SETTLEMENT_COHERENCE|CLASSIFICATION_EXPLAINABILITY|ALIAS_FIDELITY "
    "scope:GLOBAL|PER_MERCHANT|PER_CLASS|PER_SCENARIO target_population:object inputs:object thresholds:object "
    "severity:BLOCKING|WARNING|INFO enabled:flag description:text? profile:text?",
}
TEST_POPULATION = "?virtual_only:flag ?merchant_ids:list ?classes:texts ?notes:text"
TEST_INPUTS = "?datasets:list ?fields:list ?join_keys:texts"
TEST_THRESHOLDS = "?max_abs_error:amount ?max_rel_error:amount"

# --- Seals and outputs

GATE = f"{_WORLD} seed:u64 run_id:text created_utc:micros upstream_segments:object scenario_set:texts "
GATE += "sealed_inputs_digest:hex64 sealed_inputs_row_count:count spec_version:text ..."
GATE_SEGMENT = "status:PASS|FAIL|MISSING ?bundle_path:text ?flag_path:text ?spec_version:text ?bundle_digest:hex64 ..."
SEALED = f"{_WORLD} owner_layer:text owner_segment:text artifact_id:text manifest_key:text role:text schema_ref:text "
SEALED += "path_template:text partition_keys:texts sha256_hex:hex64 status:REQUIRED|OPTIONAL|INTERNAL|IGNORED "
SEALED += "read_scope:ROW_LEVEL|METADATA_ONLY ?notes:text ?owner_team:text ?source_manifest:text"

_RUN = f"{_WORLD} seed:u64 scenario_id:text"
_ROW = f"{_RUN} merchant_id:id64 zone_representation:text"
OUTPUT_TABLES = {
    "arrival_events_5B": f"{_ROW} ?channel_group:text bucket_index:count arrival_seq:index ts_utc:micros "
    "tzid_primary:tzid ts_local_primary:wall tzid_settlement:tzid? ts_local_settlement:wall? tzid_operational:tzid? "
    "ts_local_operational:wall? site_id:id64? edge_id:id64? routing_universe_hash:hex64 is_virtual:flag "
    "s4_spec_version:text ...",
    "s4_arrival_summary_5B": f"{_ROW} ?channel_group:text ?bucket_index:count ?count_N:count ?count_physical:count "
    "?count_virtual:count ?s4_spec_version:text ...",
    "s4_arrival_anomalies_5B": f"{_RUN} anomaly_id:id64 anomaly_code:text severity:{_SEVERITIES} context:object "
    "message:text s4_spec_version:text ...",
    "validation_issue_table_5B": f"manifest_fingerprint:hex64 ?parameter_hash:hex64 ?scenario_id:text ?seed:u64 "
    f"issue_code:text severity:{_SEVERITIES} context:object message:text ...",
}
BUNDLE_INDEX_5B = "manifest_fingerprint:hex64 segment_id:5B s5_spec_version:text generated_utc:micros entries:list "
BUNDLE_INDEX_5B += "?status:PASS|FAIL ?summary:object ..."
BUNDLE_ENTRY_5B = "path:text sha256_hex:hex64 ?schema_ref:text ?role:text"
# Each optional field is absent or a value, never null.
REPORT_5B = "manifest_fingerprint:hex64 spec_version:text status:PASS|FAIL ..."
REPORT_5B_TEXTS = ("error_code", "error_message")
PASSED_FLAG = "manifest_fingerprint:hex64 bundle_digest_sha256:hex64"
RUN_REPORT = f"layer:text segment:text state:text {_WORLD} run_id:text status:text ..."

# --- Logs

_COUNTERS = "rng_counter_before_lo:u64 rng_counter_before_hi:u64 rng_counter_after_lo:u64 rng_counter_after_hi:u64"
LOGS = {
    "rng_audit_log": f"ts_utc:micros run_id:hex32 seed:u64 {_WORLD} algorithm:philox2x64-10 build_commit:text "
    "?code_digest:hex64 ?hostname:text ?platform:text ?notes:text",
    "rng_trace_log": f"ts_utc:micros run_id:hex32 seed:u64 module:text substream_label:text {_COUNTERS} "
    "draws_total:u64 blocks_total:u64 events_total:u64 ?detail:text",
}
RNG_EVENT = f"ts_utc:micros run_id:hex32 seed:u64 {_WORLD} module:5B.S4 substream_label:NAME {_COUNTERS} draws:decimal "
RNG_EVENT += "blocks:u64 ?merchant_id:id64 ..."
