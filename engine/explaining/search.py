"""The arrival that a question names: by number, at or after an instant, or at a site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.moments import utc_text
from arrival_engine.engine.expand.backend import BatchResult, Expander, choose_backend
from arrival_engine.engine.expand.planning import Batch
from arrival_engine.engine.explaining.derive import Chosen, View
from arrival_engine.engine.process.progress import Reporter


@dataclass(frozen=True)
class Question:
    """One arrival of a merchant: number `seq`, or the first at or after `at_us` (microseconds since 1970, None: from
    the start) and, where `site` is given, at that site. scenario_id: None for the only one.
    """

    merchant_id: int
    seq: int | None = None
    at_us: int | None = None
    site: int | None = None
    scenario_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse a question that names no arrival, or two."""
        if (self.seq is None) == (self.at_us is None and self.site is None):
            raise ValueError("give either seq, or at_us, site or both")


@contextmanager
def kernel(view: View, reporter: Reporter) -> Iterator[Expander]:
    """The CPU kernel over the merchant's segments."""
    with choose_backend("cpu").open(view.plan, reporter) as expander:
        yield expander


def expand_segment(view: View, expander: Expander, segment: int) -> BatchResult:
    """What the kernel makes of one segment; raises what a run would, for a forbidden fallback."""
    bounds, rows = view.plan.segments.arrival_start, view.row_span(segment)
    arrivals = int(bounds[segment + 1] - bounds[segment])
    return expander(Batch(0, (segment, segment + 1), (rows.start, rows.stop), arrivals))


def find(view: View, question: Question, expander: Expander) -> Chosen:
    """The arrival that the question means; raises OPTION_INVALID where there is none.

    Only an arrival asked for by site takes more than its segment: segments are expanded until one has it.
    """
    seq = question.seq
    if seq is None and question.site is not None:
        seq = _first_at_site(view, question.site, question.at_us, expander)
    if seq is not None:
        return _by_sequence(view, seq)
    return _first_since(view, int(question.at_us or 0))


def _by_sequence(view: View, seq: int) -> Chosen:
    if not 1 <= seq <= view.plan.arrivals:
        raise _nothing(view, f"has arrivals 1 to {view.plan.arrivals}, none of number {seq}")
    before = view.plan.segments.arrivals_before
    segment = int(np.searchsorted(before, seq, side="left")) - 1
    place = seq - int(before[segment])
    return Chosen(segment, place, view.draws(segment)[place - 1])


def _first_since(view: View, at_us: int) -> Chosen:
    for segment in range(_first_segment(view, at_us), view.plan.segments.arrivals_before.size):
        for place, draw in enumerate(view.draws(segment), 1):
            if draw.ts_us >= at_us:
                return Chosen(segment, place, draw)
    raise _nothing(view, f"has no arrival at or after {utc_text(at_us)}")


def _first_segment(view: View, at_us: int) -> int:
    """The first segment whose bucket ends after an instant."""
    grid, segments = view.world.tables.grid, view.plan.segments
    bucket = view.world.rows.bucket[segments.row_start[:-1]]
    ends = grid.start_us[bucket] + grid.duration_us[bucket].astype(np.int64)
    return int(np.searchsorted(ends, at_us, side="right"))


def _first_at_site(view: View, site: int, at_us: int | None, expander: Expander) -> int:
    """arrival_seq of the first arrival at a site, found by the kernel; what is shown of it is derived afterwards."""
    if site not in view.world.tables.sites.id.tolist():
        raise _nothing(view, f"has no site {site}")
    since = -(1 << 63) if at_us is None else at_us
    first = 0 if at_us is None else _first_segment(view, at_us)
    for batch in view.plan.batches:
        if batch.segments[1] <= first:
            continue
        columns = expander(batch).columns
        hit = (columns.place == np.uint64(site)) & ~columns.is_virtual & (columns.ts_us >= since)
        if hit.any():
            return int(columns.arrival_seq[int(np.argmax(hit))])
    when = "" if at_us is None else f" at or after {utc_text(at_us)}"
    raise _nothing(view, f"has no arrival at site {site}{when}")


def _nothing(view: View, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.OPTION_INVALID,
        f"merchant {view.merchant_id} {problem} in scenario {view.world.scenario_id}",
        hint="ask for an arrival that the counts have; `--seq 1` is the merchant's first",
        merchant_id=view.merchant_id,
        scenario_id=view.world.scenario_id,
    )
