"""When the flag of the validation bundle goes: what validations, runs and dead processes do to it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.openat import UnsafePathError
from arrival_engine.engine.validation.revocation import is_about_data, revoking
from tests.support.paths import ROOT
from tests.support.validated import FAILED, PASSED, place
from tests.support.validating import arrivals_of, command, copied, report_path, validated


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def flag(run_root: Path) -> Path:
    return place(run_root, PASSED) / "_passed.flag"


def verified(run_root: Path, capsys: Any) -> tuple[int, dict[str, Any]]:
    return command(capsys, "verify", str(run_root))


@pytest.fixture
def run_root(sound: Path, tmp_path: Path) -> Path:
    return copied(sound, tmp_path / "run")


@pytest.fixture
def forged(run_root: Path) -> Path:
    """The same run, one arrival of which is now at another site."""
    with arrivals_of(run_root) as arrivals:
        arrivals.first(lambda row: not row["is_virtual"])["site_id"] = 4711
    return run_root


def restore(run_root: Path, sound: Path) -> None:
    events = "data/layer2/5B/arrival_events"
    shutil.rmtree(run_root / events)
    shutil.copytree(sound / events, run_root / events)


# --- Validations that end ---------------------------------------------------------------------------------------------


def test_a_validation_that_does_not_pass_revokes_the_flag(forged: Path, sound: Path, capsys: Any) -> None:
    code, verdict, _ = validated(forged, capsys)
    assert code == 1
    assert not flag(forged).exists()
    code, answer = verified(forged, capsys)
    assert (code, answer["code"]) == (1, str(Code.S5_FLAG_SCHEMA_VIOLATION))
    assert f"revoked it: {verdict['error_code']}: {verdict['error_message']}" in answer["message"]
    assert str(place(forged, FAILED)) in answer["message"]
    restore(forged, sound)
    code, answer, _ = validated(forged, capsys)
    assert (code, answer["bundle"]["publication"]) == (0, "replaced")
    assert verified(forged, capsys)[0] == 0
    assert place(forged, PASSED).joinpath("index.json").is_file()


def cut(run_root: Path) -> None:
    path = next(run_root.rglob("arrival_events/**/part-000001-*"))
    path.write_bytes(path.read_bytes()[:-1000])


def lose_arrivals(run_root: Path) -> None:
    shutil.rmtree(run_root / "data/layer2/5B/arrival_events")


def link_part(run_root: Path) -> None:
    path = next(run_root.rglob("arrival_events/**/part-000001-*"))
    path.rename(run_root / "elsewhere")
    path.symlink_to(run_root / "elsewhere")


def damage_gate(run_root: Path) -> None:
    place(run_root, "s0_gate_receipt_5B").write_bytes(b"{}")


@pytest.mark.parametrize("harm", [cut, lose_arrivals, link_part, damage_gate])
def test_data_that_cannot_be_judged_revoke_the_flag(harm: Callable[[Path], None], run_root: Path, capsys: Any) -> None:
    harm(run_root)
    code, answer, _ = validated(run_root, capsys)
    assert code == 1
    assert not flag(run_root).exists()
    last = json.loads(report_path(run_root).read_text("ascii").splitlines()[-1])
    assert (last["status"], last["flag_revoked"]) == ("FAIL", True)
    code, told = verified(run_root, capsys)
    assert (code, told["code"]) == (1, str(Code.S5_FLAG_SCHEMA_VIOLATION))
    assert "revoked it" in told["message"]
    if "code" in answer:
        assert answer["code"] in told["message"]


def test_a_validation_that_another_process_keeps_out_leaves_the_flag(run_root: Path, capsys: Any) -> None:
    before = verified(run_root, capsys)
    with (run_root / "tmp/arrivals.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, answer, _ = validated(run_root, capsys)
    assert (code, answer["code"]) == (1, str(Code.S5_IO_WRITE_CONFLICT))
    last = json.loads(report_path(run_root).read_text("ascii").splitlines()[-1])
    assert (last["status"], last["flag_revoked"]) == ("FAIL", False)
    assert verified(run_root, capsys) == before
    assert before[0] == 0


def test_a_revoked_flag_is_explained_by_what_revoked_it_not_by_what_came_later(forged: Path, capsys: Any) -> None:
    _, verdict, _ = validated(forged, capsys)
    with (forged / "tmp/arrivals.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        validated(forged, capsys)
    assert f"revoked it: {verdict['error_code']}" in verified(forged, capsys)[1]["message"]


# The codes with which a validation can end that say nothing about the data. The flag stays.
OF_THE_MACHINE = {
    "S5_IO_WRITE_FAILED",
    "S5_IO_WRITE_CONFLICT",
    "RESOURCES_INSUFFICIENT",
    "BACKEND_UNAVAILABLE",
    "CLUSTER_UNAVAILABLE",
    "DEPENDENCY_MISSING",
    "OPTION_INVALID",
}


@pytest.mark.parametrize("code", [code for code in Code if not code.value.startswith("5B.S4.")])
def test_each_code_revokes_the_flag_or_leaves_it(code: Code) -> None:
    removed: list[bool] = []
    with pytest.raises(ArrivalError), revoking(lambda: removed.append(True)):
        raise ArrivalError(code, "as it is")
    assert bool(removed) is (code.name not in OF_THE_MACHINE)


def caused(error: ArrivalError, *causes: BaseException) -> ArrivalError:
    last: BaseException = error
    for cause in causes:
        last.__cause__ = cause
        last = cause
    return error


@pytest.mark.parametrize(
    ("causes", "about_data"),
    [
        ((), True),
        ((OSError("Couldn't deserialize thrift"),), True),
        ((FileNotFoundError(2, "No such file or directory"),), True),
        ((UnsafePathError(40, "a link", "x", "remove it"),), True),
        ((PermissionError(13, "Permission denied"),), False),
        ((OSError(5, "Input/output error"),), False),
        ((OSError("[Errno 116] Stale file handle"),), False),
        ((ArrivalError(Code.IO_READ_FAILED, "s3", url="s3://b"), OSError("NETWORK_CONNECTION")), False),
        ((ArrivalError(Code.IO_READ_FAILED, "s3", url="s3://b"), FileNotFoundError("no such key")), True),
        ((ArrivalError(Code.IO_READ_FAILED, "cannot read x/Permission denied"),), True),
    ],
)
def test_a_file_that_cannot_be_read_revokes_unless_the_system_keeps_it_back(
    causes: tuple[BaseException, ...], about_data: bool
) -> None:
    error = caused(ArrivalError(Code.S5_IO_READ_FAILED, "cannot read"), *causes)
    assert is_about_data(error) is about_data


def test_a_flag_that_cannot_be_removed_is_a_failure_by_that_name(forged: Path, capsys: Any) -> None:
    folder = place(forged, PASSED)
    folder.rename(forged / "moved")
    folder.symlink_to(forged / "moved")
    code, answer, _ = validated(forged, capsys)
    assert (code, answer["code"]) == (1, str(Code.S5_IO_WRITE_FAILED))
    assert verified(forged, capsys)[0] == 1


# --- Processes that are killed ----------------------------------------------------------------------------------------

_CHILD = """
import os, signal, sys
from pathlib import Path
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.validation.job import validate

