"""Sealing: what a seal holds, when it is refused, how it is written."""

import json
import multiprocessing
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from arrival_engine.config import packaged_bytes, policy_ids
from arrival_engine.contracts import Code, dataset, datasets
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.hashing import (
    content_hash,
    content_hashes,
    content_sha256,
    inventory_digest,
    structural_digest,
)
from arrival_engine.engine.sealing import seal
from tests.support.seal_world import (
    BY_MF,
    BY_SEED,
    COUNTS,
    GATE,
    GRID,
    INVENTORY,
    L1,
    L2,
    MF,
    PH,
    REQUIRED,
    RNG_POLICY,
    RUN_ID,
    SEED,
    SEGMENTS,
    bundle_of,
    compact,
    gate_of,
    put,
    put_receipt,
    refusal,
    rows_of,
    sha,
    verify,
)

# --- digests


SITE_WEIGHTS_ROW = {
    "manifest_fingerprint": MF,
    "parameter_hash": PH,
    "owner_layer": "layer1",
    "owner_segment": "2B",
    "artifact_id": "s1_site_weights",
    "manifest_key": "mlr.2B.s1.site_weights",
    "role": "dataset",
    "schema_ref": "schemas.2B.yaml#/plan/s1_site_weights",
    "path_template": f"{L1}/2B/s1_site_weights/seed={{seed}}/manifest_fingerprint={{manifest_fingerprint}}/",
    "partition_keys": ["seed", "manifest_fingerprint"],
    "sha256_hex": "",
    "status": "REQUIRED",
    "read_scope": "METADATA_ONLY",
    "notes": "structural_digest=path_template",
    "owner_team": "",
}


def test_the_published_vectors_of_the_row_and_inventory_digests():
    structural = structural_digest(SITE_WEIGHTS_ROW)
    assert structural == "919a2d8381f8ea770b088c7f833f3c5e2a33055f5349748c15e764a7d80105b1"
    row = {**SITE_WEIGHTS_ROW, "sha256_hex": structural}
    expected = "ad15ce759feeb8dca04e2b44630f7241b5f80c9cc41a0a96c5e247e280db7c93"
    assert inventory_digest([row]) == expected
    # Order of keys and of rows is the law's, not the caller's.
    assert inventory_digest([dict(reversed(row.items()))]) == expected
    other = {**row, "artifact_id": "s0", "role": "a"}
    assert inventory_digest([row, other]) == inventory_digest([other, row]) != expected


def test_content_is_read_in_pieces_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("arrival_engine.engine.rundir.hashing.BLOCK_BYTES", 7)
    names = [put(tmp_path, "a", b"0123456789"), put(tmp_path, "b", b""), put(tmp_path, "c", b"xyz" * 7)]
    files = [InsidePath(tmp_path) / path.name for path in names]
    reporter = Reporter()
    found = content_hash(files, reporter)
    assert found.sha256 == content_sha256(files) == sha(b"0123456789" + b"xyz" * 7)
    assert [blocks.size for blocks in found.blocks] == [10, 0, 21]
    assert found.blocks[0].digests.hex() == sha(b"0123456") + sha(b"789")
    assert reporter.status().done == 31


def test_one_failure_ends_all_hashing_at_once(tmp_path):
    endless = put(tmp_path, "endless", b"")
    os.truncate(endless, 2**36)
    gone = put(tmp_path, "gone", b"x")

    class Remover(Reporter):
        def expect(self, unit, total):
            gone.unlink()
            super().expect(unit, total)

    reporter = Remover()
    error = refusal(content_hashes, {"endless": [endless], "gone": [gone]}, reporter)
    assert error.code is Code.IO_READ_FAILED
    assert str(gone) in error.message
    assert reporter.status().done < 2**36


# --- sealing


@pytest.mark.parametrize("device", [None, "/dev/zero"])
def test_what_is_no_file_is_refused_instead_of_read_for_ever(tmp_path, device):
    path = tmp_path / "input"
    if device:
        path.symlink_to(device)
    else:
        os.mkfifo(path)
    error = refusal(content_hashes, {"input": [InsidePath(tmp_path) / "input"]}, Reporter())
    assert error.code is Code.IO_READ_FAILED
    assert ("is a symbolic link" if device else "not a regular file") in error.message


# Sealed where they are there, and read by no command.
UNREAD = {
    "scenario_manifest_5A",
    "merchant_zone_profile_5A",
    "shape_grid_definition_5A",
    "class_zone_shape_5A",
    "merchant_zone_baseline_local_5A",
    "merchant_zone_scenario_local_5A",
    "virtual_validation_contract_3B",
}


