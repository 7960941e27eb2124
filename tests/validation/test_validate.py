"""`arrivals validate`: what passes, what cannot be judged, and what it reads."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.validation.database import Database
from arrival_engine.engine.validation.findings import Book, Severity, outcome
from arrival_engine.engine.validation.job import validate
from arrival_engine.engine.validation.rules import RULES
from tests.support import damage
from tests.support.paths import ROOT
from tests.support.validated import FAILED, place
from tests.support.validating import (
    arrivals_of,
    broken,
    command,
    copied,
    proof_world,
    proven_run,
    validated,
)
from tests.support.worlds import TWO_ZONES, small_world, write_world

# --- What passes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["timestamp", "rfc3339"])
@pytest.mark.parametrize("dual_clock", ['"null"', "mirror"])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_every_form_of_output_passes(encoding: str, dual_clock: str, form: str, tmp_path: Path, capsys: Any) -> None:
    policy = {"timestamp_encoding": encoding, "physical_dual_clock": dual_clock}
    write_world(small_world(), tmp_path / "run", output_policy=policy)
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu", batch_arrivals=400, format=form))  # type: ignore[arg-type]
    code, answer, findings = validated(tmp_path / "run", capsys)
    assert (code, answer["status"], broken(findings), broken(findings, "NOT_RUN")) == (0, "PASS", set(), set())
    assert findings["arrival_digest"]["statistics"]["found"] == "3279-7b8fd31105260f9c296a4a00531bfa55"
    assert findings["civil_primary"]["rows"] == 3279


def test_malformed_texts_of_times_are_found(tmp_path: Path, capsys: Any) -> None:
    write_world(small_world(), tmp_path / "run", output_policy={"timestamp_encoding": "rfc3339"})
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    path = next((tmp_path / "run").rglob("part-000000-*.parquet"))
    table = pq.read_table(path, partitioning=None)
    times = table["ts_utc"].to_pylist()
    times[5] = times[5].replace("T", " ")
    pq.write_table(table.set_column(table.column_names.index("ts_utc"), table.schema.field("ts_utc"), [times]), path)
    code, _, findings = validated(tmp_path / "run", capsys)
    assert code == 1
    assert findings["values"]["violations"] == 1
    assert "values" in broken(findings)


def test_several_scenarios_are_judged_each_and_accounted_together(tmp_path: Path, capsys: Any) -> None:
    first = small_world()
    second = dataclasses.replace(first, scenario_id="stress_v1", counts=first.counts[:6])
    write_world(first, tmp_path / "run", further_scenarios=[second])
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    code, answer = command(capsys, "validate", str(tmp_path / "run"))
    assert (code, answer["status"]) == (0, "PASS")
    scenarios = {scenario["scenario_id"]: scenario["arrivals"] for scenario in answer["scenarios"]}
    assert scenarios == {"baseline_v1": 3279, "stress_v1": sum(row.n for row in second.counts)}
    assert answer["arrivals"] == sum(scenarios.values())
    checked = [(finding["check"], finding["scenario_id"]) for finding in answer["findings"]]
    assert ("counts", "stress_v1") in checked
    assert ("rng_overlap", None) in checked
    assert len(set(checked)) == len(checked) == 6 + 2 * (len(RULES) - 6)


def test_a_scenario_that_was_not_run_is_missed(tmp_path: Path, capsys: Any) -> None:
    first = small_world()
    write_world(first, tmp_path / "run", further_scenarios=[dataclasses.replace(first, scenario_id="stress_v1")])
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu", scenarios=("baseline_v1",)))
    code, answer, findings = validated(tmp_path / "run", capsys)
    assert code == 1
    assert answer["error_code"] == str(Code.S5_DOMAIN_DISCOVERY_FAILED)
    assert {(row["scenario_id"], row["missing_from"]) for row in findings["domain"]["examples"]} == {
        ("stress_v1", "arrivals"),
        ("stress_v1", "run report"),
    }


def test_too_little_is_told_and_fails_nothing(tmp_path: Path) -> None:
    """One merchant in one bucket of a world without clock changes."""
    world = small_world()
    quiet = [row for row in world.counts if row.merchant_id == 1]
    write_world(dataclasses.replace(world, counts=tuple(quiet)), tmp_path / "run")
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    result = validate(tmp_path / "run")
    assert result.passed
    told = {finding.check for finding in result.findings if str(finding.verdict) == "NO_DATA"}
    assert told >= {"offsets", "site_weights", "dst_hours", "hybrid_share", "weekend_share", "offset_variety"}
    assert all(finding.message for finding in result.findings if finding.check in told)


def test_a_scenario_without_arrivals_passes(tmp_path: Path) -> None:
    world = small_world()
    write_world(
        dataclasses.replace(world, counts=tuple(dataclasses.replace(row, n=0) for row in world.counts)),
        tmp_path / "run",
    )
    seal(tmp_path / "run")
    run(tmp_path / "run", RunOptions(backend="cpu"))
    result = validate(tmp_path / "run")
    assert (result.passed, result.arrivals) == (True, 0)


def test_a_path_that_looks_like_a_pattern_is_a_path(tmp_path: Path) -> None:
    run_root = tmp_path / "w[ei]rd *?'s{1}"
    proven_run(run_root, small_world())
    assert validate(run_root).passed


# --- What cannot be judged ----------------------------------------------------------------------------


def test_a_world_that_was_never_sealed_or_run(tmp_path: Path, capsys: Any) -> None:
    write_world(small_world(), tmp_path / "run")
    code, answer = command(capsys, "validate", str(tmp_path / "run"))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_GATE_MISSING_OR_INVALID))
    seal(tmp_path / "run")
    code, answer = command(capsys, "validate", str(tmp_path / "run"))
    assert (code, answer["code"]) == (1, str(Code.S5_DOMAIN_DISCOVERY_FAILED))
    assert "arrivals run" in answer["hint"]


def test_a_directory_without_a_receipt(tmp_path: Path, capsys: Any) -> None:
    code, answer = command(capsys, "validate", str(tmp_path))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_GATE_MISSING_OR_INVALID))


def test_a_gate_receipt_that_was_edited(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    damage.edit_document(run_root, "s0_gate_receipt_5B", sealed_inputs_digest="0" * 64)
    code, answer = command(capsys, "validate", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_GATE_MISSING_OR_INVALID))


def test_an_input_that_is_gone(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    damage.file_of(run_root, "s1_site_weights").unlink()
    code, answer = command(capsys, "validate", str(run_root))
    assert (code, answer["code"]) == (1, str(Code.S5_S0_SEALED_INPUTS_INCONSISTENT))
    assert "s1_site_weights" in answer["message"]


# --- The command line ---------------------------------------------------------------------------------


def test_the_summary_shows_verdicts_and_the_bundle(sound: Path, tmp_path: Path, capsys: Any) -> None:
    run_root = copied(sound, tmp_path / "run")
    with arrivals_of(run_root) as arrivals:
        arrivals.first(lambda row: row["merchant_id"] == TWO_ZONES)["site_id"] = 4711
    capsys.readouterr()
    assert main(["validate", str(run_root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["ok", "counts"] for line in lines)
    failed = next(line for line in lines if "FAIL" in line and "site_of_merchant" in line)
    assert "1 of 3,203 rows break it" in failed
    assert any(str(place(run_root, FAILED)) in line for line in lines)
    assert any("did not pass" in line for line in lines)
    assert main(["validate", str(run_root), "--quiet"]) == 1
    assert capsys.readouterr().out == ""


# --- Independence -------------------------------------------------------------------------------------


FOREIGN = tuple(
    f"arrival_engine.{name}"
    for name in ("cpu_fallback", "gpu_kernels", "engine.world", "engine.tz", "engine.expand", "engine.arrivals")
)


def test_validation_loads_nothing_of_the_expansion() -> None:
    script = (
        "import sys, arrival_engine.engine.validation.job, arrival_engine.engine.validation.verify;"
        f"print([name for name in sys.modules if name.startswith({FOREIGN!r})])"
    )
    done = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    # The package, its door to the compiler and the door to that one's files, which know nothing of the law.
    assert ast.literal_eval(done) == [f"arrival_engine.cpu_fallback{name}" for name in ("", ".own_files", ".jit")]


def test_no_module_of_validation_names_the_expansion() -> None:
    rooms = (ROOT / "engine" / room for room in ("validation", "recomputing"))
    for path in sorted(path for room in rooms for path in room.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named = {name for name in names if name.startswith(FOREIGN)}
            assert named <= ({"arrival_engine.cpu_fallback.jit"} if path.name == "kernels.py" else set()), path.name


def test_an_outcome_without_errors_still_counts_its_warnings() -> None:
    book = Book("s")
    book.judge("top_zones", 10, 1, severity=Severity.WARN)
    book.judge("counts", 10, 0)
    assert outcome([book], 1).passed
    assert not outcome([book], 0).passed
    unmade = Book("t")
    unmade.prevented(["counts"], "for want of files")
    assert not outcome([unmade], 9).passed
    assert outcome([unmade], 9, fail_closed=False).passed


def test_documentation_names_every_check() -> None:
    page = (ROOT / "docs" / "validation.md").read_text("utf-8")
    cells = (line.split(" | ") for line in page.splitlines() if line.startswith("| `"))
    rows = {head.strip("| `"): code for head, code, *_ in cells if code.isupper()}
    assert rows.keys() == RULES.keys()
    for check, rule in RULES.items():
        assert str(rule.code).removeprefix("5B.S5.") == rows[check], check


def test_memory_is_bounded_by_the_database(tmp_path: Path) -> None:
    """A grouping far larger than the limit goes through the spill directory instead of memory."""
    database = Database(InsidePath(tmp_path), 2, memory_bytes=96 * 2**20)
    with database.cursor() as cursor:
        groups, total = cursor.row("""
            SELECT count(*), sum(n)
            FROM (SELECT i * 7919 % 6000011 AS k, count(*) AS n FROM range(6000000) t(i) GROUP BY k)""")
    database.close()
    assert (groups, total) == (6_000_000, 6_000_000)
    assert list(tmp_path.iterdir()) == []


def test_the_larger_world_has_every_kind_of_evidence(tmp_path: Path) -> None:
    proven_run(tmp_path / "run", proof_world())
    result = validate(tmp_path / "run")
    assert result.passed
    judged = {finding.check for finding in result.findings if str(finding.verdict) == "PASS" and finding.rows}
    realism = {"offsets", "offsets_largest", "offset_variety", "site_weights", "group_weights", "edge_weights"}
    assert judged >= realism | {"hybrid_share", "coverage", "edge_countries", "dst_hours", "rng_events", "zone_alloc"}
