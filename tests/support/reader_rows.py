"""Rows in columns for people, derived one by one from rows in the contract's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from arrival_engine.cpu_fallback.identifiers import edge_id, site_id
from tests.support.reader_worlds import tables

SETTLEMENT = {"settlement_tzid": "tzid_settlement", "settlement_ts_local": "ts_local_settlement"}


@cache
def countries() -> Mapping[int, str]:
    """The country of each site and edge of the world's tables."""
    given = tables()
    sites = {site_id(site.merchant_id, site.country, site.order): site.country for site in given.sites}
    return sites | {edge_id(edge.merchant_id, edge.order - 1): edge.country for edge in given.edges}


def expected_row(row: Mapping[str, Any], form: Callable[[int], object]) -> dict[str, object]:
    """A row in columns for people, from Python integers and datetimes; `form` makes ids."""
    virtual = row["is_virtual"]
    place = row["edge_id"] if virtual else row["site_id"]
    utc = row["ts_utc"].replace(tzinfo=None)
    ahead = (row["ts_local_settlement"] - utc) // timedelta(minutes=1) if virtual else None
    settled = {name: row[source] if virtual else None for name, source in SETTLEMENT.items()}
    return {
        "merchant_id": form(row["merchant_id"]),
        "arrival_seq": row["arrival_seq"],
        "ts_utc": row["ts_utc"],
        "ts_local": row["ts_local_primary"],
        "utc_offset_minutes": (row["ts_local_primary"] - utc) // timedelta(minutes=1),
        "tzid": row["tzid_primary"],
        "place_id": form(place),
        "is_virtual": virtual,
        "country": countries()[place],
        "zone": row["zone_representation"],
        "channel": row["channel_group"],
        "bucket_index": row["bucket_index"],
        **settled,
        "settlement_utc_offset_minutes": ahead,
    }
