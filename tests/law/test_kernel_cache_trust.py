"""Kernels come only from files that no other user can have written: code planted in the cache does not run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from arrival_engine.cpu_fallback.own_files import ForeignFileError, own_folder, read_own, write_own
from tests.support.paths import ROOT

ELSEWHERE = "set ARRIVALS_CACHE_DIR to a folder that only you can write"
LOOSE = [0o777, 0o775, 0o770, 0o702]

INDEX_OF = """
from arrival_engine.cpu_fallback.expand import _expand
print(_expand._cache._cache_file._index_path)
"""
LOOK = """
import json
from arrival_engine.cpu_fallback import jit
from arrival_engine.cpu_fallback.expand import kernels_are_cached
cached = [kernels_are_cached() for _ in range(2)]
print(json.dumps([*cached, *(refusal for refusal in jit.untold_refusals())]))
"""
DOCTOR = """
from arrival_engine.engine.process.doctor import _jit_cache
(fact,) = _jit_cache()
print(fact.state, fact.value, fact.advice, sep="|")
"""
TELL = """
import json
from arrival_engine.cpu_fallback import alias
from arrival_engine.engine.process.kernel_cache import tell_of_refusals
from arrival_engine.engine.process.progress import Reporter
reporters = Reporter(), Reporter()
for reporter in reporters: tell_of_refusals(reporter)
print(json.dumps([(notice.code, notice.message) for reporter in reporters for notice in reporter.notices]))
"""
COMPILE = """
import numpy as np
from arrival_engine.cpu_fallback.alias import build_alias_tables
build_alias_tables(np.ones(3), np.array([0, 3]))
"""


def told(program, cache, *, umask=0o022, **variables):
    """What a program prints in a process of its own whose kernel cache is there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"ARRIVALS_CACHE_DIR": str(cache), **variables}
    command = [sys.executable, "-c", program]
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False, umask=umask
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


class Code:
    """Unpickled, it makes the folder `mark`."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Planted(NamedTuple):
    """A cache folder with an index that runs code when it is read."""

    cache: Path
    file: Path
    mark: Path

    def fill(self, fingerprint):
        """Write the index as the engine does, whole by its hash: the hash has no secret."""
        body = pickle.dumps(Code(self.mark))
        write_own(self.file, hashlib.sha256(fingerprint.encode() + body).digest() + body)

    def refused(self, cache=None, **variables):
        """(reason, remedy) of the one refusal of a process that looks for the kernel twice; nothing ran."""
        once, twice, (reason, remedy, refused) = json.loads(
            told(LOOK, self.cache if cache is None else cache, **variables)
        )
        assert not self.mark.exists()
        assert (once, twice, refused) == (False, False, True)
        return reason, remedy


@pytest.fixture(scope="module")
def index_place(tmp_path_factory):
    """The path of a kernel's index below the cache folder."""
    cache = tmp_path_factory.mktemp("place") / "cache"
    return Path(told(INDEX_OF, cache)).relative_to(cache)


@pytest.fixture
def planted(tmp_path, index_place):
    cache = tmp_path / "cache"
    index = own_folder(cache, *index_place.parts[:-1]) / index_place.name
    found = Planted(cache, index, tmp_path / "mark")
    found.fill(index_place.parts[0])
    return found


