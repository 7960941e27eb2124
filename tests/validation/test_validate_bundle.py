"""The bundle of `arrivals validate`, and `arrivals verify`, which reads it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import Code, arrow_schema
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.validation.job import ValidateOptions, validate
from arrival_engine.engine.validation.rules import RULES
from tests.support.validated import FAILED, MEMBERS, PARTS, PASSED, place
from tests.support.validating import (
    arrivals_of,
    command,
    copied,
    proven_run,
    report_path,
    validated,
)
from tests.support.worlds import TWO_ZONES, small_world

# --- The bundle ---------------------------------------------------------------------------------------


def test_the_bundle_has_the_contracts_layout_and_digest_law(sound: Path) -> None:
    folder = place(sound, PASSED)
    index = json.loads((folder / "index.json").read_bytes())
    assert [entry["path"] for entry in index["entries"]] == MEMBERS
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == sorted([*MEMBERS, "_passed.flag", "index.json"])
    for entry in index["entries"]:
        assert hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256_hex"]
        assert entry["role"]
    digest = hashlib.sha256(b"".join((folder / path).read_bytes() for path in MEMBERS)).hexdigest()
    flag = json.loads((folder / "_passed.flag").read_bytes())
    assert flag == {"manifest_fingerprint": "a" * 64, "bundle_digest_sha256": digest}
    assert (index["segment_id"], index["status"], index["summary"]["bundle_sha256"]) == ("5B", "PASS", digest)


def test_the_report_says_what_was_checked(sound: Path) -> None:
    report = json.loads((place(sound, PASSED) / "validation_report_5B.json").read_bytes())
    assert report["status"] == "PASS"
    statements = ("counts_match_s3", "time_windows_ok", "civil_time_ok", "routing_ok", "schema_partition_pk_ok")
    assert all(report[name] is True for name in (*statements, "rng_accounting_ok"))
    assert (report["n_arrivals_total"], report["n_arrivals_physical"], report["n_arrivals_virtual"]) == (3279, 3203, 76)
    assert [check["check"] for check in report["checks"]] == sorted(
        RULES,
        key=lambda check: (
            check not in ("upstream", "sealed_inputs", "domain", "strangers", "rng_logs", "rng_overlap"),
            list(RULES).index(check),
        ),
    )


def test_the_issue_table_has_its_schema_without_an_issue(sound: Path) -> None:
    table = pq.read_table(place(sound, PASSED) / "validation_issue_table_5B.parquet")
    assert table.num_rows == 0
    assert table.schema.equals(arrow_schema("validation_issue_table_5B"))


def test_the_issue_table_names_check_code_and_examples(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    with arrivals_of(run_root) as arrivals:
        arrivals.first(lambda row: row["merchant_id"] == TWO_ZONES)["site_id"] = 4711
    validated(run_root, capsys)
    rows = pq.read_table(place(run_root, FAILED) / "validation_issue_table_5B.parquet").to_pylist()
    found = {row["context"]["check"]: row for row in rows}
    assert found.keys() == {"arrival_digest", "law", "site_of_merchant"}
    row = found["site_of_merchant"]
    assert (row["issue_code"], row["severity"]) == (str(Code.S5_PHYSICAL_ROUTING_INVALID), "ERROR")
    assert json.loads(row["context"]["examples"][0])["merchant_id"] == TWO_ZONES


def test_no_member_holds_a_path_a_moment_or_a_machine(sound: Path) -> None:
    folder = place(sound, PASSED)
    gate = json.loads(place(sound, "s0_gate_receipt_5B").read_bytes())
    telltale = {
        str(sound),
        sound.name + "/",
        socket.gethostname(),
        gate["created_utc"],
        dt.datetime.now(dt.UTC).date().isoformat(),
    }
    for path in MEMBERS:
        content = (folder / path).read_bytes().decode("utf-8", "replace")
        assert [word for word in telltale if word in content] == [], path


def test_the_bundle_of_the_same_files_is_the_same_wherever_and_however_it_was_made(sound: Path, tmp_path: Path) -> None:
    digests = {validate(sound, ValidateOptions(threads=threads)).bundle.digest for threads in (1, 3)}
    run_root = tmp_path / "elsewhere"
    proven_run(run_root, small_world(), batch_arrivals=500, threads=1)
    digests.add(validate(run_root).bundle.digest)
    assert len(digests) == 1


def test_only_the_listing_of_parts_depends_on_how_the_run_was_made(sound: Path, tmp_path: Path) -> None:
    bundles = [place(sound, PASSED)]
    for name, options in (("a", {"batch_arrivals": 10_000}), ("b", {"format": "arrow", "threads": 2})):
        proven_run(tmp_path / name, small_world(), **options)
        validate(tmp_path / name)
        bundles.append(place(tmp_path / name, PASSED))
    contents = {path: {(folder / path).read_bytes() for folder in bundles} for path in MEMBERS}
    assert {path: len(found) for path, found in contents.items()} == {**dict.fromkeys(MEMBERS, 1), PARTS: 3}


def test_the_bundle_lists_every_part(sound: Path) -> None:
    listing = json.loads((place(sound, PASSED) / PARTS).read_bytes())
    (scenario,) = listing["scenarios"]
    paths = sorted(path for path in sound.glob("data/layer2/5B/arrival_events/**/part-*"))
    assert [part["path"] for part in scenario["parts"]] == [path.relative_to(sound).as_posix() for path in paths]
    for part, path in zip(scenario["parts"], paths, strict=True):
        assert part["bytes"] == path.stat().st_size
        assert part["sha256_hex"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert part["rows"] == pq.read_metadata(path).num_rows
    assert scenario["arrival_digest"].startswith("3279-")


def test_the_same_bundle_again_is_no_new_bundle(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in place(run_root, PASSED).rglob("*")}
    code, answer, _ = validated(run_root, capsys)
    assert (code, answer["bundle"]["publication"]) == (0, "identical")
    assert {path: path.stat().st_mtime_ns for path in place(run_root, PASSED).rglob("*")} == before


@pytest.mark.parametrize("member", ["validation_report_5B.json", "receipts/sealed_inputs_5B.json"])
def test_a_pass_puts_its_bundle_in_the_place_of_another(member: str, sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    path = place(run_root, PASSED) / member
    path.write_bytes(path.read_bytes().replace(b"PASS", b"FAIL", 1) + b" ")
    code, answer, _ = validated(run_root, capsys)
    assert (code, answer["bundle"]["publication"]) == (0, "replaced")
    assert path.read_bytes() == (place(sound, PASSED) / member).read_bytes()
    assert main(["verify", str(run_root), "--quiet"]) == 0


def test_a_failure_never_blocks_a_later_pass(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    shutil.rmtree(place(run_root, PASSED))
    part = next(run_root.rglob("part-000001-*.parquet"))
    good = part.read_bytes()
    for site in (4711, 4712):
        with arrivals_of(run_root) as arrivals:
            arrivals.first(lambda row: row["merchant_id"] == TWO_ZONES, skip=100)["site_id"] = site
        code, answer, _ = validated(run_root, capsys)
        assert code == 1
        assert Path(answer["bundle"]["folder"]) == place(run_root, FAILED)
    assert answer["bundle"]["publication"] == "replaced"
    part.write_bytes(good)
    code, answer, _ = validated(run_root, capsys)
    assert code == 0
    assert Path(answer["bundle"]["folder"]) == place(run_root, PASSED)
    assert main(["verify", str(run_root), "--quiet"]) == 0


def test_the_run_report_has_the_lines_metrics(sound: Path) -> None:
    lines = [json.loads(line) for line in report_path(sound).read_text("ascii").splitlines()]
    line = next(line for line in lines if line["state"] == "S5")
    assert line["state_id"] == "5B.S5"
    assert (line["status"], line["error_code"], line["error_message"]) == ("PASS", None, None)
    assert (line["n_parameter_hashes"], line["n_scenarios"], line["n_seeds"]) == (1, 1, 1)
    assert (line["n_buckets_total"], line["n_buckets_nonzero"]) == (54, 8)
    assert (line["n_arrivals_total"], line["n_arrivals_physical"], line["n_arrivals_virtual"]) == (3279, 3203, 76)
    statements = ("counts_match_s3", "time_windows_ok", "civil_time_ok", "routing_ok", "schema_partition_pk_ok")
    assert all(line[name] is True for name in (*statements, "rng_accounting_ok", "bundle_integrity_ok"))
    assert (line["rng_checked_states"], line["rng_families_ok"]) == (["S4"], True)
    digest = json.loads((place(sound, PASSED) / "_passed.flag").read_bytes())["bundle_digest_sha256"]
    assert line["bundle_sha256"] == digest
    assert sound / line["flag_path"] == place(sound, PASSED) / "_passed.flag"


def test_event_records_that_a_later_run_keeps_are_no_conflict(tmp_path: Path, capsys: Any) -> None:
    run_root = tmp_path / "run"
    proven_run(run_root, small_world(), rng_events="none")
    code, first, findings = validated(run_root, capsys)
    assert (code, findings["rng_events"]["verdict"]) == (0, "NOT_APPLICABLE")
    run(run_root, RunOptions(backend="cpu", rng_events="parquet", replace=True))
    code, second, findings = validated(run_root, capsys)
    assert (code, findings["rng_events"]["verdict"]) == (0, "PASS")
    assert second["bundle"]["publication"] == "replaced"
    assert second["bundle"]["digest"] != first["bundle"]["digest"]
    assert main(["verify", str(run_root), "--quiet"]) == 0


# --- Verification of a bundle -------------------------------------------------------------------------


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((folder / "index.json").read_bytes())
    change(index)
    (folder / "index.json").write_text(json.dumps(index), "ascii")


def append(path: Path, data: bytes = b" ") -> None:
    path.write_bytes(path.read_bytes() + data)


DAMAGES: list[tuple[str, Callable[[Path], object], Code]] = [
    ("member edited", lambda f: append(f / MEMBERS[0]), Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH),
    ("member gone", lambda f: (f / MEMBERS[2]).unlink(), Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH),
    ("stranger", lambda f: (f / "note.txt").write_bytes(b""), Code.S5_BUNDLE_INDEX_INVALID),
    ("index gone", lambda f: (f / "index.json").unlink(), Code.S5_BUNDLE_INDEX_INVALID),
    ("index no JSON", lambda f: (f / "index.json").write_bytes(b"{"), Code.S5_BUNDLE_INDEX_INVALID),
    ("unsorted", lambda f: edit_index(f, lambda i: i["entries"].reverse()), Code.S5_BUNDLE_INDEX_INVALID),
    (
        "repeated",
        lambda f: edit_index(f, lambda i: i["entries"].append(i["entries"][-1])),
        Code.S5_BUNDLE_INDEX_INVALID,
    ),
    (
        "leads out",
        lambda f: edit_index(f, lambda i: i["entries"][0].update(path="../x")),
        Code.S5_BUNDLE_INDEX_INVALID,
    ),
    ("report not listed", lambda f: edit_index(f, lambda i: i["entries"].pop()), Code.S5_BUNDLE_INDEX_INVALID),
    (
        "another run's",
        lambda f: edit_index(f, lambda i: i.update(manifest_fingerprint="b" * 64)),
        Code.S5_BUNDLE_INDEX_INVALID,
    ),
    ("flag gone", lambda f: (f / "_passed.flag").unlink(), Code.S5_FLAG_SCHEMA_VIOLATION),
    ("flag no JSON", lambda f: append(f / "_passed.flag", b"}"), Code.S5_FLAG_SCHEMA_VIOLATION),
    (
        "flag with more",
        lambda f: (f / "_passed.flag").write_text(
            json.dumps({"manifest_fingerprint": "a" * 64, "bundle_digest_sha256": "a" * 64, "by": "me"})
        ),
        Code.S5_FLAG_SCHEMA_VIOLATION,
    ),
    (
        "flag of another digest",
        lambda f: (f / "_passed.flag").write_text(
            json.dumps({"manifest_fingerprint": "a" * 64, "bundle_digest_sha256": "a" * 64})
        ),
        Code.S5_BUNDLE_DIGEST_MISMATCH,
    ),
]


@pytest.mark.parametrize(("what", "change", "code"), DAMAGES, ids=[what for what, _, _ in DAMAGES])
def test_verify_says_what_does_not_hold(
    what: str, change: Callable[[Path], object], code: Code, sound: Path, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(sound, tmp_path / "run")
    assert command(capsys, "verify", str(run_root))[0] == 0
    change(place(run_root, PASSED))
    exit_code, answer = command(capsys, "verify", str(run_root))
    assert (exit_code, answer["code"]) == (1, str(code)), what


def test_a_member_and_its_index_entry_edited_together_still_break_the_flag(
    sound: Path, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(sound, tmp_path / "run")
    folder = place(run_root, PASSED)
    append(folder / MEMBERS[0])
    digest = hashlib.sha256((folder / MEMBERS[0]).read_bytes()).hexdigest()
    edit_index(folder, lambda index: index["entries"][0].update(sha256_hex=digest))
    code, answer = command(capsys, "verify", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_BUNDLE_DIGEST_MISMATCH))


def test_verify_without_a_bundle_says_how_to_get_one(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    shutil.rmtree(place(run_root, PASSED))
    code, answer = command(capsys, "verify", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_BUNDLE_INDEX_INVALID))
    assert "arrivals validate" in answer["hint"]
