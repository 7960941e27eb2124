"""Record batches in the contract's 21 columns to record batches in the columns of a shape."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.moments import utc_text
from arrival_engine.engine.readable.facts import Facts
from arrival_engine.engine.readable.shapes import CONTRACT, TEXT, Shape

__all__ = ["Reshaper"]

_REMADE = "the arrivals were made from other inputs; make them again with `arrivals run RUN_ROOT --replace`"
_MINUTE_US = 60_000_000
_INSTANT, _WALL = pa.timestamp("us", "UTC"), pa.timestamp("us")


class Reshaper:
    """Rows of one world in one shape. Any thread may use it."""

    def __init__(self, shape: Shape, facts: Facts) -> None:
        self.shape = shape
        self._has_names = shape.columns == "readable" and facts.names is not None
        self.schema: pa.Schema = shape.schema(has_names=self._has_names)
        self._facts = facts

    @property
    def descriptions(self) -> dict[str, str]:
        """One description per column of `schema`, in order."""
        return self.shape.descriptions(has_names=self._has_names)

    def batch(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows with the contract's columns, whose times may be texts, in the columns of `schema`.

        Raises SCHEMA_VIOLATION for an offset from UTC that is not a whole number of minutes, and for a row without a
        place; SITE_RESOLUTION_FAILED or EDGE_RESOLUTION_FAILED for a place that the world does not have.
        """
        arrays = self._contract(rows) if self.shape.columns == "contract" else self._readable(rows)
        return pa.RecordBatch.from_arrays([arrays[name] for name in self.schema.names], schema=self.schema)

    def _contract(self, rows: pa.RecordBatch) -> dict[str, pa.Array]:
        return {field.name: self._in_type(rows[field.name], field.type) for field in CONTRACT}

    def _in_type(self, column: pa.Array, kind: pa.DataType) -> pa.Array:
        if kind == pa.uint64():
            return self._id(column)
        if pa.types.is_timestamp(kind):
            return _time(column, kind)
        return _text(column) if kind == TEXT else column

    def _readable(self, rows: pa.RecordBatch) -> dict[str, pa.Array]:
        merchant, virtual = rows["merchant_id"], rows["is_virtual"]
        is_virtual = virtual.to_numpy(zero_copy_only=False)
        place = pc.if_else(virtual, rows["edge_id"], rows["site_id"])
        if place.null_count:
            raise _without_place(rows, int(np.argmax(place.is_null())))
        instant, wall = _time(rows["ts_utc"], _INSTANT), _time(rows["ts_local_primary"], _WALL)
        settled = _where(virtual, _time(rows["ts_local_settlement"], _WALL))
        return {
            "merchant_id": self._id(merchant),
            **self._named(rows),
            "arrival_seq": rows["arrival_seq"],
            "ts_utc": instant,
            "ts_local": wall,
            "utc_offset_minutes": _minutes(rows, instant, wall),
            "tzid": _text(rows["tzid_primary"]),
            "place_id": self._id(place),
            "is_virtual": virtual,
            "country": self._facts.places.countries(merchant, place, is_virtual),
            "zone": _text(rows["zone_representation"]),
            "channel": _text(rows["channel_group"]),
            "bucket_index": rows["bucket_index"],
            "settlement_tzid": _where(virtual, _text(rows["tzid_settlement"])),
            "settlement_ts_local": settled,
            "settlement_utc_offset_minutes": _minutes(rows, instant, settled),
        }

    def _named(self, rows: pa.RecordBatch) -> dict[str, pa.Array]:
        if self._facts.names is None:
            return {}
        texts = self._facts.names.column(rows["merchant_id"].to_numpy())
        if texts.null_count:
            raise _without_name(rows, int(np.argmax(texts.is_null())))
        return {"merchant": texts}

    def _id(self, ids: pa.Array) -> pa.Array:
        form = self.shape.ids
        if form == "uint64":
            return ids
        if form == "int64":
            return ids.view(pa.int64())
        if form == "decimal":
            return ids.cast(pa.decimal128(20, 0))
        coded = ids.dictionary_encode()
        return pa.DictionaryArray.from_arrays(coded.indices, coded.dictionary.cast(pa.string()), safe=False)


def _text(column: pa.Array) -> pa.Array:
    """A text column as codes of 32 bits."""
    if column.type == TEXT:
        return column
    if pa.types.is_dictionary(column.type):
        return column.cast(TEXT)
    return column.cast(pa.string()).dictionary_encode()


def _time(column: pa.Array, kind: pa.TimestampType) -> pa.Array:
    """Times, or the contract's texts of them, as timestamps."""
    if pa.types.is_timestamp(column.type):
        return column if column.type == kind else column.cast(kind)
    texts = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    return texts.cast(kind)


def _minutes(rows: pa.RecordBatch, instant: pa.Array, wall: pa.Array) -> pa.Array:
    """What each wall clock is ahead of UTC, int32; null where there is no clock. Raises SCHEMA_VIOLATION."""
    # UTC stands in for a clock that is not there: it is ahead by nothing.
    clock = pc.coalesce(wall, instant.view(_WALL)) if wall.null_count else wall
    ahead = _micros(clock) - _micros(instant)
    minutes = ahead // _MINUTE_US
    odd = minutes * _MINUTE_US != ahead
    if odd.any():
        raise _odd_offset(rows, int(np.argmax(odd)), ahead, _micros(instant))
    found = pa.array(minutes.astype(np.int32))
    return pc.if_else(wall.is_valid(), found, pa.scalar(None, pa.int32())) if wall.null_count else found


def _micros(times: pa.Array) -> NDArray[np.int64]:
    micros: NDArray[np.int64] = times.view(pa.int64()).to_numpy()
    return micros


def _where(virtual: pa.Array, column: pa.Array) -> pa.Array:
    """The values of virtual rows, null elsewhere."""
    if not pa.types.is_dictionary(column.type):
        return pc.if_else(virtual, column, pa.scalar(None, column.type))
    codes = pc.if_else(virtual, column.indices, pa.scalar(None, column.indices.type))
    return pa.DictionaryArray.from_arrays(codes, column.dictionary, safe=False)


def _row(rows: pa.RecordBatch, at: int) -> str:
    return f"arrival {rows['arrival_seq'][at]} of merchant {rows['merchant_id'][at]}"


def _without_place(rows: pa.RecordBatch, at: int) -> ArrivalError:
    lacking = "edge_id" if rows["is_virtual"][at].as_py() else "site_id"
    return ArrivalError(
        Code.SCHEMA_VIOLATION,
        f"{_row(rows, at)} has no {lacking}",
        hint=_REMADE,
        column=lacking,
    )


def _without_name(rows: pa.RecordBatch, at: int) -> ArrivalError:
    merchant = rows["merchant_id"][at].as_py()
    return ArrivalError(
        Code.SCHEMA_VIOLATION,
        f"merchant {merchant} has arrivals but no row in merchant_names_5B",
        hint=_REMADE,
        merchant_id=merchant,
    )


def _odd_offset(rows: pa.RecordBatch, at: int, ahead: NDArray[np.int64], instant: NDArray[np.int64]) -> ArrivalError:
    return ArrivalError(
        Code.SCHEMA_VIOLATION,
        f"{_row(rows, at)}, at {utc_text(int(instant[at]))}, has a wall clock that is {int(ahead[at])} microseconds "
        "ahead of UTC, which is not a whole number of minutes",
        hint="use the contract's columns, which have no offset: --columns contract, or columns='contract' in Python",
        column="utc_offset_minutes",
    )
