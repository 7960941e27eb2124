"""scripts/device/check.sh: its steps, their limits, and a run of it to its end where no device is."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

from scripts.device.steps import NO_DEVICE, Step, perform
from tests.support.gpu import without_device
from tests.support.paths import ROOT

ON_DEVICE = {"nvidia_smi", "device_tests", "demo_parity", "run_cuda_cold", "run_cuda_warm", "bench_gpu"}


def python(script, limit_s=60):
    return Step("step", (sys.executable, "-c", script), limit_s)


@pytest.mark.parametrize(("code", "outcome"), [(0, "passed"), (3, "failed")])
def test_a_step_tells_how_it_ended(tmp_path, code, outcome):
    one = perform(python(f"print('{{}}'); import sys; sys.exit({code})"), tmp_path, 60)
    assert (one.outcome, one.exit_code, one.says) == (outcome, code, ["{}"])
    assert (tmp_path / "step.json").read_text(encoding="utf-8") == "{}\n"


def test_a_step_is_stopped_at_its_limit_with_all_that_it_started(tmp_path):
    """What it has started writes to a pipe, which ends when its last writer does."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    step = Step("step", ("bash", "-c", f"(echo begun; exec sleep 600) > {shlex.quote(str(pipe))} & wait"), 2)
    one = perform(step, tmp_path, 60)
    assert (one.outcome, one.exit_code) == ("stopped at its limit", None)
    os.set_blocking(reading, True)
    with os.fdopen(reading) as lines:
        assert lines.read() == "begun\n"


def test_a_step_without_a_program_or_without_time_is_told(tmp_path):
    one = perform(Step("step", ("no-such-program",), 5), tmp_path, 60)
    assert (one.outcome, one.exit_code) == ("failed", 127)
    assert "no-such-program" in one.says[0]
    assert perform(python("print()"), tmp_path, -1).outcome == "left out: no time is left"


@pytest.mark.slow
@without_device
def test_the_script_runs_to_its_end_and_says_at_each_step_that_there_is_no_device(tmp_path):
    command = ["bash", "scripts/device/check.sh", "--out", str(tmp_path), "--preset", "demo", "--scale", "0.05"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == NO_DEVICE, done.stdout + done.stderr
    reason = "no CUDA driver: libcuda.so.1 is not on this machine"
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert summary["environment"]["reason"] == reason
    assert summary["seconds"] < summary["limit_s"]
    outcomes = {step["name"]: step["outcome"] for step in summary["steps"]}
    assert {name for name in outcomes if outcomes[name] == f"no usable device: {reason}"} == ON_DEVICE
    assert {outcomes[name] for name in outcomes.keys() - ON_DEVICE} == {"passed"}
    for name, outcome in outcomes.items():
        assert f"{name}: {outcome}" in done.stdout
    assert reason in (tmp_path / "device_tests.txt").read_text(encoding="utf-8")
    runs = [json.loads((tmp_path / f"run_{name}.json").read_bytes()) for name in ("cpu_cold", "cpu_warm", "auto")]
    assert [run["scenarios"][0]["published"] for run in runs] == ["published", "identical", "identical"]
    assert len((tmp_path / "world_run_report.jsonl").read_text(encoding="utf-8").splitlines()) == 5
