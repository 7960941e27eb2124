"""The run receipt: read, checked, refused."""

import json
import os
from pathlib import Path

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.rundir.receipt import read_receipt

RUN_ID = "c" * 32
GOOD = {
    "run_id": RUN_ID,
    "seed": 2**64 - 1,
    "parameter_hash": "b" * 64,
    "manifest_fingerprint": "a" * 64,
    "contracts_layout": "model_spec",
    "contracts_root": ".",
    "runs_root": "runs",
    "external_roots": ["policies", "/opt/policies"],
    "created_utc": "2026-01-01T00:00:00.000000Z",
}


@pytest.fixture
def run_root(tmp_path):
    root = tmp_path / "world"
    root.mkdir()
    return root


def write(root, document):
    root.mkdir(parents=True, exist_ok=True)
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    (root / "run_receipt.json").write_bytes(text)
    return root


def refusal(root):
    with pytest.raises(ArrivalError) as caught:
        read_receipt(root)
    return caught.value


def test_a_receipt_gives_the_identity_and_where_policies_lie(run_root):
    receipt = read_receipt(write(run_root, GOOD))
    assert receipt.run_root.outside == run_root
    assert receipt.identity.tokens() == {
        "manifest_fingerprint": "a" * 64,
        "parameter_hash": "b" * 64,
        "seed": str(2**64 - 1),
        "run_id": RUN_ID,
    }
    assert [str(root) for root in receipt.external_roots] == [str(run_root / "policies"), "/opt/policies"]
    assert receipt.created_utc == GOOD["created_utc"]
    assert receipt.document["contracts_layout"] == "model_spec"


def test_a_receipt_knows_where_its_datasets_lie(run_root):
    receipt = read_receipt(write(run_root, GOOD))
    events, logs = receipt.path("arrival_events_5B", scenario_id="s"), receipt.path("rng_trace_log")
    assert events.parts[-1] == "scenario_id=s"
    assert f"seed={2**64 - 1}" in logs.parts
    assert receipt.part("site_locations", 3).parent == receipt.path("site_locations")
    assert receipt.files("arrival_events_5B", scenario_id="s") == []
    events.mkdir(parents=True)
    (events / "part-000000.parquet").write_bytes(b"")
    assert receipt.files("arrival_events_5B", scenario_id="s") == [events / "part-000000.parquet"]


@pytest.mark.parametrize(
    ("dataset_id", "token", "values"),
    [
        ("arrival_events_5B", "scenario_id", ["a", "b"]),
        ("s3_bucket_counts_5B", "scenario_id", ["a", "b"]),
        ("segment_state_runs", "utc_day", ["2026-01-01", "2026-02-01"]),
    ],
)
def test_partitions_are_the_directories_named_by_a_token(run_root, dataset_id, token, values):
    receipt = read_receipt(write(run_root, GOOD))
    assert receipt.partitions(dataset_id, token) == {}
    for value in reversed(values):
        path = receipt.path(dataset_id, **{token: value})
        path.mkdir(parents=True)
    found = receipt.partitions(dataset_id, token)
    assert list(found) == values
    assert [path.name for path in found.values()] == [f"{token}={value}" for value in values]
    beside = next(iter(found.values())).parent
    (beside / f"{token}=file").write_bytes(b"")
    (beside / "another").mkdir()
    assert receipt.partitions(dataset_id, token) == found


def test_external_roots_are_optional(run_root):
    document = {key: value for key, value in GOOD.items() if key != "external_roots"}
    assert read_receipt(write(run_root, document)).external_roots == ()


def test_a_text_path_will_do(run_root):
    assert read_receipt(str(write(run_root, GOOD))).run_root.outside == run_root  # type: ignore[arg-type]


def test_a_directory_named_by_its_run_id_must_hold_that_run(tmp_path):
    assert read_receipt(write(tmp_path / RUN_ID, GOOD)).identity.run_id == RUN_ID
    error = refusal(write(tmp_path / ("d" * 32), GOOD))
    assert error.code is Code.PARTITION_OR_PK_VIOLATION
    assert RUN_ID in error.message
    assert "d" * 32 in error.message


