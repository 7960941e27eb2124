"""Runs on real Dask clusters of processes: the bytes of a local run, whatever happens to workers and clients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import distributed
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cluster import client as cluster_client
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.run.job import RunOptions, run
from arrival_engine.engine.sealing import seal
from tests.support.model import CountRow
from tests.support.product import copy_without_outputs, report_lines, staged
from tests.support.refusals import ROOT, command, published
from tests.support.world_files import write_world
from tests.support.worlds import (
    BERLIN,
    BIG_ID,
    CASABLANCA,
    KATHMANDU,
    NEW_YORK,
    NEW_YORK_GAP,
    ONE_SLOT,
    TWO_ZONES,
    small_world,
)

GUARD_S = 120
OPTIONS = RunOptions(backend="cpu", batch_arrivals=100, rng_events="parquet")
# What differs between two runs of the same scenario.
PERFORMANCE = {
    "backend",
    "durations",
    "finished_at_utc",
    "peak_rss_bytes",
    "rows_per_second",
    "started_at_utc",
    "thread_seconds",
    "threads",
    "workers",
}


class KillWorker(distributed.WorkerPlugin):
    """Kills its worker after it has begun a shard, once for each file in a folder, which is named by the delay in ms.

    A nanny believes that a worker killed within its first 50 ms could not be started, and starts no other.
    """

    name = "kill-worker"

    def __init__(self, folder, number):
        self.folder, self.number = folder, number

    def setup(self, worker):
        self.worker = worker

    def transition(self, key, start, finish, **kwargs):  # noqa: ARG002 - Dask's signature
        if finish == "executing" and str(key).startswith("expand-") and (delay := self._take()) is not None:
            threading.Timer(delay / 1000, os.kill, (os.getpid(), self.number)).start()

    def _take(self):
        for token in sorted(self.folder.iterdir()):
            with suppress(FileNotFoundError):
                token.unlink()
                return int(token.name)
        return None


def busy_counts(n, buckets=10):
    """Two merchants with 3 * n arrivals a bucket, besides the small world's."""
    return (
        *small_world().counts,
        *(
            CountRow(merchant, zone, channel, bucket, n)
            for merchant, zone in ((TWO_ZONES, BERLIN), (TWO_ZONES, NEW_YORK), (ONE_SLOT, KATHMANDU))
            for channel in ("mixed",)
            for bucket in range(buckets)
        ),
    )


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """Three scenarios: everything that the law has, more of it, and one that --strict forbids while it is expanded."""
    run_root = tmp_path_factory.mktemp("cluster") / "sealed"
    no_groups = tuple(CountRow(BIG_ID, CASABLANCA, "mixed", bucket, 10) for bucket in (3, NEW_YORK_GAP))
    further = {"second": busy_counts(60), "no_groups": no_groups}
    world = small_world()
    scenarios = [replace(world, scenario_id=scenario_id, counts=counts) for scenario_id, counts in further.items()]
    write_world(world, run_root, split_files=4, shuffle_seed=2, further_scenarios=scenarios)
    seal(run_root)
    return run_root


@pytest.fixture
def run_root(sealed, tmp_path):
    return copy_without_outputs(sealed, tmp_path / "run")


@pytest.fixture(scope="module")
def local(sealed, tmp_path_factory):
    """What a run on this machine publishes."""
    run_root = copy_without_outputs(sealed, tmp_path_factory.mktemp("cluster") / "local")
    run(run_root, replace(OPTIONS, threads=2))
    return run_root


