#!/usr/bin/env python3
"""Writes the example tables of `arrivals import --example`: a coffee chain over the European clock change of 2026.

Run from the repository root after an edit: python examples/make_coffee.py [DIRECTORY]
No random numbers: sales follow opening hours by local clock, weekday and a little arithmetic noise.
"""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

HOME = Path(__file__).resolve().parent.parent / "engine" / "importing" / "example"
START, DAYS = datetime(2026, 3, 24, tzinfo=UTC), 10
# Sales an hour, from seven in the morning: breakfast, lunch, afternoon.
SHOP = (9, 21, 24, 15, 12, 18, 22, 14, 11, 13, 12, 7)
# Sales an hour around the clock: the evening is busiest.
ONLINE = (6, 4, 2, 1, 1, 2, 4, 7, 9, 11, 12, 12, 13, 12, 12, 13, 14, 16, 19, 23, 26, 25, 18, 11)

# merchant, zone, channel, size, sales by local hour
LINES = (
    (1001, "Europe/Berlin", "card", 10, SHOP),
    (1001, "Europe/Berlin", "cash", 3, SHOP),
    (1001, "Europe/Lisbon", "card", 4, SHOP),
    (1002, "America/New_York", "card", 12, SHOP),
    (1002, "America/Los_Angeles", "card", 7, SHOP),
    (1003, "Europe/London", "card", 8, SHOP),
    (1004, "Europe/Dublin", "web", 6, ONLINE),
)
SITES = (
    (1001, "Europe/Berlin", "DE", 1, 3),
    (1001, "Europe/Berlin", "DE", 2, 2),
    (1001, "Europe/Berlin", "DE", 3, 1.5),
    (1001, "Europe/Lisbon", "PT", 1, 1),
    (1002, "America/New_York", "US", 1, 5),
    (1002, "America/New_York", "US", 2, 2),
    (1002, "America/Los_Angeles", "US", 3, 4),
    (1003, "Europe/London", "GB", 1, 1),
    (1003, "Europe/London", "GB", 2, 1),
)
VIRTUAL = ((1003, "HYBRID", "Europe/London"), (1004, "VIRTUAL_ONLY", "Europe/Dublin"))
EDGES = (
    (1003, "Europe/London", "GB", 6),
    (1003, "Europe/Paris", "FR", 2),
    (1003, "Europe/Oslo", "NO", 1),
    (1004, "Europe/Dublin", "IE", 4),
    (1004, "Europe/London", "GB", 3),
    (1004, "Europe/Madrid", "ES", 1.5),
    (1004, "America/New_York", "US", 1),
    (1004, "Australia/Sydney", "AU", 0.5),
)


def sales(local: datetime, size: int, curve: tuple[int, ...], salt: int) -> int:
    """Sales in the hour that starts at a local time."""
    first = 0 if len(curve) == 24 else 7
    if not first <= local.hour < first + len(curve):
        return 0
    weekend = local.isoweekday() >= 6
    noise = (local.toordinal() * 31 + local.hour * 17 + salt * 7) % 11 - 5
    return max(0, size * curve[local.hour - first] * (13 if weekend else 10) * (100 + 3 * noise) // 10_000)


def counts() -> list[tuple[object, ...]]:
    """Rows with sales, hour by hour."""
    rows: list[tuple[object, ...]] = []
    for hour in range(24 * DAYS):
        start = START + timedelta(hours=hour)
        for salt, (merchant, tz, channel, size, curve) in enumerate(LINES):
            number = sales(start.astimezone(ZoneInfo(tz)), size, curve, salt)
            if number:
                rows.append((merchant, tz, channel, start.strftime("%Y-%m-%dT%H:%MZ"), number))
    return rows


def main(directory: Path) -> None:
    """Write the four tables."""
    directory.mkdir(parents=True, exist_ok=True)
    tables = {
        "counts": (("merchant_id", "tz", "channel", "bucket_start", "count"), counts()),
        "sites": (("merchant_id", "tz", "country", "site_order", "weight"), SITES),
        "virtual_merchants": (("merchant_id", "mode", "settlement_tz"), VIRTUAL),
        "edges": (("merchant_id", "tz", "country", "weight"), EDGES),
    }
    for name, (header, rows) in tables.items():
        with (directory / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HOME)
