"""`arrivals verify`: a bundle that contradicts itself, or is about something else, does not hold."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arrival_engine import verify
from arrival_engine.config import packaged_bytes
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.job import validate
from tests.support.validated import FAILED, PARTS, PASSED, place
from tests.support.validating import Arrivals, arrivals_of, command, copied, edit_run_line, validated

REPORT, ISSUES = "validation_report_5B.json", "validation_issue_table_5B.parquet"
GATE, LINES = "receipts/s0_gate_receipt_5B.json", "reports/segment_state_runs.jsonl"
Document = dict[str, Any]


@pytest.fixture
def run_root(sound: Path, tmp_path: Path) -> Path:
    return copied(sound, tmp_path / "run")


@pytest.fixture(scope="module")
def failed(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, an arrival of which is at another site, and the bundle that says so."""
    run_root = copied(sound, tmp_path_factory.mktemp("failed") / "run")
    with arrivals_of(run_root) as arrivals:
        arrivals.first(lambda row: not row["is_virtual"])["site_id"] = 4711
    assert not validate(run_root).passed
    return run_root


def edit(folder: Path, member: str, change: Callable[[Document], object]) -> None:
    path = folder / member
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")), "ascii")


def bind(folder: Path) -> None:
    """Fit the hashes of the index, the bundle's digest and the flag to the members as they are."""
    index = json.loads((folder / "index.json").read_bytes())
    index["entries"] = [entry for entry in index["entries"] if (folder / entry["path"]).exists()]
    contents = [(folder / entry["path"]).read_bytes() for entry in index["entries"]]
    for entry, content in zip(index["entries"], contents, strict=True):
        entry["sha256_hex"] = hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    index["summary"]["bundle_sha256"] = digest
    (folder / "index.json").write_text(json.dumps(index), "ascii")
    flag = {"manifest_fingerprint": "a" * 64, "bundle_digest_sha256": digest}
    (folder / "_passed.flag").write_text(json.dumps(flag), "ascii")


def refusal(run_root: Path, capsys: Any, *options: str) -> tuple[str, str]:
    """The code and the message with which `verify` refuses."""
    code, answer = command(capsys, "verify", str(run_root), *options)
    assert code == 1
    return answer["code"], answer["message"]


def first_part(listing: Document) -> Document:
    part: Document = listing["scenarios"][0]["parts"][0]
    return part


def other_digest(report_or_scenario: Document, name: str = "arrival_digest") -> None:
    report_or_scenario[name] = f"3279-{'0' * 32}"


# --- Bundles that contradict themselves, whose every hash is right ----------------------------------------------------

