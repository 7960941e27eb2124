"""One side of a parity check: opened, given batches, timed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.engine.expand.backend import Backend, BatchResult, Expander
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.parity.records import SIMULATOR, BatchTime, KernelFigures, SideResult
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered


@dataclass(frozen=True)
class Outcome:
    """What a side made of a batch: its arrivals, or the error that its policy stops it with."""

    result: BatchResult | None
    refusal: Mapping[str, object] | None
    seconds: float


@dataclass
class Side:
    """An opened backend and its account so far."""

    backend: Backend
    expander: Expander
    load_seconds: float
    expand_seconds: float = 0.0
    digest: Digest = field(default_factory=Digest)
    times: list[BatchTime] = field(default_factory=list)

    @property
    def threads(self) -> int:
        """Batches at once; the simulator takes one, and a queue before it would only be counted as its time."""
        return 1 if self.backend.name == SIMULATOR else available_cores()

    def expand(self, batches: Sequence[Batch]) -> list[Outcome]:
        """The batches, `threads` at a time."""
        began = time.perf_counter()
        outcomes = list(ordered(self._one, batches, self.threads, Cancellation()))
        self.expand_seconds += time.perf_counter() - began
        for batch, outcome in zip(batches, outcomes, strict=True):
            digest = outcome.result.digest if outcome.result else Digest()
            self.digest += digest
            refused = outcome.result is None
            self.times.append(BatchTime(batch.index, batch.arrivals, outcome.seconds, str(digest), refused))
        return outcomes

    def _one(self, batch: Batch) -> Outcome:
        began = time.perf_counter()
        try:
            result = self.expander(batch)
        except ArrivalError as error:
            # A fallback that the policy forbids is an answer too, and the sides must agree on it.
            if error.code is not Code.SITE_RESOLUTION_FAILED:
                raise
            return Outcome(None, error.to_dict(), time.perf_counter() - began)
        return Outcome(result, None, time.perf_counter() - began)

    def account(self) -> SideResult:
        """Everything so far."""
        kernels, reason = _kernel_figures(self.backend.name)
        return SideResult(
            backend=self.backend.name,
            reason=self.backend.reason,
            threads=self.threads,
            arrivals=self.digest.rows,
            digest=str(self.digest),
            load_seconds=self.load_seconds,
            expand_seconds=self.expand_seconds,
            batches=tuple(self.times),
            kernels=kernels,
            kernels_reason=reason,
        )


@contextmanager
def opened(backend: Backend, plan: Plan, reporter: Reporter) -> Iterator[Side]:
    """The backend, ready to expand; what it took to get there is `load_seconds`."""
    began = time.perf_counter()
    with backend.open(plan, reporter) as expander:
        yield Side(backend, expander, time.perf_counter() - began)


def _kernel_figures(name: str) -> tuple[tuple[KernelFigures, ...] | None, str]:
    if name != "cuda":
        return None, "compiled for no device"
    try:
        from arrival_engine.gpu_kernels.figures import kernel_figures

        return tuple(KernelFigures(*figures) for figures in kernel_figures()), ""
    except Exception as failure:  # noqa: BLE001 - figures that cannot be had must not spoil a verdict
        return None, f"the driver does not tell: {type(failure).__name__}: {failure}"
