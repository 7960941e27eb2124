"""A validation policy that differs from the delivered one is named wherever the verdict is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arrival_engine import ReportOptions, report, verify
from arrival_engine.config import packaged_bytes
from arrival_engine.config.policies import checked_policy
from arrival_engine.contracts import Code
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.validation.delivered import PolicyDifference, differences_text, policy_differences
from tests.support.paths import ROOT
from tests.support.validated import FAILED, PASSED, place, policed
from tests.support.validating import arrivals_of, command, copied

POLICY = "validation_policy_5B"
TEXT = packaged_bytes(POLICY).decode()
EDITS = (
    ("max_warnings: 8", "max_warnings: 1000"),
    ("p_value_min: 1e-9", "p_value_min: 1e-12"),
    ("virtual_share: [0.03, 0.08]", "virtual_share: [0, 1]"),
    ("dst_window_min_exposed_windows: 3", "dst_window_min_exposed_windows: 300"),
)
KEYS = (
    "statistical_checks.p_value_min",
    "civil_time_gates.dst_window_min_exposed_windows",
    "calibration_sentinels.b.virtual_share",
    "failure_policy.max_warnings",
)
TOLD = "differs from the delivered one in 4 keys: statistical_checks.p_value_min is 1e-12 instead of 1e-9, "


def differing(text: str) -> tuple[PolicyDifference, ...]:
    return policy_differences(checked_policy(POLICY, text.encode(), "policy"))


def edited(*edits: tuple[str, str]) -> str:
    text = TEXT
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


# --- Content, not bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "# Another comment.\n" + TEXT,
        edited(("p_value_min: 1e-9", "p_value_min: 0.000000001")),
        edited(("[1A, 1B, 2A, 3A, 3B]", "[3B, 3A, 2A, 1B, 1A]")),
        edited(("version: v2.1.0", "version: v2.9")),
        json.dumps(checked_policy(POLICY, TEXT.encode(), "policy").document, default=float),
        (ROOT / "tests" / "support" / "older_validation" / f"{POLICY}.yaml").read_text("utf-8"),
    ],
    ids=["packaged", "comment", "decimal", "order", "version", "json", "0.1.0"],
)
def test_the_same_values_in_another_form_are_no_difference(text: str) -> None:
    assert differing(text) == ()
    assert differences_text(()) == ""


def test_every_other_value_is_named_with_both() -> None:
    found = differing(edited(*EDITS, ("optional: [2B]", "optional: []")))
    assert found == (
        PolicyDifference("require_upstream_pass.optional", "[2B]", "[]"),
        PolicyDifference(KEYS[0], "1e-9", "1e-12"),
        PolicyDifference(KEYS[1], "3", "300"),
        PolicyDifference(KEYS[2], "[0.03, 0.08]", "[0, 1]"),
        PolicyDifference(KEYS[3], "8", "1000"),
    )
    (one,) = differing(edited(("evaluation_mode: note", "evaluation_mode: enforce_b")))
    assert differences_text([one]) == (
        "differs from the delivered one in 1 key: calibration_sentinels.evaluation_mode is enforce_b instead of note"
    )


# --- Wherever the verdict is ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was sealed with a looser policy, validated."""
    run_root = policed(tmp_path_factory.mktemp("loose") / "run", *EDITS)
    assert main(["validate", str(run_root), "--quiet"]) == 0
    return run_root


def test_validate_and_verify_name_the_keys(loose: Path, capsys: Any) -> None:
    capsys.readouterr()
    assert main(["validate", str(loose)]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = next(line for line in lines if line.split()[:1] == ["policy"])
    assert TOLD in told
    assert told.endswith(", 1 more")
    assert main(["verify", str(loose)]) == 0
    screen = capsys.readouterr().out
    assert "the flag holds" in screen
    assert TOLD in screen


def test_json_report_index_and_page_name_the_keys(loose: Path, tmp_path: Path, capsys: Any) -> None:
    folder = place(loose, PASSED)
    stated = json.loads((folder / "validation_report_5B.json").read_bytes())["validation_policy"]
    assert stated["delivered"] is False
    assert tuple(each["key"] for each in stated["differences"]) == KEYS
    assert stated["differences"][3] == {"key": KEYS[3], "delivered": "8", "found": "1000"}
    assert json.loads((folder / "index.json").read_bytes())["summary"]["validation_policy"] == stated
    for words in ("validate", "verify"):
        code, answer = command(capsys, words, str(loose))
        assert (code, answer["policy_differences"]) == (0, stated["differences"])
    assert tuple(each.key for each in verify(loose).policy_differences) == KEYS
    page = report(loose, ReportOptions(out=tmp_path / "report.html")).page.read_text("utf-8")
    assert f"The validation policy {TOLD}" in page


def test_the_delivered_policy_is_not_mentioned(sound: Path, tmp_path: Path, capsys: Any) -> None:
    stated = json.loads((place(sound, PASSED) / "validation_report_5B.json").read_bytes())["validation_policy"]
    assert stated == {"delivered": True, "differences": []}
    capsys.readouterr()
    assert main(["verify", str(sound)]) == 0
    assert "policy" not in capsys.readouterr().out
    page = report(sound, ReportOptions(out=tmp_path / "report.html")).page.read_text("utf-8")
    assert "differs from the delivered one" not in page


def test_an_index_that_hides_the_policy_is_refused(loose: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(loose, tmp_path / "run")
    path = place(run_root, PASSED) / "index.json"
    index = json.loads(path.read_bytes())
    for hidden in ({"delivered": True, "differences": []}, None):
        index["summary"]["validation_policy"] = hidden
        path.write_text(json.dumps(index), "ascii")
        code, answer = command(capsys, "verify", str(run_root))
        assert (code, answer["code"]) == (1, str(Code.S5_BUNDLE_INDEX_INVALID))
        assert "validation policy" in answer["message"]


def test_a_run_that_does_not_pass_names_them_too(loose: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(loose, tmp_path / "run")
    with arrivals_of(run_root) as arrivals:
        arrivals.first(lambda row: not row["is_virtual"])["site_id"] = 4711
    code, answer = command(capsys, "validate", str(run_root))
    assert (code, len(answer["policy_differences"])) == (1, 4)
    stated = json.loads((place(run_root, FAILED) / "validation_report_5B.json").read_bytes())
    assert stated["validation_policy"]["delivered"] is False
