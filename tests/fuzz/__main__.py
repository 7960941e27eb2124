"""Run one target under atheris: `python -m tests.fuzz tzc1 --runs 1000000`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    """Instrument the product, then fuzz until the runs are used up; a finding ends the process with its input."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=100_000)
    options = parser.parse_args()
    with atheris.instrument_imports(include=["arrival_engine"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS, seeds
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(options.target)):
            (Path(corpus) / str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], f"-runs={options.runs}", "-max_len=8192", corpus], TARGETS[options.target])
        atheris.Fuzz()


main()
