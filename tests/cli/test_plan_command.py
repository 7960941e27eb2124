"""`arrivals plan`: what it says is what a run makes, and it leaves nothing behind."""

from __future__ import annotations

import json

import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.cluster.shards import Shard
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.forecast.forecast import Calibration, ForecastOptions, _spread, _work_seconds, forecast
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.world.load import load_world
from tests.support.model import CountRow
from tests.support.product import copy_without_outputs
from tests.support.world_files import write_world
from tests.support.worlds import BERLIN, TWO_ZONES, small_world


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("plan") / "sealed"
    write_world(small_world(), run_root, split_files=3)
    seal(run_root)
    return run_root


def test_exact_figures_and_bytes_are_those_of_the_run(sealed, tmp_path):
    run_root = copy_without_outputs(sealed, tmp_path / "run")
    (planned,) = forecast(run_root, ForecastOptions(batch_arrivals=700, workers=2, backend="cpu")).scenarios
    assert not (run_root / "data/layer2/5B/arrival_events").exists()
    assert not (run_root / "reports").exists()
    assert [path for path in (run_root / "tmp").iterdir() if path.is_dir()] == []
    (made,) = run(run_root, RunOptions(backend="cpu", batch_arrivals=700)).scenarios
    world = load_world(run_root)
    whole = plan(world, 700)
    assert (planned.scenario_id, planned.arrivals, planned.batches) == (made.scenario_id, made.arrivals, made.parts)
    assert planned.count_rows == world.rows.arrivals.size + made.merged_rows
    assert planned.segments == whole.segments.row_start.size - 1
    assert planned.entities == world.tables.entities.merchant.size
    assert planned.merchants == world.tables.merchants.id.size
    assert planned.largest_batch == max(batch.arrivals for batch in whole.batches)
    # So few batches are all timed, so that the bytes are no estimate.
    assert planned.calibration.arrivals == made.arrivals
    assert planned.expected_bytes == made.bytes
    assert planned.seconds > 0.0
    assert planned.calibration.backend == "cpu"


def test_shards_follow_the_workers(sealed):
    one, many = (
        forecast(sealed, ForecastOptions(batch_arrivals=50, workers=workers, backend="cpu")).scenarios[0]
        for workers in (1, 100)
    )
    assert one.batches == many.batches == many.shards > one.shards
    assert one.largest_shard > many.largest_shard
    assert many.largest_shard == many.largest_batch
    assert (one.table_bytes, many.table_bytes) == (many.table_bytes, one.table_bytes)
    assert one.worker_memory_bytes > many.worker_memory_bytes > one.table_bytes > 0


def test_a_scenario_without_arrivals_has_nothing_to_time(tmp_path):
    write_world(small_world(counts=(CountRow(TWO_ZONES, BERLIN, "mixed", 0, 0),)), tmp_path / "empty")
    seal(tmp_path / "empty")
    (planned,) = forecast(tmp_path / "empty", ForecastOptions(backend="cpu")).scenarios
    assert (planned.arrivals, planned.batches, planned.shards) == (0, 0, 0)
    assert (planned.calibration, planned.seconds, planned.expected_bytes) == (None, None, None)
    assert main(["plan", str(tmp_path / "empty"), "--quiet"]) == 0


def test_the_command_speaks_to_people_and_to_machines(sealed, capsys):
    assert main(["plan", str(sealed), "--batch-arrivals", "1000", "--workers", "3", "--backend", "cpu"]) == 0
    text = capsys.readouterr().out
    for said in ("baseline_v1: 3,279 arrivals", "of at most 1,000 arrivals", "3 workers", "bytes per arrival", "(cpu)"):
        assert said in text
    assert main(["plan", str(sealed), "--batch-arrivals", "1000", "--backend", "cpu", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "PASS"
    (scenario,) = document["scenarios"]
    assert (scenario["arrivals"], scenario["batch_arrivals"]) == (3279, 1000)
    assert scenario["calibration"]["arrivals"] == 3279
    assert main(["plan", str(sealed), "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_bad_input_is_named(sealed, tmp_path, capsys):
    assert main(["plan", str(sealed), "--workers", "0"]) == 2
    with pytest.raises(ArrivalError) as caught:
        forecast(sealed, ForecastOptions(scenarios=("other",)))
    assert caught.value.code is Code.OPTION_INVALID
    write_world(small_world(), tmp_path / "unsealed")
    assert main(["plan", str(tmp_path / "unsealed"), "--quiet"]) == 1
    assert "S0_GATE_MISSING_OR_INVALID" in capsys.readouterr().err
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        ForecastOptions(workers=0)


@pytest.mark.parametrize("batches", [1, 2, 5, 31, 32, 1000, 5_000_000])
def test_samples_lie_apart_and_within_the_plan(batches):
    places = _spread(batches)
    assert places[0] == batches // 2
    assert len(set(places)) == len(places) == min(batches, 32)
    assert 0 <= min(places) <= max(places) < batches


def test_workers_take_the_next_shard_when_they_are_free():
    calibration = Calibration(arrivals=100, bytes=1, work_seconds=100.0, overhead_seconds=2.0, batches=2, backend="cpu")
    shards = tuple(
        Shard(index, index, (1,), (arrivals,), (0, 0), (0, 0), (1,), (), 0, 1)
        for index, arrivals in enumerate((50, 10, 10, 40))
    )
    assert _work_seconds(shards, calibration, 1) == 114.0
    # The other worker does the three that follow the first.
    assert _work_seconds(shards, calibration, 2) == 63.0
    assert _work_seconds(shards, calibration, 9) == 51.0
