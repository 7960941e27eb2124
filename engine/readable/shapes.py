"""The columns that people read, their Arrow types, and a sentence on each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

import pyarrow as pa

from arrival_engine.contracts import arrow_schema
from arrival_engine.contracts.options import ColumnSet, IdType
from arrival_engine.contracts.pandas_metadata import KEY, pandas_metadata
from arrival_engine.contracts.schemas import json_schema

__all__ = ["CONTRACT", "DESCRIPTIONS", "ID_TYPES", "TEXT", "Shape", "plain"]

TEXT = pa.dictionary(pa.int32(), pa.string())
CONTRACT: pa.Schema = arrow_schema("arrival_events_5B")

# A uint64 has up to 20 decimal digits.
ID_TYPES: Mapping[IdType, pa.DataType] = MappingProxyType(
    {"uint64": pa.uint64(), "int64": pa.int64(), "text": TEXT, "decimal": pa.decimal128(20, 0)}
)

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "merchant_id": "Id of the merchant.",
        "merchant": "The merchant's id in the tables that the world was imported from, where it is text.",
        "arrival_seq": "Number of the arrival within its merchant, from 1; with merchant_id the key of the row.",
        "ts_utc": "The instant, in UTC.",
        "ts_local": "The instant on the wall clock of tzid.",
        "utc_offset_minutes": "What ts_local is ahead of UTC, in minutes: ts_utc = ts_local - utc_offset_minutes.",
        "tzid": "IANA time zone of the place.",
        "place_id": "Id of the place: of an edge where is_virtual is true, of a site elsewhere.",
        "is_virtual": "Whether the arrival has an edge rather than a site.",
        "country": "Country of the place, ISO 3166-1 alpha-2: the legal country of a site, the country of an edge.",
        "zone": "IANA time zone in which the arrivals were counted.",
        "channel": "Channel in which the arrivals were counted; null where counts have none.",
        "bucket_index": "Bucket of the time grid in which the arrivals were counted, from 0.",
        "settlement_tzid": "Virtual arrivals: IANA time zone in which the merchant settles; null for others.",
        "settlement_ts_local": "Virtual arrivals: the instant on the wall clock of settlement_tzid; null for others.",
        "settlement_utc_offset_minutes": "Virtual arrivals: what settlement_ts_local is ahead of UTC, in minutes; "
        "null for others.",
    }
)

_ID_NOTES: Mapping[IdType, str] = MappingProxyType(
    {
        "uint64": "",
        "int64": " The same 64 bits as the unsigned id: add 2^64 to a negative value.",
        "text": " As decimal text.",
        "decimal": "",
    }
)


@dataclass(frozen=True)
class Shape:
    """The columns of arrivals, and the form of their ids.

    columns: `readable`, or the contract's 21. ids: uint64; int64, the same 64 bits; text, decimal digits; or decimal,
    decimal128(20, 0). Raises ValueError for another word.
    """

    columns: ColumnSet = "readable"
    ids: IdType = "uint64"

    def __post_init__(self) -> None:
        for name, known in (("columns", get_args(ColumnSet)), ("ids", get_args(IdType))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")

    def schema(self, *, has_names: bool) -> pa.Schema:
        """The columns and their types in memory, where texts are dictionaries; has_names: with `merchant`."""
        return _for_pandas(self._contract() if self.columns == "contract" else self._readable(has_names))

    def descriptions(self, *, has_names: bool) -> dict[str, str]:
        """One description per column, in order."""
        schema = self.schema(has_names=has_names)
        if self.columns == "contract":
            found = {name: body["description"] for name, body in _contract_properties().items()}
        else:
            found = dict(DESCRIPTIONS)
        ids = {field.name for field in CONTRACT if field.type == pa.uint64()} | {"place_id"}
        return {name: found[name] + (_ID_NOTES[self.ids] if name in ids else "") for name in schema.names}

    def _contract(self) -> Iterator[pa.Field]:
        for field in CONTRACT:
            yield field.with_type(ID_TYPES[self.ids]) if field.type == pa.uint64() else field

    def _readable(self, has_names: bool) -> Iterator[pa.Field]:
        of_id = ID_TYPES[self.ids]
        yield pa.field("merchant_id", of_id, nullable=False)
        if has_names:
            yield pa.field("merchant", TEXT, nullable=False)
        yield from (
            pa.field("arrival_seq", pa.int64(), nullable=False),
            pa.field("ts_utc", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("ts_local", pa.timestamp("us"), nullable=False),
            pa.field("utc_offset_minutes", pa.int32(), nullable=False),
            pa.field("tzid", TEXT, nullable=False),
            pa.field("place_id", of_id, nullable=False),
            pa.field("is_virtual", pa.bool_(), nullable=False),
            pa.field("country", TEXT, nullable=False),
            pa.field("zone", TEXT, nullable=False),
            pa.field("channel", TEXT),
            pa.field("bucket_index", pa.int64(), nullable=False),
            pa.field("settlement_tzid", TEXT),
            pa.field("settlement_ts_local", pa.timestamp("us")),
            pa.field("settlement_utc_offset_minutes", pa.int32()),
        )


def _contract_properties() -> Mapping[str, Any]:
    properties: Mapping[str, Any] = json_schema("arrival_events_5B")["items"]["properties"]
    return properties


def plain(schema: pa.Schema) -> pa.Schema:
    """The same columns with plain texts instead of dictionaries, as files have them."""
    return _for_pandas(
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema
    )


def _for_pandas(fields: Iterable[pa.Field]) -> pa.Schema:
    schema = pa.schema(list(fields))
    return schema.with_metadata({KEY: pandas_metadata(schema)})
