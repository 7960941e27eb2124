"""Verifying a seal: whatever is no longer as it was sealed is found and named."""

import json
import shutil
from pathlib import Path

import pytest

from arrival_engine.config import packaged_bytes
from arrival_engine.contracts import Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.hashing import inventory_digest, structural_digest
from arrival_engine.engine.sealing import seal
from tests.support.seal_world import (
    BY_SEED,
    COUNTS,
    GATE,
    GRID,
    INVENTORY,
    L1,
    REQUIRED,
    SEGMENTS,
    bundle_of,
    compact,
    gate_of,
    put,
    put_bundle,
    refusal,
    rewrite,
    rows_of,
    sha,
    verify,
)

# --- verifying


def test_a_verified_seal_says_what_was_sealed(run_root):
    result = seal(run_root)
    reporter = Reporter()
    found = verify(run_root, reporter)
    assert (found.digest, found.row_count) == (result.digest, result.row_count)
    assert (found.spec_version, found.scenario_set) == ("1.0.0", ("base", "stress"))
    assert found.created_utc == result.created_utc
    assert found.sha256 == {name: row["sha256_hex"] for name, row in rows_of(run_root).items()}
    assert (found.structural, found.notices, reporter.notices) == (False, (), ())
    assert list(reporter.phases) == ["seal check"]


def test_a_moved_run_directory_verifies(run_root, tmp_path):
    seal(run_root)
    run_root.rename(tmp_path / "moved")
    verify(tmp_path / "moved")


def test_an_unsealed_run_says_how_to_seal(run_root):
    error = refusal(verify, run_root)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert "arrivals seal" in error.hint


@pytest.mark.parametrize("name", REQUIRED)
def test_one_flipped_bit_in_any_input_is_found(run_root, name):
    seal(run_root)
    sealed = rows_of(run_root)[name]["sha256_hex"]
    path = run_root / REQUIRED[name][-1]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    found = sha(b"".join((run_root / part).read_bytes() for part in REQUIRED[name]))
    error = refusal(verify, run_root)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert error.context["differences"] == [{"artefact": name, "sealed": sealed, "found": found}]
    assert f"{name}: sealed {sealed}, now {found}" in error.message


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("part", ["report.json", "_passed.flag"])
def test_tampering_with_a_bundle_after_sealing_is_found(run_root, segment, part):
    seal(run_root)
    path = run_root / bundle_of(segment) / part
    path.write_bytes(path.read_bytes() + b" ")
    error = refusal(verify, run_root)
    names = {difference["artefact"] for difference in error.context["differences"]}
    expected = {f"validation_bundle_{segment}"}
    assert names == (expected | {f"validation_passed_flag_{segment}"} if part == "_passed.flag" else expected)


def test_all_differences_are_listed(run_root):
    seal(run_root)
    (run_root / REQUIRED["s2_alias_blob"][0]).write_bytes(b"x")
    (run_root / REQUIRED["edge_universe_hash_3B"][0]).unlink()
    put(run_root, f"{L1}/2A/site_timezones/{BY_SEED}/part-00002.parquet", b"x")
    error = refusal(verify, run_root)
    assert {difference["artefact"] for difference in error.context["differences"]} == {
        "s2_alias_blob",
        "edge_universe_hash_3B",
        "site_timezones",
    }
    assert "now absent" in error.message


def test_moving_bytes_between_files_of_one_directory_keeps_the_hash_but_other_order_does_not(run_root):
    """The law hashes contents in path order, not names: what matters to a reader is the sequence of bytes."""
    seal(run_root)
    first, second = (run_root / path for path in REQUIRED["site_timezones"])
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert refusal(verify, run_root).context["differences"][0]["artefact"] == "site_timezones"


def test_an_input_added_after_sealing_is_found(run_root):
    seal(run_root)
    put(run_root, f"{L1}/1B/site_locations/{BY_SEED}/part-00000.parquet", b"x")
    error = refusal(verify, run_root)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert error.context["unsealed"] == ["site_locations"]


def test_a_changed_policy_is_found_wherever_it_comes_from(run_root):
    seal(run_root)
    data = packaged_bytes("arrival_output_policy_5B") + b"\n# changed\n"
    put(run_root, "elsewhere/config/layer2/5B/arrival_output_policy_5B.yaml", data)
    error = refusal(verify, run_root)
    (difference,) = error.context["differences"]
    assert (difference["artefact"], difference["found"]) == ("arrival_output_policy_5B", sha(data))


def test_a_row_taken_from_the_inventory_is_missed(run_root):
    seal(run_root)
    rewrite(
        run_root,
        lambda rows: [row for row in rows if row["artifact_id"] not in ("s2_alias_blob", "s4_group_weights")],
    )
    error = refusal(verify, run_root)
    assert sorted(error.context["unsealed"]) == ["s2_alias_blob", "s4_group_weights"]


