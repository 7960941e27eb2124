"""The batches to compare: all, or a fixed sample spread over the plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.process import human

# Some three seconds of the simulator, at about 6,000 arrivals per second.
SIMULATED_ARRIVALS = 20_000
SIMULATED_BATCH_ARRIVALS = 2_500
_SLOW = "because the simulator is slow; --sample-batches takes more"


class Sample(NamedTuple):
    """Batches to compare, in plan order, and in words why these."""

    batches: tuple[Batch, ...]
    why: str


def choose(plan: Plan, wanted: int | None, simulated: bool) -> Sample:
    """`wanted` batches from the first to the last; without a number all, or what a simulator does in some seconds."""
    every = plan.batches
    if wanted is not None:
        chosen = spread(every, wanted)
        return Sample(chosen, "every batch" if len(chosen) == len(every) else "as many as asked for, evenly spread")
    if not simulated or plan.arrivals <= SIMULATED_ARRIVALS:
        return Sample(every, "every batch")
    return _affordable(plan)


def spread(batches: Sequence[Batch], wanted: int) -> tuple[Batch, ...]:
    """At most `wanted` batches, evenly spread, the first and (from two on) the last among them."""
    number = min(wanted, len(batches))
    if number <= 1:
        return tuple(batches[:number])
    return tuple(batches[step * (len(batches) - 1) // (number - 1)] for step in range(number))


def _affordable(plan: Plan) -> Sample:
    """Batches of together no more than SIMULATED_ARRIVALS; a single one, the smallest, where none is that small."""
    most = min(plan.batch_arrivals, SIMULATED_ARRIVALS)
    small = [batch for batch in plan.batches if batch.arrivals <= most]
    if not small:
        least = min(plan.batches, key=lambda batch: (batch.arrivals, batch.index))
        return Sample((least,), f"the smallest batch alone: none has at most {human.count(most)} arrivals, {_SLOW}")
    why = f"at most {human.count(SIMULATED_ARRIVALS)} arrivals, {_SLOW}"
    if left_out := len(plan.batches) - len(small):
        why += f"; not among them {human.count(left_out)} batches of more than {human.count(most)} arrivals"
    return Sample(spread(small, SIMULATED_ARRIVALS // most), why)
