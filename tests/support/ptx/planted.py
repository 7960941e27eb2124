"""Bugs to plant in the kernels, and what finds each of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from tests.support.gpu import Mutation
from tests.support.paths import PACKAGE
from tests.support.ptx.machine import FaultKind

__all__ = ["BUGS", "BY_CHANCE", "DIFFERENT", "EQUAL", "ERROR", "UNKNOWN", "PlantedBug", "planted"]

KERNELS_PATH = "gpu_kernels/kernels.py"


@dataclass(frozen=True)
class PlantedBug:
    """One change of the kernels' source.

    kernels: those that it changes. executor: what the executor reports on small worlds, a fault or a difference from
    the CPU backend. simulator: what numba's simulator makes of the small world, "by chance" where that depends on the
    order of its threads. inspection: what the PTX has and must not have.
    """

    name: str
    right: str
    wrong: str
    kernels: tuple[str, ...]
    executor: FaultKind | str
    simulator: str
    inspection: str = ""

    @property
    def mutation(self) -> Mutation:
        return Mutation(KERNELS_PATH, self.right, self.wrong)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


DIFFERENT, EQUAL, ERROR, UNKNOWN, BY_CHANCE = "different", "equal", "error", "unknown PTX", "by chance"

_STORED_BOUNDS = "        shared[1] = np.uint64(high + 1)\n"
_END_OF_SETTLE_TILE = """            sum_b += np.uint64(b)
        # The next tile overwrites the bounds, so all threads must be done with them.
        cuda.syncthreads()
"""

BUGS = (
    PlantedBug(
        "barrier in a branch",
        _END_OF_SETTLE_TILE,
        _END_OF_SETTLE_TILE.replace("        cuda.syncthreads()", "            cuda.syncthreads()"),
        ("settle",),
        FaultKind.DIVERGENT_BARRIER,
        EQUAL,
    ),
    PlantedBug(
        "no barrier between tiles",
        _END_OF_SETTLE_TILE,
        _END_OF_SETTLE_TILE.replace("        cuda.syncthreads()\n", ""),
        ("settle",),
        FaultKind.RACE,
        BY_CHANCE,
    ),
    PlantedBug(
        "no barrier before the sums are added up",
        "    shared[lane_b + thread] = sum_b\n    cuda.syncthreads()\n",
        "    shared[lane_b + thread] = sum_b\n",
        ("settle",),
        FaultKind.UNINITIALISED,
        BY_CHANCE,
    ),
    PlantedBug(
        "sums without atomics",
        "cuda.atomic.add(sums, SUM_A, shared[0])",
        "sums[SUM_A] += shared[0]",
        ("settle",),
        FaultKind.RACE,
        EQUAL,
    ),
    PlantedBug(
        "row totals without atomics",
        "cuda.atomic.add(totals.virtual, batch_row, 1)",
        "totals.virtual[batch_row] += 1",
        ("settle",),
        FaultKind.RACE,
        BY_CHANCE,
    ),
    PlantedBug(
        "store past the last key",
        "            keys[at] = _first_key(spans, piece, segment) + within\n",
        "            keys[at] = _first_key(spans, piece, segment) + within\n"
        "            if at == piece.arrivals - 1:\n"
        "                keys[at + 1] = within\n",
        ("draw_keys",),
        FaultKind.NOT_ALLOCATED,
        EQUAL,
    ),
    PlantedBug(
        "store beside the right key",
        "keys[at] = _first_key",
        "keys[at + 1] = _first_key",
        ("draw_keys",),
        FaultKind.NOT_ALLOCATED,
        DIFFERENT,
    ),
    PlantedBug(
        "one segment too many",
        "while segment < spans.arrivals_before.size:",
        "while segment <= spans.arrivals_before.size:",
        ("prepare_segments",),
        FaultKind.NOT_ALLOCATED,
        ERROR,
    ),
    PlantedBug(
        "halves that overlap in odd blocks",
        "half = (active + 1) >> 1",
        "half = active >> 1",
        ("settle",),
        FaultKind.RACE,
        EQUAL,
    ),
    PlantedBug(
        "bounds of a tile unwritten",
        _STORED_BOUNDS,
        "        if high > low:\n    " + _STORED_BOUNDS,
        ("draw_keys", "settle"),
        FaultKind.UNINITIALISED,
        BY_CHANCE,
    ),
    PlantedBug(
        "a column unwritten where it is not used",
        "    columns.settlement_local_us[at] = clocks[1]\n",
        "    if is_virtual:\n        columns.settlement_local_us[at] = clocks[1]\n",
        ("settle",),
        FaultKind.UNINITIALISED,
        DIFFERENT,
    ),
    PlantedBug(
        "wrong constant of a kernel",
        "before) + 1\n",
        "before) + 2\n",
        ("settle",),
        DIFFERENT,
        DIFFERENT,
    ),
    PlantedBug(
        "ends of buckets exchanged",
        "cuda.atomic.add(output.sums, AT_START, _ONE)",
        "cuda.atomic.add(output.sums, AT_END, _ONE)",
        ("settle",),
        DIFFERENT,
        EQUAL,
    ),
    PlantedBug(
        "halving by floating point",
        "middle = (low + high) >> 1",
        "middle = np.int64((low + high) * 0.5)",
        ("prepare_segments", "draw_keys", "settle"),
        UNKNOWN,
        EQUAL,
        "floating point",
    ),
    PlantedBug(
        "tile bounds by division",
        "first = np.int64(cuda.blockIdx.x) * cuda.blockDim.x\n    while first < piece.arrivals:\n"
        "        _narrow(spans,",
        "first = np.int64(cuda.blockIdx.x) * cuda.blockDim.x // np.int64(cuda.blockDim.x) * cuda.blockDim.x\n"
        "    while first < piece.arrivals:\n        _narrow(spans,",
        ("draw_keys",),
        UNKNOWN,
        EQUAL,
        "division",
    ),
)


@contextmanager
def planted(bug: PlantedBug) -> Iterator[ModuleType]:
    """The module of the kernels with the bug, over the product's own law."""
    path = PACKAGE / KERNELS_PATH
    text = path.read_text(encoding="utf-8")
    assert text.count(bug.right) == 1
    module = ModuleType(f"kernels_with_{bug}".replace("-", "_"))
    sys.modules[module.__name__] = module
    try:
        exec(compile(text.replace(bug.right, bug.wrong), str(path), "exec"), module.__dict__)  # noqa: S102
        yield module
    finally:
        del sys.modules[module.__name__]