class TestProcesses:
    def test_an_index_that_only_this_user_can_write_is_believed(self, planted):
        """Hence what the other tests plant is live: the hash in the file does not stop it."""
        told(LOOK, planted.cache)
        assert planted.mark.exists()

    def test_a_cache_folder_that_others_can_write(self, planted):
        planted.cache.chmod(0o777)
        assert planted.refused() == (f"every user can write to {planted.cache}", f"chmod go-w {planted.cache}")
        state, value, advice = told(DOCTOR, planted.cache).split("|")
        assert (state, value) == ("note", f"not used: every user can write to {planted.cache}")
        assert advice == f"every process compiles its kernels; chmod go-w {planted.cache}"

    def test_an_index_that_others_can_write(self, planted):
        planted.file.chmod(0o662)
        assert planted.refused() == (f"every user can write {planted.file}", f"rm {planted.file}")

    def test_one_reporter_hears_of_it(self, planted):
        planted.cache.chmod(0o777)
        ((code, message),) = json.loads(told(TELL, planted.cache))
        assert code == "KERNEL_CACHE_REFUSED"
        assert f"{planted.cache}. Code that others put there would run as you." in message
        assert message.endswith(f"To have them kept: chmod go-w {planted.cache}")

    def test_the_folder_of_numba_is_judged_too(self, planted):
        planted.cache.chmod(0o775)
        reason, _ = planted.refused("", NUMBA_CACHE_DIR=str(planted.cache))
        assert reason == f"its group can write to {planted.cache}"

    def test_a_setting_of_numba_cannot_move_the_cache(self, tmp_path):
        """numba would put it beside the sources, without a fingerprint."""
        place = told(INDEX_OF, tmp_path / "cache", NUMBA_CACHE_LOCATOR_CLASSES="InTreeCacheLocator")
        assert Path(place).is_relative_to(tmp_path / "cache")

    def test_a_folder_of_other_sources_under_this_name(self, planted):
        """Who can only rename folders cannot have the code of an old law taken for that of the new one."""
        planted.fill("0123456789abcdef")
        assert json.loads(told(LOOK, planted.cache)) == [False, False]
        assert not planted.mark.exists()

    def test_a_damaged_index_is_not_unpickled(self, planted):
        """Its last byte ends the program that a pickle is: all before it would have run."""
        content = planted.file.read_bytes()
        write_own(planted.file, content[:-1] + bytes([content[-1] ^ 1]))
        assert json.loads(told(LOOK, planted.cache)) == [False, False]
        assert not planted.mark.exists()

    def test_what_is_made_is_for_this_user_alone_and_a_refused_file_is_replaced(self, tmp_path):
        top = tmp_path / "some"
        told(COMPILE, top / "where" / "cache", umask=0)
        assert {path.suffix for path in top.rglob("*.nb?")} == {".nbi", ".nbc"}
        assert modes(top) == {("folder", 0o700), ("file", 0o600)}

        for index in top.rglob("*.nbi"):
            index.chmod(0o666)
        told(COMPILE, top / "where" / "cache", umask=0)
        assert modes(top) == {("folder", 0o700), ("file", 0o600)}

    def test_a_user_without_a_home_directory(self):
        nameless = "import os, pwd\nos.environ.pop('HOME')\npwd.getpwuid = {}.__getitem__\n"
        state, value, advice = told(nameless + DOCTOR, "", XDG_CACHE_HOME="relative").split("|")
        assert (state, value) == ("note", "not used: this user has no home directory")
        assert advice == "every process compiles its kernels; set ARRIVALS_CACHE_DIR to a writable folder"

    @pytest.mark.slow
    def test_a_command_says_it_once_and_does_the_same(self, tmp_path):
        """The demo makes, expands and validates a world: three rooms that have kernels."""
        cache = tmp_path / "cache"
        cache.mkdir()
        cache.chmod(0o777)
        command = [sys.executable, "-m", "arrival_engine", "demo", str(tmp_path / "world")]
        environment = os.environ | {"ARRIVALS_CACHE_DIR": str(cache)}
        finished = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert finished.returncode == 0, finished.stderr
        assert "1001705-8787e2f30c643c4991590c0fab10d15d" in finished.stdout
        assert finished.stderr.count("warning KERNEL_CACHE_REFUSED: ") == 1
        assert f"To have them kept: chmod go-w {cache}\n" in finished.stderr
        assert list(cache.iterdir()) == []


def modes(top):
    found = [(path, path.lstat().st_mode) for path in (top, *top.rglob("*"))]
    return {("folder" if stat.S_ISDIR(mode) else "file", stat.S_IMODE(mode)) for _, mode in found}


@pytest.fixture
def file(tmp_path):
    """A file in its folder, in the cache folder `base`, in `above`."""
    file = own_folder(tmp_path / "above" / "base", "folder") / "file"
    write_own(file, b"content")
    return file


def read(file):
    """As the cache reads: each level is judged."""
    return read_own(own_folder(file.parent.parent, file.parent.name) / file.name)


def refusal(file):
    with pytest.raises(ForeignFileError) as caught:
        read(file)
    return caught.value.reason, caught.value.remedy


