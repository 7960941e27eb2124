"""The rows of an inventory: the contract's words for each artefact, and those of an older version."""

import json
from pathlib import Path

from arrival_engine.contracts import Code, datasets
from arrival_engine.engine.sealing import seal
from tests.support.seal_world import INVENTORY, L1, refusal, rewrite, rows_of, verify

OLDER = Path(__file__).parents[1] / "support" / "older" / "0.1.0" / "sealed_inputs_5B.json"
SEGMENTS_1 = ("1A", "1B", "2A", "2B", "3A", "3B")

# What the contract's gate seals: rows that it demands, and rows of what is there.
DEMANDED = {
    *(f"validation_bundle_{segment}" for segment in (*SEGMENTS_1, "5A")),
    *(f"validation_passed_flag_{segment}" for segment in (*SEGMENTS_1, "5A")),
    *("site_locations", "site_timezones", "s1_site_weights", "s2_alias_blob", "s2_alias_index", "s3_day_effects"),
    *("s4_group_weights", "zone_alloc", "zone_alloc_universe_hash", "virtual_classification_3B", "edge_catalogue_3B"),
    *("edge_catalogue_index_3B", "edge_alias_blob_3B", "edge_alias_index_3B", "edge_universe_hash_3B"),
    *("virtual_routing_policy_3B", "virtual_validation_contract_3B", "route_rng_policy_v1", "alias_layout_policy_v1"),
    *("scenario_manifest_5A", "merchant_zone_profile_5A", "shape_grid_definition_5A", "class_zone_shape_5A"),
    *("merchant_zone_baseline_local_5A", "merchant_zone_scenario_local_5A", "time_grid_policy_5B"),
    *("grouping_policy_5B", "arrival_lgcp_config_5B", "arrival_count_config_5B", "arrival_rng_policy_5B"),
    *("arrival_time_placement_policy_5B", "arrival_routing_policy_5B", "validation_policy_5B"),
}
IF_PRESENT = {"tz_timetable_cache", "virtual_settlement_3B", "bundle_layout_policy_5B"}
# Rows that the contract's gate does not have: what a run reads of 5B itself, and the policy of its output.
OURS = {
    "s1_time_grid_5B",
    "s1_grouping_5B",
    "s2_realised_intensity_5B",
    "s3_bucket_counts_5B",
    "merchant_names_5B",
    "arrival_output_policy_5B",
}
ROW_LEVEL = {
    "scenario_manifest_5A",
    "merchant_zone_profile_5A",
    "merchant_zone_scenario_local_5A",
    "virtual_classification_3B",
}
PROOFS = {
    "validation_bundle_1A": "schemas.1A.yaml#/validation/validation_bundle",
    "validation_bundle_1B": "schemas.1B.yaml#/validation/validation_bundle_1B",
    "validation_bundle_2A": "schemas.2A.yaml#/validation/validation_bundle_2A",
    "validation_bundle_2B": "schemas.layer1.yaml#/validation/validation_bundle/index_schema",
    "validation_bundle_3A": "schemas.layer1.yaml#/validation/validation_bundle_index_3A",
    "validation_bundle_3B": "schemas.layer1.yaml#/validation/validation_bundle_index_3B",
    "validation_bundle_5A": "schemas.layer2.yaml#/validation/validation_bundle_index_5A",
    "validation_passed_flag_1A": "schemas.layer1.yaml#/validation/passed_flag",
    "validation_passed_flag_1B": "schemas.1B.yaml#/validation/passed_flag",
    "validation_passed_flag_2A": "schemas.2A.yaml#/validation/passed_flag",
    "validation_passed_flag_2B": "schemas.1B.yaml#/validation/passed_flag",
    "validation_passed_flag_3A": "schemas.layer1.yaml#/validation/passed_flag_3A",
    "validation_passed_flag_3B": "schemas.layer1.yaml#/validation/passed_flag_3B",
    "validation_passed_flag_5A": "schemas.layer2.yaml#/validation/passed_flag_5A",
}


def test_rows_have_the_status_and_scope_of_the_contract() -> None:
    sealed = {entry.id: entry for entry in datasets() if entry.sealed}
    assert sealed.keys() == DEMANDED | IF_PRESENT | OURS
    assert {name for name in sealed.keys() - OURS if sealed[name].status == "REQUIRED"} == DEMANDED
    policies = {name for name, entry in sealed.items() if entry.role == "policy"}
    row_level = {name for name in sealed.keys() - OURS if sealed[name].read_scope == "ROW_LEVEL"}
    assert row_level == ROW_LEVEL | policies - OURS


def test_rows_of_bundles_have_the_schemas_and_paths_of_the_contract() -> None:
    sealed = {entry.id: entry for entry in datasets() if entry.sealed}
    assert {name: sealed[name].schema_ref for name in PROOFS} == PROOFS
    for segment in (*SEGMENTS_1, "5A"):
        layer = "layer2" if segment == "5A" else "layer1"
        folder = f"data/{layer}/{segment}/validation/manifest_fingerprint={{manifest_fingerprint}}/"
        path = folder + "index.json" if segment == "2B" else folder
        assert sealed[f"validation_bundle_{segment}"].path == path
        assert sealed[f"validation_passed_flag_{segment}"].path == f"{folder}_passed.flag"


def test_the_rows_of_5a_have_the_schemas_of_the_contract() -> None:
    own = {entry.id: entry for entry in datasets() if entry.owner_segment == "5A" and entry.role == "dataset"}
    assert {name: entry.schema_ref for name, entry in own.items()} == {
        name: f"schemas.5A.yaml#/{'validation' if name == 'scenario_manifest_5A' else 'model'}/{name}" for name in own
    }


def as_sealed_by_0_1_0(rows):
    """The words of version 0.1.0."""
    for row in rows:
        name, segment = row["artifact_id"], row["owner_segment"]
        if name.startswith(("validation_bundle_", "validation_passed_flag_")):
            layer = "layer2" if segment == "5A" else "layer1"
            anchor = name.replace("validation_passed_flag", "passed_flag")
            row |= {"status": "OPTIONAL", "schema_ref": f"schemas.{layer}.yaml#/validation/{anchor}"}
        if name == "validation_bundle_2B":
            row["path_template"] = f"{L1}/2B/validation/manifest_fingerprint={{manifest_fingerprint}}/"
        if name in ("tz_timetable_cache", "virtual_settlement_3B"):
            row["status"] = "REQUIRED"


def test_a_seal_of_version_0_1_0_holds(run_root):
    seal(run_root)
    rewrite(run_root, as_sealed_by_0_1_0)
    before = (run_root / INVENTORY).read_bytes()
    assert verify(run_root).notices == ()
    assert seal(run_root).changed is False
    assert (run_root / INVENTORY).read_bytes() == before


def test_another_path_in_an_existing_seal_is_a_change(run_root):
    seal(run_root)
    rewrite(run_root, lambda rows: [row | {"path_template": "elsewhere/"} for row in rows])
    error = refusal(seal, run_root)
    assert error.code is Code.IO_WRITE_CONFLICT
    assert "s2_alias_blob is described differently (path_template)" in error.context["changes"]


def test_the_words_of_version_0_1_0_are_those_in_its_seals(run_root):
    older = {row["artifact_id"]: row for row in json.loads(OLDER.read_bytes())}
    seal(run_root)
    rewrite(run_root, as_sealed_by_0_1_0)
    found = rows_of(run_root)
    words = ("status", "schema_ref", "path_template")
    for name in (*PROOFS, "tz_timetable_cache", "virtual_settlement_3B"):
        assert {word: found[name][word] for word in words} == {word: older[name][word] for word in words}
