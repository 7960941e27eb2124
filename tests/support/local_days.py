"""Imports of counts of local days, and the rule of their division in plain Python integers."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta

from arrival_engine.engine.importing import ImportRequest, import_world
from tests.support.law import offset_us, philox2x64
from tests.support.worlds import pinned_zone

MICROS = 10**6
HEADER = "merchant_id,tz,channel,bucket_start,count\n"


def days_request(folder, rows, **options):
    """An import of (merchant, zone, channel, bucket_start, count) as local days; every merchant has a site per zone."""
    folder.mkdir(parents=True, exist_ok=True)
    counts, sites = folder / "counts.csv", folder / "sites.csv"
    counts.write_text(HEADER + "".join(",".join(map(str, row)) + "\n" for row in rows))
    places = sorted({(row[0], row[1]) for row in rows})
    sites.write_text("merchant_id,tz,country,weight\n" + "".join(f"{m},{tz},DE,1\n" for m, tz in places))
    return ImportRequest(folder / "world", [counts], [sites], **{"bucket": "local-day", **options})


def import_days(folder, rows, **options):
    return import_world(days_request(folder, rows, **options))


def day_bounds(tzid, day):
    """First instant of a date in a zone and of the one after it, in microseconds; by `zoneinfo`, minute by minute."""
    zone = pinned_zone(tzid)

    def start(of):
        at = int(datetime(of.year, of.month, of.day, tzinfo=UTC).timestamp()) - 16 * 3600
        while datetime.fromtimestamp(at, zone).date() < of:
            at += 60
        return at * MICROS

    wanted = date.fromisoformat(day)
    return start(wanted), start(wanted + timedelta(days=1))


def _sized(text):
    return len(text.encode()).to_bytes(4, "big") + text.encode()


def day_stream(merchant, tzid, channel):
    """Key and hi0 of an entity's days."""
    entity = f"merchant_id={merchant}|zone={tzid}|channel_group={channel}"
    digest = hashlib.sha256(_sized("arrival-engine.import") + _sized("local_day.v1") + _sized(entity)).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def divided(merchant, tzid, channel, day, count, edges):
    """The arrivals of a day by the edges (microseconds) of the buckets that it covers: {start of bucket: arrivals}."""
    start, end = day_bounds(tzid, day)
    key, high = day_stream(merchant, tzid, channel)
    number = (date.fromisoformat(day) - date(1970, 1, 1)).days
    found: dict[int, int] = {}
    for draw in range(count):
        x0, _ = philox2x64(draw, (high + number) % 2**64, key)
        at = start + offset_us(x0, end - start)
        bucket = max(edge for edge in edges if edge <= at)
        found[bucket] = found.get(bucket, 0) + 1
    return found