run_root, when = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Deadly(Reporter):
    def _on_phase_start(self, name):
        if name == when:
            die()

def dying(method):
    def call(self, target):
        if "5B/validation" not in str(target):
            return method(self, target)
        if when == "before " + method.__name__:
            die()
        method(self, target)
        if when == "after " + method.__name__:
            die()
    return call

InsidePath.exchange = dying(InsidePath.exchange)
InsidePath.rename = dying(InsidePath.rename)
validate(Path(run_root), reporter=Deadly())
"""


def killed(run_root: Path, when: str) -> None:
    done = subprocess.run([sys.executable, "-c", _CHILD, str(run_root), when], cwd=ROOT, check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["bundle", slow("before rename"), slow("after rename")])
def test_no_flag_holds_for_what_a_killed_validation_found_bad(
    when: str, forged: Path, sound: Path, capsys: Any
) -> None:
    killed(forged, when)
    assert not flag(forged).exists()
    assert verified(forged, capsys)[0] == 1
    restore(forged, sound)
    assert validated(forged, capsys)[0] == 0
    assert verified(forged, capsys)[0] == 0


def test_a_validation_that_is_killed_before_it_has_found_anything_leaves_the_flag(run_root: Path, capsys: Any) -> None:
    killed(run_root, "read arrivals")
    assert verified(run_root, capsys)[0] == 0


@pytest.mark.parametrize(("when", "holds"), [slow("before exchange", False), ("after exchange", True)])
def test_a_killed_publication_leaves_one_whole_bundle_in_place(
    when: str, holds: bool, run_root: Path, capsys: Any
) -> None:
    """The old bundle has lost its flag; the new one comes with it, in one step."""
    flag(run_root).unlink()
    killed(run_root, when)
    assert place(run_root, PASSED).joinpath("index.json").is_file()
    assert (verified(run_root, capsys)[0] == 0) is holds
    assert validated(run_root, capsys)[0] == 0
    assert verified(run_root, capsys)[0] == 0


# --- Runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, slow(True)])
def test_a_run_that_replaces_arrivals_takes_the_flag_away(resume: bool, run_root: Path, capsys: Any) -> None:
    run(run_root, RunOptions(backend="cpu", format="arrow", replace=True, resume=resume))
    assert not flag(run_root).exists()
    code, answer = verified(run_root, capsys)
    assert (code, answer["code"]) == (1, str(Code.S5_FLAG_SCHEMA_VIOLATION))
    assert "`arrivals run` ran since" in answer["message"]


def test_a_run_that_changes_records_takes_the_flag_away_and_the_next_validation_gives_it_back(
    run_root: Path, capsys: Any
) -> None:
    run(run_root, RunOptions(backend="cpu", rng_events="jsonl"))
    assert not flag(run_root).exists()
    assert validated(run_root, capsys)[0] == 0
    assert verified(run_root, capsys)[0] == 0


@pytest.mark.parametrize("replace", [slow(False), True])
def test_a_run_that_changes_nothing_leaves_the_flag(replace: bool, run_root: Path, capsys: Any) -> None:
    run(run_root, RunOptions(backend="cpu", batch_arrivals=500, rng_events="parquet", replace=replace))
    assert verified(run_root, capsys)[0] == 0


def test_a_run_that_is_rolled_back_gives_the_flag_back(run_root: Path, capsys: Any) -> None:
    report = report_path(run_root)
    report.rename(report.with_name("kept"))
    report.mkdir()
    with pytest.raises(ArrivalError):
        run(run_root, RunOptions(backend="cpu", format="arrow", replace=True))
    report.rmdir()
    report.with_name("kept").rename(report)
    assert verified(run_root, capsys)[0] == 0


_RUN = """
import os, signal, sys
from pathlib import Path
from arrival_engine import RunOptions, run
from arrival_engine.contracts.inside import InsidePath

