"""The choice of `--backend auto`: by estimates of the seconds that the CPU and a device take for the same arrivals.

The arrivals are the same either way, so a wrong estimate costs time and nothing else. The rate of the CPU was measured
(docs/performance.md). The figures of devices are estimates on paper, until a device has been measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from arrival_engine.engine.process import human

__all__ = ["Amount"]

# Expansion alone: reading, encoding and writing are the host's work with either backend.
CPU_ARRIVALS_PER_CORE_SECOND = 22_000_000
# Kernels, sort and copies to the host.
DEVICE_ARRIVALS_PER_SECOND = 700_000_000
# Import of packages, contexts, tables and pinned memory; then the kernels, from the cache or compiled.
DEVICE_START_S = 1.3
CACHED_KERNELS_S = 0.5
COMPILED_KERNELS_S = 4.0


@dataclass(frozen=True)
class Amount:
    """What is to be expanded: arrivals, on threads that have a core each."""

    arrivals: int
    threads: int

    @property
    def cpu_s(self) -> float:
        """Estimate of the seconds that the CPU takes."""
        return self.arrivals / (CPU_ARRIVALS_PER_CORE_SECOND * self.threads)

    def device_s(self, *, cached: bool) -> float:
        """Estimate of the seconds that a device takes; cached: whether its kernels are on disk."""
        kernels = CACHED_KERNELS_S if cached else COMPILED_KERNELS_S
        return DEVICE_START_S + kernels + self.arrivals / DEVICE_ARRIVALS_PER_SECOND

    def too_few(self) -> str:
        """Why no device can be worth its start, whatever is cached; empty if one can."""
        least = self.device_s(cached=True)
        if self.cpu_s > least:
            return ""
        return f"{self._cpu()}, and a device at least {human.duration(least)} (estimates)"

    def compared(self, *, cached: bool) -> str:
        """Both estimates, in words."""
        kernels = "cached" if cached else "to be compiled"
        device = human.duration(self.device_s(cached=cached))
        return f"{self._cpu()}, and a device {device}, its kernels being {kernels} (estimates)"

    def _cpu(self) -> str:
        cores = human.amount(self.threads, "cores")
        return f"{human.amount(self.arrivals, 'arrivals')} take {cores} about {human.duration(self.cpu_s)}"
