"""Worlds that reach the parts of the kernels that other worlds do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from arrival_engine.cpu_fallback.tables import Grid
from arrival_engine.engine.expand.planning import plan
from arrival_engine.gpu_kernels.shape import LaunchShape
from tests.support.gpu import Case, make_case, shrunk_small_world
from tests.support.law import MICROS
from tests.support.model import FAIL, CountRow, Policy, World
from tests.support.worlds import BERLIN, HALF, ONE_SLOT, PARIS, TWO_ZONES, VIRTUAL, grid_of, instant_us, small_world

__all__ = ["SHAPES", "Launches", "microsecond_case", "refusing_worlds", "without_group_weights"]


@dataclass(frozen=True)
class Launches:
    """A launch shape, arrivals per batch and arrivals per piece."""

    threads: int
    blocks: int
    batch_arrivals: int
    piece_arrivals: int | None

    @property
    def shape(self) -> LaunchShape:
        return LaunchShape(self.threads, self.blocks)


# One thread, parts of a warp, a warp and one thread more, sizes that are no power of two, and the largest block.
SHAPES = (
    Launches(1, 1, 10**6, None),
    Launches(1, 3, 60, 25),
    Launches(7, 3, 10**6, 17),
    Launches(32, 1, 1, None),
    Launches(32, 3, 10**6, 4),
    Launches(33, 5, 50, None),
    Launches(96, 2, 100, 64),
    Launches(255, 1, 10**6, None),
    Launches(256, 1, 10**6, None),
    Launches(256, 2, 10**6, 90),
)


def without_group_weights() -> World:
    """A small world whose policy ignores group weights; one of its segments has one arrival."""
    world = shrunk_small_world()
    counts = tuple(replace(row, n=1) if row.merchant_id == ONE_SLOT else row for row in world.counts)
    return replace(world, counts=counts, policy=Policy(use_group_weights=False))


def refusing_worlds() -> dict[str, World]:
    """Small worlds that stop at a forbidden fallback, by the policy's switch."""
    counts = shrunk_small_world().counts
    return {
        "missing_group_table": small_world(counts=counts, policy=Policy(missing_group_table=FAIL)),
        "no_site_in_zone": small_world(counts=counts, policy=Policy(no_site_in_zone=FAIL)),
    }


def microsecond_case(folder: Path) -> Case:
    """Buckets of 1, 2 and 3 microseconds, so that arrivals fall on the first and the last of them.

    Files have buckets of whole seconds. So the buckets are cut to their first microseconds after they are read.
    """
    rows = ((TWO_ZONES, BERLIN), (HALF, PARIS), (VIRTUAL, PARIS))
    grid = grid_of(instant_us("2026-03-29T00:59:58"), (1, 1, 1))
    counts = tuple(CountRow(merchant, zone, "mixed", bucket, 40) for merchant, zone in rows for bucket in range(3))
    model = small_world(grid=grid, counts=counts)
    case = make_case(model, folder)
    world = case.plan.world
    durations = np.arange(1, 4, dtype=np.uint64)
    cut = Grid(world.tables.grid.start_us, durations, world.tables.grid.day)
    shortened = tuple((start, start + int(length)) for (start, _), length in zip(grid, durations, strict=True))
    assert all(end - start < MICROS for start, end in shortened)
    return Case(
        replace(model, grid=shortened),
        case.written,
        plan(replace(world, tables=world.tables._replace(grid=cut))),
    )
