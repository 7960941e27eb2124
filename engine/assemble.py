"""Columns of codes to Arrow record batches with the contract's 21 columns."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts import arrow_schema
from engine.backend import BatchResult
from engine.world.load import World


class Assembler:
    """Turns slices of batch results into record batches; holds the texts once for the whole run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._options = world.settings.output
        self.schema: pa.Schema = arrow_schema("arrival_events_5B", timestamp_encoding=self._options.timestamp_encoding)
        self._tzids = pa.array(world.tzids, pa.string())
        # The null channel is the empty text, which sorts first; on disk it is a null again.
        self._has_null_channel = world.channels[:1] == ("",)
        self._channels = pa.array(world.channels[int(self._has_null_channel) :], pa.string())

    @property
    def row_group_rows(self) -> int:
        """Rows a record batch, and so a row group, should have."""
        return self._options.row_group_rows

    @cached_property
    def _constants(self) -> dict[str, str]:
        world, identity = self._world, self._world.receipt.identity
        return {
            "manifest_fingerprint": identity.manifest_fingerprint,
            "parameter_hash": identity.parameter_hash,
            "scenario_id": world.scenario_id,
            "routing_universe_hash": world.universe_hash,
            "s4_spec_version": world.seal.spec_version,
        }

    def assemble(self, result: BatchResult, first: int, last: int) -> pa.RecordBatch:
        """Arrivals first to last (half-open, within the batch) as a record batch."""
        columns, tables = result.columns, self._world.tables
        rows = slice(*result.batch.rows)
        row = columns.row[first:last]
        entity = self._world.rows.entity[rows]
        size = last - first
        virtual = columns.is_virtual[first:last]
        clocks = _Validity(virtual, everywhere=self._options.mirror_dual_clock)
        primary = columns.primary[first:last]
        local = columns.local_us[first:last]
        settlement, settlement_local = columns.settlement[first:last], columns.settlement_local_us[first:last]
        if self._options.mirror_dual_clock:
            settlement = np.where(virtual, settlement, primary)
            settlement_local = np.where(virtual, settlement_local, local)
        place = columns.place[first:last]
        arrays = {
            **{name: _constant(value, size) for name, value in self._constants.items()},
            "seed": _plain(np.full(size, self._world.receipt.identity.seed, np.uint64)),
            "merchant_id": _plain(tables.merchants.id[tables.entities.merchant[entity]][row]),
            "zone_representation": self._zone(tables.entities.zone[entity][row]),
            "channel_group": self._channel(tables.entities.channel[entity][row]),
            "bucket_index": _plain(self._world.rows.bucket[rows].astype(np.int64)[row]),
            "arrival_seq": _plain(columns.arrival_seq[first:last]),
            "ts_utc": self._timestamp(columns.ts_us[first:last], "UTC"),
            "tzid_primary": self._zone(primary),
            "ts_local_primary": self._timestamp(local),
            "tzid_settlement": self._zone(settlement, clocks),
            "ts_local_settlement": self._timestamp(settlement_local, None, clocks),
            "tzid_operational": self._zone(primary, clocks),
            "ts_local_operational": self._timestamp(local, None, clocks),
            "is_virtual": _bits(virtual),
            "site_id": _plain(place, _Validity(~virtual)),
            "edge_id": _plain(place, _Validity(virtual)),
        }
        return pa.RecordBatch.from_arrays([arrays[name] for name in self.schema.names], schema=self.schema)

    def _zone(self, codes: NDArray[np.int32], validity: _Validity | None = None) -> pa.Array:
        return pa.DictionaryArray.from_arrays(_plain(codes, validity), self._tzids)

    def _channel(self, codes: NDArray[np.int32]) -> pa.Array:
        validity = None
        if self._has_null_channel:
            validity = _Validity(codes > 0)
            codes = codes - np.int32(1)
        return pa.DictionaryArray.from_arrays(_plain(codes, validity), self._channels)

    def _timestamp(
        self, values: NDArray[np.int64], zone: str | None = None, validity: _Validity | None = None
    ) -> pa.Array:
        array = _plain(values, validity).view(pa.timestamp("us"))
        if self._options.timestamp_encoding == "timestamp":
            return array if zone is None else array.view(pa.timestamp("us", zone))
        text = pc.strftime(array, "%Y-%m-%dT%H:%M:%S")
        return text if zone is None else pc.binary_join_element_wise(text, "Z", "")


class _Validity:
    """Which elements are not null, as Arrow's bitmap."""

    def __init__(self, valid: NDArray[np.bool_], everywhere: bool = False) -> None:
        self.nulls = 0 if everywhere else int(valid.size - np.count_nonzero(valid))
        self.bitmap = _bitmap(valid) if self.nulls else None


def _bitmap(flags: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _bits(flags: NDArray[np.bool_]) -> pa.Array:
    return pa.Array.from_buffers(pa.bool_(), flags.size, [None, _bitmap(flags)], 0)


def _plain(values: NDArray[np.generic], validity: _Validity | None = None) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    validity = validity or _Validity(np.ones(0, np.bool_))
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), values.size, [validity.bitmap, buffer], validity.nulls
    )


def _constant(value: str, size: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(_plain(np.zeros(size, np.int32)), pa.array([value], pa.string()))
