"""Columns of codes to Arrow record batches with the contract's 21 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arrival_engine.contracts import arrow_schema
from arrival_engine.cpu_fallback.spread import RowFacts, spread_rows
from arrival_engine.cpu_fallback.tables import Columns
from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.expand.row_groups import row_group_spans
from arrival_engine.engine.world.load import World

_PADDING = 64  # the largest alignment of Arrow files in bytes; used here as a number of elements


class Assembler:
    """Turns batch results into record batches; the texts are shared by the whole run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._options = world.settings.output
        self.schema: pa.Schema = arrow_schema("arrival_events_5B", timestamp_encoding=self._options.timestamp_encoding)
        self._tzids = pa.array(world.tzids, pa.string())
        # The null channel is the empty text, which sorts first; on disk it is a null again.
        self._has_null_channel = world.channels[:1] == ("",)
        self._channels = pa.array(world.channels[int(self._has_null_channel) :], pa.string())
        self._full_constants = self._constant_columns(0)

    def batches(self, result: BatchResult) -> Iterator[pa.RecordBatch]:
        """The batch in pieces of at most `row_group_rows`, each one row group of its file."""
        facts = self._row_facts(result)
        for first, last in self.row_groups(result):
            yield self._record_batch(result.columns, facts, first, last)

    def row_groups(self, result: BatchResult) -> Iterator[tuple[int, int]]:
        """The arrivals that each row group holds, half-open, counted within the batch."""
        rows, span = self._world.rows, slice(*result.batch.rows)
        counts = rows.arrivals[span]
        before = np.cumsum(counts, dtype=np.int64) - counts
        merchant = self._world.tables.entities.merchant[rows.entity[span]]
        merchant_first = before[np.diff(merchant, prepend=merchant[:1]) != 0]
        yield from row_group_spans(merchant_first, result.batch.arrivals, self._options.row_group_rows)

    def whole(self, result: BatchResult) -> pa.RecordBatch:
        """The batch as one record batch."""
        return self._record_batch(result.columns, self._row_facts(result), 0, result.batch.arrivals)

    def _row_facts(self, result: BatchResult) -> RowFacts:
        rows, tables = self._world.rows, self._world.tables
        span = slice(*result.batch.rows)
        entity = rows.entity[span]
        return RowFacts(
            tables.merchants.id[tables.entities.merchant[entity]],
            tables.entities.zone[entity],
            tables.entities.channel[entity],
            rows.bucket[span].astype(np.int64),
        )

    def _record_batch(self, columns: Columns, facts: RowFacts, first: int, last: int) -> pa.RecordBatch:
        """Arrivals first to last (half-open, within the batch)."""
        row = spread_rows(facts, columns.row[first:last])
        size = last - first
        virtual = columns.is_virtual[first:last]
        clocks = None if self._options.mirror_dual_clock else _Validity(virtual)
        primary = columns.primary[first:last]
        local = columns.local_us[first:last]
        settlement, settlement_local = columns.settlement[first:last], columns.settlement_local_us[first:last]
        if self._options.mirror_dual_clock:
            settlement = np.where(virtual, settlement, primary)
            settlement_local = np.where(virtual, settlement_local, local)
        arrays = {
            **self._constants(size),
            "merchant_id": _plain(row.merchant_id),
            "zone_representation": self._zone(row.zone),
            "channel_group": self._channel(row.channel),
            "bucket_index": _plain(row.bucket),
            "arrival_seq": _plain(columns.arrival_seq[first:last]),
            "ts_utc": self._timestamp(columns.ts_us[first:last], "UTC"),
            "tzid_primary": self._zone(primary),
            "ts_local_primary": self._timestamp(local),
            "tzid_settlement": self._zone(settlement, clocks),
            "ts_local_settlement": self._timestamp(settlement_local, None, clocks),
            "tzid_operational": self._zone(primary, clocks),
            "ts_local_operational": self._timestamp(local, None, clocks),
            "is_virtual": pa.Array.from_buffers(pa.bool_(), size, [None, _bitmap(virtual)], 0),
            **self._places(columns.place[first:last], virtual),
        }
        return pa.RecordBatch.from_arrays([arrays[name] for name in self.schema.names], schema=self.schema)

    def _constants(self, size: int) -> dict[str, pa.Array]:
        """Columns of one value, sliced from arrays that are made once and never change, so threads share them."""
        full = self._full_constants
        # Arrow files pad an array with what follows it in memory. These are always longer than needed, so that the
        # bytes of a part do not depend on the size of earlier parts.
        if len(full["seed"]) < size + _PADDING:
            full = self._full_constants = self._constant_columns(size + _PADDING)
        return {name: array.slice(0, size) for name, array in full.items()}

    def _constant_columns(self, size: int) -> dict[str, pa.Array]:
        zeros = np.zeros(size, np.int32)
        texts = constant_texts(self._world)
        columns = {name: _coded(zeros, pa.array([text], pa.string())) for name, text in texts.items()}
        return {**columns, "seed": _plain(np.full(size, self._world.identity.seed, np.uint64))}

    def _places(self, place: NDArray[np.int32], virtual: NDArray[np.bool_]) -> dict[str, pa.Array]:
        tables = self._world.tables
        found = {}
        for name, ids, valid in (("site_id", tables.sites.id, ~virtual), ("edge_id", tables.edges.id, virtual)):
            values = np.zeros(place.size, np.uint64)
            values[valid] = ids[place[valid]]
            found[name] = _plain(values, _Validity(valid))
        return found

    def _zone(self, codes: NDArray[np.int32], validity: _Validity | None = None) -> pa.Array:
        return _coded(codes, self._tzids, validity)

    def _channel(self, codes: NDArray[np.int32]) -> pa.Array:
        validity = None
        if self._has_null_channel:
            validity = _Validity(codes > 0)
            codes = codes - np.int32(1)
        return _coded(codes, self._channels, validity)

    def _timestamp(
        self, values: NDArray[np.int64], zone: str | None = None, validity: _Validity | None = None
    ) -> pa.Array:
        array = _plain(values, validity).view(pa.timestamp("us"))
        if self._options.timestamp_encoding == "timestamp":
            return array if zone is None else array.view(pa.timestamp("us", zone))
        # Ten times faster than strftime, to the same text.
        text = pc.binary_replace_slice(array.cast(pa.string()), 10, 11, "T")
        return text if zone is None else pc.binary_join_element_wise(text, "Z", "")


def constant_texts(world: World) -> dict[str, str]:
    """The text columns that have one value throughout a scenario."""
    identity = world.identity
    return {
        "manifest_fingerprint": identity.manifest_fingerprint,
        "parameter_hash": identity.parameter_hash,
        "scenario_id": world.scenario_id,
        "routing_universe_hash": world.universe_hash,
        "s4_spec_version": world.spec_version,
    }


class _Validity:
    """Which elements are not null, as Arrow's bitmap."""

    def __init__(self, valid: NDArray[np.bool_]) -> None:
        self.nulls = int(valid.size - np.count_nonzero(valid))
        self.bitmap = _bitmap(valid) if self.nulls else None


def _bitmap(flags: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _plain(values: NDArray[Any], validity: _Validity | None = None) -> pa.Array:
    buffers = [validity.bitmap if validity else None, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), values.size, buffers, validity.nulls if validity else 0
    )


def _coded(codes: NDArray[np.int32], texts: pa.Array, validity: _Validity | None = None) -> pa.Array:
    # Codes come from tables that were checked when they were loaded; looking at each again would cost as much as
    # the rest of the column.
    return pa.DictionaryArray.from_arrays(_plain(codes, validity), texts, safe=False)
