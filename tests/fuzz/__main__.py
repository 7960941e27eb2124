"""Run campaigns: `python -m tests.fuzz [TARGET...] --runs 1000000 --record tests/fuzz/campaigns.json`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import campaign
from tests.fuzz.targets import TARGETS

_WIDTHS = {
    "inputs": 8,
    "seconds": 8,
    "inputs_per_second": 17,
    "read": 8,
    "distinct_results": 16,
    "distinct_refusals": 17,
    "peak_mib": 8,
}


def main() -> int:
    """Run the targets one after another; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="*", help="default: all")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs per target")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop each target after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", type=Path, help="print this record as Markdown, and run nothing")
    parser.add_argument("--record", type=Path, help="JSON file whose entries of these targets are replaced")
    parser.add_argument("--save", type=Path, help="folder for the inputs of findings, whole")
    parser.add_argument("--guided", action="store_true", help="choose inputs by coverage, with atheris, for one target")
    options = parser.parse_args()
    unknown = set(options.target) - TARGETS.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; known are {', '.join(TARGETS)}")
    if options.guided:
        if len(options.target) != 1:
            parser.error("--guided takes one target")
        _guided(options.target[0], options.runs)
        return 0
    if options.table:
        _say(_table(json.loads(options.table.read_text("utf-8"))))
        return 0
    found = 0
    _say(" ".join((f"{'target':18}", *(f"{name:>{width}}" for name, width in _WIDTHS.items()), "findings")))
    for name in options.target or TARGETS:
        tally = campaign(TARGETS[name], options.runs, options.seed, options.minutes * 60)
        entry = tally.record()
        found += len(entry["findings"])
        told = [f"{name:18}", *(f"{entry[key]:{width}}" for key, width in _WIDTHS.items()), f"{len(tally.findings):8}"]
        _say(" ".join(told))
        for finding in entry["findings"]:
            _say(f"    {finding['where']}: {finding['what']}")
            _say(f"        {finding['bytes']} bytes: {finding['input']}")
        if options.save:
            options.save.mkdir(parents=True, exist_ok=True)
            for number, data in enumerate(tally.findings.values()):
                (options.save / f"{name}-{number}").write_bytes(data)
        if options.record:
            _record(options.record, name, {**entry, **_facts(options.seed)})
    return 1 if found else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _facts(seed: int) -> dict[str, Any]:
    day = dt.datetime.now(dt.UTC).date().isoformat()
    return {"seed": seed, "day": day, "python": platform.python_version(), "pyarrow": version("pyarrow")}


def _record(file: Path, name: str, entry: dict[str, Any]) -> None:
    entries = json.loads(file.read_text("utf-8")) if file.exists() else {}
    entries[name] = entry
    ordered = {name: entries[name] for name in TARGETS if name in entries}
    file.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")


def _table(entries: dict[str, Any]) -> str:
    lines = ["| Target | What is read | Inputs | Findings |", "|---|---|---:|---:|"]
    lines += [
        f"| `{name}` | {TARGETS[name].reads} | {entry['inputs']:,} | {len(entry['findings'])} |"
        for name, entry in entries.items()
    ]
    return "\n".join(lines)


def _guided(name: str, runs: int) -> None:
    """A finding ends the process with its input."""
    import atheris

    from tests.fuzz.target import Finding, judge

    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        work = Path(folder) / "work"
        for path in (corpus, work):
            path.mkdir()
        opened = TARGETS[name].open(work)
        for number, data in enumerate(opened.samples):
            (corpus / str(number)).write_bytes(data)

        def one(data: bytes) -> None:
            outcome = judge(opened.read, data)
            if isinstance(outcome, Finding):
                raise AssertionError(outcome)  # noqa: TRY004 - what libFuzzer takes for a finding

        atheris.Setup([sys.argv[0], f"-runs={runs}", "-max_len=65536", str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
