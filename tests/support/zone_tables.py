"""Zone tables by hand, and offsets read from the package's own files."""

from datetime import UTC, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import numpy as np

from arrival_engine.engine.tz.zones import stack

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


BERLIN_2026 = 1774746000


def seconds(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())


def table(**zones: list[tuple[int, int]]):
    """A table from `Europe__Berlin=[(instant, minutes), ...]`."""
    arrays = [
        (np.array([i for i, _ in steps], np.int64), np.array([o for _, o in steps], np.int32))
        for steps in zones.values()
    ]
    return stack([name.replace("__", "/") for name in zones], arrays)


def package_file(tzid: str) -> bytes:
    return resources.files("tzdata").joinpath("zoneinfo", *tzid.split("/")).read_bytes()


def offset_seconds(zone: ZoneInfo, instant: int) -> int:
    local = zone.fromutc((EPOCH + timedelta(seconds=instant)).replace(tzinfo=zone))
    return round(local.utcoffset().total_seconds())
