"""Exact zone tables from the installed `tzdata` package, never from the host's own time zone files.

The package ships TZif files in slim form (RFC 9636): explicit transitions for the irregular part of a zone's history,
then a POSIX TZ rule for later years. This module parses the explicit part. `zoneinfo` reads the same file and applies
the rule, whose transitions are found by stepping through the years.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import NamedTuple, NoReturn
from zoneinfo import ZoneInfo

import numpy as np

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.engine.process.version import TZDATA_RELEASE, TZDATA_VERSION
from arrival_engine.engine.tz.zones import SENTINEL, Instants, Minutes, ZoneTable, stack

INSTALL_RELEASE = f"install it: pip install tzdata=={TZDATA_VERSION}"
LAST_YEAR = 2037
FIRST_YEAR = 1900  # before the first zone had rules
_YEARS = range(2, 9999)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Shorter than any interval between two changes of a POSIX rule in the database.
_STRIDE_S = 7 * 86400
# RFC 9636, 3.1: magic, version, 15 unused bytes, then the counts isut, isstd, leap, time, type, char.
_HEADER = struct.Struct(">4sc15x6I")
_TTINFO = np.dtype([("utoff", ">i4"), ("isdst", "u1"), ("name", "u1")])


class _Explicit(NamedTuple):
    """The 64-bit block of a TZif file: transitions, offsets in seconds around them, the rule after them."""

    instants: Instants
    first_offset: int
    offsets: Instants
    rule: str


def _package() -> Traversable:
    return resources.files("tzdata")


def release() -> str:
    """The IANA release of the installed package, such as `2026f`."""
    return str(import_module("tzdata").IANA_VERSION)


def check_release() -> None:
    """Raise DST_MAPPING_FAILED unless the release that civil times are checked against is installed.

    Worlds and caches must be made from that release. Runs only read them.
    """
    if release() != TZDATA_RELEASE:
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"tzdata {release()} is installed, but civil times are checked against {TZDATA_RELEASE}",
            hint=INSTALL_RELEASE,
            installed=release(),
            wanted=TZDATA_RELEASE,
        )


@cache
def known_tzids() -> tuple[str, ...]:
    """Every zone and link of the package, ascending."""
    return tuple(sorted(_package().joinpath("zones").read_text(encoding="utf-8").split()))


@cache
def _known() -> frozenset[str]:
    return frozenset(known_tzids())


def unknown_tzids(tzids: Iterable[str]) -> list[str]:
    """Those of `tzids` that the package does not know, ascending."""
    return sorted(set(tzids) - _known())


def archive_sha256() -> str:
    """SHA-256 over the concatenated bytes of the package's TZif files, by ascending name."""
    digest = sha256()
    for tzid in known_tzids():
        digest.update(_tzif(tzid))
    return digest.hexdigest()


def _tzif(tzid: str) -> bytes:
    return _package().joinpath("zoneinfo", *tzid.split("/")).read_bytes()


def _broken(tzid: str, what: str) -> NoReturn:
    raise ArrivalError(
        Code.DST_MAPPING_FAILED,
        f"the tzdata package's file of {tzid!r} {what}",
        hint="reinstall the tzdata package",
        tzid=tzid,
    )


def _block_size(counts: Sequence[int], time_size: int) -> int:
    isut, isstd, leap, times, types, chars = counts
    return times * (time_size + 1) + types * 6 + chars + leap * (time_size + 4) + isstd + isut


