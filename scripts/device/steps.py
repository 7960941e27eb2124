"""The steps of check.sh: each has a limit, and none stops the next.

A folder gets what each step prints, the run reports, the parity report, the result of `bench gpu` as bench/results has
it, and `summary.json`, which says of each step how it ended. The exit code is 0 if all passed, 3 if there is no device
that can be used, and 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NO_DEVICE = 3
# What a step that is stopped, and the summary, may take beyond the limit of all.
RESERVED_S = 10
_KEPT_LINES = 12

_ENVIRONMENT = """
import json
from importlib import metadata
from arrival_engine.gpu_kernels.device import devices, unusable_reason
from bench.environment import describe
installed = sorted({f"{dist.name}=={dist.version}" for dist in metadata.distributions()})
reason = unusable_reason()
found = [device.label for device in devices()]
print(json.dumps({**describe(), "reason": reason, "devices": found, "installed": installed}, indent=1))
"""


@dataclass(frozen=True)
class Step:
    """A command with its limit. judged: whether its exit code tells if it passed."""

    name: str
    command: tuple[str, ...]
    limit_s: int
    needs_device: bool = False
    judged: bool = True
    changes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a step ended, with its last lines: passed, failed, stopped, left out, or without a usable device."""

    name: str
    command: str
    outcome: str
    exit_code: int | None
    seconds: float
    limit_s: float
    says: list[str]


def product(*words: str) -> tuple[str, ...]:
    """The `arrivals` of this checkout."""
    return (sys.executable, "-P", "-m", "arrival_engine", *words)


def steps(options: argparse.Namespace) -> Iterator[Step]:
    """What is done, in order: first what tells most."""
    work, out = options.work, options.out
    demo, world = str(work / "demo"), str(work / "world")
    size = ("--preset", options.preset, "--scale", str(options.scale), "--seed", "42", "--quiet")
    fresh = {"ARRIVALS_CACHE_DIR": str(work / "runs-cache")}
    yield Step("environment", (sys.executable, "-P", "-c", _ENVIRONMENT), 60)
    yield Step("nvidia_smi", ("nvidia-smi",), 20, needs_device=True)
    yield Step("doctor", product("doctor", "--json"), 60, judged=False)
    yield Step("device_tests", _tests(out), 170, needs_device=True, changes={"ARRIVALS_REQUIRE_GPU": "1"})
    yield Step("demo_world", product("synth", demo, "--preset", "demo", "--seed", "42", "--quiet"), 60)
    yield Step("demo_seal", product("seal", demo, "--quiet"), 20)
    parity = product("parity", demo, "--right", "cuda", "--out", str(out / "parity"), "--json")
    yield Step("demo_parity", parity, 60, needs_device=True)
    yield Step("world", product("synth", world, *size), 120)
    yield Step("world_seal", product("seal", world, "--quiet"), 30)
    for backend in ("cuda", "cpu"):
        for cache in ("cold", "warm"):
            run = product("run", world, "--backend", backend, "--replace", "--json")
            yield Step(f"run_{backend}_{cache}", run, 60, needs_device=backend == "cuda", changes=fresh)
    yield Step("run_auto", product("run", world, "--replace", "--json"), 60, changes=fresh)
    yield Step("bench_gpu", _bench(world, options.repeats), 120, needs_device=True)


def _tests(out: Path) -> tuple[str, ...]:
    cudf = subprocess.run([sys.executable, "-c", "import pylibcudf"], capture_output=True, check=False).returncode == 0
    chosen = "gpu" if cudf else "gpu and not cudf"
    report = f"--junitxml={out / 'device_tests.xml'}"
    return (sys.executable, "-P", "-m", "pytest", "-m", chosen, "-p", "no:cacheprovider", "--maxfail=12", report)


def _bench(world: str, repeats: int) -> tuple[str, ...]:
    threads = str(len(os.sched_getaffinity(0)))
    words = ("gpu", world, "--repeats", str(repeats), "--host-threads", threads)
    return (sys.executable, "-P", "-m", "bench", *words)


