"""Workers, clients and schedulers that die: the bytes of a local run, or nothing published."""

from __future__ import annotations

import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from arrival_engine import DaskMaker, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cluster import client as cluster_client
from tests.support.cluster import (
    GUARD_S,
    OPTIONS,
    assert_same_outputs,
    client_process,
    dask_cluster,
    facts,
    killing,
    plain_worker,
    scheduler_process,
    untouched,
    wait_for_handed_in,
)
from tests.support.product import copy_without_outputs, staged
from tests.support.refusals import published


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cluster_client, "CONNECT_S", 1)
    with socket.socket() as taken:
        # Bound and not listening: connections are refused, and no other program can take the port.
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ArrivalError, match=address) as caught, cluster_client.open_client(address):
            pass
    assert caught.value.code is Code.CLUSTER_UNAVAILABLE


class TestWorkersThatDie:
    @pytest.mark.parametrize(
        "delays_ms", [[200, 300], pytest.param(range(50, 400, 50), marks=pytest.mark.slow)], ids=len
    )
    def test_their_shards_are_done_again(self, delays_ms, client, busy, tmp_path):
        run_root = copy_without_outputs(busy, tmp_path / "run")
        options = replace(OPTIONS, batch_arrivals=20_000)
        with killing(client, tmp_path / "kills", delays_ms):
            run(run_root, options, maker=DaskMaker(client))
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
            run(run_root, replace(OPTIONS, scenarios=("second",)), maker=DaskMaker(client))
        assert caught.value.code is Code.CLUSTER_UNAVAILABLE
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
            run(run_root, replace(OPTIONS, scenarios=("second",)), maker=DaskMaker(client))
        assert caught.value.code is Code.CLUSTER_UNAVAILABLE
        assert "has had no workers for 2 s" in caught.value.message
        untouched(run_root)


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
        run(run_root, options, maker=DaskMaker(client))
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


def test_a_scheduler_that_dies_ends_the_run_with_nothing_published(busy, tmp_path):
    run_root = copy_without_outputs(busy, tmp_path / "run")
    with scheduler_process() as (scheduler, client):
        with plain_worker(client), client_process(run_root, client, "--batch-arrivals", "20000") as process:
            wait_for_handed_in(run_root, process)
            scheduler.kill()
            assert process.wait(GUARD_S) == 1
            said = process.stderr.read()
        assert "error ARRIVALS.CLUSTER_UNAVAILABLE" in said
        # Whether Dask first tells of the lost connection or of the tasks it gives up is a matter of time.
        assert "see that scheduler and workers are up" in said
        assert "Traceback" not in said
    untouched(run_root)


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
            run(run_root, options, maker=DaskMaker(client))
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
