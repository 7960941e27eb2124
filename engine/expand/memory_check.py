"""Check before work starts that a plan fits the memory of this process."""

from __future__ import annotations

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.expand.planning import Plan
from arrival_engine.engine.process import human
from arrival_engine.engine.process.machine import memory_in_use_bytes, memory_limit_bytes

# Columns (45), sort scratch of one segment, Arrow buffers, encoder pages; 165 were measured with LZ4.
BYTES_PER_ARRIVAL = 200


def check_memory(plan: Plan, threads: int) -> None:
    """Refuse a plan whose batches in flight cannot fit. Raises RESOURCES_INSUFFICIENT saying what to lower."""
    limit, source = memory_limit_bytes()
    largest = max((batch.arrivals for batch in plan.batches), default=0)
    in_flight = min(threads, len(plan.batches))
    needed = in_flight * largest * BYTES_PER_ARRIVAL
    held = memory_in_use_bytes(source)
    if held + needed <= limit:
        return
    fitting = max(int((limit - held) / (BYTES_PER_ARRIVAL * in_flight)), 0)
    hint = f"lower --batch-arrivals (to about {fitting:,}) or --threads, or raise the limit"
    if fitting < _largest_segment(plan):
        hint = "lower --threads, or raise the limit: the largest merchant's busiest bucket alone is too large for it"
    raise ArrivalError(
        Code.RESOURCES_INSUFFICIENT,
        f"{in_flight} batches of up to {largest:,} arrivals need about {human.size(needed)} besides the "
        f"{human.size(held)} in use; this process may have {human.size(limit)} ({source})",
        hint=hint,
        needed_bytes=held + needed,
        limit_bytes=limit,
    )


def _largest_segment(plan: Plan) -> int:
    bounds = plan.segments.arrival_start
    return int((bounds[1:] - bounds[:-1]).max(initial=0))
