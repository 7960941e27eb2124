"""Synthetic worlds: all inputs of the arrival job, made from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arrival_engine.engine.process.progress import Reporter
    from arrival_engine.engine.synth.world import SynthResult

__all__ = ["SynthResult", "synthesise"]


def synthesise(
    run_root: Path,
    *,
    preset: str,
    seed: int,
    scale: float = 1.0,
    complete_edges: bool = False,
    reporter: Reporter | None = None,
) -> SynthResult:
    """Write a synthetic world in the contract layout under `run_root`.

    `demo` has about a million arrivals, `reference` the reference run's scale; `scale` multiplies merchants, and
    with them rows and arrivals. Unless `complete_edges` is set, one virtual merchant may have no edges. The same
    arguments give the same bytes. A directory that holds exactly this world is left unchanged. Raises
    IO_WRITE_CONFLICT for any other directory that is not empty, PARTITION_OR_PK_VIOLATION for a seed outside uint64,
    OPTION_INVALID for an unknown preset or an impossible scale, ROUTING_POLICY_INVALID if day effects do not cover the
    horizon, IO_WRITE_FAILED.
    """
    from arrival_engine.engine.synth.presets import world_spec
    from arrival_engine.engine.synth.world import make_world

    spec = world_spec(preset, seed, scale, complete_edges=complete_edges)
    return make_world(run_root, spec, reporter)


def __getattr__(name: str) -> object:
    if name == "SynthResult":
        from arrival_engine.engine.synth.world import SynthResult

        return SynthResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
