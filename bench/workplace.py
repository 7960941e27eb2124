"""What a benchmark works on: a sealed world that has been run once, a scratch folder, and the number of repeats."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.product import arrivals, last_report, run_job

# Facts of the run report that tell one world from another.
_FACTS = ("manifest_fingerprint", "parameter_hash", "seed", "run_id", "scenario_id", "sealed_inputs_digest")
_SIZES = ("count_rows_read", "count_rows_zero", "count_rows_merged", "entities", "merchants", "n_arrivals_total")


@dataclass(frozen=True)
class Choice:
    """The world and the effort asked for; `world` None means a synthetic one of `preset`, `scale` and `seed`.

    other: the interpreter of the environment of another version of the product, to compare with.
    """

    world: Path | None
    preset: str
    scale: float
    seed: int
    repeats: int
    threads: int
    other: Path | None = None


class Workplace:
    """Prepares the world on first use; everything it makes is in `scratch`, which its owner removes."""

    def __init__(self, choice: Choice, scratch: Path) -> None:
        self.choice = choice
        self.scratch = scratch

    @property
    def repeats(self) -> int:
        """Measured repeats of everything that is repeated."""
        return self.choice.repeats

    @property
    def threads(self) -> int:
        """Threads of the product, of its floor and of its rivals."""
        return self.choice.threads

    @cached_property
    def world(self) -> Path:
        """A sealed world; one unmeasured run has filled the kernel and page caches and published its arrivals."""
        root = self.choice.world or self.make_world("world", self.choice.preset, self.choice.scale)
        self.say(f"{root.name}: one run to warm up")
        run_job(root, self.threads)
        return root

    def make_world(self, name: str, preset: str, scale: float, python: Path | str = sys.executable) -> Path:
        """A synthetic world in the scratch folder, sealed; made by the version of `python`."""
        root = self.scratch / name
        self.say(f"{name}: synthesise {preset} x {scale:g}, seal")
        words = ("synth", root, "--preset", preset, "--scale", scale, "--seed", self.choice.seed)
        arrivals(*words, python=python)
        arrivals("seal", root, python=python)
        return root

    @staticmethod
    def say(text: str) -> None:
        """One line of progress."""
        print(text, file=sys.stderr, flush=True)


def world_facts(run_root: Path) -> dict[str, Any]:
    """Identity and size of a world that has been run."""
    line = last_report(run_root)
    return {**{name: line[name] for name in _FACTS}, **{name: line[name] for name in _SIZES}}
