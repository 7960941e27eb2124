"""The mutation table as measured: every forgery in every world, and the checks that find it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arrival_engine import ArrivalError, verify
from tests.support.forging import Base, copied_run, publish
from tests.validation.forgeries.forged_arrivals import forged_arrivals
from tests.validation.forgeries.forged_files import caught_by, failed_checks, pretences, tamperings
from tests.validation.forgeries.registry import ALL, KINDS
from tests.validation.forgeries.worlds import run_of

OUTCOME = Path(__file__).with_name("outcome.json")
SOUND = Path(__file__).with_name("sound_runs.json")
Outcome = dict[str, Any]


def write(path: Path, content: object) -> None:
    """One entry per line, so that differences can be read."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "ascii")


def read(path: Path) -> Any:
    return json.loads(path.read_text("ascii"))


def measured(folder: Path) -> list[Outcome]:
    """Forge everything in every world."""
    found: dict[tuple[int, str], Outcome] = {}
    for world in ALL:
        base = Base(run_of(world, folder / world))
        for kind, name, checks in _in_world(base, world, folder / "forged"):
            entry = found.setdefault((kind, name), {"kind": kind, "forgery": name, "found_by": {}})
            entry["found_by"][world] = checks
    return [found[key] for key in sorted(found)]


def _in_world(base: Base, world: str, run_root: Path) -> Iterator[tuple[int, str, list[str]]]:
    for forgery in forged_arrivals():
        if world in forgery.worlds:
            with_run = copied_run(base.run_root, run_root)
            publish(with_run, forgery.make(base))
            yield forgery.kind, forgery.name, sorted(failed_checks(with_run))
            shutil.rmtree(run_root)
    for tampering in tamperings():
        if world in tampering.worlds:
            yield tampering.kind, tampering.name, sorted(caught_by(tampering, copied_run(base.run_root, run_root)))
            shutil.rmtree(run_root)
    for pretence in pretences():
        pretence.act(copied_run(base.run_root, run_root), base)
        try:
            verify(run_root, arrivals=pretence.hashed)
        except ArrivalError as error:
            yield 10, pretence.name, [f"verify: {str(error.code).rpartition('.')[2]}"]
        shutil.rmtree(run_root)


def table() -> str:
    """The outcome as Markdown, one row per forgery."""
    lines = ["| kind | forgery | worlds | found by |", "|---|---|---|---|"]
    for entry in read(OUTCOME):
        found = entry["found_by"]
        everywhere = ", ".join(f"`{check}`" for check in sorted(set.intersection(*map(set, found.values()))))
        kind, name = f"{entry['kind']}. {KINDS[entry['kind']]}", entry["forgery"].replace("_", " ")
        lines.append(f"| {kind} | {name} | {', '.join(found)} | {everywhere} |")
    return "\n".join(lines) + "\n"