def perform(step: Step, out: Path, remaining_s: float) -> Ended:
    """Run one step, within what is left; what it prints goes to NAME.json or NAME.txt and NAME.log."""
    command, limit_s = " ".join(step.command), min(step.limit_s, round(remaining_s, 1))
    if limit_s <= 0:
        return Ended(step.name, command, "left out: no time is left", None, 0.0, 0.0, [])
    printed, log = out / f"{step.name}.txt", out / f"{step.name}.log"
    began = time.monotonic()
    with printed.open("wb") as stdout, log.open("wb") as stderr:
        code = _exit_code(step, stdout, stderr, limit_s)
    seconds = round(time.monotonic() - began, 2)
    says = [*_last_lines(printed), *_last_lines(log)]
    if _is_json(printed):
        printed.rename(printed.with_suffix(".json"))
    outcome = "stopped at its limit" if code is None else "passed" if code == 0 or not step.judged else "failed"
    return Ended(step.name, command, outcome, code, seconds, limit_s, says)


def _exit_code(step: Step, stdout: Any, stderr: Any, limit_s: float) -> int | None:
    """The exit code, 127 if there is no such program; None if the step was stopped with all that it had started."""
    try:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            step.command,
            cwd=ROOT,
            env={**os.environ, **step.changes},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        stderr.write(f"{error}\n".encode())
        return 127
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def _last_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line[:300] for line in lines[-_KEPT_LINES:]]


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except ValueError:
        return False


def gathered(options: argparse.Namespace) -> dict[str, Any]:
    """The environment; reports and results are put where the summary is."""
    out = options.out
    for path in sorted(options.work.glob("*/reports/**/segment_state_runs.jsonl")):
        shutil.copy(path, out / f"{path.relative_to(options.work).parts[0]}_run_report.jsonl")
    measured = out / "bench_gpu.json"
    if measured.exists():
        from bench.results import Result, save

        save(Result(**json.loads(measured.read_bytes())), out / "results")
    environment = out / "environment.json"
    if not environment.exists():
        return {"reason": "the environment could not be described", "devices": []}
    found: dict[str, Any] = json.loads(environment.read_bytes())
    return found


def main(words: list[str]) -> int:
    """Run one command line and give its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/device/check.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where results go")
    parser.add_argument("--work", type=Path, required=True, help="where worlds go meanwhile; check.sh gives it")
    parser.add_argument("--preset", choices=("demo", "reference"), default="reference", help="default: %(default)s")
    parser.add_argument("--scale", type=float, default=1.0, help="of the preset; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=10, help="of the benchmark; default: %(default)s")
    parser.add_argument("--limit", type=float, default=540, help="seconds of all steps together; default: %(default)s")
    options = parser.parse_args(words)
    options.out, began = options.out.absolute(), time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["ARRIVALS_CACHE_DIR"] = str(options.work / "cache")
    ended, reason = [], ""
    for step in steps(options):
        remaining_s = options.limit - RESERVED_S - (time.monotonic() - began)
        one = perform(step, options.out, remaining_s)
        if step.name == "environment":
            reason = str(gathered(options).get("reason"))
        if step.needs_device and reason and one.outcome == "failed":
            one = Ended(**{**asdict(one), "outcome": f"no usable device: {reason}"})
        print(f"{one.seconds:7.1f} s  {one.name}: {one.outcome}", flush=True)
        ended.append(one)
    summary = {
        "limit_s": options.limit,
        "seconds": round(time.monotonic() - began, 1),
        "environment": gathered(options),
        "steps": [asdict(one) for one in ended],
    }
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"results are in {options.out}")
    if all(one.outcome == "passed" for one in ended):
        return 0
    return NO_DEVICE if all(one.outcome.startswith(("passed", "no usable device")) for one in ended) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
