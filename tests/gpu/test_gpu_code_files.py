"""Machine code of kernels as files: who may write them, and what damage does. No compiler and no driver is needed."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest

from arrival_engine.cpu_fallback import jit
from arrival_engine.gpu_kernels import machine_code
from arrival_engine.gpu_kernels.layout import KERNELS
from tests.support.damaged_code import DAMAGES

CAPABILITY = (9, 0)
CODE = machine_code.MachineCode("entry", b"\x7fELF code \0 and zeros")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of a cache of its own, by kernel."""
    monkeypatch.setenv("ARRIVALS_CACHE_DIR", str(tmp_path / "own"))
    jit.cache_unused.cache_clear()
    for kernel in KERNELS:
        machine_code._write(kernel, CAPABILITY, CODE)
    yield {kernel.name: machine_code._path(kernel, CAPABILITY) for kernel in KERNELS}
    jit.cache_unused.cache_clear()


def is_cached():
    return machine_code.cuda_kernels_are_cached(CAPABILITY)


def test_code_is_read_as_it_was_written(files):
    assert is_cached()
    assert all(path.is_file() for path in files.values())
    assert {machine_code._read(kernel, CAPABILITY) for kernel in KERNELS} == {CODE}
    assert not machine_code.cuda_kernels_are_cached((9, 1))


@pytest.mark.parametrize("name", [kernel.name for kernel in KERNELS])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_code_counts_as_missing(files, name, damage):
    files[name].write_bytes(DAMAGES[damage](files[name].read_bytes()))
    assert not is_cached()


def test_code_of_other_sources_counts_as_missing(files):
    """As after a hash collision of folders, or a file that was moved."""
    path = files["settle"]
    body = path.read_bytes()[32:]
    path.write_bytes(hashlib.sha256(b"0123456789abcdef" + body).digest() + body)
    assert not is_cached()


@pytest.mark.parametrize("loose", ["file", "folder", "link"])
def test_code_that_others_can_write_is_refused_and_told(files, loose):
    list(jit.untold_refusals())
    path = files["settle"]
    if loose == "link":
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(path.with_suffix(".moved"))
    else:
        (path if loose == "file" else path.parent).chmod(0o777)
    assert not is_cached()
    told = [refusal.reason for refusal in jit.untold_refusals()]
    assert loose == "link" or any("every user can write" in reason for reason in told)


def test_a_full_disk_is_done_without(files, monkeypatch):
    files["draw_keys"].unlink()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    machine_code._write(KERNELS[1], CAPABILITY, CODE)
    monkeypatch.undo()
    assert not files["draw_keys"].exists()