def test_the_inventory_lists_every_input_with_the_hash_of_its_content(run_root):
    result = seal(run_root)
    rows = rows_of(run_root)
    for name, paths in REQUIRED.items():
        assert rows[name]["sha256_hex"] == sha(b"".join((run_root / path).read_bytes() for path in paths)), name
    for policy in policy_ids():
        if dataset(policy).sealed:
            assert rows[policy]["sha256_hex"] == sha(packaged_bytes(policy))
            origin = "run" if policy == "arrival_rng_policy_5B" else "packaged"
            assert rows[policy]["notes"] == f"origin={origin}"
    for segment in SEGMENTS:
        folder = run_root / bundle_of(segment)
        files = sorted(
            (path for path in folder.rglob("*") if path.is_file()),
            key=lambda path: path.relative_to(folder).as_posix(),
        )
        assert rows[f"validation_bundle_{segment}"]["sha256_hex"] == sha(b"".join(p.read_bytes() for p in files))
        flag = (folder / "_passed.flag").read_bytes()
        assert rows[f"validation_passed_flag_{segment}"]["sha256_hex"] == sha(flag)
    sealed = {entry.id for entry in datasets() if entry.sealed}
    optional = {
        "s1_grouping_5B",
        "s2_realised_intensity_5B",
        "site_locations",
        "s3_day_effects",
        "zone_alloc",
        "zone_alloc_universe_hash",
        "merchant_names_5B",
    }
    assert rows.keys() == sealed - optional - UNREAD
    assert result.row_count == len(rows)
    row = rows["s1_site_weights"]
    assert {key: row[key] for key in SITE_WEIGHTS_ROW if key not in ("sha256_hex", "notes", "owner_team")} == {
        key: SITE_WEIGHTS_ROW[key] for key in SITE_WEIGHTS_ROW if key not in ("sha256_hex", "notes", "owner_team")
    }


def test_the_gate_receipt_and_the_form_of_both_files(run_root):
    result = seal(run_root)
    gate = gate_of(run_root)
    rows = json.loads((run_root / INVENTORY).read_bytes())
    assert rows == sorted(rows, key=lambda row: (row["owner_segment"], row["artifact_id"], row["role"]))
    assert all("source_manifest" not in row for row in rows)
    assert (run_root / INVENTORY).read_bytes() == compact(rows)
    assert (run_root / GATE).read_bytes() == compact(gate)
    assert gate.pop("upstream_segments").keys() == set(SEGMENTS)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", gate["created_utc"])
    assert gate.pop("created_utc") == result.created_utc
    assert gate == {
        "manifest_fingerprint": MF,
        "parameter_hash": PH,
        "seed": SEED,
        "run_id": RUN_ID,
        "scenario_set": ["base", "stress"],
        "sealed_inputs_digest": inventory_digest(rows),
        "sealed_inputs_row_count": len(rows),
        "spec_version": "1.0.0",
    }
    assert (result.changed, result.digest, result.scenario_set) == (
        True,
        inventory_digest(rows),
        ("base", "stress"),
    )
    assert (result.gate_path, result.inventory_path) == (run_root / GATE, run_root / INVENTORY)
    assert result.notices == ()
    assert sorted(path.name for path in (run_root / "tmp").iterdir()) == ["seal.lock"]


def test_optional_inputs_are_sealed_where_they_are_there(run_root):
    put(run_root, f"{L1}/1B/site_locations/{BY_SEED}/part-00000.parquet", b"sites")
    put(run_root, f"{L2}/5B/s1_grouping/{BY_MF}/scenario_id=base/s1_grouping_5B.parquet", b"one of two")
    seal(run_root)
    rows = rows_of(run_root)
    assert rows["site_locations"]["sha256_hex"] == sha(b"sites")
    assert rows["s1_grouping_5B"]["sha256_hex"] == sha(b"one of two")
    verify(run_root)


def test_a_policy_of_an_external_root_is_sealed_as_such(run_root):
    put(
        run_root,
        "elsewhere/config/layer2/5B/arrival_output_policy_5B.yaml",
        packaged_bytes("arrival_output_policy_5B"),
    )
    seal(run_root)
    assert rows_of(run_root)["arrival_output_policy_5B"]["notes"] == "origin=external"


