"""Three sealed runs to be forged: a mixed world, one that falls back, one drawn by the demo preset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from arrival_engine import RunOptions, run, seal, synthesise
from tests.support.model import HYBRID, NON_VIRTUAL, VIRTUAL_ONLY, CountRow, GroupWeight, Site, World
from tests.support.validating import write_proof_world
from tests.support.worlds import (
    BERLIN,
    NEW_YORK,
    PARIS,
    SYDNEY,
    edge_table,
    grid_of,
    instant_us,
    small_world,
    utc_days,
    zones_for,
)

SHOPS, CHAIN, MIXED, ONLINE = 11, 22, 33, 44
HOUR = 3600


def mixed_world() -> World:
    """Four days of hours around a clock change, weights that differ from day to day; nothing falls back.

    The last bucket is a second with enough draws that some meet at one microsecond.
    """
    grid = grid_of(instant_us("2026-03-27T00:00:00"), [HOUR] * 96 + [1])
    sites = (
        *(Site(SHOPS, "DE", order, BERLIN, weight) for order, weight in enumerate((0.31, 0.05, 0.17, 0.02, 0.15), 1)),
        *(Site(SHOPS, "US", order, NEW_YORK, weight) for order, weight in ((1, 0.15), (2, 0.15))),
        *(Site(CHAIN, "FR", order, PARIS, 0.125) for order in range(1, 6)),
        *(Site(CHAIN, "AU", order, SYDNEY, 0.125) for order in range(1, 4)),
        *(Site(MIXED, "DE", order, BERLIN, 0.2) for order in range(1, 4)),
        *(Site(MIXED, "FR", order, PARIS, 0.2) for order in range(1, 3)),
    )
    zones = {SHOPS: (BERLIN, NEW_YORK), CHAIN: (PARIS, SYDNEY), MIXED: (BERLIN, PARIS), ONLINE: (PARIS,)}
    groups = tuple(
        GroupWeight(merchant, day, tzid, share)
        for at, day in enumerate(utc_days(grid))
        for merchant in (SHOPS, CHAIN, MIXED)
        for tzid, share in zip(zones[merchant], (0.5 + 0.04 * at, 0.5 - 0.04 * at), strict=True)
    )
    busy = {SHOPS: 30, CHAIN: 7, MIXED: 12, ONLINE: 8}
    counts = [
        CountRow(merchant, tzid, channel, bucket, _share(merchant, tzid, channel, bucket) * most // 255)
        for bucket in range(96)
        for merchant, most in busy.items()
        for tzid in zones[merchant]
        for channel in ("card_present", None)
    ]
    counts.append(CountRow(SHOPS, BERLIN, "card_present", 96, 3000))
    edges = {
        MIXED: edge_table(MIXED, [0.2, 0.5, 0.3], [SYDNEY, PARIS]),
        ONLINE: edge_table(ONLINE, [0.4, 0.3, 0.2, 0.1, 0.0], [NEW_YORK, BERLIN]),
    }
    return replace(
        small_world(),
        grid=grid,
        counts=tuple(counts),
        sites=sites,
        group_weights=groups,
        modes={SHOPS: NON_VIRTUAL, CHAIN: NON_VIRTUAL, MIXED: HYBRID, ONLINE: VIRTUAL_ONLY},
        settlement={MIXED: NEW_YORK, ONLINE: PARIS},
        edges=edges,
        zones=zones_for((BERLIN, PARIS, NEW_YORK, SYDNEY), grid),
    )


def _share(*parts: object) -> int:
    return hashlib.sha256(repr(parts).encode()).digest()[0]


def _handmade(world: Callable[[], World]) -> Callable[[Path], None]:
    def make(run_root: Path) -> None:
        write_proof_world(run_root, world())

    return make


def _drawn(run_root: Path) -> None:
    synthesise(run_root, preset="demo", seed=DRAWN_SEED, scale=0.06)
    seal(run_root)


DRAWN_SEED = 2
WORLDS: dict[str, Callable[[Path], None]] = {
    "mixed": _handmade(mixed_world),
    "falling back": _handmade(small_world),
    "drawn": _drawn,
}
BATCHES = {"mixed": 2500, "falling back": 500, "drawn": 20_000}


def sealed(name: str, run_root: Path) -> Path:
    """The world of this name, sealed."""
    WORLDS[name](run_root)
    return run_root


def run_of(name: str, run_root: Path) -> Path:
    """The world of this name, sealed and run, in several parts and with event records."""
    sealed(name, run_root)
    run(run_root, RunOptions(backend="cpu", batch_arrivals=BATCHES[name], rng_events="parquet"))
    return run_root
