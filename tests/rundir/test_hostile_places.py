"""Run directories from elsewhere, with links, second names and pipes in them: no command reaches anything outside."""

from __future__ import annotations

import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.run.production import Workshop, produce_parts
from arrival_engine.engine.sealing import seal
from tests.support.product import located, planned
from tests.support.world_files import write_world
from tests.support.worlds import small_world

SECRET = b"export SECRET=1\n"
STAGED = "tmp/arrivals-baseline_v1-abcdefgh"
REPORT_LINES = "reports/layer2/segment_state_runs"


@dataclass(frozen=True)
class Done:
    code: int
    text: str


def did(*words: object) -> Done:
    """A command in this process; a traceback, or waiting for ever, would fail the test."""
    told = StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        code = main([*map(str, words)])
    assert "Traceback" not in told.getvalue()
    assert "UNEXPECTED" not in told.getvalue()
    return Done(code, told.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run directory with everything that commands make, and what a killed run left."""
    root = tmp_path_factory.mktemp("hostile") / "run"
    write_world(small_world(), root)
    seal(root)
    for words in (("run", "--backend", "cpu", "--rng-events", "jsonl"), ("validate",), ("report",)):
        assert did(words[0], root, *words[1:], "--quiet").code == 0
    staged = InsidePath(root) / STAGED
    staged.mkdir()
    produce_parts(Workshop(choose_backend("cpu"), 1, "parquet", Reporter()), planned(root, 500), staged)
    return root


@pytest.fixture
def root(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "profile").write_bytes(SECRET)
    return folder


def state(folder: Path) -> dict[str, Any]:
    """Everything that a command could change below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() and not path.is_symlink() else None,
        )
        for path in (folder, *sorted(folder.rglob("*")))
    }


