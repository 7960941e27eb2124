"""Which registers a kernel still needs at the start of each block."""

from __future__ import annotations

from tests.support.ptx.parse import Block, Kernel

__all__ = ["live_registers", "resume_points"]


def live_registers(kernel: Kernel) -> list[frozenset[str]]:
    """Registers live at the start of each block; those of the first block may be read before they are written."""
    live: list[frozenset[str]] = [frozenset()] * len(kernel.blocks)
    changed = True
    while changed:
        changed = False
        for index, block in reversed(list(enumerate(kernel.blocks))):
            now = _live_before(block, frozenset().union(*(live[next_] for next_ in block.successors)))
            if now != live[index]:
                live[index], changed = now, True
    return live


def _live_before(block: Block, after: frozenset[str]) -> frozenset[str]:
    live = after
    for instruction in reversed(block.instructions):
        # A guarded write may not happen, so the old value is still needed.
        live = (live if instruction.guard else live - instruction.writes) | instruction.reads
    return live


def resume_points(kernel: Kernel) -> list[int]:
    """Blocks that begin after a barrier."""
    return [index + 1 for index, block in enumerate(kernel.blocks) if block.last and block.last.is_barrier]