def edit_row(name, **changes):
    def edit(rows):
        for row in rows:
            if row["artifact_id"] == name:
                row.update(changes)

    return edit


def test_a_row_of_an_unknown_artefact_is_refused(run_root):
    seal(run_root)
    rewrite(run_root, lambda rows: [*rows, {**rows[0], "artifact_id": "stranger"}])
    (difference,) = refusal(verify, run_root).context["differences"]
    assert difference["artefact"] == "stranger"


def test_a_row_that_seals_another_path_is_refused(run_root):
    seal(run_root)
    rewrite(run_root, edit_row("s2_alias_blob", path_template="data/elsewhere/alias.bin"))
    (difference,) = refusal(verify, run_root).context["differences"]
    assert difference["sealed"] == "as data/elsewhere/alias.bin"


def test_an_inventory_changed_by_hand_is_refused(run_root):
    seal(run_root)
    sealed = gate_of(run_root)["sealed_inputs_digest"]
    rows = json.loads((run_root / INVENTORY).read_bytes())
    rows[0]["sha256_hex"] = "0" * 64
    (run_root / INVENTORY).write_bytes(compact(rows))
    for action in (seal, verify):
        error = refusal(action, run_root)
        assert error.code is Code.S0_GATE_MISSING_OR_INVALID
        assert sealed in error.message
        assert inventory_digest(rows) in error.message


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda rows: [*rows, rows[0]], "more than once"),
        (edit_row("s2_alias_blob", manifest_fingerprint="d" * 64), "another manifest_fingerprint"),
        (edit_row("s2_alias_blob", parameter_hash="d" * 64), "another parameter_hash"),
        (edit_row("s2_alias_blob", surprise=1), "surprise"),
        (edit_row("s2_alias_blob", sha256_hex="nothing"), "sha256_hex"),
    ],
)
def test_inventories_that_break_the_contract_are_refused(run_root, edit, words):
    seal(run_root)
    rewrite(run_root, edit)
    error = refusal(verify, run_root)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert words in error.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sealed_inputs_row_count": 3}, "the gate receipt says 3"),
        ({"seed": 43}, "seed is 43"),
        ({"run_id": "d" * 32}, "run_id"),
        ({"parameter_hash": "d" * 64}, "parameter_hash"),
        ({"scenario_set": "base"}, "scenario_set"),
        ({"upstream_segments": {"1A": {"status": "MAYBE"}}}, "MAYBE"),
    ],
)
def test_gate_receipts_that_break_the_contract_are_refused(run_root, changes, words):
    seal(run_root)
    (run_root / GATE).write_bytes(compact({**gate_of(run_root), **changes}))
    error = refusal(verify, run_root)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert words in error.message


def test_a_segment_that_nobody_judged_has_not_passed(run_root):
    seal(run_root)
    upstream = gate_of(run_root)["upstream_segments"]
    del upstream["2B"]
    (run_root / GATE).write_bytes(compact({**gate_of(run_root), "upstream_segments": upstream}))
    error = refusal(verify, run_root)
    assert error.code is Code.UPSTREAM_HASHGATE_NOT_PASSED
    assert "2B is not judged" in error.message


@pytest.mark.parametrize("name", [GATE, INVENTORY])
@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[[]]", b"\xff"])
def test_seal_files_that_are_no_documents_are_refused(run_root, name, data):
    seal(run_root)
    (run_root / name).write_bytes(data)
    for action in (seal, verify):
        error = refusal(action, run_root)
        assert error.code is Code.S0_GATE_MISSING_OR_INVALID
        assert name in error.message


def test_a_scenario_taken_away_is_missed(run_root):
    seal(run_root)
    for folder in (GRID, COUNTS):
        shutil.rmtree(run_root / folder / "scenario_id=stress")
    error = refusal(verify, run_root)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert error.context["removed"] == ["stress"]


def test_an_unreadable_input_is_named(run_root):
    seal(run_root)
    path = run_root / REQUIRED["s2_alias_blob"][0]
    real = InsidePath.open

    def denied(self, *args, **kwargs):
        if self.outside == path:
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InsidePath, "open", denied)
        error = refusal(verify, run_root)
    assert error.code is Code.IO_READ_FAILED
    assert str(path) in error.message


# --- seals of the reference implementation


BY_CONTENT = {
    "tz_timetable_cache",
    "zone_alloc_universe_hash",
    "edge_universe_hash_3B",
    "virtual_routing_policy_3B",
}


