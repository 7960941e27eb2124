"""Batches that stay on a device, where there is none: columns of the CPU kernel in a lane that is used again."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.cpu_fallback.tables import Columns, Results, RowTotals, empty_columns
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import finish_batch
from arrival_engine.engine.expand.on_device import Source, delivered
from arrival_engine.gpu_kernels.columns import Kept, Lookups
from arrival_engine.gpu_kernels.delivery import Delivery, HostDelivery
from arrival_engine.gpu_kernels.device_batch import DeviceBatch
from arrival_engine.gpu_kernels.expand import OnDevice
from tests.support.gpu import Case

STREAM = object()
_POISON = 0xA5


def with_output(case: Case, **options: Any) -> Case:
    """The case with other settings of its output policy."""
    settings = case.plan.world.settings
    world = replace(case.plan.world, settings=replace(settings, output=replace(settings.output, **options)))
    return replace(case, plan=replace(case.plan, world=world))


class Lanes:
    """Two lanes, each with columns that one batch after the other uses, poisoned in between, as are the totals.

    spoil: changes a batch's columns before they are taken. held: how many lanes are in use now, and were at most.
    """

    def __init__(self, case: Case, spoil: Any = None) -> None:
        self._case, self._spoil = case, spoil
        largest = max((batch.arrivals for batch in case.plan.batches), default=0)
        self._free = [empty_columns(largest + 7) for _ in range(2)]
        self._lock = threading.Condition()
        self.held, self.most_held, self.expanded = 0, 0, 0

    @contextmanager
    def keeping(self, span: tuple[int, int]) -> Iterator[tuple[Results, OnDevice]]:
        work = self._case.work
        lane = self._take()
        try:
            results = expand_segments(work, span)
            size = results.columns.row.size
            for name in Columns._fields:
                getattr(lane, name)[:size] = getattr(results.columns, name)
            kept = Kept(np, Lookups(work.tables, work.rows), lane, int(work.segments.row_start[span[0]]), size)
            if self._spoil is not None:
                self._spoil(kept)
            yield results._replace(columns=empty_columns(0)), OnDevice(kept, STREAM, "a device", _never_completed)
            _poison(results.row_totals)
        finally:
            self._give(lane)

    def _take(self) -> Columns:
        with self._lock:
            self._lock.wait_for(lambda: self._free)
            self.held += 1
            self.expanded += 1
            self.most_held = max(self.held, self.most_held)
            return self._free.pop()

    def _give(self, lane: Columns) -> None:
        _poison(lane)
        with self._lock:
            self.held -= 1
            self._free.append(lane)
            self._lock.notify()


def _poison(arrays: Columns | RowTotals) -> None:
    for name in arrays._fields:
        getattr(arrays, name).view(np.uint8).fill(_POISON)


def _never_completed(_: Columns) -> Columns:
    raise AssertionError("columns that stay on a device are not copied to the host")


def batches_of(
    case: Case, lanes: Lanes | None = None, delivery: Delivery | None = None, ahead: int = 2
) -> Generator[DeviceBatch, None, None]:
    """The case's batches as `expand(..., on_device=True)` gives them."""
    return delivered(case.plan, Source((lanes or Lanes(case)).keeping, delivery or HostDelivery()), ahead)


def record_batches(case: Case) -> list[pa.RecordBatch]:
    """The same batches as the CPU backend gives them."""
    assembler = Assembler(case.plan.world)
    return [
        assembler.whole(finish_batch(case.plan, batch, expand_segments(case.work, batch.segments)))
        for batch in case.plan.batches
    ]


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Texts as texts: which dictionary they are coded by is no matter."""
    fields = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in batch.schema]
    return batch.cast(pa.schema(fields))


def as_frame(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch as cuDF has it, texts as texts: its times have no zones."""
    found = plain(batch)
    fields = [
        field.with_type(pa.timestamp("us")) if pa.types.is_timestamp(field.type) else field for field in found.schema
    ]
    return found.cast(pa.schema(fields))


def assert_same_batch(found: pa.RecordBatch, wanted: pa.RecordBatch) -> None:
    """Equal in schema, and in every row, null and count of nulls."""
    assert found.schema.equals(wanted.schema, check_metadata=True)
    found.validate(full=True)
    for name, one, other in zip(wanted.schema.names, plain(found), plain(wanted), strict=True):
        assert one.equals(other), name
        assert found[name].null_count == wanted[name].null_count, name
