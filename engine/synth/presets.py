"""Presets of synthetic worlds, their scaling and their identity."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from arrival_engine.contracts import ArrivalError, Code, Identity
from arrival_engine.contracts.guesses import did_you_mean

# Part of every identity: raise it if the same (preset, seed, scale) would give other arrivals.
GENERATOR_VERSION = "1"
SCENARIO_ID = "baseline_v1"
SCENARIO_BAND: Literal["baseline", "stress"] = "baseline"
HORIZON_START = datetime(2026, 1, 1, tzinfo=UTC)
HORIZON_END = datetime(2026, 4, 1, tzinfo=UTC)
# One of each virtual mode.
MERCHANTS_MIN = 3
SCALE_MAX = 100.0


@dataclass(frozen=True)
class Preset:
    """A world at scale 1.

    `merchants` have counts; `entities` are (merchant, legal country, tzid) rows per bucket;
    `zones_per_country` and `sites_max` are upper bounds; `edges` is per virtual merchant.
    """

    name: str
    merchants: int
    entities: int
    arrivals: int
    edges: int
    zones_per_country: int
    sites_max: int


PRESETS = {
    "demo": Preset("demo", 60, 480, 1_000_000, 60, 6, 400),
    "reference": Preset("reference", 886, 14_661, 116_400_000, 500, 1000, 20_000),
}


@dataclass(frozen=True)
class WorldSpec:
    """A preset at one scale and seed: numbers of merchants (with and without counts), entities, arrivals.

    complete_edges: every virtual merchant has edges; otherwise one has none, if two or more sell online alone.
    """

    preset: Preset
    seed: int
    scale: float
    merchants: int
    bystanders: int
    entities: int
    arrivals: int
    complete_edges: bool = False

    def days(self) -> list[datetime]:
        """The UTC days of the horizon."""
        return [HORIZON_START + timedelta(days=day) for day in range((HORIZON_END - HORIZON_START).days)]


def world_spec(preset: str, seed: int, scale: float, *, complete_edges: bool = False) -> WorldSpec:
    """`scale` times a preset. Raises OPTION_INVALID for an unknown preset or an impossible scale."""
    base = PRESETS.get(preset)
    if base is None:
        guess = did_you_mean(str(preset), PRESETS)
        raise _refused(
            f"there is no preset {preset!r}", f"{guess + ' ' if guess else ''}presets are {', '.join(PRESETS)}"
        )
    if not (math.isfinite(scale) and 0.0 < scale <= SCALE_MAX):
        raise _refused(f"scale {scale!r} is not above 0 and at most {SCALE_MAX:g}", "give a scale such as 0.1 or 2")
    merchants = round(base.merchants * scale)
    if merchants < MERCHANTS_MIN:
        least = MERCHANTS_MIN / base.merchants
        raise _refused(
            f"scale {scale:g} of preset {preset} has {merchants} of the {MERCHANTS_MIN} merchants that a world needs",
            f"give --scale {math.ceil(least * 1000) / 1000:g} or more",
        )
    return WorldSpec(
        preset=base,
        seed=seed,
        scale=float(scale),
        merchants=merchants,
        bystanders=max(1, merchants // 20),
        entities=round(base.entities * merchants / base.merchants),
        arrivals=round(base.arrivals * merchants / base.merchants),
        complete_edges=complete_edges,
    )


def _refused(what: str, hint: str) -> ArrivalError:
    return ArrivalError(Code.OPTION_INVALID, f"cannot make a synthetic world: {what}", hint=hint)


def world_identity(spec: WorldSpec) -> Identity:
    """The identity of a spec: hashes of (generator version, preset, seed, scale, option), each with a tag."""
    text = f"{GENERATOR_VERSION}|{spec.preset.name}|{spec.seed}|{spec.scale!r}"
    # Worlds without the option keep the identity that they had before there was one.
    text += "|complete_edges" if spec.complete_edges else ""
    fingerprint, parameters, run = (
        hashlib.sha256(f"arrival-engine.synth|{tag}|{text}".encode()).hexdigest()
        for tag in ("manifest_fingerprint", "parameter_hash", "run_id")
    )
    return Identity(fingerprint, parameters, spec.seed, run[:32])
