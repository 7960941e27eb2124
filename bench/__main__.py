"""Measure this machine.

    python -m bench                                          everything, on the demo world
    python -m bench phases floor --world runs/reference      two benchmarks on an existing world
    python -m bench rivals --preset reference --out bench/results
    python -m bench against --other OTHER/.venv/bin/python   this version beside another one
    python -m bench table                                    the results as tables in docs/performance.md
    python -m bench cluster --help                           runs on worker processes, and docs/scaling.md
    python -m bench install --help                           from `pip install` to the first rows
    python -m bench gpu --help                               the expansion on a CUDA device
    python -m bench launches --help                          loading and launching CUDA kernels, without a device

Figures go to standard output, progress to standard error; a result file is written only with `--out`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.process.machine import available_cores
from bench import catalogue, environment, results, table, tabular
from bench.process import BenchError
from bench.results import Result
from bench.workplace import Choice, Workplace

TABLE = "table"
# Measurements with options of their own.
SEPARATE = {
    "cluster": "bench.cluster",
    "gpu": "bench.gpu",
    "install": "bench.install",
    "launches": "bench.launches",
}
RESULTS = environment.ROOT / "bench" / "results"


def parse(words: list[str]) -> argparse.Namespace:
    """The command line; names default to all benchmarks."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*catalogue.CATALOGUE, TABLE]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; default: all but {TABLE}")
    world = parser.add_mutually_exclusive_group()
    world.add_argument("--world", type=Path, help="a sealed run directory; its arrivals are removed and made anew")
    world.add_argument("--preset", choices=("demo", "reference"), default="demo", help="default: %(default)s")
    parser.add_argument("--scale", type=float, default=1.0, help="of the preset; default: %(default)s")
    parser.add_argument("--seed", type=int, default=42, help="of the synthetic world; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: every core")
    parser.add_argument("--other", type=Path, help="the Python of another version's environment, for `against`")
    parser.add_argument("--work", type=Path, help="where worlds and files go meanwhile; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="write result files to this folder, such as bench/results")
    options = parser.parse_args(words)
    unknown = [name for name in options.names if name not in names]
    if unknown or (TABLE in options.names and len(options.names) > 1):
        parser.error(f"NAME is one or more of {', '.join(catalogue.CATALOGUE)}, or {TABLE} alone")
    if not options.other and any(catalogue.CATALOGUE[name].needs_other for name in options.names if name != TABLE):
        parser.error("against needs --other")
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads are at least 1")
    return options


def command_line(name: str, choice: Choice) -> str:
    """The command that repeats one measurement; it does not name a `--world` or an `--other`."""
    world = "--world DIR" if choice.world else f"--preset {choice.preset} --scale {choice.scale:g} --seed {choice.seed}"
    other = " --other PYTHON" if catalogue.CATALOGUE[name].needs_other else ""
    return f"python -m bench {name} {world}{other} --repeats {choice.repeats} --threads {choice.threads}"


def measure(names: list[str], choice: Choice, options: argparse.Namespace) -> None:
    """Run benchmarks one after the other; print each as soon as it is done."""
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work, prefix="arrivals-bench-") as folder:
        workplace = Workplace(choice, Path(folder))
        for name in names:
            surroundings, benchmark = environment.describe(), catalogue.load(name)
            result = Result(name, command_line(name, choice), surroundings, benchmark.measure(workplace))
            print(f"\n{catalogue.CATALOGUE[name].title}\n")
            print("\n\n".join(tabular.text(part) for part in benchmark.tables(result.measured)), flush=True)
            if options.out:
                print(f"\nwritten to {results.save(result, options.out)}", flush=True)


def main(words: list[str]) -> int:
    """Run one command line and give its exit code."""
    if words and words[0] in SEPARATE:
        code: int = importlib.import_module(SEPARATE[words[0]]).main(words[1:])
        return code
    options = parse(words)
    try:
        if options.names == [TABLE]:
            changed = table.update(options.out or RESULTS)
            print(f"{table.DOCUMENT.name} {'written' if changed else 'is up to date'}")
            return 0
        world = options.world.resolve() if options.world else None
        # Not resolved: an environment's interpreter is a link, and its place says which environment it is.
        other = options.other.absolute() if options.other else None
        choice = Choice(world, options.preset, options.scale, options.seed, options.repeats, options.threads, other)
        every = [name for name, entry in catalogue.CATALOGUE.items() if other or not entry.needs_other]
        measure(options.names or every, choice, options)
    except (BenchError, ArrivalError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