CONTRADICTIONS: dict[str, tuple[dict[str, Callable[[Document], object]], str]] = {
    "no status in the index": ({"index.json": lambda i: i.pop("status")}, "does not say whether"),
    "another specification": ({"index.json": lambda i: i.update(s5_spec_version="9")}, "versions of the specification"),
    "an error in the index": ({"index.json": lambda i: i["summary"].update(error_code="x")}, "about the error code"),
    "a tally in the index": (
        {"index.json": lambda i: i["summary"]["verdicts"].update(PASS=1)},
        "about the numbers of verdicts",
    ),
    "a tally in both": (
        {
            "index.json": lambda i: i["summary"]["verdicts"].update(PASS=1),
            REPORT: lambda r: r["verdicts"].update(PASS=1),
        },
        "its findings are",
    ),
    "no summary": ({"index.json": lambda i: i["summary"].pop("verdicts")}, "not in the form"),
    "an error in the report": (
        {"index.json": lambda i: i["summary"].update(error_code="x"), REPORT: lambda r: r.update(error_code="x")},
        "its error code is x",
    ),
    "another run": ({REPORT: lambda r: r.update(run_id="d" * 32)}, "run_id is"),
    "another seed": ({REPORT: lambda r: r.update(seed=7), PARTS: lambda p: p.update(seed=7)}, "seed is 42 in receipts"),
    "another seal": ({REPORT: lambda r: r.update(sealed_inputs_digest="d" * 64)}, "different seals"),
    "other arrivals in the report": (
        {REPORT: lambda r: other_digest(r["arrival_digests"], "baseline_v1")},
        "different scenarios or arrival digests",
    ),
    "other arrivals in report and listing": (
        {
            REPORT: lambda r: other_digest(r["arrival_digests"], "baseline_v1"),
            PARTS: lambda p: other_digest(p["scenarios"][0]),
        },
        f"{LINES} and the report name different",
    ),
    "other rows": ({PARTS: lambda p: first_part(p).update(rows=1)}, "rows, the report counts"),
    "a scenario twice": ({PARTS: lambda p: p["scenarios"].append(p["scenarios"][0])}, "name different scenarios"),
    "another hash of a part": (
        {PARTS: lambda p: first_part(p).update(sha256_hex="0" * 64)},
        "not the name of that part",
    ),
    "a part elsewhere": ({PARTS: lambda p: first_part(p).update(path="data/x.parquet")}, "not the name of that part"),
    "a part above": ({PARTS: lambda p: first_part(p).update(path="../x")}, "not the name of that part"),
    "a key more in the listing": ({PARTS: lambda p: p.update(note="")}, "note"),
    "checks that are not a list": ({REPORT: lambda r: r.update(checks=3)}, "not in the form"),
    "a check without a verdict": ({REPORT: lambda r: r["checks"][0].pop("verdict")}, "not in the form"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_bundle_whose_members_disagree_does_not_hold(what: str, run_root: Path, capsys: Any) -> None:
    changes, expected = CONTRADICTIONS[what]
    folder = place(run_root, PASSED)
    bind(folder)
    assert command(capsys, "verify", str(run_root))[0] == 0
    for member, change in changes.items():
        edit(folder, member, change)
    bind(folder)
    code, message = refusal(run_root, capsys)
    assert code == str(Code.S5_BUNDLE_INDEX_INVALID)
    assert expected in message


def pass_index(folder: Path) -> None:
    edit(folder, "index.json", lambda index: index.update(status="PASS"))


def pass_report(folder: Path) -> None:
    pass_index(folder)
    edit(folder, REPORT, lambda report: report.update(status="PASS"))


def pass_tally(folder: Path) -> None:
    """Everything but the findings themselves says that the run has passed."""
    pass_report(folder)
    edit(folder, REPORT, lambda report: [report.pop(name) for name in ("error_code", "error_message")])
    edit(folder, "index.json", lambda index: index["summary"].update(error_code=None))


def pass_findings(folder: Path) -> None:
    """The findings too: only the issue table says what was found."""
    pass_tally(folder)

    def forgive(report: Document) -> None:
        for record in report["checks"]:
            record["verdict"] = "PASS" if record["verdict"] == "FAIL" else record["verdict"]
        report["verdicts"]["PASS"] += report["verdicts"].pop("FAIL")

    edit(folder, REPORT, forgive)
    verdicts = json.loads((folder / REPORT).read_bytes())["verdicts"]
    edit(folder, "index.json", lambda index: index["summary"].update(verdicts=verdicts))


def pass_issues(folder: Path) -> None:
    """The issue table too: the run report tells that other arrivals were made."""
    pass_findings(folder)
    table = pq.read_table(folder / ISSUES)
    pq.write_table(table.slice(0, 0), folder / ISSUES, compression="none")


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (pass_index, "the index says PASS, the report FAIL"),
        (pass_report, "has a check that failed"),
        (pass_tally, "has a check that failed"),
        (pass_findings, f"{ISSUES} does not have the rows"),
        (pass_issues, f"{LINES} and the report name different"),
    ],
)
def test_a_failed_bundle_that_is_edited_to_pass_does_not_hold(
    forge: Callable[[Path], None], expected: str, failed: Path, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(failed, tmp_path / "run")
    shutil.rmtree(place(run_root, PASSED))
    folder = copied(place(run_root, FAILED), place(run_root, PASSED))
    forge(folder)
    bind(folder)
    code, message = refusal(run_root, capsys)
    assert code == str(Code.S5_BUNDLE_INDEX_INVALID)
    assert expected in message


def test_a_failed_bundle_in_the_place_of_a_passed_one_does_not_hold(failed: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(failed, tmp_path / "run")
    shutil.rmtree(place(run_root, PASSED))
    folder = copied(place(run_root, FAILED), place(run_root, PASSED))
    assert refusal(run_root, capsys)[0] == str(Code.S5_FLAG_SCHEMA_VIOLATION)
    bind(folder)
    assert refusal(run_root, capsys)[0] == str(Code.S5_FLAG_SCHEMA_VIOLATION)


def test_a_bundle_without_the_listing_vouches_for_nothing(run_root: Path, capsys: Any) -> None:
    """As versions before the listing wrote it."""
    folder = place(run_root, PASSED)
    (folder / PARTS).unlink()
    bind(folder)
    code, answer = command(capsys, "verify", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_BUNDLE_INDEX_INVALID))
    assert "it vouches for none" in answer["message"]
    assert "arrivals validate" in answer["hint"]
    assert validated(run_root, capsys)[1]["bundle"]["publication"] == "replaced"
    assert command(capsys, "verify", str(run_root))[0] == 0


def test_the_listing_is_a_member_whatever_the_layout_policy_lists(sound: Path) -> None:
    policy = dataset("bundle_layout_policy_5B").locate(sound, {})
    assert not policy.exists() or PARTS not in policy.read_text("utf-8")
    index = json.loads((place(sound, PASSED) / "index.json").read_bytes())
    roles = {entry["path"]: entry["role"] for entry in index["entries"]}
    assert roles[PARTS] == "arrival_parts"


# --- Bundles of something else ----------------------------------------------------------------------------------------


def test_an_honest_bundle_over_forged_arrivals_does_not_hold(
    sound: Path, failed: Path, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(failed, tmp_path / "run")
    shutil.rmtree(place(run_root, PASSED))
    copied(place(sound, PASSED), place(run_root, PASSED))
    assert refusal(run_root, capsys)[0] == str(Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH)


def parts_of(run_root: Path) -> list[Path]:
    return Arrivals(run_root).paths


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def link(path: Path) -> None:
    target = path.parents[4] / "elsewhere"
    path.rename(target)
    path.symlink_to(target)


ARRIVALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte less": (lambda r: cut(parts_of(r)[1]), "bytes instead of"),
    "a part less": (lambda r: parts_of(r)[-1].unlink(), "is missing"),
    "a part more": (
        lambda r: shutil.copy(
            parts_of(r)[-1], parts_of(r)[-1].with_name(parts_of(r)[-1].name.replace("-00000", "-00001"))
        ),
        "is not listed",
    ),
    "another file": (lambda r: (parts_of(r)[0].parent / "x.parquet").write_bytes(b""), "x.parquet is not listed"),
    "a link": (lambda r: link(parts_of(r)[0]), "is missing"),
    "no arrivals": (lambda r: shutil.rmtree(parts_of(r)[0].parent), "baseline_v1 is not published"),
    "a scenario more": (
        lambda r: shutil.copytree(parts_of(r)[0].parent, parts_of(r)[0].parent.with_name("scenario_id=x")),
        "scenario x is not listed",
    ),
}


@pytest.mark.parametrize("what", ARRIVALS)
def test_arrivals_other_than_those_listed_are_named(what: str, run_root: Path, capsys: Any) -> None:
    change, expected = ARRIVALS[what]
    change(run_root)
    code, message = refusal(run_root, capsys)
    assert code == str(Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH)
    assert expected in message


def test_a_changed_byte_is_found_by_hashing_the_arrivals(run_root: Path, capsys: Any) -> None:
    path = parts_of(run_root)[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, answer = command(capsys, "verify", str(run_root))
    assert (code, answer["arrivals_hashed"]) == (0, False)
    assert answer["arrivals"] == 3279
    named, message = refusal(run_root, capsys, "--arrivals")
    assert named == str(Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH)
    assert f"{path} does not have the hash" in message


def test_hashed_arrivals_that_are_as_listed_hold(run_root: Path, capsys: Any) -> None:
    code, answer = command(capsys, "verify", str(run_root), "--arrivals", "--threads", "2")
    assert (code, answer["arrivals_hashed"], answer["parts"]) == (0, True, len(parts_of(run_root)))


def test_the_manifest_of_a_store_may_lie_beside_the_parts(run_root: Path, capsys: Any) -> None:
    (parts_of(run_root)[0].parent / "_manifest.json").write_bytes(b"{}")
    assert command(capsys, "verify", str(run_root))[0] == 0


def test_a_run_report_that_tells_of_other_arrivals_is_noticed(run_root: Path, capsys: Any) -> None:
    edit_run_line(run_root, arrival_digest=f"3279-{'0' * 32}")
    assert "the last run there made" in refusal(run_root, capsys)[1]


def test_another_seal_is_noticed(run_root: Path, capsys: Any) -> None:
    for dataset_id in ("s0_gate_receipt_5B", "sealed_inputs_5B"):
        place(run_root, dataset_id).unlink()
    config = dataset("validation_policy_5B").locate(run_root, {})
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_bytes(packaged_bytes("validation_policy_5B") + b"# another\n")
    seal(run_root)
    assert "another seal" in refusal(run_root, capsys)[1]


def test_what_cannot_be_compared_is_said(run_root: Path, capsys: Any) -> None:
    shutil.rmtree(run_root / "reports")
    for dataset_id in ("s0_gate_receipt_5B", "sealed_inputs_5B"):
        place(run_root, dataset_id).unlink()
    code, answer = command(capsys, "verify", str(run_root))
    assert (code, answer["not_compared"]) == (0, ["seal", "run report"])


@pytest.mark.parametrize("name", ["_passed.flag", "index.json", REPORT, PARTS, ""])
def test_a_link_in_the_place_of_a_bundle_or_its_files_does_not_hold(name: str, run_root: Path, capsys: Any) -> None:
    path = place(run_root, PASSED) / name
    path.rename(run_root / "elsewhere")
    path.symlink_to(run_root / "elsewhere")
    members = {REPORT, PARTS}
    expected = Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH if name in members else Code.S5_IO_READ_FAILED
    assert refusal(run_root, capsys)[0] == str(expected)


def test_a_directory_of_a_parts_name_fails_the_run_and_leaves_a_bundle_that_says_so(
    run_root: Path, capsys: Any
) -> None:
    path = parts_of(run_root)[-1]
    path.unlink()
    path.mkdir()
    code, answer, findings = validated(run_root, capsys)
    assert (code, findings["files"]["verdict"]) == (1, "FAIL")
    assert Path(answer["bundle"]["folder"]) == place(run_root, FAILED)


# --- Other processes at the same time ---------------------------------------------------------------------------------


class During(Reporter):
    """Does something when a phase of the validation begins."""

    def __init__(self, phase: str, action: Callable[[], object]) -> None:
        super().__init__()
        self._when, self._action = phase, action

    def _on_phase_start(self, name: str) -> None:
        if name == self._when:
            self._action()


def swap(path: Path) -> None:
    """Put another file of the same name, size and times in the place."""
    other = path.with_name("new")
    shutil.copy2(path, other)
    other.rename(path)


def add(path: Path) -> None:
    shutil.copy(path, path.with_name(path.name.replace("part-000000", "part-000099")))


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())


@pytest.mark.parametrize("change", [swap, add, rewrite])
@pytest.mark.parametrize("phase", ["judge", pytest.param("hash arrivals", marks=pytest.mark.slow)])
def test_a_part_that_changes_while_it_is_validated_gets_no_flag(
    change: Callable[[Path], None], phase: str, run_root: Path, capsys: Any
) -> None:
    path = parts_of(run_root)[0]
    with pytest.raises(ArrivalError, match="changed while the arrivals were being validated") as caught:
        validate(run_root, reporter=During(phase, lambda: change(path)))
    assert caught.value.code is Code.S5_IO_READ_FAILED
    assert refusal(run_root, capsys)[0] == str(Code.S5_FLAG_SCHEMA_VIOLATION)


def test_a_bundle_that_is_replaced_while_it_is_verified_is_read_again(
    run_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place(run_root, PASSED)
    other = copied(folder, run_root / "other")
    audit = other / "rng/rng_audit_log.jsonl"
    audit.write_bytes(audit.read_bytes() + b"\n")
    bind(other)
    digest = json.loads((other / "_passed.flag").read_bytes())["bundle_digest_sha256"]
    opened = InsidePath.open

    def opening(self: InsidePath, *mode: Any) -> Any:
        file = opened(self, *mode)
        if self.name == "index.json" and (run_root / "other").exists():
            folder.rename(run_root / "old")
            other.rename(folder)
        return file

    monkeypatch.setattr(InsidePath, "open", opening)
    assert verify(run_root).digest == digest


def test_threads_without_arrivals_to_hash_are_refused(sound: Path, capsys: Any) -> None:
    assert main(["verify", str(sound), "--threads", "2"]) == 2
    assert "--threads needs --arrivals" in capsys.readouterr().err
    with pytest.raises(ArrivalError) as caught:
        verify(sound, threads=2)
    assert caught.value.code is Code.OPTION_INVALID
