"""A batch in sections of whole row groups, which are encoded one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from arrival_engine.cpu_fallback.pages.layout import Runs
from arrival_engine.cpu_fallback.tables import I32, I64, Columns
from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.world.load import World

# What is laid and framed together stays in the processor's cache, and takes little memory beside the batch itself.
_SECTION_ROWS = 1 << 18


class Section(NamedTuple):
    """Row groups of a batch, by the rows of the section."""

    groups: I64  # [R + 1] rows before each row group
    merchants: Runs
    buckets: Runs
    zone: I32  # by count row of the batch
    channel: I32  # by count row of the batch
    columns: Columns


def sections_of(world: World, result: BatchResult, groups: I64) -> Iterator[Section]:
    """The sections of a batch, in order. groups: int64[R + 1], arrivals before each row group."""
    rows, entities = slice(*result.batch.rows), world.tables.entities
    entity, bucket, arrivals = world.rows.entity[rows], world.rows.bucket[rows], world.rows.arrivals[rows]
    merchant = entities.merchant[entity]
    begins = np.flatnonzero((np.diff(merchant, prepend=-1) != 0) | (np.diff(bucket, prepend=-1) != 0))
    before = np.append(np.cumsum(arrivals, dtype=np.int64) - arrivals, result.batch.arrivals)
    start = before[np.append(begins, arrivals.size)]
    merchants, buckets = Runs(merchant[begins], start), Runs(bucket[begins], start)
    zone, channel = entities.zone[entity], entities.channel[entity]
    for first, last in _spans(groups):
        begin, end = int(groups[first]), int(groups[last])
        yield Section(
            groups[first : last + 1] - begin,
            _part(merchants, begin, end),
            _part(buckets, begin, end),
            zone,
            channel,
            Columns._make(column[begin:end] for column in result.columns),
        )


def _spans(groups: I64) -> Iterator[tuple[int, int]]:
    """The row groups of each section, half-open: as many as there is room for, at least one if there are any."""
    first, count = 0, groups.size - 1
    if count == 0:
        yield 0, 0
    while first < count:
        fitting = int(np.searchsorted(groups, groups[first] + _SECTION_ROWS, side="right")) - 1
        last = max(fitting, first + 1)
        yield first, last
        first = last


def _part(runs: Runs, begin: int, end: int) -> Runs:
    """The runs of rows begin to end, which are counted from `begin`."""
    first = int(np.searchsorted(runs.start, begin, side="right")) - 1
    last = int(np.searchsorted(runs.start, end, side="left"))
    return Runs(runs.code[first:last], (runs.start[first : last + 1] - begin).clip(0, end - begin))
