"""Paths below a root: what they open, and everything that they refuse to follow."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from arrival_engine.contracts.inside import Entry, InsidePath, inside
from arrival_engine.contracts.openat import UnsafePathError

MODES = ("rb", "wb", "ab", "a+b", "r+b", "r", "w", "a", "a+", "r+")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return InsidePath(tmp_path / "root")


@pytest.fixture
def outside(tmp_path):
    """A directory that no path below the root may reach, and a file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "profile").write_bytes(b"mine\n")
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestNames:
    @pytest.mark.parametrize("name", ["..", "a/../../b", "/etc/passwd", "a\0b", "./../x"])
    def test_a_name_that_leads_out_is_refused(self, root, name):
        with pytest.raises(UnsafePathError):
            root / name

    def test_names_are_those_of_pathlib(self, root):
        path = root / "a/b.tar.gz"
        plain = root.outside / "a" / "b.tar.gz"
        assert (path.outside, path.name, path.suffix, path.stem) == (plain, plain.name, plain.suffix, plain.stem)
        assert (str(path), path.parent.outside, path.with_suffix(".x").outside) == (
            str(plain),
            plain.parent,
            plain.with_suffix(".x"),
        )
        assert path.relative_to(root).as_posix() == "a/b.tar.gz"
        assert root.parent == root
        assert inside(path) is path
        assert pickle.loads(pickle.dumps(path)) == path  # noqa: S301 - our own bytes

    def test_no_other_function_opens_one_by_mistake(self, root):
        (root / "file").write_bytes(b"")
        for opener in (open, os.stat, os.listdir, os.unlink, Path):
            with pytest.raises(TypeError):
                opener(root / "file")

    def test_a_refusal_survives_the_way_from_a_worker(self, root):
        error = UnsafePathError(errno.ELOOP, "a link", root, "remove it")
        found = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert (type(found), found.errno, found.strerror, found.advice) == (
            UnsafePathError,
            errno.ELOOP,
            "a link",
            "remove it",
        )


class TestFiles:
    def test_content_is_written_and_read(self, root):
        path = root / "file"
        path.write_bytes(b"longer than the next")
        path.write_bytes(b"short")
        assert (path.read_bytes(), path.read_text()) == (b"short", "short")
        with path.open("a+b") as file:
            file.write(b"er")
            file.seek(0)
            assert file.read() == b"shorter"
        with pytest.raises(FileExistsError):
            path.open("xb")
        with pytest.raises(FileNotFoundError):
            (root / "none").open("rb")
        with pytest.raises(IsADirectoryError):
            root.open("rb")

    @pytest.mark.parametrize("mode", MODES)
    def test_a_link_is_never_followed(self, root, outside, mode):
        (root.outside / "link").symlink_to(outside / "profile")
        with pytest.raises(UnsafePathError, match="symbolic link"):
            (root / "link").open(mode)
        assert listing(outside) == {"profile": b"mine\n"}

    @pytest.mark.parametrize("mode", [*MODES, "xb"])
    def test_a_dangling_link_makes_nothing(self, root, outside, mode):
        (root.outside / "link").symlink_to(outside / "new")
        with pytest.raises(OSError):  # noqa: PT011 - x says that the name is taken
            (root / "link").open(mode)
        assert listing(outside) == {"profile": b"mine\n"}

    @pytest.mark.parametrize("mode", MODES)
    def test_a_file_with_a_second_name_is_refused_unchanged(self, root, outside, mode):
        (root.outside / "twin").hardlink_to(outside / "profile")
        with pytest.raises(UnsafePathError, match="hard link") as caught:
            (root / "twin").open(mode)
        assert "cp FILE" in caught.value.advice
        assert listing(outside) == {"profile": b"mine\n"}

    @pytest.mark.parametrize("mode", MODES)
    def test_a_pipe_is_refused_without_waiting_for_its_other_end(self, root, mode):
        os.mkfifo(root.outside / "pipe")
        with pytest.raises(UnsafePathError, match="not a regular file"):
            (root / "pipe").open(mode)

    def test_a_socket_is_refused(self, root, monkeypatch):
        monkeypatch.chdir(root.outside)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            with pytest.raises(UnsafePathError, match="not a regular file"):
                (root / "socket").open("rb")

    def test_a_device_is_refused(self):
        with pytest.raises(UnsafePathError, match="not a regular file"):
            (InsidePath(Path("/dev")) / "zero").open("rb")


