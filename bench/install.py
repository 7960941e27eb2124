"""From `pip install` to the first rows of arrivals, in an environment that is made for it.

    python -m bench install [--python EXE] [--repeats 3] [--out bench/results]

Each repeat makes a virtual environment, installs the wheel of this checkout there with the package manager that came
with Python, and runs `bench/first_use.py` with an empty kernel cache and then with the filled one. The totals, as wall
time and as processor time, are of the environment, the installation and the first of the two runs. What pip spends on
choosing versions and on compiling sources is measured beside them, by itself. An installation that is not counted comes
first and downloads. Prints one JSON object with every repeat.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import environment, results
from bench.process import BenchError, run_process

_PROGRAM = environment.ROOT / "bench" / "first_use.py"
# An installation of its own: neither this checkout nor a shell's settings for Python take part.
_PLAIN = {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "", "PIP_CONSTRAINT": ""}


def build(folder: Path) -> Path:
    """The wheel of this checkout, in `folder`."""
    run_process([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def timed(command: Sequence[str], **environment: str) -> dict[str, Any]:
    """Wall and processor seconds of a command, with the JSON object that it printed, if it did."""
    finished = run_process(command, {**_PLAIN, **environment})
    printed = json.loads(finished.stdout) if finished.stdout.startswith("{") else {}
    return {"wall_s": finished.wall_s, "cpu_s": finished.cpu_s, **printed}


def one_repeat(folder: Path, wheel: Path, base: str) -> dict[str, Any]:
    """Raw seconds of every step, in an environment in `folder`."""
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    program, cache = [python, "-P", str(_PROGRAM)], str(folder / "kernels")
    made = timed([base, "-m", "venv", str(folder)])
    chosen = timed([*pip, "--dry-run", str(wheel)])
    installed = timed([*pip, str(wheel)])
    cold, warm = (timed(program, ARRIVALS_CACHE_DIR=cache) for _ in range(2))
    if cold["digest"] != warm["digest"]:
        raise BenchError(f"two digests of the same rows: {cold['digest']} and {warm['digest']}")
    (packages,) = folder.glob("lib/python*/site-packages")
    compiled = timed([python, "-m", "compileall", "-q", "-f", str(packages)])
    steps = {"venv": made, "pip": installed, "first_rows_cold": cold}
    return {
        **{f"total_{kind}": sum(step[kind] for step in steps.values()) for kind in ("wall_s", "cpu_s")},
        **steps,
        "first_rows_warm": warm,
        "beside": {"choose_versions": chosen, "compile_sources": compiled},
    }


def facts(folder: Path) -> dict[str, Any]:
    """Versions and size of an environment that a repeat has left in `folder`."""
    python = str(folder / "bin" / "python")
    listed = run_process([python, "-m", "pip", "list", "--format=json"], _PLAIN).stdout
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        "python": run_process([python, "--version"]).stdout.split()[1],
        "packages": {entry["name"]: entry["version"] for entry in json.loads(listed)},
        "bytes": size,
    }


def measure(base: str, repeats: int) -> dict[str, Any]:
    """Raw figures of every repeat, after one that fills pip's cache of downloads."""
    with tempfile.TemporaryDirectory(prefix="arrivals-install-") as name:
        folder = Path(name)
        wheel = build(folder / "dist")
        runs = []
        for number in range(repeats + 1):
            print(f"repeat {number} of {repeats}" if number else "warm up", file=sys.stderr, flush=True)
            runs.append(one_repeat(folder / "venv", wheel, base))
            installation = facts(folder / "venv")
            shutil.rmtree(folder / "venv")
        return {"installation": installation, "warm_up": runs[0], "runs": runs[1:]}


def main(words: list[str]) -> int:
    """Run one command line and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench install", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="that makes the environments; default: this one")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="write a result file to this folder, such as bench/results")
    options = parser.parse_args(words)
    if options.repeats < 1:
        parser.error("--repeats is at least 1")
    surroundings = environment.describe()
    try:
        measured = measure(options.python, options.repeats)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(measured, indent=1))
    if options.out:
        command = f"python -m bench install --repeats {options.repeats}"
        saved = results.save(results.Result("install", command, surroundings, measured), options.out)
        print(f"written to {saved}", file=sys.stderr)
    return 0
