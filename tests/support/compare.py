"""Row-for-row comparison of an arrival table with the reference: equality, or the first place without it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

import pyarrow as pa

from tests.support.law import MASK64
from tests.support.model import Row

COLUMNS = (
    "manifest_fingerprint",
    "parameter_hash",
    "seed",
    "scenario_id",
    "merchant_id",
    "zone_representation",
    "channel_group",
    "bucket_index",
    "arrival_seq",
    "ts_utc",
    "tzid_primary",
    "ts_local_primary",
    "tzid_settlement",
    "ts_local_settlement",
    "tzid_operational",
    "ts_local_operational",
    "routing_universe_hash",
    "is_virtual",
    "s4_spec_version",
    "site_id",
    "edge_id",
)
UTC_TIMES = ("ts_utc",)
WALL_TIMES = ("ts_local_primary", "ts_local_settlement", "ts_local_operational")
INTEGERS = {
    "seed": pa.uint64(),
    "merchant_id": pa.uint64(),
    "bucket_index": pa.int64(),
    "arrival_seq": pa.int64(),
    "site_id": pa.uint64(),
    "edge_id": pa.uint64(),
    "is_virtual": pa.bool_(),
}
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - wall clocks have no zone
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})(Z?)")

Value = int | str | bool | None


def assert_same_rows(
    expected: Sequence[Row],
    table: pa.Table,
    *,
    routing_universe_hash: str,
    spec_version: str = "1.0.0",
    mirror_dual_clock: bool = False,
) -> None:
    """Fail unless the table has the 21 contract columns and exactly these rows, in this order.

    Times may be Arrow timestamps or the contract's strings. The empty channel is null on disk. With
    `mirror_dual_clock` physical rows must show the primary clock where they otherwise show null.
    """
    if tuple(table.column_names) != COLUMNS:
        raise AssertionError(f"columns are {table.column_names}, not {list(COLUMNS)}")
    found = {name: column_values(name, table[name]) for name in COLUMNS}
    constants = {"routing_universe_hash": routing_universe_hash, "s4_spec_version": spec_version}
    for index, row in enumerate(expected[: table.num_rows]):
        for name in COLUMNS:
            wanted = constants[name] if name in constants else _wanted(row, name, mirror_dual_clock)
            value = found[name][index]
            if value != wanted:
                difference = f"expected {_shown(wanted)}, found {_shown(value)}"
                raise AssertionError(f"row {index}, column {name}: {difference}\nexpected row: {row}")
    if table.num_rows != len(expected):
        raise AssertionError(f"{table.num_rows} rows, expected {len(expected)}; the common ones are equal")


def column_values(name: str, column: pa.ChunkedArray) -> list[Value]:
    """The column as Python values, times as µs; fails on a type that the contract does not know for it."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if name in INTEGERS:
        if kind != INTEGERS[name]:
            raise AssertionError(f"column {name} is {column.type}, not {INTEGERS[name]}")
        return list(column.to_pylist())
    if name in UTC_TIMES + WALL_TIMES and pa.types.is_timestamp(kind):
        if kind != pa.timestamp("us", "UTC" if name in UTC_TIMES else None):
            raise AssertionError(f"column {name} is {column.type}")
        return list(column.cast(pa.int64()).to_pylist())
    if not pa.types.is_string(kind):
        raise AssertionError(f"column {name} is {column.type}, not text")
    texts = column.to_pylist()
    if name in UTC_TIMES + WALL_TIMES:
        return [_microseconds(name, text) for text in texts]
    return list(texts)


def _microseconds(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    match = _RFC3339.fullmatch(text)
    if match is None or (match[2] == "Z") != (name in UTC_TIMES):
        raise AssertionError(f"column {name} holds {text!r}")
    return (dt.datetime.fromisoformat(match[1]) - _EPOCH) // dt.timedelta(microseconds=1)


def _wanted(row: Row, name: str, mirror_dual_clock: bool) -> Value:
    dual = name.endswith(("_settlement", "_operational"))
    if dual and mirror_dual_clock and not row.is_virtual:
        name = "tzid_primary" if name.startswith("tzid") else "ts_local_primary"
    value: Value = getattr(row, name)
    return None if name == "channel_group" and value == "" else value


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return f"{value!r} (hex {value.encode().hex()})"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value} (0x{value & MASK64:016x})"
    return repr(value)
