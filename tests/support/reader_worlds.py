"""A world whose arrivals show what readers may lose: ids above 2^63, Berlin's repeated hour, settlement clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from arrival_engine import RunOptions, run
from arrival_engine.engine.run.scenario import ScenarioResult
from arrival_engine.engine.sealing import seal
from tests.support.importing import Count, Member, Tables, Virtual, imported

SHOPS, HALF, BIG, HYBRID_SHOP, ONLINE = 101, 2**63 + 5, 2**64 - 1, 202, 303
# In Berlin, 25 October 2026 has the hour from two o'clock twice: from 00:00 UTC, and again from 01:00 UTC.
REPEATED = tuple(datetime.fromisoformat(f"2026-10-25 {hour}:00") for hour in ("02", "03"))


def tables() -> Tables:
    """Physical, hybrid and virtual merchants, with and without a channel, from before until after the repeated hour."""
    counts = [
        row
        for bucket in range(8)
        for row in (
            Count(SHOPS, "Europe/Berlin", "card", bucket, 40),
            Count(SHOPS, "Europe/Berlin", "", bucket, 15),
            Count(HALF, "Europe/Berlin", "", bucket, 7),
            Count(BIG, "Asia/Kathmandu", "", bucket, 9),
            Count(HYBRID_SHOP, "Europe/London", "web", bucket, 12),
            Count(ONLINE, "Europe/Dublin", "", bucket, 9),
        )
    ]
    return Tables(
        start="2026-10-24T22:00:00Z",
        buckets=9,
        counts=tuple(counts),
        sites=(
            Member(SHOPS, "Europe/Berlin", "DE", 2, 3.0),
            Member(SHOPS, "Europe/Berlin", "AT", 1, 0.7),
            Member(HALF, "Europe/Berlin", "DE", 1, 1.0),
            Member(HYBRID_SHOP, "Europe/London", "GB", 1, 1.0),
            Member(BIG, "Asia/Kathmandu", "NP", 5, 1e-3),
        ),
        virtual=(Virtual(HYBRID_SHOP, "HYBRID", "Europe/Berlin"), Virtual(ONLINE, "VIRTUAL_ONLY", "")),
        edges=(
            Member(HYBRID_SHOP, "Europe/London", "GB", 1, 5.0),
            Member(HYBRID_SHOP, "Europe/Oslo", "NO", 2, 2.5),
            Member(ONLINE, "Europe/Dublin", "IE", 1, 1.0),
            Member(ONLINE, "Australia/Sydney", "AU", 2, 0.3),
        ),
    )


def published(run_root: Path, batch_arrivals: int = 300, **options: Any) -> ScenarioResult:
    """The world, imported with these options, sealed, and published in several parts."""
    imported(tables(), run_root, **options)
    seal(run_root)
    (scenario,) = run(run_root, RunOptions(backend="cpu", threads=1, batch_arrivals=batch_arrivals)).scenarios
    return scenario


def wall_clock(ts_utc: datetime, tzid: str) -> datetime:
    """The instant, which is in UTC with or without saying so, on the clock of a zone, by the standard library."""
    return ts_utc.replace(tzinfo=UTC).astimezone(ZoneInfo(tzid)).replace(tzinfo=None)


def instant(ts_local: datetime, offset_minutes: int) -> datetime:
    """The only instant of a wall-clock time with its offset, without a zone."""
    return ts_local - timedelta(minutes=offset_minutes)