exchange = InsidePath.exchange

def dying(self, target):
    if "arrival_events" in str(target):
        os.kill(os.getpid(), signal.SIGKILL)
    exchange(self, target)

InsidePath.exchange = dying
run(Path(sys.argv[1]), RunOptions(backend="cpu", format="arrow", replace=True))
"""


def test_the_flag_goes_before_the_arrivals_do(run_root: Path, sound: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _RUN, str(run_root)], cwd=ROOT, check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    events = "data/layer2/5B/arrival_events"
    kept = {path.name for path in (sound / events).rglob("part-*")}
    assert {path.name for path in (run_root / events).rglob("part-*")} == kept
    assert not flag(run_root).exists()


def test_a_flag_that_something_else_has_removed_is_said_to_be_so(run_root: Path, capsys: Any) -> None:
    flag(run_root).unlink()
    code, answer = verified(run_root, capsys)
    assert (code, answer["code"]) == (1, str(Code.S5_FLAG_SCHEMA_VIOLATION))
    assert "no run and no validation" in answer["message"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is kept back from root")
def test_a_part_that_this_user_may_not_read_leaves_the_flag(run_root: Path, capsys: Any) -> None:
    path = next(run_root.rglob("arrival_events/**/part-000001-*"))
    path.chmod(0)
    assert validated(run_root, capsys)[0] == 1
    path.chmod(0o644)
    assert verified(run_root, capsys)[0] == 0
