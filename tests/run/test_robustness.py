"""Real faults in real processes: signals, kill -9, two runs at once, full disks, renames that fail.

Whatever happens, the published path holds a whole scenario or none, and an earlier publication stands.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.arrivals.publish import read_published
from arrival_engine.engine.process.interrupts import heard_interrupts
from arrival_engine.engine.run.job import run
from arrival_engine.engine.rundir.exchange import _exchange_by_renames, exchange
from arrival_engine.engine.sealing import seal
from tests.support.model import CountRow
from tests.support.refusals import CPU, ROOT, command, leftovers, obey_permissions, published, report_lines
from tests.support.world_files import write_world
from tests.support.worlds import BERLIN, NEW_YORK, TWO_ZONES, small_world

CHANNELS = ("card_present", "card_not_present", "mixed")
MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")


def heavy_counts(n, buckets):
    """Few count rows, many arrivals: 6 * n in each of so many buckets."""
    return tuple(
        CountRow(TWO_ZONES, zone, channel, bucket, n)
        for zone in (BERLIN, NEW_YORK)
        for channel in CHANNELS
        for bucket in range(buckets)
    )


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """Some seconds of work: nine million arrivals, sealed; tests run it but never let it end published."""
    run_root = tmp_path_factory.mktemp("robust") / "heavy"
    write_world(small_world(counts=heavy_counts(50_000, 30)), run_root)
    seal(run_root)
    return run_root


@pytest.fixture
def light(tmp_path):
    """A tenth of a second of work: 120 thousand arrivals, sealed."""
    run_root = tmp_path / "light"
    write_world(small_world(counts=heavy_counts(2_000, 10)), run_root)
    seal(run_root)
    return run_root


@contextmanager
def running(run_root, *options):
    """A run in a process of its own, killed at the end if it is still there."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "arrival_engine",
            "run",
            str(run_root),
            "--backend",
            "cpu",
            "--quiet",
            "--json",
            *options,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition, process, *arguments, seconds=120.0):
    """Return once the condition holds for the arguments; the process must not end before."""
    end = time.monotonic() + seconds
    while not condition(*arguments):
        assert process.poll() is None, f"the run ended before it could be disturbed: {process.communicate()}"
        assert time.monotonic() < end, "the run never got that far"
        time.sleep(0.005)


def parts_written(run_root, at_least=1):
    return sum(1 for _ in run_root.glob("tmp/arrivals-*/events/part-*")) >= at_least


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def outputs_of(run_root):
    """Every published file with its bytes."""
    folders = [
        run_root / "data/layer2/5B" / name for name in ("arrival_events", "arrival_summary", "arrival_anomalies")
    ]
    paths = [path for folder in [*folders, run_root / "logs"] for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(run_root)): path.read_bytes() for path in sorted(paths)}


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
            wait_for(parts_written, process, heavy)
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
                time.sleep(draws.uniform(0.0, 6.0))
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

    def test_an_import_is_never_cut_off_in_the_middle(self, tmp_path, monkeypatch):
        # The lock of the import system would stay taken: a thread that imports, as one does that loads kernels,
        # then waits for ever, and the run with it.
        (tmp_path / "importing_while_stopped.py").write_text(
            "import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n", encoding="utf-8"
        )
        monkeypatch.syspath_prepend(tmp_path)

        def import_it():
            with heard_interrupts():
                import importing_while_stopped  # noqa: F401 - how far it gets is what is looked at

                time.sleep(60.0)

        try:
            with pytest.raises(KeyboardInterrupt):
                import_it()
            assert sys.modules["importing_while_stopped"].whole
        finally:
            sys.modules.pop("importing_while_stopped", None)

    def test_a_program_that_is_being_imported_itself_can_be_stopped(self, tmp_path):
        (tmp_path / "job.py").write_text(
            "import signal, time\nfrom engine.process.interrupts import heard_interrupts\n"
            "with heard_interrupts():\n    signal.raise_signal(signal.SIGINT)\n    time.sleep(60.0)\n",
            encoding="utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-c", "import job"],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
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
            wait_for(parts_written, first, heavy)
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
            with running(run_root, "--batch-arrivals", "60000") as process:
                wait_for(parts_written, process, run_root, parts)
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
            wait_for(parts_written, process, run_root, 3)
            # Elsewhere in one step: a removal file by file could meet one that is being made.
            (run_root / removed).rename(tmp_path / "gone")
            out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        failure = json.loads(out)
        assert failure["code"] == Code.IO_WRITE_FAILED.value
        assert str(run_root / "tmp") in failure["message"]
        assert err == ""
        for place in (run_root, tmp_path / "gone"):
            assert not list(place.rglob("arrival_events"))


# --- Full disks ------------------------------------------------------------------------------------------------------


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
    def test_a_file_that_may_not_grow_is_named(self, light, form):
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


# --- Replacing -------------------------------------------------------------------------------------------------------


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


class TestExchange:
    """Both ways of swapping, on real directories."""

    @pytest.fixture(params=[exchange, _exchange_by_renames])
    def swap(self, request):
        return request.param

    @pytest.fixture
    def places(self, tmp_path):
        first, second = tmp_path / "first", tmp_path / "second"
        for place in (first, second):
            place.mkdir()
            (place / place.name).write_text(place.name)
        return first, second

    def test_each_holds_what_the_other_held(self, swap, places):
        first, second = places
        swap(first, second)
        assert [path.name for path in first.iterdir()] == ["second"]
        assert [path.name for path in second.iterdir()] == ["first"]
        assert sorted(path.name for path in first.parent.iterdir()) == ["first", "second"]

    @pytest.mark.parametrize("absent", [0, 1])
    def test_a_failure_leaves_both_as_they_were(self, swap, places, absent):
        shutil.rmtree(places[absent])
        with pytest.raises(FileNotFoundError):
            swap(*places)
        (left,) = places[0].parent.iterdir()
        assert left == places[1 - absent]
        assert [path.name for path in left.iterdir()] == [left.name]

    def test_files_swap_as_directories_do(self, swap, tmp_path):
        (tmp_path / "a").write_text("a")
        (tmp_path / "b").write_text("b")
        swap(tmp_path / "a", tmp_path / "b")
        assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("b", "a")