def test_the_real_name_of_the_directory_counts(tmp_path, monkeypatch):
    root = write(tmp_path / ("d" * 32), GOOD)
    monkeypatch.chdir(root)
    assert refusal(".").code is Code.PARTITION_OR_PK_VIOLATION


def test_a_missing_receipt_points_to_the_runs_below(tmp_path):
    error = refusal(tmp_path)
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert "arrivals synth" in error.hint
    write(tmp_path / "second", GOOD)
    write(tmp_path / "first", GOOD)
    (tmp_path / "neither").mkdir()
    error = refusal(tmp_path)
    assert error.context["candidates"] == [tmp_path / "first", tmp_path / "second"]
    assert f"{tmp_path / 'first'}, {tmp_path / 'second'}" in error.hint
    assert "neither" not in error.hint


def test_many_runs_below_are_not_all_listed(tmp_path):
    for number in range(13):
        write(tmp_path / f"run{number:02d}", GOOD)
    error = refusal(tmp_path)
    assert "run09" in error.hint
    assert "run10" not in error.hint
    assert error.hint.endswith("and 3 more")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("manifest_fingerprint", "../" + "a" * 61),
        ("manifest_fingerprint", "A" * 64),
        ("manifest_fingerprint", "a" * 64 + "\n"),
        ("parameter_hash", "b" * 63),
        ("run_id", "../../etc"),
        ("run_id", "c" * 31 + "/"),
        ("run_id", ".."),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", "42"),
        ("seed", 1.5),
        ("seed", 1.0),
        ("seed", True),
        ("seed", None),
        ("external_roots", "elsewhere"),
        ("external_roots", [""]),
        ("created_utc", "yesterday"),
    ],
)
def test_values_that_cannot_stand_in_a_path_are_refused_by_name(run_root, key, value):
    error = refusal(write(run_root, {**GOOD, key: value}))
    assert error.code in (Code.S0_GATE_MISSING_OR_INVALID, Code.PARTITION_OR_PK_VIOLATION)
    assert key in error.message
    assert "run_receipt.json" in error.message


@pytest.mark.parametrize("key", ["run_id", "seed", "parameter_hash", "manifest_fingerprint", "created_utc"])
def test_every_needed_key_is_missed(run_root, key):
    error = refusal(write(run_root, {name: value for name, value in GOOD.items() if name != key}))
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert key in error.message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "run_receipt.json"),
        (b"\xff\xfe", "JSON"),
        (json.dumps(GOOD).encode()[:-1] + b', "seed": 7}', "'seed' appears twice"),
        (json.dumps(GOOD).replace(str(2**64 - 1), "NaN").encode(), "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * (16 * 2**20 + 1), "larger than"),
    ],
)
def test_what_is_no_strict_json_is_refused(run_root, data, words):
    error = refusal(write(run_root, data))
    assert error.code is Code.S0_GATE_MISSING_OR_INVALID
    assert words in error.message


def test_what_cannot_be_read_says_so(tmp_path, run_root):
    assert refusal(tmp_path / "absent").code is Code.IO_READ_FAILED
    file = tmp_path / "file"
    file.write_text("x", encoding="ascii")
    assert refusal(file).code is Code.IO_READ_FAILED
    (run_root / "run_receipt.json").mkdir()
    error = refusal(run_root)
    assert error.code is Code.IO_READ_FAILED
    assert str(run_root / "run_receipt.json") in error.message


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_receipt_says_so(run_root):
    write(run_root, GOOD)
    (run_root / "run_receipt.json").chmod(0)
    assert refusal(run_root).code is Code.IO_READ_FAILED


def test_a_directory_whose_name_is_not_utf_8_is_refused_at_once(tmp_path):
    error = refusal(write(tmp_path / os.fsdecode(b"w\xffrld"), GOOD))
    assert error.code is Code.IO_READ_FAILED
    assert "UTF-8" in error.message
    error.message.encode()


def test_a_url_is_refused_without_its_key():
    with pytest.raises(ArrivalError) as refusal:
        read_receipt(Path("s3://key:secret@bucket/run"))
    assert refusal.value.code is Code.OPTION_INVALID
    assert "s3://..." in refusal.value.message
    assert "secret" not in str(refusal.value)
