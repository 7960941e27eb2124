"""Runs on real Dask clusters of processes: the bytes of a local run, failures by name."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest

from arrival_engine import DaskMaker, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from tests.support.cluster import OPTIONS, assert_same_outputs, facts, scaled, untouched
from tests.support.model import CountRow
from tests.support.product import copy_without_outputs, report_lines, staged
from tests.support.refusals import command
from tests.support.world_files import write_world
from tests.support.worlds import (
    BERLIN,
    TWO_ZONES,
    small_world,
)


class TestSameBytes:
    # One worker: TestCommandLine.
    @pytest.mark.parametrize("workers", [3, 2])
    def test_as_on_one_machine(self, workers, client, run_root, local):
        result = run(run_root, OPTIONS, maker=DaskMaker(scaled(client, workers)))
        assert_same_outputs(run_root, local)
        assert facts(run_root) == facts(local)
        for scenario in result.scenarios:
            assert 1 <= len(scenario.workers) <= workers
            assert sum(worker.arrivals for worker in scenario.workers) == scenario.arrivals
        again = run(run_root, replace(OPTIONS, scenarios=("no_groups",)), maker=DaskMaker(client))
        assert [scenario.published for scenario in again.scenarios] == ["identical"]
        assert_same_outputs(run_root, local)

    @pytest.mark.parametrize("options", [{"batch_arrivals": 1, "format": "arrow"}, {"batch_arrivals": 10**9}], ids=str)
    def test_for_other_batches(self, options, client, run_root, sealed, tmp_path):
        here = copy_without_outputs(sealed, tmp_path / "here")
        options = replace(OPTIONS, scenarios=("baseline_v1",), rng_events="jsonl", **options)
        run(here, options)
        run(run_root, options, maker=DaskMaker(client))
        assert_same_outputs(run_root, here)

    def test_without_arrivals(self, client, tmp_path):
        write_world(small_world(counts=(CountRow(TWO_ZONES, BERLIN, "mixed", 0, 0),)), tmp_path / "empty")
        seal(tmp_path / "empty")
        here = copy_without_outputs(tmp_path / "empty", tmp_path / "here")
        run(here, OPTIONS)
        result = run(tmp_path / "empty", OPTIONS, maker=DaskMaker(client))
        assert_same_outputs(tmp_path / "empty", here)
        assert [(scenario.arrivals, scenario.parts) for scenario in result.scenarios] == [(0, 1)]

    def test_a_conflict_is_met_before_the_work(self, client, run_root):
        run(run_root, replace(OPTIONS, scenarios=("second",), format="arrow"))
        with pytest.raises(ArrivalError) as caught:
            run(run_root, replace(OPTIONS, scenarios=("second",)), maker=DaskMaker(client))
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


def test_progress_counts_every_arrival_once(client, run_root):
    listener = Listener()
    options = replace(OPTIONS, scenarios=("second",))
    result = run(run_root, options, listener, maker=DaskMaker(client))
    (scenario,) = result.scenarios
    assert listener.counts["arrivals"] == (scenario.arrivals, scenario.arrivals)
    # Without bokeh there is no dashboard, though the scheduler names an address.
    said = [f"Dask dashboard: {client.dashboard_link}"] if find_spec("bokeh") else []
    assert [message for message in listener.messages if "dashboard" in message] == said


class TestFailing:
    def test_a_task_that_always_fails_ends_the_run_with_its_own_error(self, client, run_root, sealed, tmp_path):
        strict = replace(OPTIONS, strict=True, scenarios=("no_groups",))
        errors = []
        for where, given in ((copy_without_outputs(sealed, tmp_path / "here"), None), (run_root, DaskMaker(client))):
            with pytest.raises(ArrivalError) as caught:
                run(where, strict, maker=given)
            untouched(where)
            errors.append(caught.value)
            assert report_lines(where)[-1]["error_code"] == caught.value.code.value
        here, there = errors
        assert here.code is there.code is Code.SITE_RESOLUTION_FAILED
        assert (here.message, here.hint) == (there.message, there.hint)

    def test_a_file_that_workers_cannot_read_is_named_after_further_tries(self, client, run_root):
        victim = next((run_root / "data/layer2/5B/s3_bucket_counts").rglob("scenario_id=second/*.parquet"))
        aside = run_root / "aside"

        class Spoiler(Listener):
            def expect(self, unit, total):
                super().expect(unit, total)
                if unit == "row groups":
                    # The client has read the footers.
                    victim.rename(aside)

        with pytest.raises(ArrivalError) as caught:
            run(run_root, replace(OPTIONS, scenarios=("second",)), Spoiler(), maker=DaskMaker(client))
        assert caught.value.code is Code.IO_READ_FAILED
        assert str(victim) in caught.value.message
        aside.rename(victim)
        keys = {str(key) for key, *_ in client.cluster.scheduler.transition_log}
        assert {key[-1] for key in keys if key.startswith("survey-") and "second" in key} >= {"1", "2", "3"}
        untouched(run_root)

    def test_options_that_a_cluster_does_not_take_are_refused(self, client, run_root):
        for options in (replace(OPTIONS, resume=True), replace(OPTIONS, threads=2)):
            with pytest.raises(ValueError, match="neither threads"):
                run(run_root, options, maker=DaskMaker(client))


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
        assert ("Dask dashboard: http" in done.stderr) == (find_spec("bokeh") is not None)
        assert "workers" in done.stdout
        assert_same_outputs(run_root, local)
