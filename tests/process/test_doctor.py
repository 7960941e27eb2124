"""The doctor: true facts, and never a crash."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import subprocess
import sys
import tempfile
import tomllib

import pytest
import tzdata

from arrival_engine.engine.process import doctor, machine
from arrival_engine.engine.process.extras import EXTRAS
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.driver import cuda_state
from tests.support.hidden import without
from tests.support.paths import ROOT


def facts_by_name():
    return {fact.name: fact for fact in doctor.doctor().facts}


def test_every_subject_is_answered():
    names = set(facts_by_name())
    expected = {"arrival-engine", "Python", "packages", "cores", "memory", "numba-cuda", "CuPy", "cuDF"}
    assert expected | {"JIT cache", "tzdata", "terminal", "temporary files"} <= names
    assert any(name.startswith("CUDA") for name in names)


def test_the_packages_are_those_the_project_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.match(r"[A-Za-z0-9_-]+", text)[0] for text in project["dependencies"]}
    assert required == set(doctor.PACKAGES) - {"llvmlite"}


def test_the_extras_are_those_the_project_declares():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra, names in EXTRAS.items():
        assert [re.match(r"[A-Za-z0-9_-]+", text)[0] for text in declared[extra]] == list(names)


def test_what_is_missing_of_an_extra_is_noted_with_what_to_install(tmp_path):
    told = told_in_a_subprocess(without(tmp_path, "jinja2", "distributed"))
    assert "extra report|note|not installed: jinja2\n" in told
    assert "extra dask|note|not installed: distributed\n" in told


def test_a_missing_package_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-distribution"))
    fact = facts_by_name()["packages"]
    assert fact.state == "problem"
    assert "missing: no-such-distribution" in fact.value
    assert not doctor.doctor().healthy


def test_another_tzdata_than_the_checked_one_is_a_problem(monkeypatch):
    assert facts_by_name()["tzdata"].state == "ok"
    for release in ("2026e", "2027a"):
        monkeypatch.setattr(tzdata, "IANA_VERSION", release)
        fact = facts_by_name()["tzdata"]
        assert fact.state == "problem"
        assert release in fact.value
        assert "tzdata==2026.6" in fact.advice


def test_a_subject_that_cannot_be_examined_is_a_problem_and_the_rest_is_told():
    def fall_ill():
        raise RuntimeError("no pulse")

    diagnosis = doctor._examine({"memory": fall_ill, "cores": doctor._cores})
    memory, cores = diagnosis.facts
    assert memory == doctor.Fact("memory", "cannot be determined: RuntimeError: no pulse", "problem")
    assert cores.state == "ok"
    assert not diagnosis.healthy


def test_what_a_run_is_refused_for_is_what_the_doctor_says():
    facts = facts_by_name()
    for name, reason in (("CUDA backend", device.unusable_reason()), ("device writer", device.no_writer_reason())):
        state, value = ("note", f"cannot be used: {reason}") if reason else ("ok", "can be used")
        assert (facts[name].state, facts[name].value) == (state, value)


def test_temporary_files_that_cannot_be_written_are_noted(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    assert facts_by_name()["temporary files"].state == "note"


@pytest.mark.parametrize("writable", [True, False])
def test_the_state_of_the_kernel_cache(tmp_path, writable):
    base = tmp_path / "cache"
    if not writable:
        base.write_text("a file where the folder should be", encoding="utf-8")
    told = told_in_a_subprocess({"ARRIVALS_CACHE_DIR": str(base)})
    if writable:
        assert re.search(rf"JIT cache\|note\|cold, sources [0-9a-f]{{16}}, in {re.escape(str(base))}", told)
    else:
        assert re.search(r"JIT cache\|note\|.* cannot be written", told)


def told_in_a_subprocess(environment):
    script = (
        "from arrival_engine.engine.process.doctor import doctor\n"
        "import sys\n"
        "for fact in doctor().facts: print(fact.name, fact.state, fact.value, sep='|')\n"
        "from arrival_engine.gpu_kernels.driver import cuda_state\n"
        "heavy = {'cudf', 'pyarrow', 'duckdb'} | (set() if cuda_state().devices else {'numba.cuda', 'cupy'})\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cores_follow_the_affinity_mask():
    before = os.sched_getaffinity(0)
    one = min(before)
    try:
        os.sched_setaffinity(0, {one})
        assert machine.available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= machine.available_cores() <= len(before)


def test_the_tightest_control_group_limit_holds(tmp_path):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / "memory.max").write_text("1073741824\n", encoding="ascii")
    (inner / "memory.max").write_text("max\n", encoding="ascii")
    (inner / "cpu.max").write_text("50000 100000\n", encoding="ascii")
    assert machine._cgroup_memory_limit([inner, inner.parent]) == 1 << 30
    assert machine._cgroup_cpu_quota([inner, inner.parent]) == 0.5


def test_version_one_control_groups_without_a_limit_are_no_limit(tmp_path):
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n", encoding="ascii")
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n", encoding="ascii")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert machine._cgroup_memory_limit([tmp_path]) is None
    assert machine._cgroup_cpu_quota([tmp_path]) is None


def test_this_process_is_in_a_control_group_that_can_be_found():
    for controller in ("memory", "cpu"):
        folders = machine._cgroup_directories(controller)
        assert all(folder.is_relative_to("/sys/fs/cgroup") for folder in folders)


def test_the_address_space_limit_is_seen():
    script = "from arrival_engine.engine.process.machine import memory_limit_bytes; print(*memory_limit_bytes())"
    limit = 1 << 30
    done = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{limit} ulimit -v"


def test_peak_memory_counts_what_was_touched():
    before = machine.peak_rss_bytes()
    block = bytearray(64 << 20)
    block[::4096] = b"\x01" * len(block[::4096])
    assert machine.peak_rss_bytes() >= max(before, 64 << 20)


class TestCuda:
    def test_no_driver_is_a_reason(self, monkeypatch):
        def absent(_name):
            raise OSError("cannot open shared object file")

        monkeypatch.setattr(ctypes, "CDLL", absent)
        state = cuda_state()
        assert state.devices == ()
        assert "libcuda.so.1" in state.reason