def _explicit(tzid: str, data: bytes) -> _Explicit:
    try:
        magic, version, *counts = _HEADER.unpack_from(data, 0)
        if magic != b"TZif" or version < b"2":
            _broken(tzid, "is not TZif of version 2 or later")
        # The first block repeats the data in 32 bits for old readers.
        at = _HEADER.size + _block_size(counts, 4)
        _, _, *counts = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        times, types = counts[3], counts[4]
        instants = np.frombuffer(data, ">i8", times, at).astype(np.int64)
        kinds = np.frombuffer(data, "u1", times, at + 8 * times)
        ttinfo = np.frombuffer(data, _TTINFO, types, at + 9 * times)["utoff"].astype(np.int64)
        offsets = ttinfo[kinds]
        rule = data[at + _block_size(counts, 8) :].decode("ascii").strip("\n")
    except (struct.error, ValueError, IndexError):
        _broken(tzid, "is cut short")
    if counts[2]:
        _broken(tzid, "counts leap seconds")
    return _Explicit(instants, int(ttinfo[0]), offsets, rule)


def _offset(zone: ZoneInfo, instant_s: int) -> int:
    """Seconds east of UTC at a Unix second."""
    local = zone.fromutc((_EPOCH + timedelta(seconds=instant_s)).replace(tzinfo=zone))
    offset = local.utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def _change(zone: ZoneInfo, low: int, high: int) -> int:
    """The first second after `low`, up to `high`, whose offset differs from that of `low`."""
    before = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _ruled(zone: ZoneInfo, after: int, end: int) -> list[tuple[int, int]]:
    """(instant, seconds) of the changes later than `after` and earlier than `end`."""
    changes: list[tuple[int, int]] = []
    at, offset = after, _offset(zone, after)
    while at < end - 1:
        ahead = min(at + _STRIDE_S, end - 1)
        if _offset(zone, ahead) == offset:
            at = ahead
            continue
        at = _change(zone, at, ahead)
        offset = _offset(zone, at)
        changes.append((at, offset))
    return changes


def _seconds_of_year(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


@cache
def _zone(tzid: str, until_year: int, from_year: int) -> tuple[Instants, Minutes]:
    data = _tzif(tzid)
    explicit = _explicit(tzid, data)
    end = _seconds_of_year(until_year + 1)
    instants = [SENTINEL, *explicit.instants.tolist()]
    offsets = [explicit.first_offset, *explicit.offsets.tolist()]
    # A rule without a comma names one constant offset.
    if "," in explicit.rule:
        zone = ZoneInfo.from_file(BytesIO(data), key=tzid)
        last = instants[-1] if len(instants) > 1 else _seconds_of_year(FIRST_YEAR)
        start = max(last, _seconds_of_year(from_year))
        if start > last:
            # Replaces the changes that were skipped.
            instants.append(start)
            offsets.append(_offset(zone, start))
        for instant, offset in _ruled(zone, start, end):
            instants.append(instant)
            offsets.append(offset)
    minutes = np.rint(np.array(offsets, np.float64) / 60.0).astype(np.int32)
    keep = np.array(instants, np.int64) < end
    keep[1:] &= minutes[1:] != minutes[:-1]
    return np.array(instants, np.int64)[keep], minutes[keep]


def pinned_zones(
    tzids: Sequence[str] | None = None, until_year: int = LAST_YEAR, from_year: int = FIRST_YEAR
) -> ZoneTable:
    """The steps of the named zones (all of them by default), complete through the end of `until_year`.

    Offsets are exact from the start of `from_year` on; a later year means a shorter search. The sentinel carries the
    zone's first offset, normally local mean time. Offsets are rounded to whole minutes, ties to even, and steps without
    a change are merged. Raises DST_MAPPING_FAILED for unknown names.
    """
    if until_year not in _YEARS:
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"year {until_year} is outside {_YEARS.start} to {_YEARS.stop - 1}",
            hint="check the dates of the time grid",
            until_year=until_year,
        )
    wanted = known_tzids() if tzids is None else tuple(sorted(set(tzids)))
    unknown = unknown_tzids(wanted)
    if unknown:
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"tzdata {release()} has no time zone named {', '.join(map(repr, unknown))}",
            hint="correct the names, or upgrade the engine and its tzdata if they are newer than it",
            tzids=unknown,
            release=release(),
        )
    return stack(wanted, [_zone(tzid, until_year, from_year) for tzid in wanted])
