"""Record batches in global time order, expanded on demand."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.tables import Columns
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult, Expander, choose_backend
from arrival_engine.engine.expand.batch_checks import check_batch
from arrival_engine.engine.expand.planning import Batch, Plan, plan
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.process.threads import Cancellation, ordered
from arrival_engine.engine.stream.order import by_bucket, time_order
from arrival_engine.engine.stream.window import Moment, Window, window
from arrival_engine.engine.world.load import World

# A few megabytes of text: enough to hide the cost of a call, small enough to stay in a core's cache.
SLICE_ROWS = 16_384


class Slice(NamedTuple):
    """Consecutive arrivals in time order, n of them: the contract's columns, and ts_utc as int64[n] microseconds."""

    rows: pa.RecordBatch
    ts_us: NDArray[np.int64]


@dataclass(frozen=True)
class TimeOrdered:
    """An expanded batch; `order` has the positions of its arrivals in time order."""

    result: BatchResult
    order: NDArray[np.int64]

    @property
    def digest(self) -> Digest | None:
        """Digest of the arrivals; None if the window leaves out some of the batch."""
        return self.result.digest if self.order.size == self.result.batch.arrivals else None

    def slices(self, assembler: Assembler) -> Iterator[Slice]:
        """The arrivals in pieces of at most `SLICE_ROWS`."""
        for first in range(0, self.order.size, SLICE_ROWS):
            at = self.order[first : first + SLICE_ROWS]
            columns = Columns._make(column[at] for column in self.result.columns)
            part = replace(self.result, batch=replace(self.result.batch, arrivals=at.size), columns=columns)
            yield Slice(assembler.whole(part), columns.ts_us)


def stream_arrivals(
    source: World | Plan,
    start: Moment = None,
    end: Moment = None,
    merchants: Collection[int | str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the arrivals of all merchants in time order, with the contract's 21 columns.

    The order is total: (ts_utc, merchant_id, arrival_seq). Rows equal those of the stored dataset, including
    arrival_seq, from `start` up to but not including `end` (RFC 3339 text or aware datetimes), of `merchants`, each by
    id or text (default: all). Only buckets that the window touches are expanded, one batch ahead of the reader, so the
    two largest batches bound memory. Closing the iterator stops it. Raises ValueError for an invalid moment,
    ArrivalError for a merchant without arrivals or a fallback that the policy forbids.
    """
    part = window(start, end)
    batches = by_bucket(source if isinstance(source, Plan) else plan(source), part, merchants)
    return _record_batches(batches, part)


def _record_batches(batches: Plan, part: Window) -> Iterator[pa.RecordBatch]:
    assembler = Assembler(batches.world)
    for batch in time_ordered(batches, part, Reporter()):
        for piece in batch.slices(assembler):
            yield piece.rows


def time_ordered(batches: Plan, part: Window, reporter: Reporter) -> Iterator[TimeOrdered]:
    """Expand a plan of `by_bucket`; a thread computes one batch while another is read."""
    with choose_backend("cpu").open(batches, reporter) as expander:
        compute = partial(_expand, batches, expander, part)
        yield from ordered(compute, batches.batches, 1, Cancellation(), ahead=1)


def _expand(batches: Plan, expander: Expander, part: Window, batch: Batch) -> TimeOrdered:
    result = expander(batch)
    check_batch(batches, result)
    ts_us = result.columns.ts_us
    # Buckets do not overlap, and a batch has each bucket's arrivals by merchant and arrival_seq, so equal instants are
    # already in order.
    order = time_order(ts_us)
    if part.is_whole:
        return TimeOrdered(result, order)
    first, last = np.searchsorted(ts_us, (part.start_us, part.end_us), sorter=order)
    return TimeOrdered(result, order[first:last])
