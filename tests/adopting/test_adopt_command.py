"""`arrivals adopt` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arrival_engine.contracts import dataset
from arrival_engine.engine.cli.main import main
from tests.support.upstream_policies import VERSION_1
from tests.support.upstream_seal import make_upstream_run

ROUTING = "arrival_routing_policy_5B"


@pytest.fixture
def found(tmp_path: Path) -> Path:
    return make_upstream_run(tmp_path)


def test_every_difference_is_on_the_screen_and_the_choice_of_files_is_a_warning(
    found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adopt", str(found)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{found} adopted\n")
    assert f"\n{ROUTING} v1.0.0 to v2.0.0\n" in out
    assert "hybrid_policy.p_virtual_hybrid 0.4, " in out
    line = "    hybrid_policy.coin_source: arrival_site_pick.first_uniform -> arrival_edge_pick.second_word ("
    assert line in out
    assert "    realism_floors.require_pass_gates: true -> no key (" in out
    assert "    virtual_router.primary_clock: operational (version 1 has no such key)\n" in out
    assert out.rstrip().endswith(f"run {found}")
    (warning,) = [text for text in err.splitlines() if "POLICY_CHOSEN" in text]
    for policy_id in VERSION_1:
        own = dataset(policy_id).locate(found, {})
        assert f"{policy_id}: {own}, not {dataset(policy_id).locate(found.parent / 'pipeline', {})}" in warning
    assert main(["adopt", str(found)]) == 0
    assert capsys.readouterr().out.startswith(f"{found} was adopted already, and nothing has changed since\n")


def test_quiet_and_json(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adopt", str(found), "--no-seal", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["adopt", str(found), "--no-seal", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["status"], result["changed"], result["seal"]) == ("PASS", False, "none")
    policies = {policy["policy"]: policy for policy in result["policies"]}
    difference = policies[ROUTING]["differences"][0]
    assert difference == {
        "key": "version",
        "v1": "v1.0.0",
        "v2_key": "version",
        "v2": "v2.0.0",
        "why": "version 2 is this engine's",
    }
    assert policies[ROUTING]["carried"][0] == {
        "key": "hybrid_policy.p_virtual_hybrid",
        "v2_key": "hybrid_policy.p_virtual_hybrid",
        "value": "0.4",
    }


def test_a_refusal_names_file_key_and_remedy(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset(ROUTING).locate(found.parent / "pipeline", {})
    path.write_text(path.read_text(encoding="utf-8").replace('"tzid"', '"country"'), encoding="utf-8")
    assert main(["adopt", str(found), "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    lines = dict(line.split(None, 1) for line in err.splitlines() if line.startswith("  ") and line[2] != " ")
    assert lines["what"].startswith(f"{path}: physical_router.")
    assert lines["do"].startswith("write version 2 of arrival_routing_policy_5B by hand")


def test_a_url_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adopt", "s3://bucket/run"]) == 2
    assert "needs a local directory" in capsys.readouterr().err