class TestFolders:
    def test_what_it_made_it_reads(self, file):
        assert read(file) == b"content"
        write_own(file, b"other")
        assert read(file) == b"other"
        assert [path.name for path in file.parent.iterdir()] == ["file"]

    @pytest.mark.parametrize("mode", LOOSE, ids=oct)
    def test_each_level_that_others_can_write(self, file, mode):
        who = "every user" if mode & stat.S_IWOTH else "its group"
        base, folder = file.parent.parent, file.parent
        for path, reason, remedy in (
            (file, f"{who} can write {file}", f"rm {file}"),
            (folder, f"{who} can write to {folder}", f"rm -r {folder}"),
            (base, f"{who} can write to {base}", f"chmod go-w {base}"),
        ):
            before = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode)
            assert refusal(file) == (reason, remedy)
            path.chmod(before)
        assert read(file) == b"content"

    def test_a_folder_above_the_cache(self, file):
        above = file.parents[2]
        above.chmod(0o777)
        assert refusal(file) == (f"every user can write to {above}", f"chmod go-w {above}")
        # A umask of 002 is for users who have a group of their own.
        above.chmod(0o775)
        assert read(file) == b"content"

    @pytest.mark.parametrize("level", ["base", "above"])
    def test_a_sticky_folder(self, file, level):
        """As /tmp: others can add names, and not replace one."""
        (file.parents[1] if level == "base" else file.parents[2]).chmod(0o1777)
        assert read(file) == b"content"
        file.parent.chmod(0o1777)
        assert refusal(file) == (f"every user can write to {file.parent}", f"rm -r {file.parent}")

    @pytest.mark.parametrize("level", [0, 1], ids=["folder", "base"])
    def test_a_link_to_a_folder(self, file, tmp_path, level):
        path = file.parents[level]
        path.rename(tmp_path / "real")
        path.symlink_to(tmp_path / "real")
        assert str(path) in refusal(file)[0]

    def test_a_link_to_a_file(self, file, tmp_path):
        file.rename(tmp_path / "real")
        file.symlink_to(tmp_path / "real")
        with pytest.raises(OSError, match="symbolic"):
            read(file)

    @pytest.mark.parametrize("form", ["absolute", "relative"])
    def test_a_link_above_the_cache_is_followed_and_its_way_judged(self, file, tmp_path, form):
        real, link = tmp_path / "real" / "deeper", tmp_path / "link"
        real.parent.mkdir(mode=0o700)
        file.parents[2].rename(real)
        link.symlink_to(real if form == "absolute" else Path("real/../real/deeper"))
        through = link / file.relative_to(file.parents[2])
        assert read(through) == b"content"
        real.parent.chmod(0o777)
        assert refusal(through) == (f"every user can write to {real.parent}", f"chmod go-w {real.parent}")

    def test_a_link_to_itself(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(OSError, match="Too many levels"):
            own_folder(tmp_path / "loop" / "base")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can plant what belongs to another user")
    @pytest.mark.parametrize("level", range(4), ids=["file", "folder", "base", "above"])
    def test_what_belongs_to_another_user(self, file, level):
        path = (file, *file.parents)[level]
        os.chown(path, 12345, -1)
        assert refusal(file) == (f"{path} belongs to user 12345", ELSEWHERE)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can plant what belongs to another user")
    def test_a_link_of_another_user_in_a_sticky_folder(self, file, tmp_path):
        tmp_path.chmod(0o1777)
        link = tmp_path / "link"
        link.symlink_to(file.parents[2])
        os.chown(link, 12345, -1, follow_symlinks=False)
        assert refusal(link / file.relative_to(file.parents[2])) == (f"{link} belongs to user 12345", ELSEWHERE)

    def test_a_pipe(self, file):
        file.unlink()
        os.mkfifo(file, 0o600)
        assert refusal(file) == (f"{file} is not a file", f"rm -r {file}")

    def test_a_name_that_a_shell_would_cut(self, tmp_path):
        base = tmp_path / "two words"
        own_folder(base).chmod(0o777)
        with pytest.raises(ForeignFileError) as caught:
            own_folder(base)
        assert caught.value.remedy == f"chmod go-w '{base}'"

    def test_a_file_in_place_of_a_folder(self, file):
        shutil.rmtree(file.parents[1])
        file.parents[1].write_bytes(b"")
        with pytest.raises(NotADirectoryError):
            read(file)
