"""Private folders: gone with their process, or with the next one if it was killed; never those of living ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process import doctor, scratch
from arrival_engine.engine.process.scratch import OWNER, Leftovers
from arrival_engine.engine.rundir.staging import owned_staging
from tests.support.paths import ROOT

_HOLDER = """
import sys
from pathlib import Path
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.process.scratch import scratch_folder
with scratch_folder(InsidePath(Path(sys.argv[1]))) as folder:
    (folder / "inputs").mkdir()
    (folder / "inputs" / "part").write_bytes(b"x" * 5000)
    print(folder, flush=True)
    sys.stdin.read()
"""


def clear(parent):
    return [path.outside for path in scratch.clear(InsidePath(parent))]


def leftovers(parent):
    found = scratch.leftovers(InsidePath(parent))
    return Leftovers._make(tuple(path.outside for path in paths) for paths in found)


@contextmanager
def scratch_folder(parent, removed=lambda _: None):
    with scratch.scratch_folder(InsidePath(parent), removed=lambda path: removed(path.outside)) as folder:
        yield folder.outside


@contextmanager
def holder(parent):
    """A process with a folder of its own there, and the folder."""
    words = [sys.executable, "-c", _HOLDER, str(parent)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, parent / process.stdout.readline().strip().rpartition("/")[2]
        finally:
            process.kill()


def killed(parent):
    """The folder of a process that was killed."""
    return several_killed(parent, 1)[0]


def several_killed(parent, number):
    """The folders of processes that were killed while all of them had one."""
    with ExitStack() as stack:
        holders = [stack.enter_context(holder(parent)) for _ in range(number)]
        for process, _ in holders:
            process.send_signal(signal.SIGKILL)
            process.wait()
    folders = sorted(folder for _, folder in holders)
    assert all((folder / "inputs" / "part").is_file() for folder in folders)
    return folders


def rewrite(folder, **changes):
    owner = json.loads((folder / OWNER).read_text())
    (folder / OWNER).write_text(json.dumps({**owner, **changes}))


def test_a_folder_is_private_and_gone_at_the_end(tmp_path):
    with scratch_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").mkdir()
        (folder / "a" / "b").write_bytes(b"")
    assert list(tmp_path.iterdir()) == []


def test_the_folders_of_killed_processes_are_removed_by_the_next_one(tmp_path):
    left = several_killed(tmp_path, 3)
    assert leftovers(tmp_path).dead == tuple(left)
    told = []
    with scratch_folder(tmp_path, removed=told.append) as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert told == left


def test_the_folder_of_a_living_process_stays(tmp_path):
    with holder(tmp_path) as (process, folder), scratch_folder(tmp_path) as ours:
        for _ in range(2):
            assert clear(tmp_path) == []
            assert leftovers(tmp_path) == ((), ())
        assert (folder / "inputs" / "part").stat().st_size == 5000
        assert ours.is_dir()
        process.stdin.close()
        process.wait()
        assert list(tmp_path.iterdir()) == [ours]


def test_a_process_number_that_is_used_again_means_nothing(tmp_path):
    folder = killed(tmp_path)
    rewrite(folder, pid=os.getpid())
    assert clear(tmp_path) == [folder]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: rewrite(folder, machine="elsewhere 0123"),
        lambda folder: rewrite(folder, machine=""),
        lambda folder: (folder / OWNER).write_text("[]"),
        lambda folder: (folder / OWNER).write_text("{"),
        lambda folder: (folder / OWNER).unlink(),
        lambda folder: (folder / OWNER).rename(folder / f"{OWNER}.new"),
    ],
    ids=["another machine", "unknown machine", "no object", "cut off", "no owner", "just beginning"],
)
def test_the_folder_of_an_unknown_owner_stays(tmp_path, change):
    folder = killed(tmp_path)
    change(folder)
    assert clear(tmp_path) == []
    assert leftovers(tmp_path) == ((), (folder,))
    assert (folder / "inputs" / "part").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give folders away")
def test_the_folder_of_another_user_stays_even_where_it_could_be_removed(tmp_path):
    folder = killed(tmp_path)
    os.chown(folder, 12_345, 12_345)
    assert clear(tmp_path) == []
    assert leftovers(tmp_path) == ((), ())
    assert folder.is_dir()


def test_links_and_files_of_such_names_stay(tmp_path):
    elsewhere = killed(tmp_path).rename(tmp_path / "elsewhere")
    (tmp_path / "arrivals-link").symlink_to(elsewhere)
    (tmp_path / "arrivals-file").write_bytes(b"")
    assert clear(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrivals-file", "arrivals-link", "elsewhere"]
    assert (elsewhere / "inputs" / "part").is_file()


def test_a_link_within_is_removed_and_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"")
    folder = killed(tmp_path)
    (folder / "link").symlink_to(tmp_path / "kept")
    (folder / "inputs" / "link").symlink_to(tmp_path / "kept")
    assert clear(tmp_path) == [folder]
    assert (tmp_path / "kept" / "file").is_file()


def test_a_command_removes_what_killed_ones_of_its_kind_staged(tmp_path):
    """Spill files of a validation, or what a plan or a seal had written."""
    folder = killed(tmp_path)
    (tmp_path / "tmp").mkdir()
    validate, plan = (tmp_path / "tmp" / f"{name}-12345678" for name in ("validate", "plan"))
    folder.rename(validate)
    shutil.copytree(validate, plan)
    with owned_staging(InsidePath(tmp_path), "validate") as folder:
        assert not validate.exists()
        assert plan.is_dir()
        (folder / "spilled").write_bytes(b"")
    assert list((tmp_path / "tmp").iterdir()) == [plan]


def test_the_doctor_tells_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = ("leftovers", "unknown folders")

    def told():
        return {fact.name: fact for fact in doctor.doctor().facts if fact.name in names}

    assert told() == {}
    dead, unknown = several_killed(tmp_path, 2)
    (unknown / OWNER).unlink()
    facts = told()
    assert facts["leftovers"].value.startswith("1 folder, ")
    assert (facts["leftovers"].state, facts["unknown folders"].state) == ("note", "note")
    assert facts["unknown folders"].advice.endswith(f"rm -r {unknown}")
    assert dead.is_dir()
