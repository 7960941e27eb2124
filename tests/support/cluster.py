"""Real Dask clusters of processes, ways to kill their workers, and what their runs publish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import distributed

from arrival_engine import RunOptions
from tests.support.model import CountRow
from tests.support.product import OUTPUT_FOLDERS, report_lines, staged
from tests.support.refusals import ROOT
from tests.support.worlds import (
    BERLIN,
    KATHMANDU,
    NEW_YORK,
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
    "backend_reason",  # workers choose for themselves
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
    assert not any((run_root / "data/layer2/5B" / name).exists() for name in OUTPUT_FOLDERS)
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
