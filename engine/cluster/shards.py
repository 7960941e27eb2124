"""Shards: contiguous ranges of a plan's batches, and what a worker needs to know to expand one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.tables import Rows, owned
from arrival_engine.engine.cluster.survey import Survey
from arrival_engine.engine.expand.planning import Batch, Plan, segment_spans, segments_of, switches_of
from arrival_engine.engine.world.catalogue import Catalogue, united
from arrival_engine.engine.world.counts import CountRows
from arrival_engine.engine.world.load import World

# Enough for workers of unequal speed to end together.
SHARDS_PER_WORKER = 8
# What is done again when a worker is lost, and with 2,000,000 arrivals a batch the bound of a shard's count rows.
MOST_BATCHES = 64
# 24 bytes each while they are expanded, about 150 at the peak of reading them.
MOST_COUNT_ROWS = 16_000_000
# Part names have six digits, and their order is the order of arrivals.
MOST_PARTS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """Batches first_part, first_part + 1, ...: all segments from (merchant, bucket) `first` to `last`.

    merchants count into the catalogue's merchant_ids, of which merchant_ids are those of the shard; blocks may hold
    their count rows.
    arrivals_before: arrivals of the first merchant in earlier segments; count_rows: as surveyed, before merging.
    """

    index: int
    first_part: int
    batch_segments: tuple[int, ...]
    batch_arrivals: tuple[int, ...]
    first: tuple[int, int]
    last: tuple[int, int]
    merchant_ids: tuple[int, ...]
    blocks: tuple[int, ...]
    arrivals_before: int
    count_rows: int

    @property
    def arrivals(self) -> int:
        """Arrivals of all its batches."""
        return sum(self.batch_arrivals)

    @property
    def parts(self) -> range:
        """Positions of its parts in the plan."""
        return range(self.first_part, self.first_part + len(self.batch_segments))


def cut_shards(survey: Survey, batch_arrivals: int, workers: int) -> tuple[Shard, ...]:
    """The batches of `engine.expand.planning.plan`, dealt out in contiguous ranges to `workers` threads.

    Raises OPTION_INVALID for more batches than parts can be numbered.
    """
    arrival_start = survey.arrival_start()
    spans = segment_spans(arrival_start, batch_arrivals)
    if len(spans) > MOST_PARTS:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"{len(spans):,} batches are more than the {MOST_PARTS:,} parts that a scenario can have",
            hint="raise --batch-arrivals",
            batches=len(spans),
        )
    row_start = np.append(0, np.cumsum(survey.sums.rows))
    batches_each = min(max(-(-len(spans) // (workers * SHARDS_PER_WORKER)), 1), MOST_BATCHES)
    return tuple(
        _shard(survey, arrival_start, row_start, index, first_part, spans[first_part:end_part])
        for index, (first_part, end_part) in enumerate(_part_ranges(spans, row_start, batches_each))
    )


def shards_of_batches(survey: Survey, batch_arrivals: int, parts: Iterable[int]) -> Iterator[Shard]:
    """Single batches of the plan as shards, numbered as they come."""
    arrival_start = survey.arrival_start()
    spans = segment_spans(arrival_start, batch_arrivals)
    row_start = np.append(0, np.cumsum(survey.sums.rows))
    for index, part in enumerate(parts):
        yield _shard(survey, arrival_start, row_start, index, part, spans[part : part + 1])


def _part_ranges(
    spans: Sequence[tuple[int, int]], row_start: NDArray[np.int64], batches_each: int
) -> Iterator[tuple[int, int]]:
    first = 0
    while first < len(spans):
        end = first + 1
        row_limit = row_start[spans[first][0]] + MOST_COUNT_ROWS
        while end < min(first + batches_each, len(spans)) and row_start[spans[end][1]] <= row_limit:
            end += 1
        yield first, end
        first = end


def _shard(
    survey: Survey,
    arrival_start: NDArray[np.int64],
    row_start: NDArray[np.int64],
    index: int,
    first_part: int,
    spans: Sequence[tuple[int, int]],
) -> Shard:
    sums = survey.sums
    first, end = spans[0][0], spans[-1][1]
    merchants = int(sums.merchant[first]), int(sums.merchant[end - 1])
    first_of_merchant = int(np.searchsorted(sums.merchant, merchants[0]))
    merchant_ids = tuple(sums.merchant_ids[merchants[0] : merchants[1] + 1].tolist())
    return Shard(
        index=index,
        first_part=first_part,
        batch_segments=tuple(last - start for start, last in spans),
        batch_arrivals=tuple(int(arrival_start[last] - arrival_start[start]) for start, last in spans),
        first=(merchants[0], int(sums.bucket[first])),
        last=(merchants[1], int(sums.bucket[end - 1])),
        merchant_ids=merchant_ids,
        blocks=tuple(b.number for b in survey.blocks if b.low <= merchant_ids[-1] and merchant_ids[0] <= b.high),
        arrivals_before=int(arrival_start[first] - arrival_start[first_of_merchant]),
        count_rows=int(row_start[end] - row_start[first]),
    )


def plan_of_shard(lookup: World, catalogue: Catalogue, counts: CountRows, shard: Shard, batch_arrivals: int) -> Plan:
    """The plan of a shard alone: parts numbered as in the whole, arrivals numbered on from `arrivals_before`.

    lookup: the scenario's world without count rows; counts: those of the shard's merchants. Raises
    BUCKET_COUNT_MISMATCH when the counts are not those that were surveyed.
    """
    rows = _rows_of_shard(recoded(counts, catalogue), catalogue, shard)
    world = replace(lookup, rows=owned(rows))
    segments = segments_of(world, shard.arrivals_before)
    bounds = list(accumulate(shard.batch_segments, initial=0))
    if bounds[-1] != segments.arrival_start.size - 1:
        raise _changed(shard, f"{segments.arrival_start.size - 1} segments instead of {bounds[-1]}")
    batches = tuple(
        Batch(
            index=part,
            segments=(first, last),
            rows=(int(segments.row_start[first]), int(segments.row_start[last])),
            arrivals=int(segments.arrival_start[last] - segments.arrival_start[first]),
        )
        for part, (first, last) in zip(shard.parts, pairwise(bounds), strict=True)
    )
    found = tuple(batch.arrivals for batch in batches)
    if found != shard.batch_arrivals:
        raise _changed(shard, f"{sum(found)} arrivals instead of {shard.arrivals}")
    return Plan(world, segments, batches, switches_of(world.settings), batch_arrivals)


def recoded(counts: CountRows, catalogue: Catalogue) -> Rows:
    """Count rows of some merchants with the entity numbers of the catalogue. Raises BUCKET_COUNT_MISMATCH."""
    whole, (_, number) = united([catalogue, counts.catalogue])
    if whole.merchant.size != catalogue.merchant.size:
        raise _counts_changed("the bucket counts have entities that were not there when they were surveyed")
    return counts.rows._replace(entity=number[counts.rows.entity])


def _rows_of_shard(rows: Rows, catalogue: Catalogue, shard: Shard) -> Rows:
    """The rows of its segments among those of its merchants; rows are in (merchant, bucket) order."""
    merchant = catalogue.merchant[rows.entity].astype(np.int64)
    width = int(max(rows.bucket.max(initial=0), shard.first[1], shard.last[1])) + 1
    key = merchant * width + rows.bucket
    first = np.searchsorted(key, shard.first[0] * width + shard.first[1])
    end = np.searchsorted(key, shard.last[0] * width + shard.last[1], side="right")
    return Rows(*(column[first:end] for column in rows))


def _changed(shard: Shard, problem: str) -> ArrivalError:
    return _counts_changed(f"shard {shard.index} has {problem}: the bucket counts changed while the run read them")


def _counts_changed(problem: str) -> ArrivalError:
    return ArrivalError(
        Code.BUCKET_COUNT_MISMATCH,
        problem,
        hint="let nothing write to the inputs during a run, and see that every worker has the same RUN_ROOT",
    )