class Tally(Reporter):
    """Remembers what was expected and what was done, which a Reporter forgets with its phase."""

    def __init__(self):
        super().__init__()
        self.expected, self.counted = [], 0

    def expect(self, unit, total):
        self.expected.append((unit, total))
        super().expect(unit, total)

    def advance(self, amount=1):
        self.counted += amount
        super().advance(amount)


def test_sealing_counts_bytes_and_names_its_phases(run_root):
    tally = Tally()
    seal(run_root, tally)
    decoded = ("s2_alias_blob", "edge_alias_blob_3B")
    hashed = (path for name, files in REQUIRED.items() if name not in decoded for path in files)
    least = sum((run_root / path).stat().st_size for path in hashed)
    assert tally.expected == [("bytes", tally.counted)]
    assert tally.counted > least
    phases = ["find inputs", "verify upstream bundles", "decode alias blobs", "hash inputs", "write seal"]
    assert list(tally.phases) == phases


def test_sealing_twice_keeps_the_bytes_and_says_so(run_root):
    first = seal(run_root)
    before = {name: ((run_root / name).read_bytes(), (run_root / name).stat().st_ino) for name in (GATE, INVENTORY)}
    second = seal(run_root)
    assert before == {name: ((run_root / name).read_bytes(), (run_root / name).stat().st_ino) for name in before}
    assert (first.changed, second.changed) == (True, False)
    assert (first.digest, first.created_utc) == (second.digest, second.created_utc)


def test_the_same_policy_found_elsewhere_is_no_change(run_root):
    seal(run_root)
    (run_root / RNG_POLICY).unlink()
    assert seal(run_root).changed is False
    verify(run_root)


def _seal_in_process(root):
    return seal(root).changed


def test_two_seals_at_once_agree(run_root):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(seal, [run_root] * 4))
    assert sorted(result.changed for result in results) == [False, False, False, True]
    assert len({(result.digest, result.created_utc) for result in results}) == 1
    verify(run_root)


def test_two_processes_at_once_agree(run_root):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert sorted(pool.map(_seal_in_process, [run_root] * 2)) == [False, True]
    verify(run_root)


def test_what_changed_since_is_listed_in_full_and_nothing_is_rewritten(run_root):
    seal(run_root)
    before = (run_root / GATE).read_bytes()
    old = rows_of(run_root)
    flag = old["validation_passed_flag_1A"]["sha256_hex"]
    (run_root / REQUIRED["s2_alias_blob"][0]).write_bytes(b"new")
    put(run_root, f"{L1}/1B/site_locations/{BY_SEED}/part-00000.parquet", b"added")
    shutil.rmtree(run_root / bundle_of("1A"))
    error = refusal(seal, run_root)
    assert error.code is Code.IO_WRITE_CONFLICT
    assert error.context["changes"] == [
        f"s2_alias_blob changed (sealed {old['s2_alias_blob']['sha256_hex']}, now {sha(b'new')})",
        f"site_locations added (not sealed, now {sha(b'added')})",
        f"validation_bundle_1A removed (sealed {old['validation_bundle_1A']['sha256_hex']}, now absent)",
        f"validation_passed_flag_1A removed (sealed {flag}, now absent)",
        "segment 1A changed (sealed PASS, now MISSING)",
    ]
    for change in error.context["changes"]:
        assert change in error.message
    assert "run_id" in error.hint
    assert (run_root / GATE).read_bytes() == before


def test_another_scenario_is_a_change(run_root):
    seal(run_root)
    put(run_root, f"{GRID}/scenario_id=late/s1_time_grid_5B.parquet", b"grid")
    put(run_root, f"{COUNTS}/scenario_id=late/s3_bucket_counts_5B.parquet", b"counts")
    error = refusal(seal, run_root)
    assert error.code is Code.IO_WRITE_CONFLICT
    assert "scenarios changed (sealed ['base', 'stress'], now ['base', 'late', 'stress'])" in error.message
    assert refusal(verify, run_root).code is Code.S0_GATE_MISSING_OR_INVALID


def test_a_lone_inventory_is_no_seal_and_is_overwritten(run_root):
    put(run_root, INVENTORY, b"left by a crash")
    assert seal(run_root).changed is True
    verify(run_root)


def test_a_lone_gate_receipt_is_refused(run_root):
    seal(run_root)
    (run_root / INVENTORY).unlink()
    for action in (seal, verify):
        error = refusal(action, run_root)
        assert error.code is Code.S0_GATE_MISSING_OR_INVALID
        assert INVENTORY in error.message


# --- missing inputs