def _calls(path: InsidePath, other: InsidePath):
    """Every method that reaches the disk, for a path below a linked directory."""
    return {
        "open": lambda: path.open("rb"),
        "create": lambda: path.open("xb"),
        "append": lambda: path.open("ab"),
        "write_bytes": lambda: path.write_bytes(b"x"),
        "exists": path.exists,
        "is_file": path.is_file,
        "is_dir": path.is_dir,
        "kind": path.kind,
        "stat": path.stat,
        "entries": path.parent.entries,
        "glob": lambda: path.parent.glob("*"),
        "walk": path.parent.walk,
        "mkdir": (path.parent / "new").mkdir,
        "mkdir of parents": lambda: (path.parent / "new/er").mkdir(parents=True),
        "make_temporary": lambda: path.parent.make_temporary("t"),
        "unlink": path.unlink,
        "unlink if there": lambda: path.unlink(missing_ok=True),
        "remove": path.remove,
        "rename": lambda: path.rename(other),
        "rename to": lambda: other.rename(path),
        "exchange": lambda: path.exchange(other),
        "exchange with": lambda: other.exchange(path),
        "sync": path.sync,
    }


NAMES = tuple(_calls(InsidePath(Path("x"), ("a", "b")), InsidePath(Path("x"))))


class TestLinkedDirectories:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("below", ["profile", "deeper/profile"])
    def test_no_method_goes_through_one(self, root, outside, name, below):
        (outside / "deeper").mkdir()
        (outside / "deeper" / "profile").write_bytes(b"mine too\n")
        (root.outside / "link").symlink_to(outside)
        (root / "other").write_bytes(b"other")
        call = _calls(root / "link" / below, root / "other")[name]
        with pytest.raises(UnsafePathError, match="link is a symbolic link"):
            call()
        (outside / "deeper" / "profile").unlink()
        (outside / "deeper").rmdir()
        assert listing(outside) == {"profile": b"mine\n"}
        assert (root / "other").read_bytes() == b"other"

    def test_discard_leaves_what_is_behind_one(self, root, outside):
        (root.outside / "link").symlink_to(outside)
        (root / "link/profile").discard()
        assert listing(outside) == {"profile": b"mine\n"}

    @pytest.mark.parametrize("method", ["remove", "discard", "unlink"])
    def test_of_a_link_only_the_link_is_removed(self, root, outside, method):
        (root.outside / "link").symlink_to(outside)
        getattr(root / "link", method)()
        assert (root / "link").kind() is None
        assert listing(outside) == {"profile": b"mine\n"}

    @pytest.mark.parametrize("method", ["remove", "discard"])
    def test_links_in_a_removed_directory_are_removed_unfollowed(self, root, outside, method):
        (root / "folder/deep").mkdir(parents=True)
        (root.outside / "folder/deep/link").symlink_to(outside)
        getattr(root / "folder", method)()
        assert (root / "folder").kind() is None
        assert listing(outside) == {"profile": b"mine\n"}

    def test_a_link_is_told_and_not_entered(self, root, outside):
        (root / "folder").mkdir()
        (root.outside / "folder/link").symlink_to(outside)
        (root / "folder/file").write_bytes(b"")
        found = [Entry(root / "folder/file", "file"), Entry(root / "folder/link", "link")]
        assert root.entries() == [Entry(root / "folder", "directory")]
        assert (root / "folder").entries() == list(root.walk()) == found
        for question in (InsidePath.exists, InsidePath.is_file, InsidePath.is_dir, InsidePath.stat):
            with pytest.raises(UnsafePathError, match="symbolic link"):
                question(root / "folder/link")

    def test_the_root_itself_may_be_reached_by_links(self, root, tmp_path):
        (root / "file").write_bytes(b"x")
        (tmp_path / "short").symlink_to(root.outside)
        assert (InsidePath(tmp_path / "short") / "file").read_bytes() == b"x"
        (tmp_path / "named").symlink_to(root.outside / "file")
        assert InsidePath.of_user(tmp_path / "named").read_bytes() == b"x"

    def test_what_is_swapped_while_it_is_opened_is_not_reached(self, root, outside):
        """A directory becomes a link again and again; the file behind the link never gets in."""
        import threading

        (root / "folder").mkdir()
        (root / "folder/profile").write_bytes(b"inner\n")
        (root.outside / "link").symlink_to(outside)
        stop = threading.Event()

        def swap():
            while not stop.is_set():
                (root / "folder").exchange(root / "link")

        thread = threading.Thread(target=swap)
        thread.start()
        seen = {"read": 0, "refused": 0}
        try:
            while min(seen.values()) < 20:
                try:
                    with (root / "folder/profile").open("a+b") as file:
                        file.seek(0)
                        assert file.read() == b"inner\n"
                    seen["read"] += 1
                except UnsafePathError:
                    seen["refused"] += 1
        finally:
            stop.set()
            thread.join()
        assert listing(outside) == {"profile": b"mine\n"}

    def test_what_becomes_a_link_after_it_was_looked_at_is_refused_as_one(self, root, outside):
        (root / "file").write_bytes(b"inner\n")
        ahead = [True]

        def swap(event, given):
            # Python tells of each opening just before it happens. A hook stays for good.
            if event == "open" and given[0] == "file" and ahead and ahead.pop():
                (root / "file").unlink()
                (root.outside / "file").symlink_to(outside / "profile")

        sys.addaudithook(swap)
        with pytest.raises(UnsafePathError, match="symbolic link"):
            (root / "file").open("a+b")
        assert ahead == []
        assert listing(outside) == {"profile": b"mine\n"}


