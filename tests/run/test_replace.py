"""Replacing a publication: readers find the old or the new, and a failure takes everything back."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from arrival_engine import run
from arrival_engine.contracts import ArrivalError, Code
from tests.support.processes import outputs_of
from tests.support.refusals import CPU, command, leftovers, obey_permissions, published


class TestReplace:
    def test_readers_find_the_old_or_the_new_and_never_nothing(self, light):
        run(light, CPU)
        final = published(light)
        looks, misses, done = 0, 0, threading.Event()

        def look():
            nonlocal looks, misses
            while not done.is_set():
                looks += 1
                misses += not final.is_dir()

        reader = threading.Thread(target=look)
        reader.start()
        try:
            for form in ("arrow", "parquet") * 5:
                assert run(light, replace(CPU, format=form, replace=True)).scenarios[0].published == "replaced"
        finally:
            done.set()
            reader.join()
        assert looks > 1000
        assert misses == 0

    def test_when_the_logs_cannot_follow_everything_is_taken_back(self, light):
        run(light, CPU)
        before = outputs_of(light)
        (light / "logs").rename(light / "moved")
        (light / "logs").write_text("in the way")
        with pytest.raises(ArrivalError) as caught:
            run(light, replace(CPU, format="arrow", replace=True))
        assert caught.value.code == Code.IO_WRITE_FAILED
        (light / "logs").unlink()
        (light / "moved").rename(light / "logs")
        assert outputs_of(light) == before
        assert leftovers(light) == []

    def test_a_rename_that_fails_leaves_the_publication(self, light):
        run(light, CPU)
        before = outputs_of(light)
        closed = published(light).parent
        closed.chmod(0o555)
        try:
            done = command(
                *("run", light, "--backend", "cpu", "--json", "--quiet", "--format", "arrow", "--replace"),
                preexec_fn=obey_permissions,
            )
        finally:
            closed.chmod(0o755)
        assert done.returncode == 1
        assert json.loads(done.stdout)["code"] == Code.IO_WRITE_FAILED.value
        assert outputs_of(light) == before
        assert leftovers(light) == []