def test_all_missing_inputs_are_named_at_once(run_root):
    for name in ("s2_alias_blob", "edge_catalogue_3B", "s3_bucket_counts_5B"):
        for path in REQUIRED[name]:
            (run_root / path).unlink()
    error = refusal(seal, run_root)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert error.context["missing"].keys() == {"s2_alias_blob", "edge_catalogue_3B", "s3_bucket_counts_5B"}
    for name in error.context["missing"]:
        assert name in error.message
    assert "2 required" not in error.message
    assert not (run_root / GATE).exists()


def test_missing_model_tables_have_their_own_code(run_root):
    (run_root / REQUIRED["s1_time_grid_5B"][1]).unlink()
    error = refusal(seal, run_root)
    assert error.code is Code.S1_OR_S3_OUTPUT_MISSING
    assert "scenario_id=stress" in error.message


def test_data_of_another_identity_is_pointed_out(run_root):
    put_receipt(run_root, seed=43)
    error = refusal(seal, run_root)
    where = error.context["missing"]
    assert "no data/layer1/2B/s2_alias_blob/seed=43, but seed=42 there" in where["s2_alias_blob"]
    assert "seed=42 there" in where["s3_bucket_counts_5B"]
    put_receipt(run_root, manifest_fingerprint="d" * 64)
    where = refusal(seal, run_root).context["missing"]
    for name in ("s2_alias_blob", "edge_universe_hash_3B", "s1_time_grid_5B"):
        assert f"but manifest_fingerprint={MF} there" in where[name]


def test_an_empty_directory_is_no_run(tmp_path):
    put_receipt(tmp_path)
    error = refusal(seal, tmp_path)
    assert error.context["missing"].keys() == REQUIRED.keys()


def test_grid_and_counts_must_have_the_same_scenarios(run_root):
    put(run_root, f"{GRID}/scenario_id=grid_only/s1_time_grid_5B.parquet", b"x")
    put(run_root, f"{COUNTS}/scenario_id=counts_only/s3_bucket_counts_5B.parquet", b"x")
    error = refusal(seal, run_root)
    assert error.code is Code.S1_OR_S3_OUTPUT_MISSING
    assert "'grid_only' has a time grid and no bucket counts" in error.message
    assert "'counts_only' has bucket counts and no time grid" in error.message


def test_scenario_names_that_are_no_path_tokens_are_refused(run_root):
    put(run_root, f"{COUNTS}/scenario_id=a\nb/s3_bucket_counts_5B.parquet", b"x")
    assert refusal(seal, run_root).code is Code.PARTITION_OR_PK_VIOLATION


def test_an_invalid_policy_is_not_sealed(run_root):
    put(run_root, RNG_POLICY, b"version: v2.0.0\nnonsense: 1\n")
    assert refusal(seal, run_root).code is Code.RNG_STREAM_CONFIG_INVALID


# --- writing


@pytest.mark.parametrize("blocked", ["tmp", f"{L2}/5B/s0_gate_receipt", f"{L2}/5B/sealed_inputs"])
def test_a_seal_that_cannot_be_written_leaves_nothing(run_root, blocked):
    put(run_root, blocked, b"a file where a directory belongs")
    error = refusal(seal, run_root)
    assert error.code is Code.IO_WRITE_FAILED
    assert blocked in error.message
    assert not (run_root / GATE).exists()
    assert not (run_root / INVENTORY).exists()
    if blocked != "tmp":
        assert sorted(path.name for path in (run_root / "tmp").iterdir()) == ["seal.lock"]
    (run_root / blocked).unlink()
    assert seal(run_root).changed is True


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_run_directory_is_named(run_root):
    run_root.chmod(0o555)
    try:
        assert refusal(seal, run_root).code is Code.IO_WRITE_FAILED
    finally:
        run_root.chmod(0o755)


def test_if_the_second_file_cannot_be_published_the_first_goes_too(run_root, monkeypatch):
    rename = InsidePath.rename

    def full(self, target):
        if self.name == "s0_gate_receipt_5B.json":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(InsidePath, "rename", full)
    error = refusal(seal, run_root)
    assert error.code is Code.IO_WRITE_FAILED
    assert not (run_root / INVENTORY).exists()
    assert sorted(path.name for path in (run_root / "tmp").iterdir()) == ["seal.lock"]


def test_an_interruption_leaves_no_staging_directory(run_root, monkeypatch):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("arrival_engine.engine.sealing.gate.publish_files", interrupted)
    with pytest.raises(KeyboardInterrupt):
        seal(run_root)
    assert sorted(path.name for path in (run_root / "tmp").iterdir()) == ["seal.lock"]