class TestDirectories:
    def test_directories_are_made_listed_and_removed(self, root):
        (root / "a/b").mkdir(parents=True)
        (root / "a/b").mkdir(exist_ok=True)
        with pytest.raises(FileExistsError):
            (root / "a/b").mkdir()
        (root / "a/file").write_bytes(b"")
        with pytest.raises(FileExistsError):
            (root / "a/file").mkdir(exist_ok=True)
        assert [path.name for path in (root / "a").iterdir()] == ["b", "file"]
        assert (root / "a").glob("f*") == [root / "a/file"]
        assert (root / "none").glob("*") == []
        (root / "a").remove()
        assert (root / "a").kind() is None
        (root / "a").discard()
        with pytest.raises(FileNotFoundError):
            (root / "a").remove()

    def test_discard_takes_what_another_process_makes_meanwhile(self, root):
        (root / "a/b").mkdir(parents=True)
        late = ["first", "second", "third"]

        def busy(event, arguments):
            # The names in the directory have been read, and those files are gone. A hook stays for good.
            if event == "os.rmdir" and arguments[0] == "b" and late:
                os.close(os.open(late.pop(), os.O_CREAT, dir_fd=opened))

        opened = os.open((root / "a/b").outside, os.O_DIRECTORY)
        sys.addaudithook(busy)
        try:
            (root / "a").discard()
            assert (late, (root / "a").kind()) == ([], None)
        finally:
            late.clear()
            os.close(opened)

    def test_a_root_that_is_a_file_is_one(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "link").symlink_to(tmp_path / "file")
        for name in ("file", "link"):
            root = InsidePath(tmp_path / name)
            assert (root.kind(), root.exists(), root.is_dir()) == ("file", True, False)
            with pytest.raises(NotADirectoryError):
                root.entries()

    def test_a_missing_root_is_made_with_its_parents(self, tmp_path):
        path = InsidePath(tmp_path / "x/y") / "a"
        assert not path.exists()
        path.mkdir(parents=True)
        assert path.is_dir()

    def test_temporary_directories_are_private_and_new(self, root):
        made = {root.make_temporary("t") for _ in range(5)}
        assert len(made) == 5
        assert {path.stat().st_mode & 0o777 for path in made} == {0o700}

    def test_a_tree_without_end_is_refused(self, root):
        handle = os.open(root.outside, os.O_DIRECTORY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=handle)
            deeper = os.open("d", os.O_DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = deeper
        os.close(handle)
        with pytest.raises(UnsafePathError, match="more than 100 deep"):
            root.walk()
        # Python's own removal, which is recursive in some versions, may give up.
        (root / "d").discard()
        with suppress(UnsafePathError, FileNotFoundError):
            (root / "d").remove()
        subprocess.run(["rm", "-rf", root.outside / "d"], check=True)

    def test_errors_name_the_whole_path(self, root):
        for call in ((root / "a/b").stat, (root / "a").sync, (root / "a").unlink, lambda: (root / "x").open("rb")):
            with pytest.raises(FileNotFoundError) as caught:
                call()
            assert str(caught.value.filename).startswith(str(root.outside))
