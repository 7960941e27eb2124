"""Every check of `arrivals validate` catches the damage it is for, and as a rule that damage alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arrival_engine.contracts import Code
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.engine.validation.rules import RULES
from tests.support import damage, mutated_records  # noqa: F401 - registers its damages
from tests.support.law import edge_id
from tests.support.mutated_files import a_column_has_another_type
from tests.support.mutated_rows import (
    a_local_time_is_an_hour_late,
    a_row_is_gone,
    a_site_is_another_merchants,
    a_zone_was_not_on_offer,
    an_edge_is_another_merchants,
)
from tests.support.mutations import MUTATIONS, Mutation, RowDamage
from tests.support.paths import ROOT
from tests.support.validating import (
    HOUR_US,
    SCENARIO,
    Arrivals,
    Row,
    arrivals_of,
    broken,
    command,
    copied,
    local_us,
    proven_run,
    report_path,
    validated,
)
from tests.support.worlds import (
    BERLIN,
    HALF,
    KATHMANDU,
    ONE_SLOT,
    TWO_ZONES,
    VIRTUAL,
    small_world,
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_root = tmp_path_factory.mktemp("sound") / "run"
    proven_run(run_root, small_world(), batch_arrivals=500)
    return run_root


@pytest.fixture(scope="module")
def ample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_root = tmp_path_factory.mktemp("ample") / "run"
    proven_run(run_root)
    return run_root


CASES = [pytest.param(case, id=case.name, marks=pytest.mark.slow if case.slow else ()) for case in MUTATIONS]


@pytest.mark.parametrize("case", CASES)
def test_a_damage_is_caught_by_its_checks(
    case: Mutation, request: pytest.FixtureRequest, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(request.getfixturevalue("ample" if case.ample else "sound"), tmp_path / "run")
    case.damage(run_root)
    code, answer, findings = validated(run_root, capsys)
    assert code == 1
    assert answer["status"] == "FAIL"
    failed = broken(findings)
    assert case.fails <= failed, f"missed: {sorted(case.fails - failed)}"
    assert failed <= case.fails | case.also, f"further checks failed: {sorted(failed - case.fails - case.also)}"
    assert answer["error_code"] in {str(RULES[check].code) for check in failed}
    for check in failed:
        finding = findings[check]
        assert finding["code"] == str(RULES[check].code)
        assert finding["violations"] > 0
    # The bundle of a failure has its own place and carries no flag.
    folder = Path(answer["bundle"]["folder"])
    assert folder.parent.name == "validation_failed"
    assert not (folder / "_passed.flag").exists()
    passed = dataset("validation_bundle_5B").locate(run_root, damage.tokens_of(run_root, SCENARIO))
    assert not passed.exists()


def test_where_the_schema_differs_nothing_else_is_claimed(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    a_column_has_another_type(run_root)
    _, _, findings = validated(run_root, capsys)
    unmade = broken(findings, "NOT_RUN")
    assert {"counts", "primary_key", "civil_primary", "arrival_digest", "offsets", "rng_draws"} <= unmade
    assert findings["schema"]["examples"][0] == {
        "file": Arrivals(run_root).paths[0].name,
        "column": "arrival_seq",
        "expected": "int64",
        "found": "int32",
    }


def test_every_check_has_a_damage_that_it_catches() -> None:
    caught = {check for case in MUTATIONS for check in case.fails}
    # The rest: shown with policies of their own, with forged streams, or in a world of texts, in
    # test_validate_policy.py, test_validate_measures.py and test_validate_names.py.
    elsewhere = {
        "merchant_names",
        "rng_overlap",
        "edge_countries",
        "latent_factor",
        "count_spread",
        "top_zones",
        "virtual_share",
        "weekend_share",
        "residual_spread",
    }
    assert caught | elsewhere == set(RULES)
    assert not caught & elsewhere


@pytest.mark.parametrize(
    ("damage_of", "check", "expected"),
    [
        (a_row_is_gone, "primary_key", {"merchant_id": TWO_ZONES, "fault": "missing"}),
        (a_local_time_is_an_hour_late, "civil_primary", {"merchant_id": ONE_SLOT, "arrival_seq": 1}),
        (a_site_is_another_merchants, "site_of_merchant", {"merchant_id": TWO_ZONES, "tzid_primary": BERLIN}),
        (a_zone_was_not_on_offer, "zone_choice", {"merchant_id": HALF, "tzid_primary": KATHMANDU}),
        (an_edge_is_another_merchants, "edge_of_merchant", {"merchant_id": VIRTUAL, "edge_id": str(edge_id(HALF, 0))}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_finding_names_the_row(
    damage_of: RowDamage, check: str, expected: Row, sound: Path, tmp_path: Path, capsys: Any
) -> None:
    run_root = copied(sound, tmp_path / "run")
    with arrivals_of(run_root) as arrivals:
        damage_of(arrivals)
    _, _, findings = validated(run_root, capsys)
    assert findings[check]["violations"] == 1
    (example,) = findings[check]["examples"]
    assert {name: example[name] for name in expected} == expected


def test_a_part_that_cannot_be_read_is_a_named_failure(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    path = Arrivals(run_root).paths[1]
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)
    code, answer = command(capsys, "validate", str(run_root))
    assert code == 1
    assert answer["code"] == str(Code.S5_IO_READ_FAILED)
    last = json.loads(report_path(run_root).read_text("ascii").splitlines()[-1])
    assert (last["state"], last["status"], last["error_code"]) == ("S5", "FAIL", answer["code"])


def test_parts_that_cannot_be_read_stop_the_validation(sound: Path, tmp_path: Path) -> None:
    run_root = copied(sound, tmp_path / "run")
    paths = Arrivals(run_root).paths
    assert len(paths) > 2
    for path in paths:
        data = bytearray(path.read_bytes())
        data[200:400] = bytes(200)
        path.write_bytes(data)
    # One thread has more parts before it than it can fail at; a process of its own, because it might hang.
    words = ["validate", str(run_root), "--threads", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "arrival_engine", *words],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, str(Code.S5_IO_READ_FAILED))


def test_inputs_of_which_the_law_makes_no_arrivals_fail_the_run(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    damage.put(run_root, damage.MODES, "virtual_mode", "ODD", {"merchant_id": TWO_ZONES})
    _, answer, findings = validated(run_root, capsys)
    assert answer["status"] == "FAIL"
    assert broken(findings) >= {"sealed_inputs", "law"}
    assert findings["law"]["violations"] == findings["law"]["rows"] > 0
    assert f"merchant {TWO_ZONES} has the mode ODD" in findings["law"]["message"]
    unmade = broken(findings, "NOT_RUN")
    assert {"summary", "rng_draws", "site_weights"} <= unmade
    assert {findings[check]["message"] for check in unmade} == {"the law makes no arrivals to compare with"}
    # What needs no arrivals of the law is judged all the same.
    assert {"counts", "order", "primary_key", "civil_primary"} <= broken(findings, "PASS")


def test_local_times_of_the_support_are_right() -> None:
    assert local_us(1_774_746_000_000_000 - 1, BERLIN) == 1_774_746_000_000_000 - 1 + HOUR_US
    assert local_us(1_774_746_000_000_000, BERLIN) == 1_774_746_000_000_000 + 2 * HOUR_US
