"""Commands on a machine whose clocks do not advance: no rate can be measured, and nothing else is different."""

from __future__ import annotations

import json
import subprocess
import sys

# In place before any module keeps a clock of its own.
PROGRAM = """
import sys, time
time.monotonic = time.perf_counter = lambda: 5.0
time.monotonic_ns = time.perf_counter_ns = lambda: 5_000_000_000
time.time = lambda: 1.8e9
time.time_ns = lambda: 1_800_000_000_000_000_000
from arrival_engine.engine.cli.main import main
root, folder = sys.argv[1:]
for line in (
    "synth {root} --preset demo --seed 7 --scale 0.05",
    "seal {root}",
    "plan {root} --backend cpu",
    "run {root} --backend cpu --json",
    "run {root} --backend cpu --replace --threads 1",
    "validate {root}",
    "verify {root}",
    "report {root} --figures {folder}",
    "diff {root} {root}",
    "parity {root} --right cudasim --batch-arrivals 500 --sample-batches 1",
    "stream {root} --limit 100 --quiet",
    "stream {root} --limit 100 --json",
    "tz build {root}",
    "doctor",
):
    code = main(line.format(root=root, folder=folder).split())
    if code:
        sys.exit(f"{line}: {code}")
"""


def test_every_command(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "world"), str(tmp_path / "figures")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (run,) = [json.loads(line) for line in lines if line.startswith('{"status"')]
    (scenario,) = run["scenarios"]
    assert (scenario["seconds"], scenario["arrivals_per_second"]) == (0.0, 0.0)
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("  speed")] == ["no rate measured"]
    assert "time" in done.stdout
