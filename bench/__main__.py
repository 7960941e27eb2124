"""Times the whole job in processes of its own: synthesise and seal once, then run several times.

    python -m bench --preset reference --runs 3 --record

Every run is a fresh `arrivals run --replace`, so start-up, seal check and publication are in the figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.environment import describe
from engine import human

RESULTS = Path(__file__).resolve().parent / "results"


def arrivals(*arguments: object) -> tuple[float, dict[str, object]]:
    """Wall seconds and the JSON result of one command; a failure ends the benchmark with its message."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "engine", *map(str, arguments), "--json", "--quiet"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begin
    result = json.loads(done.stdout)
    if done.returncode:
        sys.exit(f"arrivals {arguments[0]}: {result['code']}: {result['message']}")
    return seconds, result


def measure(run_root: Path, options: argparse.Namespace) -> dict[str, object]:
    synth = ("--preset", options.preset, "--seed", options.seed, "--scale", options.scale)
    synth_seconds, _ = arrivals("synth", run_root, *synth)
    seal_seconds, _ = arrivals("seal", run_root)
    threads = ("--threads", options.threads) if options.threads else ()
    runs = []
    for number in range(options.runs + 1):
        seconds, result = arrivals("run", run_root, "--replace", *threads)
        (scenario,) = result["scenarios"]
        # The first run may compile kernels, and fills the page cache.
        kind = "run" if number else "warm-up"
        line = f"{kind:<8} {human.duration(seconds):>12}  {human.rate(scenario['arrivals'] / seconds, 'arrivals')}"
        print(f"{line}  {human.size(scenario['peak_rss_bytes'])}  {scenario['digest']}", flush=True)
        if number:
            runs.append({"wall_s": seconds, **scenario, "path": ""})
    wall = statistics.median(run["wall_s"] for run in runs)
    return {
        "environment": describe(),
        "preset": options.preset,
        "scale": options.scale,
        "seed": options.seed,
        "synth_s": synth_seconds,
        "seal_s": seal_seconds,
        "median_wall_s": wall,
        "arrivals_per_second": runs[0]["arrivals"] / wall,
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
        "runs": runs,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Time the whole job on this machine.")
    parser.add_argument("--preset", choices=("demo", "reference"), default="demo")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, help="default: every core")
    parser.add_argument("--runs", type=int, default=3, help="measured runs after one warm-up")
    parser.add_argument("--work", type=Path, help="where the world goes while measuring; default: a temporary folder")
    parser.add_argument("--record", action="store_true", help=f"write the result to {RESULTS.name}/")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(dir=options.work, prefix="arrivals-bench-") as folder:
        result = measure(Path(folder) / "world", options)
    print(
        f"{options.preset} x {options.scale:g}: median {human.duration(result['median_wall_s'])}, "
        f"{human.rate(result['arrivals_per_second'], 'arrivals')}, {human.size(result['peak_rss_bytes'])} at most; "
        f"synth {human.duration(result['synth_s'])}, seal {human.duration(result['seal_s'])}"
    )
    if options.record:
        RESULTS.mkdir(exist_ok=True)
        environment = result["environment"]
        path = RESULTS / f"run-{options.preset}-x{options.scale:g}-{environment['date']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"written to {path}")


if __name__ == "__main__":
    main()
