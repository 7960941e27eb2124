"""Says what of the kernel cache is not used because others can write it."""

from __future__ import annotations

from arrival_engine.contracts.errors import Notice
from arrival_engine.engine.process.progress import Reporter

__all__ = ["tell_of_refusals"]


def tell_of_refusals(reporter: Reporter) -> None:
    """Give the reporter a notice KERNEL_CACHE_REFUSED for each refusal that no reporter has had; load kernels first."""
    from arrival_engine.cpu_fallback.jit import untold_refusals

    for refusal in untold_refusals():
        message = (
            f"the kernel cache is refused: {refusal.reason}. Code that others put there would run as you. "
            f"Kernels are compiled in memory, by every process. To have them kept: {refusal.remedy}"
        )
        reporter.notice(Notice("KERNEL_CACHE_REFUSED", message, {"reason": refusal.reason, "remedy": refusal.remedy}))