@contextmanager
def dask_cluster(workers, **settings):
    """A cluster of processes, and a client of it."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 10, **settings}),
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with dask_cluster(3) as client:
        yield client


def outputs(run_root):
    """Every published file with its bytes, without the logs that name a moment."""
    files = [*(run_root / "data/layer2/5B").rglob("*"), *(run_root / "logs").rglob("part-*")]
    return {path.relative_to(run_root): path.read_bytes() for path in files if path.is_file()}


def assert_same_outputs(run_root, local):
    found, expected = outputs(run_root), outputs(local)
    assert sorted(found) == sorted(expected)
    assert [path for path in expected if found[path] != expected[path]] == []
    assert staged(run_root) == []
    assert list((run_root / "tmp").glob("cleared-*")) == []


def facts(run_root):
    lines = [{k: v for k, v in line.items() if k not in PERFORMANCE} for line in report_lines(run_root)]
    return [line for line in lines if line["status"] == "PASS"]


def untouched(run_root):
    """Nothing is published and nothing is staged."""
    assert not any((run_root / "data/layer2/5B" / name).exists() for name in ("arrival_events", "arrival_summary"))
    assert not (run_root / "logs").exists()
    assert staged(run_root) == []


def scaled(client, workers):
    """The client, with so many workers."""
    client.cluster.scale(workers)
    until = time.monotonic() + GUARD_S
    while len(client.scheduler_info(n_workers=-1)["workers"]) != workers:
        assert time.monotonic() < until
        time.sleep(0.05)
    return client


class TestSameBytes:
    # One worker: TestCommandLine.
    @pytest.mark.parametrize("workers", [3, 2])
    def test_as_on_one_machine(self, workers, client, run_root, local):
        result = run(run_root, OPTIONS, client=scaled(client, workers))
        assert_same_outputs(run_root, local)
        assert facts(run_root) == facts(local)
        for scenario in result.scenarios:
            assert 1 <= len(scenario.workers) <= workers
            assert sum(worker.arrivals for worker in scenario.workers) == scenario.arrivals
        again = run(run_root, replace(OPTIONS, scenarios=("no_groups",)), client=client)
        assert [scenario.published for scenario in again.scenarios] == ["identical"]
        assert_same_outputs(run_root, local)

    @pytest.mark.parametrize("options", [{"batch_arrivals": 1, "format": "arrow"}, {"batch_arrivals": 10**9}], ids=str)
    def test_for_other_batches(self, options, client, run_root, sealed, tmp_path):
        here = copy_without_outputs(sealed, tmp_path / "here")
        options = replace(OPTIONS, scenarios=("baseline_v1",), rng_events="jsonl", **options)
        run(here, options)
        run(run_root, options, client=client)
        assert_same_outputs(run_root, here)

    def test_without_arrivals(self, client, tmp_path):
        write_world(small_world(counts=(CountRow(TWO_ZONES, BERLIN, "mixed", 0, 0),)), tmp_path / "empty")
        seal(tmp_path / "empty")
        here = copy_without_outputs(tmp_path / "empty", tmp_path / "here")
        run(here, OPTIONS)
        result = run(tmp_path / "empty", OPTIONS, client=client)
        assert_same_outputs(tmp_path / "empty", here)
        assert [(scenario.arrivals, scenario.parts) for scenario in result.scenarios] == [(0, 1)]

    def test_a_conflict_is_met_before_the_work(self, client, run_root):
        run(run_root, replace(OPTIONS, scenarios=("second",), format="arrow"))
        with pytest.raises(ArrivalError) as caught:
            run(run_root, replace(OPTIONS, scenarios=("second",)), client=client)
        assert caught.value.code is Code.IO_WRITE_CONFLICT
        assert staged(run_root) == []


class Listener(Reporter):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.messages, self.counts = [], {}

    def advance(self, amount=1):
        super().advance(amount)
        status = self.status()
        self.counts[status.unit] = (status.done, status.total)

    def _on_message(self, text):
        self.messages.append(text)


def test_progress_counts_every_arrival_once_and_names_the_dashboard(client, run_root):
    listener = Listener()
    options = replace(OPTIONS, scenarios=("second",))
    result = run(run_root, options, listener, client=client)
    (scenario,) = result.scenarios
    assert listener.counts["arrivals"] == (scenario.arrivals, scenario.arrivals)
    assert f"Dask dashboard: {client.dashboard_link}" in listener.messages


class TestFailing:
    def test_a_task_that_always_fails_ends_the_run_with_its_own_error(self, client, run_root, sealed, tmp_path):
        strict = replace(OPTIONS, strict=True, scenarios=("no_groups",))
        errors = []
        for where, given in ((copy_without_outputs(sealed, tmp_path / "here"), None), (run_root, client)):
            with pytest.raises(ArrivalError) as caught:
                run(where, strict, client=given)
            untouched(where)
            errors.append(caught.value)
            assert report_lines(where)[-1]["error_code"] == caught.value.code.value
        here, there = errors
        assert here.code is there.code is Code.SITE_RESOLUTION_FAILED
        assert (here.message, here.hint) == (there.message, there.hint)

    def test_a_file_that_workers_cannot_read_is_named_after_further_tries(self, client, run_root):
        victim = next((run_root / "data/layer2/5B/s3_bucket_counts").rglob("scenario_id=second/*.parquet"))

        class Spoiler(Listener):
            def _on_phase_start(self, name):
                if name == "survey":
                    # Its pages alone: the client reads no more than the footer.
                    victim.write_bytes(b"PAR1" + b"\xff" * 96 + victim.read_bytes()[100:])

        with pytest.raises(ArrivalError) as caught:
            run(run_root, replace(OPTIONS, scenarios=("second",)), Spoiler(), client=client)
        assert caught.value.code is Code.IO_READ_FAILED
        assert str(victim) in caught.value.message
        keys = {str(key) for key, *_ in client.cluster.scheduler.transition_log}
        assert {key[-1] for key in keys if key.startswith("survey-") and "second" in key} >= {"1", "2", "3"}
        untouched(run_root)

    def test_options_that_a_cluster_does_not_take_are_refused(self, client, run_root):
        for options in (replace(OPTIONS, resume=True), replace(OPTIONS, threads=2)):
            with pytest.raises(ValueError, match="neither threads"):
                run(run_root, options, client=client)


@contextmanager
def killing(client, folder, delays_ms, number=signal.SIGKILL):
    """Within, a worker that begins a shard gets the signal so many milliseconds later, once for each delay."""
    folder.mkdir()
    for delay in delays_ms:
        (folder / f"{delay:04d}").touch()
    client.register_plugin(KillWorker(folder, number))
    try:
        yield
    finally:
        client.unregister_worker_plugin("kill-worker")


class TestWorkersThatDie:
    @pytest.mark.parametrize(
        "delays_ms", [[200, 300], pytest.param(range(200, 900, 100), marks=pytest.mark.slow)], ids=len
    )
    def test_their_shards_are_done_again(self, delays_ms, client, busy, tmp_path):
        run_root = copy_without_outputs(busy, tmp_path / "run")
        options = replace(OPTIONS, batch_arrivals=20_000)
        with killing(client, tmp_path / "kills", delays_ms):
            run(run_root, options, client=client)
        assert list((tmp_path / "kills").iterdir()) == []
        run(here := copy_without_outputs(busy, tmp_path / "here"), options)
        assert_same_outputs(run_root, here)
        assert facts(run_root) == facts(here)

    def test_a_shard_that_kills_its_workers_is_given_up(self, run_root, tmp_path):
        with (
            dask_cluster(1, **{"distributed.scheduler.allowed-failures": 0}) as client,
            killing(client, tmp_path / "kills", [0]),
            pytest.raises(ArrivalError) as caught,
        ):
            run(run_root, replace(OPTIONS, scenarios=("second",)), client=client)
        assert "workers died while they ran it, 1 by now" in caught.value.message
        untouched(run_root)

    def test_without_any_a_run_ends_after_a_while(self, run_root, tmp_path, monkeypatch):
        monkeypatch.setattr(cluster_client, "WITHOUT_WORKERS_S", 2.0)
        with (
            dask_cluster(0) as client,
            plain_worker(client),
            killing(client, tmp_path / "kills", [0]),
            pytest.raises(ArrivalError) as caught,
        ):
            run(run_root, replace(OPTIONS, scenarios=("second",)), client=client)
        assert "has had no workers for 2 s" in caught.value.message
        untouched(run_root)


@contextmanager
def client_process(run_root, client, *options):
    """`arrivals run` on the cluster, in a process of its own that is gone afterwards."""
    words = [sys.executable, "-m", "arrival_engine", "run", str(run_root), "--scheduler", client.scheduler.address]
    with subprocess.Popen(
        [*words, "--backend", "cpu", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_handed_in(run_root, process):
    """Return when a worker has handed in its first part."""
    until = time.monotonic() + GUARD_S
    while not list((run_root / "tmp").glob("arrivals-*/depot/events/part-*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A million arrivals in shards that take some tenths of a second."""
    run_root = tmp_path_factory.mktemp("busy") / "sealed"
    write_world(small_world(counts=busy_counts(40_000, 8)), run_root)
    seal(run_root)
    return run_root


