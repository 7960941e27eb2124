"""The TZC1 binary form of a zone table (`tz_cache_v1.bin`).

Little-endian, packed: `TZC1`, u16 version 1, u32 zone count; then per zone, names ascending, u16 name length, ASCII
name, u32 step count, steps of (i64 Unix second, i32 minutes east of UTC). The first step of a zone is the sentinel at
-2^63, which may carry local mean time. Later offsets stay within 900 minutes.
"""

from __future__ import annotations

import struct
from typing import NoReturn

import numpy as np

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.engine.tz.zones import (
    OFFSET_LIMIT,
    SENTINEL,
    SENTINEL_HIGH,
    SENTINEL_LOW,
    TZID,
    Instants,
    Minutes,
    ZoneTable,
    stack,
)

MAGIC = b"TZC1"
VERSION = 1
_HEADER = struct.Struct("<4sHI")
_LENGTH = struct.Struct("<H")
_COUNT = struct.Struct("<I")
_STEP = np.dtype([("instant", "<i8"), ("offset", "<i4")])
_NAME_MAX = 2**16 - 1
# The smallest zone: length, one letter, count, one step.
_RECORD_MIN = _LENGTH.size + 1 + _COUNT.size + _STEP.itemsize


class _Reader:
    """A position in the bytes, with the current zone for error messages."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where
        self.at = 0
        self.tzid = ""

    def fail(self, what: str, at: int) -> NoReturn:
        zone = f", zone {self.tzid!r}" if self.tzid else ""
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"{self.where}: byte {at}{zone}: {what}",
            hint="the file is not a valid TZC1 cache; write a new one with `arrivals tz build RUN_ROOT`",
            file=self.where,
            byte=at,
            tzid=self.tzid,
        )

    def take(self, size: int, what: str) -> int:
        """Offset of the next `size` bytes, which must be there."""
        at, left = self.at, len(self.data) - self.at
        if size > left:
            self.fail(f"the file ends {size - left} bytes short of its {what} ({size} bytes)", at)
        self.at += size
        return at


def _name(reader: _Reader) -> str:
    at = reader.take(_LENGTH.size, "name length")
    (length,) = _LENGTH.unpack_from(reader.data, at)
    at = reader.take(length, "zone name")
    raw = reader.data[at : at + length]
    if not raw.isascii():
        reader.fail(f"the zone name {raw!r} is not ASCII", at)
    name = raw.decode("ascii")
    if not TZID.fullmatch(name):
        reader.fail(f"{name!r} is not a time zone name", at)
    if reader.tzid >= name:
        reader.fail(f"zone {name!r} does not follow {reader.tzid!r} in ascending order", at)
    return name


def _first(mask: np.ndarray) -> int | None:
    hits = np.flatnonzero(mask)
    return int(hits[0]) if len(hits) else None


def _fault(instants: Instants, offsets: Minutes) -> tuple[int, str] | None:
    """The first step that breaks the form, and why."""
    if instants[0] != SENTINEL:
        return 0, f"the first instant is {instants[0]}, not the sentinel -2^63"
    if not SENTINEL_LOW < offsets[0] < SENTINEL_HIGH:
        return 0, f"the first offset, {offsets[0]} minutes, is not possible for a clock"
    step = _first(instants[1:] <= instants[:-1])
    if step is not None:
        return step + 1, f"instant {instants[step + 1]} does not follow {instants[step]}"
    step = _first((offsets[1:] < -OFFSET_LIMIT) | (offsets[1:] > OFFSET_LIMIT))
    if step is not None:
        return step + 1, f"offset {offsets[step + 1]} is outside -{OFFSET_LIMIT} to {OFFSET_LIMIT} minutes"
    return None


def _steps(reader: _Reader) -> tuple[Instants, Minutes]:
    at = reader.take(_COUNT.size, "step count")
    (count,) = _COUNT.unpack_from(reader.data, at)
    if count == 0:
        reader.fail("the zone has no steps, not even the sentinel", at)
    at = reader.take(count * _STEP.itemsize, f"{count} steps")
    steps = np.frombuffer(reader.data, _STEP, count, at)
    instants, offsets = steps["instant"].astype(np.int64), steps["offset"].astype(np.int32)
    fault = _fault(instants, offsets)
    if fault is not None:
        reader.fail(fault[1], at + fault[0] * _STEP.itemsize)
    return instants, offsets


def decode(data: bytes, where: str) -> ZoneTable:
    """Read a TZC1 cache; `where` names the file in messages.

    Raises DST_MAPPING_FAILED with the byte offset and the zone for any deviation from this module's form: wrong magic
    or version, early end, trailing bytes, names or instants out of order, offsets out of range.
    """
    reader = _Reader(data, where)
    magic, version, zones = _HEADER.unpack_from(data, reader.take(_HEADER.size, "header"))
    if magic != MAGIC:
        reader.fail(f"the file begins with {magic!r}, not {MAGIC!r}", 0)
    if version != VERSION:
        reader.fail(f"version {version} is not {VERSION}", 4)
    if zones * _RECORD_MIN > len(data):
        reader.fail(f"{zones} zones cannot fit in {len(data)} bytes", 6)
    tzids: list[str] = []
    steps: list[tuple[Instants, Minutes]] = []
    for _ in range(zones):
        name = _name(reader)
        reader.tzid = name
        tzids.append(name)
        steps.append(_steps(reader))
    if reader.at != len(data):
        reader.fail(f"{len(data) - reader.at} bytes follow the last of {zones} zones", reader.at)
    return stack(tzids, steps)


def encode(table: ZoneTable) -> bytes:
    """The TZC1 bytes of a table; raises DST_MAPPING_FAILED if the table breaks the form."""
    parts = [_HEADER.pack(MAGIC, VERSION, len(table.tzids))]
    for tzid in table.tzids:
        instants, offsets = table.steps(tzid)
        name = tzid.encode("utf-8")
        if len(name) > _NAME_MAX:
            raise ArrivalError(
                Code.DST_MAPPING_FAILED,
                f"time zone name {tzid[:40]!r}... takes {len(name)} bytes, more than {_NAME_MAX}",
                hint="give an IANA time zone name",
                tzid=tzid,
            )
        steps = np.empty(len(instants), _STEP)
        steps["instant"], steps["offset"] = instants, offsets
        parts += (_LENGTH.pack(len(name)), name, _COUNT.pack(len(steps)), steps.tobytes())
    data = b"".join(parts)
    # Reading the bytes back checks the table by the rules of `decode`.
    decode(data, "zone table to be written")
    return data