def linked(path: Path, outside: Path) -> Path:
    """Move a file or directory outside and put a link in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = outside / "target"
    if path.exists():
        shutil.move(path, target)
    else:
        target.mkdir()
    path.symlink_to(target)
    return target


def log_of(root: Path) -> Path:
    (found,) = (root / REPORT_LINES).rglob("*.jsonl")
    return found


COMMANDS = {
    "run": ("run", "--backend", "cpu"),
    "run --replace": ("run", "--backend", "cpu", "--replace"),
    "run --resume": ("run", "--backend", "cpu", "--resume", "--batch-arrivals", 500),
    "validate": ("validate",),
    "report": ("report",),
    "seal": ("seal",),
    "verify": ("verify",),
    "tz build": ("tz build", "--replace"),
    "plan": ("plan",),
    "explain": ("explain", "--merchant", 1, "--seq", 1),
    "adopt": ("adopt",),
}


def command(name: str, root: Path) -> Done:
    first, *rest = COMMANDS[name]
    return did(*str(first).split(), root, *rest)


class TestWrites:
    @pytest.mark.parametrize("name", ["run", "validate"])
    @pytest.mark.parametrize("how", ["symlink", "hard link", "dangling"])
    def test_the_line_of_the_run_report_goes_nowhere_else(self, root, outside, name, how):
        log = log_of(root)
        log.unlink()
        if how == "hard link":
            log.hardlink_to(outside / "profile")
        else:
            log.symlink_to(outside / ("profile" if how == "symlink" else "new"))
        before = state(outside)
        done = command(name, root)
        assert done.code == 1
        assert str(log) in done.text
        assert "link" in done.text
        assert state(outside) == before

    @pytest.mark.parametrize("place", ["reports", "reports/overview", "reports/layer2"])
    def test_the_page_and_the_report_stay_below_the_root(self, root, outside, place):
        linked(root / place, outside)
        before = state(outside)
        for name in ("report", "run", "validate"):
            done = command(name, root)
            assert done.code == (
                0 if (name, place) in {("run", "reports/overview"), ("validate", "reports/overview")} else 1
            )
            assert done.code == 0 or f"{root / place} is a symbolic link" in done.text
        assert state(outside) == before

    @pytest.mark.parametrize("name", ["run", "validate"])
    @pytest.mark.parametrize("how", ["symlink", "hard link", "dangling"])
    def test_the_lock_is_written_nowhere_else(self, root, outside, name, how):
        lock = root / "tmp/arrivals.lock"
        lock.unlink()
        if how == "hard link":
            lock.hardlink_to(outside / "profile")
        else:
            lock.symlink_to(outside / ("profile" if how == "symlink" else "new"))
        before = state(outside)
        assert command(name, root).code == 1
        assert state(outside) == before

    @pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "not sealed"])
    def test_nothing_is_removed_behind_a_linked_tmp(self, root, outside, sealed):
        target = linked(root / "tmp", outside)
        (target / "cleared-me").mkdir()
        (target / "arrivals-mine").mkdir()
        (target / "cleared-me/file").write_bytes(SECRET)
        if not sealed:
            shutil.rmtree(located("s0_gate_receipt_5B", root, small_world()).parent)
        before = state(outside)
        for name in ("run", "seal", "validate", "tz build", "plan"):
            command(name, root)
        assert did("synth", root, "--preset", "demo").code == 1
        assert state(outside) == before

    @pytest.mark.parametrize("place", ["events", "ledger", "."])
    def test_a_killed_run_cannot_lead_its_successor_outside(self, root, outside, place):
        published = located("arrival_events_5B", root, small_world())
        shutil.rmtree(published)
        linked(root / STAGED / place if place != "." else root / STAGED, outside)
        before = state(outside)
        done = command("run --resume", root)
        assert done.code == 1
        assert "is a symbolic link" in done.text
        assert state(outside) == before
        assert not published.exists()
        # As the hint says. What was behind the link is not ours to remove.
        assert command("run", root).code == 0
        assert state(outside) == before
        assert not (root / STAGED).is_symlink()

    @pytest.mark.parametrize("name", ["run", "run --replace", "validate"])
    @pytest.mark.parametrize("dataset_id", ["arrival_events_5B", "s4_arrival_summary_5B", "rng_trace_log"])
    def test_nothing_is_published_behind_a_link(self, root, outside, name, dataset_id):
        place = root / "data/layer2/5B/arrival_events" if dataset_id == "arrival_events_5B" else None
        linked(place or located(dataset_id, root, small_world()).parent, outside)
        before = state(outside)
        done = command(name, root)
        assert done.code == 1
        assert "is a symbolic link" in done.text
        assert state(outside) == before


class TestReads:
    @pytest.mark.parametrize("how", ["symlink", "hard link"])
    def test_a_policy_tells_nothing_of_a_foreign_file(self, root, outside, how):
        policy = root / "config/layer2/5B/arrival_routing_policy_5B.yaml"
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.unlink(missing_ok=True)
        (outside / "secrets.yaml").write_bytes(b"policy_version: foreign-secret\n")
        if how == "symlink":
            policy.symlink_to(outside / "secrets.yaml")
        else:
            policy.hardlink_to(outside / "secrets.yaml")
        for name in ("run", "seal", "plan", "validate", "adopt"):
            done = command(name, root)
            assert done.code == 1
            assert "foreign-secret" not in done.text
            assert str(policy) in done.text

    @pytest.mark.parametrize(
        ("place", "names"),
        [
            ("run_receipt.json", ("run", "validate", "report", "seal", "plan", "explain", "verify")),
            ("config/layer2/5B/arrival_rng_policy_5B.yaml", ("run", "seal", "plan", "validate")),
            ("a part", ("validate", "report", "run", "run --replace")),
            ("the run report", ("run", "validate", "report")),
            ("a bundle", ("verify",)),
            ("counts", ("run", "validate", "plan", "explain", "seal")),
            ("the lock", ("run", "validate")),
            ("the ledger", ("run --resume",)),
        ],
    )
    def test_a_pipe_keeps_no_command_waiting(self, root, place, names):
        world = small_world()
        path = {
            "a part": lambda: min(located("arrival_events_5B", root, world).iterdir()),
            "the run report": lambda: log_of(root),
            "a bundle": lambda: located("validation_bundle_index_5B", root, world),
            "counts": lambda: min(located("s3_bucket_counts_5B", root, world).parent.glob("*.parquet")),
            "the lock": lambda: root / "tmp/arrivals.lock",
            "the ledger": lambda: root / STAGED / "ledger/ledger.jsonl",
        }.get(place, lambda: root / place)()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        for name in names:
            done = command(name, root)
            assert done.code == 1, (name, done.text)
            assert "not a regular file" in done.text, (name, done.text)

    def test_two_directories_of_pipes_are_not_compared(self, root):
        path = min(located("arrival_events_5B", root, small_world()).iterdir())
        path.unlink()
        os.mkfifo(path)
        assert "not a regular file" in did("diff", root, root).text

    def test_a_linked_root_is_the_users_own_choice(self, root, tmp_path):
        (tmp_path / "short").symlink_to(root)
        assert command("run", tmp_path / "short").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["symlink", "hard link", "pipe"])
def test_whatever_is_replaced_no_command_reaches_outside(finished, tmp_path, how):
    """Every directory of a run directory in turn, and some of the files, before the commands that write."""
    found = sorted(finished.rglob("*"))
    places = [path for path in found if path.is_dir()] if how == "symlink" else []
    places += [path for path in found if path.is_file()][:: 3 if how == "symlink" else 6]
    for number, place in enumerate(places):
        root, outside = tmp_path / f"{number}", tmp_path / f"{number}-outside"
        shutil.copytree(finished, root)
        outside.mkdir()
        path = root / place.relative_to(finished)
        if how == "symlink":
            linked(path, outside)
        elif how == "hard link":
            (outside / "twin").hardlink_to(path)
        else:
            path.unlink()
            os.mkfifo(path)
        before = state(outside)
        for name in ("run --resume", "run --replace", "validate", "report"):
            command(name, root)
        assert state(outside) == before, place
        shutil.rmtree(root)