class TestClientsThatGoAway:
    def test_a_killed_client_leaves_nothing_published_and_the_next_run_is_whole(self, busy, client, tmp_path):
        run_root = copy_without_outputs(busy, tmp_path / "run")
        with client_process(run_root, client, "--batch-arrivals", "40000") as process:
            wait_for_handed_in(run_root, process)
            process.kill()
            process.wait()
        assert not published(run_root).exists()
        assert len(staged(run_root)) == 1
        options = replace(OPTIONS, batch_arrivals=40_000)
        run(run_root, options, client=client)
        here = copy_without_outputs(busy, tmp_path / "here")
        run(here, options)
        assert_same_outputs(run_root, here)

    def test_an_interrupted_client_clears_up(self, busy, client, tmp_path):
        run_root = copy_without_outputs(busy, tmp_path / "run")
        with client_process(run_root, client, "--batch-arrivals", "40000") as process:
            wait_for_handed_in(run_root, process)
            process.send_signal(signal.SIGINT)
            assert process.wait(GUARD_S) == 130, process.stderr.read()
        untouched(run_root)


@contextmanager
def plain_worker(client):
    """A worker that no nanny looks after, as a process; it is there when this begins, and gone when it ends."""
    words = [sys.executable, "-m", "distributed.cli.dask_worker", client.scheduler.address]
    options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    with subprocess.Popen(
        [*words, *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            client.wait_for_workers(workers + 1, timeout=GUARD_S)
            yield process
        finally:
            process.kill()


def test_a_scheduler_that_dies_ends_the_run_with_nothing_published(busy, tmp_path):
    run_root = copy_without_outputs(busy, tmp_path / "run")
    with scheduler_process() as (scheduler, client):
        with plain_worker(client), client_process(run_root, client, "--batch-arrivals", "20000") as process:
            wait_for_handed_in(run_root, process)
            scheduler.kill()
            assert process.wait(GUARD_S) == 1
            said = process.stderr.read()
        assert "scheduler-connection-lost" in said
        assert "Traceback" not in said
    untouched(run_root)


@contextmanager
def scheduler_process():
    """A scheduler as a process of its own, and a client of it."""
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(
        [*words, "--dashboard-address", "127.0.0.1:0"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            address = next(line.split()[-1] for line in process.stderr if "Scheduler at:" in line)
            # What it says later is nobody's concern, but must not fill the pipe.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            with distributed.Client(address) as client:
                yield process, client
        finally:
            process.kill()


@pytest.mark.slow
def test_a_stopped_worker_whose_shard_is_done_by_another_wakes_up_and_harms_nothing(busy, tmp_path):
    run_root = copy_without_outputs(busy, tmp_path / "run")
    options = replace(OPTIONS, batch_arrivals=40_000)
    run(here := copy_without_outputs(busy, tmp_path / "here"), options)
    woken = threading.Event()

    def wake(workers):
        # The scheduler gives the stopped one up, another worker begins its shard, and then both are at it.
        until = time.monotonic() + GUARD_S
        while time.monotonic() < until:
            stopped = [worker for worker in workers if _state(worker.pid) == "T"]
            if stopped and len(client.scheduler_info(n_workers=-1)["workers"]) == 1:
                stopped[0].send_signal(signal.SIGCONT)
                woken.set()
                return
            time.sleep(0.01)

    with (
        dask_cluster(0, **{"distributed.scheduler.worker-ttl": "5s"}) as client,
        plain_worker(client) as one,
        plain_worker(client) as other,
    ):
        thread = threading.Thread(target=wake, args=((one, other),))
        thread.start()
        with killing(client, tmp_path / "stops", [20], signal.SIGSTOP):
            run(run_root, options, client=client)
        thread.join()
        assert woken.is_set()
        assert_same_outputs(run_root, here)
    # Once more when both are gone.
    assert_same_outputs(run_root, here)


def _state(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"
    return "gone" if state == "Z" else state


class TestCommandLine:
    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--workers", "2"], "--scheduler local"),
            (["--scheduler", "tcp://127.0.0.1:8786", "--workers", "2"], "--scheduler local"),
            (["--scheduler", "nonsense"], "tcp://HOST:8786"),
            (["--scheduler", "local", "--threads", "2"], "--threads"),
            (["--scheduler", "local", "--resume"], "--resume"),
        ],
        ids=" ".join,
    )
    def test_options_that_mean_nothing_together_are_bad_usage(self, words, says, sealed):
        done = command("run", sealed, *words)
        assert done.returncode == 2
        assert says in done.stderr

    def test_a_cluster_of_its_own(self, run_root, local):
        words = ["--batch-arrivals", "100", "--rng-events", "parquet", "--backend", "cpu"]
        done = command("run", run_root, "--scheduler", "local", "--workers", "1", *words)
        assert done.returncode == 0, done.stderr
        assert "Dask dashboard: http" in done.stderr
        assert "workers" in done.stdout
        assert_same_outputs(run_root, local)
