"""Full disks: the error is named, nothing is published, and earlier publications stand."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
from dataclasses import replace

import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.sealing import seal
from tests.support.processes import heavy_counts, outputs_of
from tests.support.refusals import CPU, command, leftovers, published, report_lines
from tests.support.world_files import write_world
from tests.support.worlds import small_world

MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of six megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if MOUNT is None or UMOUNT is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes mount and root")
    mounted = subprocess.run([MOUNT, "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run([UMOUNT, folder], check=True)


def file_size_limit(limit):
    def apply():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return apply


class TestFullDisk:
    def test_a_full_disk_is_named_and_nothing_is_published(self, small_disk):
        run_root = small_disk / "world"
        write_world(small_world(counts=heavy_counts(50_000, 3)), run_root)
        seal(run_root)
        done = command("run", run_root, "--backend", "cpu", "--json", "--quiet")
        assert done.returncode == 1
        failure = json.loads(done.stdout)
        assert failure["code"] == Code.IO_WRITE_FAILED.value
        assert "No space left on device" in failure["message"]
        assert "part-000000.parquet" in failure["message"]
        assert done.stderr == ""
        assert outputs_of(run_root) == {}
        assert leftovers(run_root) == []
        # What was staged is gone by then, so there is room for the line.
        assert report_lines(run_root)[-1]["error_code"] == Code.IO_WRITE_FAILED.value

    def test_an_earlier_publication_survives_a_full_disk(self, small_disk):
        run_root = small_disk / "world"
        write_world(small_world(counts=heavy_counts(30_000, 1)), run_root)
        seal(run_root)
        run(run_root, CPU)
        before = outputs_of(run_root)
        with pytest.raises(ArrivalError) as caught:
            # Uncompressed, the same arrivals take more room than is left.
            run(run_root, replace(CPU, format="arrow", replace=True))
        assert caught.value.code == Code.IO_WRITE_FAILED
        assert outputs_of(run_root) == before
        assert leftovers(run_root) == []

    def test_a_full_directory_for_temporary_files_stops_nothing(self, small_disk, light):
        filling = small_disk / "filling"
        filling.write_bytes(bytes(shutil.disk_usage(small_disk).free))
        assert shutil.disk_usage(small_disk).free == 0
        for words in (("run", light, "--backend", "cpu"), ("validate", light), ("verify", light), ("report", light)):
            done = command(*words, "--quiet", environment={"TMPDIR": str(small_disk)})
            assert (done.returncode, done.stderr) == (0, ""), words
        assert list(small_disk.iterdir()) == [filling]
        assert published(light).is_dir()

    @pytest.mark.parametrize("form", ["parquet", "arrow"])
    def test_a_file_that_may_not_grow_is_named(self, light, form, monkeypatch):
        # A process that measures coverage could not write its record either, and would say so.
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        done = command(
            *("run", light, "--backend", "cpu", "--json", "--quiet", "--format", form),
            preexec_fn=file_size_limit(300_000),
        )
        assert done.returncode == 1
        failure = json.loads(done.stdout)
        assert failure["code"] == Code.IO_WRITE_FAILED.value
        assert re.search(r"part-000000\.\w+: File too large", failure["message"])
        assert done.stderr == ""
        assert outputs_of(light) == {}
        assert leftovers(light) == []