VERSION_2 = {
    "arrival_rng_policy_5B",
    "arrival_routing_policy_5B",
    "arrival_time_placement_policy_5B",
    "validation_policy_5B",
}


def reference_seal(root: Path) -> None:
    """Turn our seal into what the reference writes: its hashes, its rows, its digest."""
    digests = {segment: gate_of(root)["upstream_segments"][segment]["bundle_digest"] for segment in SEGMENTS}

    def edit(rows):
        kept = []
        for row in rows:
            name = row["artifact_id"]
            if (row["owner_segment"] == "5B" and row["role"] == "dataset") or name == "arrival_output_policy_5B":
                continue
            row["notes"] = ""
            if row["role"].startswith("validation_"):
                row["sha256_hex"] = digests[row["owner_segment"]]
            elif row["role"] == "dataset" and name not in BY_CONTENT:
                row["sha256_hex"] = structural_digest(row)
                row["notes"] = "structural_digest=path_template"
            elif name in VERSION_2:
                row["sha256_hex"] = sha(f"{name} v1".encode())
            kept.append(row)
        surface = {
            **kept[0],
            "owner_segment": "5A",
            "artifact_id": "merchant_zone_profile_5A",
            "role": "dataset",
        }
        surface["notes"] = "structural_digest=path_template;scenario_ids=base"
        manifest = {**surface, "artifact_id": "scenario_manifest_5A", "notes": "", "sha256_hex": "e" * 64}
        kept += [{**surface, "sha256_hex": structural_digest(surface)}, manifest]
        return kept

    rewrite(root, edit, scenario_set=["base", "other", "stress"])


def test_a_reference_seal_is_accepted_with_one_notice_of_what_it_leaves_open(run_root):
    seal(run_root)
    reference_seal(run_root)
    reporter = Reporter()
    found = verify(run_root, reporter)
    assert found.structural
    assert found.scenario_set == ("base", "stress")
    (notice,) = found.notices
    assert reporter.notices == (notice,)
    assert notice.code == "SEAL_STRUCTURAL"
    assert set(notice.context["structural"]) == {
        name for name in REQUIRED if name not in BY_CONTENT and not name.endswith("_5B")
    }
    assert set(notice.context["unsealed"]) == {
        "s1_time_grid_5B",
        "s3_bucket_counts_5B",
        "arrival_output_policy_5B",
    }
    assert {entry["artefact"] for entry in notice.context["replaced"]} == VERSION_2
    assert set(notice.context["foreign"]) == {"merchant_zone_profile_5A", "scenario_manifest_5A"}
    for name in ("s1_site_weights", "s3_bucket_counts_5B", "arrival_rng_policy_5B", "scenario_manifest_5A"):
        assert name in notice.message


def test_a_reference_seal_still_guards_what_it_hashed(run_root):
    seal(run_root)
    reference_seal(run_root)
    # Sealed by path alone, so this one cannot be seen.
    (run_root / REQUIRED["s1_site_weights"][0]).write_bytes(b"other")
    verify(run_root)
    (run_root / REQUIRED["tz_timetable_cache"][0]).write_bytes(b"other")
    put(
        run_root,
        "config/layer2/5B/bundle_layout_policy_5B.yaml",
        packaged_bytes("bundle_layout_policy_5B") + b"\n#\n",
    )
    put(run_root, f"{bundle_of('1B')}/report.json", b"other")
    error = refusal(verify, run_root)
    # A broken bundle stops the check by itself, under the gate's own code.
    assert error.code in (Code.UPSTREAM_HASHGATE_NOT_PASSED, Code.S0_GATE_MISSING_OR_INVALID)
    put_bundle(run_root, "1B")
    error = refusal(verify, run_root)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert {difference["artefact"] for difference in error.context["differences"]} == {
        "tz_timetable_cache",
        "bundle_layout_policy_5B",
    }


def test_a_reference_seal_whose_structural_hash_is_wrong_is_refused(run_root):
    seal(run_root)
    reference_seal(run_root)
    rewrite(run_root, edit_row("s1_site_weights", sha256_hex="0" * 64))
    (difference,) = refusal(verify, run_root).context["differences"]
    assert difference["artefact"] == "s1_site_weights"


def test_a_reference_seal_does_not_hide_missing_inputs(run_root):
    seal(run_root)
    reference_seal(run_root)
    (run_root / REQUIRED["edge_catalogue_3B"][0]).unlink()
    error = refusal(verify, run_root)
    assert error.context["missing"].keys() == {"edge_catalogue_3B"}


def test_sealing_over_a_reference_seal_is_refused_with_advice(run_root):
    seal(run_root)
    reference_seal(run_root)
    error = refusal(seal, run_root)
    assert error.code is Code.IO_WRITE_CONFLICT
    assert "arrivals run" in error.hint
