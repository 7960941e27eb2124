"""Real faults in real processes: signals, kill -9, two runs at once, full disks, renames that fail.

Whatever happens, the published path holds a whole scenario or none, and an earlier publication stands.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from llvmlite.binding.ffi import ObjectRef

from arrival_engine import run
from arrival_engine.contracts import Code
from arrival_engine.engine.arrivals.publish import read_published
from arrival_engine.engine.process.interrupts import heard_interrupts
from arrival_engine.engine.sealing import seal
from tests.support.hidden import on_path
from tests.support.processes import files_of, halted, heavy_counts, outputs_of, parts_written, running, wait_for
from tests.support.refusals import CPU, command, leftovers, published, report_lines
from tests.support.world_files import write_world
from tests.support.worlds import small_world


class TestSignals:
    @pytest.mark.parametrize(
        ("sent", "code", "word"), [(signal.SIGINT, 130, "INTERRUPTED"), (signal.SIGTERM, 143, "TERMINATED")]
    )
    @pytest.mark.parametrize(
        "options",
        [("--threads", "2", "--batch-arrivals", "200000"), ("--threads", "1", "--batch-arrivals", "2000000")],
        ids=["small batches", "one thread, large batches"],
    )
    def test_a_stopped_run_ends_at_once_and_cleans_up(self, heavy, sent, code, word, options):
        reports = len(report_lines(heavy))
        with running(heavy, *options) as process:
            with halted(parts_written, process, heavy):
                process.send_signal(sent)
            out, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert json.loads(out)["code"] == word
        assert "Traceback" not in err
        assert not published(heavy).exists()
        assert leftovers(heavy) == []
        # Whoever stopped it knows; the run report is for failures.
        assert len(report_lines(heavy)) == reports

    @pytest.mark.slow
    def test_a_run_stopped_while_it_compiles_is_stopped(self, heavy, tmp_path, monkeypatch):
        draws = random.Random(11)
        for turn in range(8):
            monkeypatch.setenv("ARRIVALS_CACHE_DIR", str(tmp_path / f"cache-{turn}"))
            with running(heavy, "--batch-arrivals", "200000") as process:
                wait_for(leftovers, process, heavy)
                time.sleep(draws.uniform(0.0, 4.0))
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
            assert process.returncode == 130, (out, err)
            assert "Traceback" not in err
            assert leftovers(heavy) == []
            assert not published(heavy).exists()

    @pytest.mark.slow
    def test_a_run_stopped_at_any_moment_cleans_up(self, heavy):
        draws = random.Random(20260301)
        for _ in range(20):
            with running(heavy, "--batch-arrivals", "200000") as process:
                wait_for(leftovers, process, heavy)
                time.sleep(draws.uniform(0.0, 2.0))
                sent = draws.choice((signal.SIGINT, signal.SIGTERM))
                process.send_signal(sent)
                _, err = process.communicate(timeout=60)
            stopped = process.returncode == 128 + sent
            # Else it had done its work; Python on its way out leaves a signal to the system.
            assert stopped or process.returncode in (0, -sent), err
            assert "Traceback" not in err
            assert leftovers(heavy) == []
            assert published(heavy).exists() != stopped
            shutil.rmtree(heavy / "data/layer2/5B/arrival_events", ignore_errors=True)


class TestInterrupts:
    def test_an_interruption_is_not_lost_where_exceptions_are(self):
        class Deaf:
            """Python prints what a destructor raises, and goes on."""

            def __del__(self):
                signal.raise_signal(signal.SIGINT)

        def meet_a_deaf_one():
            with heard_interrupts():
                Deaf()
                time.sleep(5.0)

        with pytest.raises(KeyboardInterrupt):
            meet_a_deaf_one()

    def test_an_object_of_the_compiler_is_freed_once(self):
        freed = []

        class Pointer:
            """An attribute that is deleted while an interrupt arrives."""

            def __set__(self, instance, value):
                pass

            def __delete__(self, instance):
                signal.raise_signal(signal.SIGINT)

        class Freed(ObjectRef):  # type: ignore[misc]  # llvmlite has no types
            _as_parameter_ = Pointer()

            def _dispose(self):
                freed.append(1)

        def free():
            with heard_interrupts():
                Freed(ctypes.c_void_p(1)).close()
                time.sleep(60.0)

        with pytest.raises(KeyboardInterrupt):
            free()
        gc.collect()
        assert freed == [1]

    def test_an_import_is_never_cut_off_in_the_middle(self, tmp_path, monkeypatch):
        # The lock of the import system would stay taken: a thread that imports, as one does that loads kernels,
        # then waits for ever, and the run with it.
        (tmp_path / "importing_while_stopped.py").write_text(
            "import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n", encoding="utf-8"
        )
        monkeypatch.syspath_prepend(tmp_path)

        def import_it():
            with heard_interrupts():
                importlib.import_module("importing_while_stopped")

                time.sleep(60.0)

        try:
            with pytest.raises(KeyboardInterrupt):
                import_it()
            assert sys.modules["importing_while_stopped"].whole
        finally:
            sys.modules.pop("importing_while_stopped", None)

    def test_a_program_that_is_being_imported_itself_can_be_stopped(self, tmp_path):
        (tmp_path / "job.py").write_text(
            "import signal, time\nfrom arrival_engine.engine.process.interrupts import heard_interrupts\n"
            "with heard_interrupts():\n    signal.raise_signal(signal.SIGINT)\n    time.sleep(60.0)\n",
            encoding="utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-c", "import job"],
            env={**os.environ, "PYTHONPATH": on_path(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == -signal.SIGINT, done.stderr

    def test_handlers_are_as_before_afterwards(self):
        before = signal.getsignal(signal.SIGINT)
        with heard_interrupts():
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before

    def test_a_run_in_another_thread_leaves_signals_alone(self, light):
        before = signal.getsignal(signal.SIGINT)
        results = []
        thread = threading.Thread(target=lambda: results.append(run(light, CPU)))
        thread.start()
        thread.join()
        assert results[0].scenarios[0].published == "published"
        assert signal.getsignal(signal.SIGINT) is before


class TestLock:
    def test_of_two_runs_at_once_one_is_refused_by_the_name_of_the_other(self, heavy):
        with running(heavy, "--batch-arrivals", "200000") as first:
            with halted(parts_written, first, heavy):
                staged = leftovers(heavy)
                done = command("run", heavy, "--backend", "cpu", "--json", "--quiet")
                assert first.poll() is None
            assert leftovers(heavy) == staged, "a refused run must not take another's staging for a leftover"
            assert done.returncode == 1
            refusal = json.loads(done.stdout)
            assert refusal["code"] == Code.IO_WRITE_CONFLICT.value
            assert f"process {first.pid} on " in refusal["message"]
            assert report_lines(heavy)[-1]["error_code"] == Code.IO_WRITE_CONFLICT.value
            out, err = first.communicate(timeout=120)
        assert first.returncode == 0, err
        (scenario,) = json.loads(out)["scenarios"]
        assert (scenario["published"], scenario["arrivals"]) == ("published", 9_000_000)
        assert str(read_published(published(heavy)).digest) == scenario["digest"]
        for output in ("arrival_events", "arrival_summary", "arrival_anomalies"):
            shutil.rmtree(heavy / "data/layer2/5B" / output)

    def test_a_lock_file_left_behind_stops_nobody(self, light):
        (light / "tmp").mkdir(exist_ok=True)
        (light / "tmp" / "arrivals.lock").write_text('{"pid": 1, "host": "gone", "since": "2020-01-01T00:00:00+00:00"}')
        assert run(light, CPU).scenarios[0].published == "published"


class TestKill:
    def test_after_kill_9_nothing_is_published_and_the_next_run_clears_and_succeeds(self, tmp_path):
        run_root = tmp_path / "killed"
        write_world(small_world(counts=heavy_counts(20_000, 20)), run_root)
        seal(run_root)
        for parts in (0, 3, 20):
            with (
                running(run_root, "--batch-arrivals", "60000") as process,
                halted(parts_written, process, run_root, parts),
            ):
                process.kill()
            assert not published(run_root).exists()
            assert len(leftovers(run_root)) <= 1, "each run clears what the one before left"
        (left,) = leftovers(run_root)
        done = command("run", run_root, "--backend", "cpu", "--threads", "2")
        assert done.returncode == 0, done.stderr
        assert f"removed {left.name}" in done.stderr
        assert leftovers(run_root) == []
        assert read_published(published(run_root)).digest.rows == 2_400_000

    def test_what_a_killed_run_did_not_get_to_is_done_by_the_next(self, light):
        first = run(light, CPU).scenarios[0]
        whole = outputs_of(light)
        # As a run leaves it that is killed right after the arrivals are in place.
        shutil.rmtree(light / "data/layer2/5B/arrival_summary")
        shutil.rmtree(light / "logs")
        again = run(light, CPU).scenarios[0]
        assert (again.published, again.digest) == ("identical", first.digest)
        assert outputs_of(light).keys() == whole.keys()
        summary = next(name for name in whole if "arrival_summary" in name)
        assert outputs_of(light)[summary] == whole[summary]

    @pytest.mark.slow
    def test_a_run_killed_at_any_moment_has_published_all_or_nothing(self, tmp_path):
        run_root = tmp_path / "killed"
        write_world(small_world(counts=heavy_counts(10_000, 20)), run_root)
        seal(run_root)
        expected = str(run(run_root, CPU).scenarios[0].digest)
        whole = files_of(published(run_root)).keys()
        draws = random.Random(7)
        for turn in range(40):
            form = ("parquet", "arrow")[turn % 2]
            with running(run_root, "--replace", "--format", form) as process:
                wait_for(leftovers, process, run_root)
                time.sleep(draws.uniform(0.0, 2.0))
                process.kill()
            standing = read_published(published(run_root))
            assert str(standing.digest) == expected
            assert len(files_of(published(run_root))) == len(whole)
        # The last turn may have got as far as publishing the other format.
        assert run(run_root, replace(CPU, replace=True)).scenarios[0].digest == expected


class TestRemovedTarget:
    @pytest.mark.parametrize("removed", [".", "tmp"])
    def test_a_target_removed_while_running_is_named_and_nothing_is_published(self, tmp_path, removed):
        run_root = tmp_path / "removed"
        write_world(small_world(counts=heavy_counts(20_000, 20)), run_root)
        seal(run_root)
        with running(run_root, "--batch-arrivals", "60000", "--threads", "1") as process:
            with halted(parts_written, process, run_root, 3):
                (run_root / removed).rename(tmp_path / "gone")
            out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        failure = json.loads(out)
        assert failure["code"] == Code.IO_WRITE_FAILED.value
        assert str(run_root / "tmp") in failure["message"]
        assert err == ""
        for place in (run_root, tmp_path / "gone"):
            assert not list(place.rglob("arrival_events"))
