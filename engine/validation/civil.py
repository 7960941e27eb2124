"""Civil time by the standard library's `zoneinfo` over the pinned tzdata package: the clock for all judgements."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa

# Well below the shortest interval between two changes of a zone in the database, which is just under a week.
_STRIDE_S = 86400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS = 1_000_000
_NEVER = 2**63 - 1


class Change(NamedTuple):
    """From `instant_us` (µs since 1970) on, the zone is `offset_us` east of UTC; the first change has no beginning."""

    instant_us: int
    offset_us: int


@cache
def clock(start_s: int, end_s: int) -> dict[str, tuple[Change, ...]]:
    """Every zone of the pinned package, with its changes in (start_s, end_s], Unix seconds."""
    package = resources.files("tzdata")
    names = package.joinpath("zones").read_text(encoding="utf-8").split()
    instants = [*range(start_s, end_s, _STRIDE_S), end_s]
    moments = [_EPOCH + timedelta(seconds=at) for at in instants]
    found = {}
    for tzid in sorted(names):
        with package.joinpath("zoneinfo", *tzid.split("/")).open("rb") as file:
            zone = ZoneInfo.from_file(file, key=tzid)
        found[tzid] = _changes(zone, instants, moments)
    return found


def _changes(zone: ZoneInfo, instants: list[int], moments: list[datetime]) -> tuple[Change, ...]:
    offsets = [moment.astimezone(zone).utcoffset() for moment in moments]
    changes = [Change(-_NEVER, _offset_us(zone, instants[0]))]
    for place in range(1, len(instants)):
        if offsets[place] == offsets[place - 1]:
            continue
        at = _first(zone, instants[place - 1], instants[place])
        offset = _offset_us(zone, at)
        if offset != changes[-1].offset_us:
            changes.append(Change(at * _MICROS, offset))
    return tuple(changes)


def _first(zone: ZoneInfo, low: int, high: int) -> int:
    """The first second after `low` with another offset; the offset of `high` must differ."""
    before = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return high


def _offset(zone: ZoneInfo, at_s: int) -> timedelta:
    return (_EPOCH + timedelta(seconds=at_s)).astimezone(zone).utcoffset() or timedelta()


def _offset_us(zone: ZoneInfo, at_s: int) -> int:
    # The contract has whole minutes only: the nearest one, ties to even.
    return round(_offset(zone, at_s) / timedelta(minutes=1)) * 60 * _MICROS


class ClockTable(NamedTuple):
    """One row per zone: `tzid`, offset `o0`, then `t1`, `o1`, `t2`, `o2`, ...; an unused `t` is never reached."""

    content: pa.Table
    changes_max: int

    def local(self, alias: str, instant: str) -> str:
        """SQL for the wall clock, in µs, at an SQL instant by the row `alias`; null if there is no row."""
        steps = "".join(f" WHEN {instant} < {alias}.t{k} THEN {alias}.o{k - 1}" for k in range(1, self.changes_max + 1))
        offset = f"CASE{steps} ELSE {alias}.o{self.changes_max} END" if steps else f"{alias}.o0"
        return f"({instant} + {offset})"


def clock_table(start_us: int, end_us: int) -> ClockTable:
    """The clock over [start_us, end_us) as a table for joins."""
    zones = clock(start_us // _MICROS, -(-end_us // _MICROS))
    most = max(len(changes) for changes in zones.values()) - 1
    columns: dict[str, list[int]] = {"o0": [changes[0].offset_us for changes in zones.values()]}
    for k in range(1, most + 1):
        columns[f"t{k}"] = [changes[k].instant_us if k < len(changes) else _NEVER for changes in zones.values()]
        columns[f"o{k}"] = [changes[min(k, len(changes) - 1)].offset_us for changes in zones.values()]
    arrays = {column: pa.array(values, pa.int64()) for column, values in columns.items()}
    return ClockTable(pa.table({"tzid": pa.array(list(zones), pa.string()), **arrays}), most)


def change_table(start_us: int, end_us: int) -> pa.Table:
    """Every change in the interval: `tzid`, `instant_us`, `before_us` and `after_us` offsets."""
    rows = [
        {
            "tzid": tzid,
            "instant_us": change.instant_us,
            "before_us": changes[place].offset_us,
            "after_us": change.offset_us,
        }
        for tzid, changes in clock(start_us // _MICROS, -(-end_us // _MICROS)).items()
        for place, change in enumerate(changes[1:])
    ]
    kinds = pa.schema(
        [("tzid", pa.string()), *((name, pa.int64()) for name in ("instant_us", "before_us", "after_us"))]
    )
    return pa.Table.from_pylist(rows, schema=kinds)
