"""The dataset dictionary, the path tokens it accepts, and the errors it raises."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from arrival_engine.contracts import (
    ArrivalError,
    Code,
    Dataset,
    Identity,
    Notice,
    check_token,
    compact_json,
    dataset,
    datasets,
)
from arrival_engine.contracts.openat import UnsafePathError
from tests.support.paths import ROOT

MF, PH, RUN = "a" * 64, "b" * 64, "c" * 32
IDENTITY = Identity(MF, PH, 42, RUN)
TOKENS = IDENTITY.tokens(scenario_id="baseline_v1", utc_day="2026-01-01")
ALL = datasets()
IDS = [entry.id for entry in ALL]


def entry_param() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("entry", ALL, ids=IDS)


@entry_param()
def test_every_template_resolves_below_the_run_root(entry: Dataset, tmp_path: Path) -> None:
    path = entry.locate(tmp_path, TOKENS)
    assert path.is_relative_to(tmp_path)
    assert "{" not in str(path.relative_to(tmp_path))
    assert ".." not in path.parts


@entry_param()
def test_every_token_of_every_template_is_checked(entry: Dataset, tmp_path: Path) -> None:
    for name in entry.partitions:
        for bad in ("..", ".", "", "a/b", "a\\b", "a\0b", "a\nb", "../../etc"):
            with pytest.raises(ArrivalError) as caught:
                entry.locate(tmp_path, {**TOKENS, name: bad})
            assert caught.value.code is Code.PARTITION_OR_PK_VIOLATION
            assert name in caught.value.message
        missing = {key: value for key, value in TOKENS.items() if key != name}
        with pytest.raises(ArrivalError, match=f"needs the token {name}"):
            entry.locate(tmp_path, missing)


@entry_param()
def test_every_entry_is_complete(entry: Dataset) -> None:
    assert entry.id
    assert entry.manifest_key
    assert entry.schema_ref
    assert entry.owner_layer in ("layer1", "layer2", "engine")
    assert (entry.kind == "directory") == entry.path.endswith("/")
    assert isinstance(entry.on_invalid, Code)
    if entry.part_name:
        assert entry.kind == "directory"
    if entry.format in ("json", "jsonl", "yaml", "parquet"):
        assert entry.schema
    if entry.id == "arrival_events_5B":
        assert entry.part_name == "part-{index:06d}-{token}.parquet"
    elif entry.kind == "directory" and entry.format in ("parquet", "jsonl"):
        assert re.fullmatch(r"part-\{index:0[56]d\}\.(parquet|jsonl)", entry.part_name)
    if entry.role == "policy":
        assert entry.path.startswith("config/")
        assert entry.path.endswith(f"{entry.id}.{entry.format}")


def test_ids_and_member_free_paths_are_unique() -> None:
    assert len(set(IDS)) == len(IDS)
    assert len({entry.path for entry in ALL}) == len(ALL)


def test_the_sealed_row_of_the_site_weights_is_the_reference_one() -> None:
    # A published digest of this very row: it takes the same path, keys, schema anchor, owner and scope to meet it.
    entry = dataset("s1_site_weights")
    structure = {
        "artifact_id": entry.id,
        "manifest_key": entry.manifest_key,
        "partition_keys": list(entry.partitions),
        "path_template": entry.path,
        "schema_ref": entry.schema_ref,
    }
    structural = hashlib.sha256(compact_json(structure)).hexdigest()
    assert structural.startswith("919a2d83")
    assert structural.endswith("d80105b1")
    row = {
        "manifest_fingerprint": MF,
        "parameter_hash": PH,
        "owner_layer": entry.owner_layer,
        "owner_segment": entry.owner_segment,
        "artifact_id": entry.id,
        "manifest_key": entry.manifest_key,
        "role": entry.role,
        "schema_ref": entry.schema_ref,
        "path_template": entry.path,
        "partition_keys": list(entry.partitions),
        "sha256_hex": structural,
        "status": entry.status,
        "read_scope": entry.read_scope,
        "notes": "structural_digest=path_template",
        "owner_team": "",
        "source_manifest": None,
    }
    text = json.dumps(row, separators=(",", ":")).encode()
    assert len(text) == 726
    known = "ad15ce759feeb8dca04e2b44630f7241b5f80c9cc41a0a96c5e247e280db7c93"
    assert hashlib.sha256(text).hexdigest() == known


@pytest.mark.parametrize(
    ("dataset_id", "path"),
    [
        ("run_receipt", "run_receipt.json"),
        (
            "arrival_events_5B",
            f"data/layer2/5B/arrival_events/seed=42/manifest_fingerprint={MF}/scenario_id=baseline_v1",
        ),
        (
            "s3_bucket_counts_5B",
            (
                f"data/layer2/5B/s3_bucket_counts/seed=42/manifest_fingerprint={MF}/scenario_id=baseline_v1"
                "/s3_bucket_counts_5B.parquet"
            ),
        ),
        (
            "rng_trace_log",
            f"logs/layer2/5B/rng/trace/seed=42/parameter_hash={PH}/run_id={RUN}/rng_trace_log.jsonl",
        ),
        (
            "edge_universe_hash_3B",
            f"data/layer1/3B/edge_universe_hash/manifest_fingerprint={MF}/edge_universe_hash_3B.json",
        ),
        (
            "segment_state_runs",
            "reports/layer2/segment_state_runs/segment=5B/utc_day=2026-01-01/segment_state_runs.jsonl",
        ),
        ("arrival_rng_policy_5B", "config/layer2/5B/arrival_rng_policy_5B.yaml"),
    ],
)
def test_paths_are_the_contracts(dataset_id: str, path: str, tmp_path: Path) -> None:
    assert dataset(dataset_id).locate(tmp_path, TOKENS) == tmp_path / path


def test_what_the_arrival_job_needs_is_always_needed_and_sealed() -> None:
    needed = [
        "s1_time_grid_5B",
        "s3_bucket_counts_5B",
        "s1_site_weights",
        "site_timezones",
        "s4_group_weights",
        "virtual_classification_3B",
        "virtual_settlement_3B",
        "edge_catalogue_3B",
        "edge_alias_blob_3B",
        "edge_alias_index_3B",
        "s2_alias_blob",
        "s2_alias_index",
        "edge_universe_hash_3B",
        "virtual_routing_policy_3B",
        "tz_timetable_cache",
        "arrival_rng_policy_5B",
        "arrival_routing_policy_5B",
        "arrival_time_placement_policy_5B",
        "arrival_output_policy_5B",
    ]
    assert {(dataset(name).need, dataset(name).sealed) for name in needed} == {("always", True)}


def test_outputs_and_documents_of_the_job_are_not_sealed_inputs() -> None:
    for name in ("arrival_events_5B", "s4_arrival_summary_5B", "sealed_inputs_5B", "s0_gate_receipt_5B"):
        assert not dataset(name).sealed
    assert not dataset("run_receipt").sealed


def test_part_files_are_numbered_as_the_contract_says(tmp_path: Path) -> None:
    assert dataset("site_locations").part(tmp_path, TOKENS, 7).name == "part-00007.parquet"
    for name in ("s1_time_grid_5B", "arrival_events_5B"):
        with pytest.raises(ArrivalError):
            dataset(name).part(tmp_path, TOKENS, 0)


def test_files_of_a_single_file_table_are_all_its_partitions_parquet_files(tmp_path: Path) -> None:
    entry = dataset("s3_bucket_counts_5B")
    assert entry.files(tmp_path, TOKENS) == []
    folder = entry.locate(tmp_path, TOKENS).parent
    folder.mkdir(parents=True)
    for name in ("b.parquet", "a.parquet", "c.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "d.parquet").mkdir()
    assert [path.name for path in entry.files(tmp_path, TOKENS)] == ["a.parquet", "b.parquet"]


def test_files_of_a_folder_come_in_relative_path_order(tmp_path: Path) -> None:
    entry = dataset("tz_timetable_cache")
    folder = entry.locate(tmp_path, TOKENS)
    (folder / "a-b").mkdir(parents=True)
    for name in ("tz_timetable_cache.json", "tz_cache_v1.bin", "a-b/z", "a"):
        (folder / name).write_bytes(b"x")
    found = [path.outside.relative_to(folder).as_posix() for path in entry.files(tmp_path, TOKENS)]
    assert found == ["a", "a-b/z", "tz_cache_v1.bin", "tz_timetable_cache.json"]


def test_a_linked_directory_is_listed_as_a_file_and_never_entered(tmp_path: Path) -> None:
    entry = dataset("validation_bundle_5B")
    folder = entry.locate(tmp_path, TOKENS)
    folder.mkdir(parents=True)
    (folder / "loop").symlink_to(folder)
    (folder / "report.json").write_bytes(b"{}")
    found = entry.files(tmp_path, TOKENS)
    assert [path.name for path in found] == ["loop", "report.json"]
    with pytest.raises(UnsafePathError, match="loop is a symbolic link"):
        found[0].read_bytes()


def test_files_of_a_document_is_the_document_if_it_exists(tmp_path: Path) -> None:
    entry = dataset("edge_universe_hash_3B")
    assert entry.files(tmp_path, TOKENS) == []
    path = entry.locate(tmp_path, TOKENS)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}")
    assert [found.outside for found in entry.files(tmp_path, TOKENS)] == [path]


def test_the_members_of_the_civil_time_cache_lie_in_its_directory(tmp_path: Path) -> None:
    folder = dataset("tz_timetable_cache").locate(tmp_path, TOKENS)
    members = [dataset(f"tz_timetable_cache_{part}").locate(tmp_path, TOKENS) for part in ("bin", "manifest")]
    assert members == [folder / "tz_cache_v1.bin", folder / "tz_timetable_cache.json"]


def test_an_unknown_dataset_is_a_named_error() -> None:
    with pytest.raises(ArrivalError, match="no entry 'nope'") as caught:
        dataset("nope")
    assert caught.value.code is Code.UNEXPECTED_INTERNAL_ERROR


# --------------------------------------------------------------------------- tokens and identity


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("manifest_fingerprint", MF, "A" * 64),
        ("manifest_fingerprint", MF, "a" * 63),
        ("parameter_hash", PH, "b" * 64 + "\n"),
        ("run_id", RUN, "c" * 64),
        ("seed", "18446744073709551615", "18446744073709551616"),
        ("seed", "0", "042"),
        ("seed", "7", "-7"),
        ("seed", "7", "\u0667"),
        ("utc_day", "2026-02-28", "2026-02-29"),
        ("utc_day", "2026-02-28", "2026-2-28"),
        ("scenario_id", "baseline_v1", "x" * 201),
        ("scenario_id", "Überlast", "a\x7fb"),
        ("scenario_id", "a.b", "\ud800"),
        ("scenario_id", "a..b", "a/../b"),
    ],
)
def test_token_forms(name: str, good: str, bad: str) -> None:
    assert check_token(name, good) == good
    with pytest.raises(ArrivalError) as caught:
        check_token(name, bad)
    assert caught.value.code is Code.PARTITION_OR_PK_VIOLATION
    assert caught.value.context == {"token": name, "value": bad}


def test_identity_tokens_are_text_and_checked() -> None:
    assert IDENTITY.tokens(scenario_id="s") == {
        "manifest_fingerprint": MF,
        "parameter_hash": PH,
        "seed": "42",
        "run_id": RUN,
        "scenario_id": "s",
    }
    with pytest.raises(ArrivalError):
        IDENTITY.tokens(scenario_id="..")


@pytest.mark.parametrize(
    "broken",
    [
        (MF.upper(), PH, 1, RUN),
        (MF, PH[:-1], 1, RUN),
        (MF, PH, -1, RUN),
        (MF, PH, 2**64, RUN),
        (MF, PH, True, RUN),
        (MF, PH, 1.0, RUN),
        (MF, PH, 1, "../" + RUN),
    ],
)
def test_identity_refuses_what_is_none(broken: tuple[str, str, int, str]) -> None:
    with pytest.raises(ArrivalError) as caught:
        Identity(*broken)
    assert caught.value.code is Code.PARTITION_OR_PK_VIOLATION


# --------------------------------------------------------------------------- errors


def test_codes_are_the_canonical_ones_and_our_own() -> None:
    s4, s5, own = ([code for code in Code if code.value.startswith(p)] for p in ("5B.S4.", "5B.S5.", "ARRIVALS."))
    assert (len(s4), len(s5), len(own)) == (20, 24, len(Code) - 44)
    assert all(code.value == f"5B.S4.{code.name}" for code in s4)
    assert all(code.value == f"5B.S5.{code.name.removeprefix('S5_')}" for code in s5)
    assert all(code.value == f"ARRIVALS.{code.name}" for code in own)


def test_an_error_carries_code_message_hint_and_context() -> None:
    error = ArrivalError(
        Code.DST_MAPPING_FAILED,
        "zone is late",
        hint="rebuild",
        path=Path("x"),
        p=Decimal("0.35"),
        ids=(1, 2**64 - 1),
    )
    assert str(error) == "5B.S4.DST_MAPPING_FAILED: zone is late"
    assert error.to_dict() == {
        "code": "5B.S4.DST_MAPPING_FAILED",
        "message": "zone is late",
        "hint": "rebuild",
        "context": {"path": "x", "p": "0.35", "ids": [1, 2**64 - 1]},
    }
    json.dumps(error.to_dict(), allow_nan=False)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (copy.code, copy.message, copy.hint, copy.context) == (
        error.code,
        error.message,
        error.hint,
        error.context,
    )


def test_error_context_with_nan_sets_and_codes_stays_json() -> None:
    error = ArrivalError(Code.IO_READ_FAILED, "m", nan=float("nan"), some={"b", "a"}, seen=Code.SCHEMA_VIOLATION)
    text = json.dumps(error.to_dict(), allow_nan=False)
    assert json.loads(text)["context"] == {
        "nan": "nan",
        "some": ["a", "b"],
        "seen": "5B.S4.SCHEMA_VIOLATION",
    }


def test_a_notice_is_json_too() -> None:
    notice = Notice("SEAL_STRUCTURAL", "digests do not cover data", {"rows": 3, "root": Path("r")})
    assert notice.to_dict() == {
        "code": "SEAL_STRUCTURAL",
        "message": "digests do not cover data",
        "context": {"rows": 3, "root": "r"},
    }


def test_importing_contracts_stays_light() -> None:
    program = (
        "import sys\n"
        "from arrival_engine import contracts\n"
        "contracts.dataset('arrival_events_5B')\n"
        "print([name for name in ('pyarrow', 'numpy', 'jsonschema', 'numba') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert result.stdout.strip() == "[]"
