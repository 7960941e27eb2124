"""Arrivals per second and core of the expansion kernel, its parts, and its floor: Philox alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from arrival_engine.engine.process import human
from bench.process import in_process
from bench.tabular import Table
from bench.timing import median, repeated
from bench.workplace import Workplace, world_facts

if TYPE_CHECKING:
    from arrival_engine.cpu_fallback.tables import Work
    from arrival_engine.engine.expand.planning import Batch, Plan

# Spread over the world: merchants with many sites and merchants with few take their turn.
BATCHES = 8


def measure(workplace: Workplace) -> dict[str, Any]:
    """The kernel on some batches, in a process that does nothing else."""
    root = workplace.world
    workplace.say("kernel: expansion and its parts")
    figures = in_process(
        time_kernel, run_root=str(root), threads=workplace.threads, repeats=workplace.repeats, batches=BATCHES
    )
    return {"world": world_facts(root), **figures}


def time_kernel(run_root: str, threads: int, repeats: int, batches: int) -> dict[str, Any]:
    """Raw seconds of the whole kernel on one and on several threads, and of its parts alone."""
    from arrival_engine.cpu_fallback.expand import expand_segments
    from arrival_engine.cpu_fallback.tables import Work
    from arrival_engine.engine.expand.planning import plan
    from arrival_engine.engine.process.threads import Cancellation, ordered
    from arrival_engine.engine.world.load import load_world

    planned = plan(load_world(run_root, threads=threads))
    work = Work(planned.world.tables, planned.world.rows, planned.segments, planned.switches)
    chosen = chosen_batches(planned, batches)

    def expand(batch: Batch) -> int:
        return int(expand_segments(work, batch.segments).totals.digest[0])

    return {
        "batches": len(chosen),
        "arrivals": sum(batch.arrivals for batch in chosen),
        "threads": threads,
        "one_thread": repeated(lambda: [expand(batch) for batch in chosen], repeats),
        "all_threads": repeated(lambda: list(ordered(expand, chosen, threads, Cancellation())), repeats),
        "parts": _time_parts(work, chosen, repeats),
    }


def chosen_batches(planned: Plan, batches: int) -> list[Batch]:
    """At most so many batches, evenly spread over the plan."""
    every = planned.batches
    step = max(len(every) / batches, 1.0)
    return [every[int(number * step)] for number in range(min(batches, len(every)))]


def _time_parts(work: Work, chosen: list[Batch], repeats: int) -> dict[str, Any]:
    import numpy as np

    from arrival_engine.cpu_fallback.draw import empty_times
    from arrival_engine.cpu_fallback.segments import position_bits
    from bench import kernel_loops

    arrivals = sum(batch.arrivals for batch in chosen)
    longest = int(np.diff(work.segments.arrival_start).max(initial=0))
    times = empty_times(longest)
    shift = np.uint64(position_bits(longest))

    def over_spans(loop: Callable[..., object]) -> dict[str, Any]:
        seconds = repeated(lambda: [loop(work, batch.segments, shift, times) for batch in chosen], repeats)
        return {"values": arrivals, **seconds}

    words = np.empty(kernel_loops.RING + 1, np.uint64)
    blocks = repeated(lambda: kernel_loops.philox_blocks(arrivals, np.uint64(arrivals), words), repeats)
    return {
        "Philox, one block": {"values": arrivals, **blocks},
        "draw times": over_spans(kernel_loops.draw),
        "draw times and sort": over_spans(kernel_loops.draw_and_sort),
    }


def tables(measured: dict[str, Any]) -> list[Table]:
    """Rates of the kernel and of Philox, and nanoseconds by part."""
    arrivals, threads = measured["arrivals"], measured["threads"]
    one = median(measured["one_thread"]["wall_s"])
    every = median(measured["all_threads"]["wall_s"])
    parts = {name: _nanoseconds(part) for name, part in measured["parts"].items()}
    floor = 2 * parts["Philox, one block"]
    rates = [
        ("expansion, one thread", human.rate(arrivals / one, "arrivals"), f"{one / arrivals * 1e9:.1f} ns"),
        (
            f"expansion, {threads} threads, per core",
            human.rate(arrivals / every / threads, "arrivals"),
            f"{every * threads / arrivals * 1e9:.1f} ns",
        ),
        ("its floor: two Philox blocks, no more", human.rate(1e9 / floor, "arrivals"), f"{floor:.1f} ns"),
    ]
    shown = [(name, f"{nanoseconds:.1f} ns") for name, nanoseconds in parts.items()]
    whole = _nanoseconds({"values": arrivals, **measured["one_thread"]})
    shown.append(("the whole kernel", f"{whole:.1f} ns"))
    return [
        Table(("kernel", "rate", "per arrival"), rates),
        Table(("part alone, one thread", "processor time per arrival"), shown),
    ]


def _nanoseconds(part: dict[str, Any]) -> float:
    values: int = part["values"]
    return median(part["cpu_s"]) / values * 1e9
