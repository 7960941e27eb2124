"""Types of Parquet columns: every one that holds the same values gives the same world; others are refused by row."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.columns import Naming, Reading, layouts
from arrival_engine.engine.importing.numbers import Marks
from arrival_engine.engine.importing.reading import read_table
from tests.support.import_refused import SCHEMA_BAD, TIME_BAD, ZONE_BAD, edited, refused, request_of

MIDNIGHT = datetime(2026, 3, 29, tzinfo=UTC)
COLUMNS = {
    "merchant_id": pa.array([1, 1], pa.int64()),
    "tz": pa.array(["Europe/Berlin"] * 2).dictionary_encode(),
    "bucket_start": pa.array([MIDNIGHT] * 2, pa.timestamp("ns", "UTC")),
    "count": pa.array([3, 4], pa.int16()),
}
PARQUET = {
    "negative id": ({"merchant_id": pa.array([1, -1])}, SCHEMA_BAD, ("row 2: merchant_id -1 is not a merchant id",)),
    "list": ({"tz": pa.array([["a"], ["b"]])}, SCHEMA_BAD, ("column 'tz' has the type list", "store it as")),
    "null zone": ({"tz": pa.array(["Europe/Berlin", None])}, ZONE_BAD, ("row 2: tz is empty",)),
    "naive clock": (
        {"bucket_start": pa.array([datetime(2026, 3, 29)] * 2)},  # noqa: DTZ001
        TIME_BAD,
        ("row 1: bucket_start 2026-03-29T00:00:00.000000 has no zone", "--assume-utc"),
    ),
    "a date": (
        {"bucket_start": pa.array([date(2026, 3, 29)] * 2)},
        TIME_BAD,
        ("row 1: bucket_start 2026-03-29 has no zone", "--bucket local-day", "--assume-utc and --bucket 1d"),
    ),
    "a number for a time": ({"bucket_start": pa.array([1, 2])}, TIME_BAD, ("row 1: bucket_start 1 is not a time",)),
    "half a microsecond": (
        {"bucket_start": pa.array([1, 2], pa.timestamp("ns", "UTC"))},
        TIME_BAD,
        ("microseconds cannot represent",),
    ),
    "negative count": ({"count": pa.array([3, -4])}, SCHEMA_BAD, ("row 2: count -4 is negative",)),
    "count not a number": (
        {"count": pa.array([3.0, np.nan], from_pandas=False)},
        SCHEMA_BAD,
        ("row 2: count nan is not a number",),
    ),
    "half an id": (
        {"merchant_id": pa.array([1.0, 1.5])},
        SCHEMA_BAD,
        ("row 2: merchant_id 1.5 is not a whole number",),
    ),
    "float id that may be rounded": (
        {"merchant_id": pa.array([1.0, 2.0**53])},
        SCHEMA_BAD,
        (
            "row 2: merchant_id 9007199254740992.0 is a number with decimals",
            "9007199254740992 and more have lost digits",
        ),
    ),
    "float32 id that may be rounded": (
        {"merchant_id": pa.array([1.0, 2.0**24], pa.float32())},
        SCHEMA_BAD,
        ("row 2: merchant_id 16777216.0", "16777216 and more have lost digits"),
    ),
    "float16 id that may be rounded": (
        {"merchant_id": pa.array(np.array([1.0, 2048.0], np.float16))},
        SCHEMA_BAD,
        ("row 2: merchant_id 2048.0", "2048 and more have lost digits"),
    ),
    "float id without end": ({"merchant_id": pa.array([1.0, np.inf])}, SCHEMA_BAD, ("row 2: merchant_id inf",)),
    "decimal id above 64 bits": (
        {"merchant_id": pa.array([Decimal(1), Decimal(2**64)], pa.decimal128(20, 0))},
        SCHEMA_BAD,
        ("row 2: merchant_id 18446744073709551616 is not a merchant id",),
    ),
    "half a decimal id": (
        {"merchant_id": pa.array([Decimal(1), Decimal("1.5")], pa.decimal256(60, 1))},
        SCHEMA_BAD,
        ("row 2: merchant_id 1.5 is not a whole number",),
    ),
    "decimal count with a fraction": (
        {"count": pa.array([Decimal(3), Decimal("4.25")], pa.decimal128(10, 2))},
        SCHEMA_BAD,
        ("row 2: count 4.25 is not a whole number",),
    ),
    "null decimal id": (
        {"merchant_id": pa.array([Decimal(1), None], pa.decimal128(20, 0))},
        SCHEMA_BAD,
        ("row 2: merchant_id is empty",),
    ),
    "nothing but nulls": ({"count": pa.nulls(2)}, SCHEMA_BAD, ("row 1: count is empty",)),
    "text that is ambiguous": (
        {"count": pa.array(["3", "4.000"])},
        SCHEMA_BAD,
        ("row 2: count '4.000' is ambiguous: 4 or 4000", "--thousands ."),
    ),
    "bytes": ({"tz": pa.array([b"Europe/Berlin"] * 2)}, SCHEMA_BAD, ("column 'tz' has the type binary", "store it as")),
    "half a count": ({"count": pa.array([3.0, 0.5])}, SCHEMA_BAD, ("row 2: count 0.5 is not a whole number",)),
    "null count": ({"count": pa.array([3, None])}, SCHEMA_BAD, ("row 2: count is empty",)),
    "number for a channel": ({"channel": pa.array([1.0, 2.0])}, SCHEMA_BAD, ("row 1: channel 1.0 is not text",)),
    "true": ({"count": pa.array([True, False])}, SCHEMA_BAD, ("column 'count' has the type bool",)),
}


def parquet_request(folder, columns):
    pq.write_table(pa.table({**COLUMNS, **columns}), folder / "counts.parquet")
    return request_of(folder, edited(counts=None), counts=[folder / "counts.parquet"], bucket="1h")


@pytest.mark.parametrize("name", PARQUET)
def test_a_wrong_parquet_column_is_refused(tmp_path, name):
    columns, code, says = PARQUET[name]
    refused(parquet_request(tmp_path, columns), code, *says)


LARGEST = 2**64 - 1
IDS = {
    "uint64": pa.array([LARGEST, 1], pa.uint64()),
    "decimal(20, 0), as Spark shows uint64": pa.array([Decimal(LARGEST), Decimal(1)], pa.decimal128(20, 0)),
    "decimal with a fraction of zeros": pa.array([Decimal(LARGEST), Decimal(1)], pa.decimal128(38, 10)),
    "decimal256": pa.array([Decimal(LARGEST), Decimal(1)], pa.decimal256(76, 3)),
    "decimals in a dictionary": pa.array([Decimal(LARGEST), Decimal(1)], pa.decimal128(20, 0)).dictionary_encode(),
    "uint64 in a dictionary": pa.array([LARGEST, 1], pa.uint64()).dictionary_encode(),
    "text": pa.array([str(LARGEST), "1"]),
    "large text": pa.array([str(LARGEST), "1"], pa.large_string()),
    "text view": pa.array([str(LARGEST), "1"], pa.string_view()),
    "text in a dictionary": pa.array([str(LARGEST), "1"]).dictionary_encode(),
}


def column_of(folder, table, columns, name, *, assume_utc=False):
    pq.write_table(pa.table({**columns}), folder / "table.parquet")
    layout = layouts(Reading(assume_utc=assume_utc))[table]
    read, _ = read_table(layout, [folder / "table.parquet"], Naming({}, frozenset()), Marks())
    return read[name].tolist()


@pytest.mark.parametrize("kind", IDS)
def test_the_largest_id_is_exact_in_every_type_that_can_hold_it(tmp_path, kind):
    assert column_of(tmp_path, "counts", {**COLUMNS, "merchant_id": IDS[kind]}, "merchant_id") == [LARGEST, 1]


WHOLE = {
    "int8": pa.array([7, 1], pa.int8()),
    "uint32": pa.array([7, 1], pa.uint32()),
    "int64": pa.array([7, 1], pa.int64()),
    "float16": pa.array(np.array([7, 1], np.float16)),
    "float32": pa.array([7.0, 1.0], pa.float32()),
    "float64": pa.array([7.0, 1.0]),
    "decimal32": pa.array([Decimal(7), Decimal(1)], pa.decimal32(9, 2)),
    "decimal64": pa.array([Decimal(7), Decimal(1)], pa.decimal64(18, 0)),
    "decimal128": pa.array([Decimal(7), Decimal(1)], pa.decimal128(20, 0)),
    "decimal text": pa.array(["7.0", "1.00"]),
}
INTEGER_COLUMNS = {
    "merchant_id": "counts",
    "count": "counts",
    "bucket_index": "counts",
    "site_order": "sites",
    "edge_order": "edges",
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("name", INTEGER_COLUMNS)
def test_every_integer_column_takes_every_type_of_whole_numbers(tmp_path, name, kind):
    table = INTEGER_COLUMNS[name]
    places = {"merchant_id": [1, 1], "tz": ["Europe/Berlin"] * 2, "weight": [1.0, 2.0], "country": ["DE"] * 2}
    columns = {**(COLUMNS if table == "counts" else places), name: WHOLE[kind]}
    assert column_of(tmp_path, table, columns, name) == [7, 1]


TIMES = {
    "s": pa.array([1_774_742_400, 1_774_746_000], pa.timestamp("s", "UTC")),
    "ms": pa.array([1_774_742_400_000, 1_774_746_000_000], pa.timestamp("ms", "Europe/Berlin")),
    "us": pa.array([1_774_742_400_000_000, 1_774_746_000_000_000], pa.timestamp("us", "+05:30")),
    "ns": pa.array([1_774_742_400_000_000_000, 1_774_746_000_000_000_000], pa.timestamp("ns", "America/New_York")),
    "without a zone": pa.array([1_774_742_400_000, 1_774_746_000_000], pa.timestamp("ms")),
    "dates": pa.array([date(2026, 3, 29), date(2026, 3, 30)]),
    "dates of 64 bits": pa.array([date(2026, 3, 29), date(2026, 3, 30)], pa.date64()),
    "in a dictionary": pa.array([1_774_742_400, 1_774_746_000], pa.timestamp("s", "UTC")).dictionary_encode(),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_of_every_unit_are_the_same_moments(tmp_path, kind):
    second = 1_774_828_800 if kind.startswith("dates") else 1_774_746_000
    found = column_of(tmp_path, "counts", {**COLUMNS, "bucket_start": TIMES[kind]}, "bucket_start", assume_utc=True)
    assert found == [1_774_742_400 * 1_000_000, second * 1_000_000]


def test_decimal_ids_and_counts_give_the_same_world(tmp_path):
    plain = import_world(parquet_request(tmp_path, {}))
    (tmp_path / "world").rename(tmp_path / "first")
    columns = {
        "merchant_id": pa.array([Decimal(1)] * 2, pa.decimal128(20, 0)),
        "count": pa.array([Decimal(3), Decimal(4)], pa.decimal128(38, 5)),
        "bucket_start": pa.array([MIDNIGHT] * 2, pa.timestamp("s", "Europe/Berlin")),
    }
    assert import_world(parquet_request(tmp_path, columns)).identity == plain.identity
