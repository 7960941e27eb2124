"""Right runs of many worlds, and what the validation says of each."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings

from arrival_engine import RunOptions, run, seal, synthesise
from arrival_engine.engine.validation.job import validate
from tests.support.model import World
from tests.support.strategies import worlds
from tests.support.world_files import write_world

SEEDS = range(1, 51)
DRAWN, ARRIVALS_MIN, COPIES = 50, 20, 20


def verdict(run_root: Path) -> dict[str, Any]:
    """Seal, run and validate a world: its arrivals, and every check that did not simply pass."""
    seal(run_root)
    (made,) = run(run_root, RunOptions(backend="cpu", batch_arrivals=20_000, rng_events="parquet")).scenarios
    result = validate(run_root)
    found: dict[str, list[str]] = {"FAIL": [], "WARN": [], "NOTE": []}
    for finding in result.findings:
        if finding.verdict in found:
            found[finding.verdict].append(finding.check)
    return {
        "digest": made.digest,
        "passed": result.passed,
        "failed": found["FAIL"],
        "warned": found["WARN"],
        "noted": sorted(set(found["NOTE"])),
    }


def demo_verdict(seed: int) -> dict[str, Any]:
    """The verdict on a demo world; scales from a twentieth to a tenth, by turns."""
    scale = (0.05, 0.06, 0.08, 0.1)[seed % 4]
    with tempfile.TemporaryDirectory() as folder:
        run_root = Path(folder) / "run"
        synthesise(run_root, preset="demo", seed=seed, scale=scale)
        return {"seed": seed, "scale": scale, **verdict(run_root)}


def drawn_verdicts() -> list[dict[str, Any]]:
    """The verdicts on different worlds drawn over every corner of the law, the same ones each time."""
    found: dict[str, dict[str, Any]] = {}

    @settings(max_examples=10 * DRAWN, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck])
    @given(worlds().filter(lambda world: sum(row.n for row in world.counts) >= ARRIVALS_MIN))
    def judge(world: World) -> None:
        if len(found) == DRAWN:
            return
        # As many arrivals as statistics need.
        counts = tuple(replace(row, n=COPIES * row.n) for row in world.counts)
        with tempfile.TemporaryDirectory() as folder:
            run_root = Path(folder) / "run"
            write_world(replace(world, counts=counts), run_root)
            judged = verdict(run_root)
        found.setdefault(judged["digest"], judged)

    judge()
    return [*found.values()]
