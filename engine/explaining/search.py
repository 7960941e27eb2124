"""The arrival that a question names: by number, at or after an instant, or at a site."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.moments import utc_text
from arrival_engine.contracts.plainness import short
from arrival_engine.engine.explaining.view import Chosen, View
from arrival_engine.engine.merchant_names import known_as, told
from arrival_engine.engine.recomputing.identifiers import site_id

SITE_NAME = re.compile(r"([A-Z]{2}):([1-9][0-9]*)")


@dataclass(frozen=True)
class Question:
    """One arrival of a merchant: number `seq`, or the first at or after `at_us` (microseconds since 1970, None: from
    the start) and, where `site` is given, at that site. scenario_id: None for the only one. merchant_id: the merchant's
    id or text; site: the site's id or COUNTRY:ORDER.
    """

    merchant_id: int | str
    seq: int | None = None
    at_us: int | None = None
    site: int | str | None = None
    scenario_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse a question that names no arrival, or two."""
        if (self.seq is None) == (self.at_us is None and self.site is None):
            raise ValueError("give either seq, or at_us, site or both")


def site_of(question: Question, merchant_id: int) -> int | None:
    """The id of the site that is asked for. Raises OPTION_INVALID for a text that is not COUNTRY:ORDER."""
    if not isinstance(question.site, str):
        return question.site
    named = SITE_NAME.fullmatch(question.site)
    if named is None:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"{short(question.site)} is neither a site id nor COUNTRY:ORDER",
            hint="write the site as DE:2, or give its id",
        )
    return site_id(merchant_id, named[1], int(named[2]))


def find(view: View, question: Question) -> Chosen:
    """The arrival that the question means; raises OPTION_INVALID where there is none.

    Only an arrival asked for by site takes more than its segment: segments are recomputed until one has it.
    """
    seq = question.seq
    site = site_of(question, view.merchant_id)
    if seq is None and site is not None:
        seq = _first_at_site(view, site, question.at_us)
    if seq is not None:
        return _by_sequence(view, seq)
    return _first_since(view, int(question.at_us or 0))


def _by_sequence(view: View, seq: int) -> Chosen:
    arrivals = view.tables.arrivals
    if not 1 <= seq <= arrivals:
        raise _nothing(view, f"has arrivals 1 to {arrivals}, none of number {seq}")
    segment = int(np.searchsorted(view.tables.law.rows.before, seq, side="left")) - 1
    place = seq - view.before(segment)
    return Chosen(segment, place, view.draws(segment)[place - 1])


def _first_since(view: View, at_us: int) -> Chosen:
    for segment in range(_first_segment(view, at_us), view.segments):
        for place, draw in enumerate(view.draws(segment), 1):
            if draw.ts_us >= at_us:
                return Chosen(segment, place, draw)
    raise _nothing(view, f"has no arrival at or after {utc_text(at_us)}")


def _first_segment(view: View, at_us: int) -> int:
    """The first segment whose bucket ends after an instant."""
    grid, rows = view.tables.law.grid, view.tables.law.rows
    bucket = rows.bucket[rows.start[:-1]]
    ends = grid.start_us[bucket] + grid.duration_us[bucket].astype(np.int64)
    return int(np.searchsorted(ends, at_us, side="right"))


def _first_at_site(view: View, site: int, at_us: int | None) -> int:
    """arrival_seq of the first arrival at a site, by compiled code; what is shown of it is derived afterwards."""
    if site not in view.tables.law.sites.id.tolist():
        raise _nothing(view, f"has no site {site}")
    since = -(1 << 63) if at_us is None else at_us
    for segment in range(_first_segment(view, since), view.segments):
        drawn = view.recomputation.segment(segment)
        hit = (drawn.place == np.uint64(site)) & ~drawn.is_virtual & (drawn.ts_us >= since)
        if hit.any():
            return view.before(segment) + 1 + int(np.argmax(hit))
    when = "" if at_us is None else f" at or after {utc_text(at_us)}"
    raise _nothing(view, f"has no arrival at site {site}{when}")


def _nothing(view: View, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.OPTION_INVALID,
        f"merchant {told(view.merchants, view.merchant_id)} {problem} in scenario {view.scenario_id}",
        hint="ask for an arrival that the counts have; `--seq 1` is the merchant's first",
        **known_as(view.merchants, view.merchant_id),
        scenario_id=view.scenario_id,
    )
