"""The time grid of an import, given or derived from the counts, and the bucket of every count row."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.moments import END_US, NOT_IN_RANGE
from arrival_engine.contracts.options import EpochUnit
from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.importing.room import Room
from arrival_engine.engine.importing.times import instant
from arrival_engine.engine.importing.values import MICROS, Refused
from arrival_engine.engine.process import human

Ints = npt.NDArray[np.int64]

DEFAULT_BUCKET_SECONDS = 3600
LOCAL_DAY = "local-day"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"": 1, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_OF_THE_CALENDAR = {"mo", "mon", "month", "months", "q", "quarter", "quarters", "y", "year", "years"}
_DURATION = re.compile(r"([0-9]{1,9}) ?([a-z]*)")
_CODE = Code.TIME_GRID_MISMATCH
_FEWER = "use longer buckets (--bucket), or import a shorter period"
# Runs number buckets by 32 bits. What the policies of a world allow follows from its contents (`policies`).
_BUCKETS_MAX = 2**31 - 1
# Edges as instants and texts, and the columns of the table of buckets: measured for 5 million buckets.
_BYTES_PER_BUCKET = 600


@dataclass(frozen=True)
class Span:
    """A regular grid by the options, in microseconds and seconds; None if the counts decide."""

    start_us: int | None = None
    end_us: int | None = None
    bucket_seconds: int | None = None

    @property
    def empty(self) -> bool:
        """Whether the options leave everything open."""
        return self == Span()


def duration_seconds(text: str) -> int:
    """Seconds of a duration such as 900, 15min, 1h or 1d. Raises OPTION_INVALID."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is not None and match[2] in _OF_THE_CALENDAR:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"--bucket {text!r} is not a duration, because months and years differ in length",
            hint="list the buckets with --grid, or give a length in days, such as 7d",
        )
    if match is None or match[2] not in _UNITS or int(match[1]) == 0:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"--bucket {text!r} is not a duration",
            hint=f"give whole seconds, units as in 15min, 1h, 1d or 1w, or {LOCAL_DAY}",
        )
    return int(match[1]) * _UNITS[match[2]]


def option_instant(name: str, text: str | None, assume_utc: bool, epoch: EpochUnit | None) -> int | None:
    """The instant of an option, in microseconds, read as those of tables. Raises OPTION_INVALID."""
    if text is None:
        return None
    try:
        return instant(text, assume_utc, epoch)
    except Refused as verdict:
        raise ArrivalError(Code.OPTION_INVALID, f"{name} {text!r} {verdict.what}", hint=verdict.hint) from verdict


def told(micros: int) -> str:
    """An instant as readable text."""
    try:
        moment = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return "a time after the year 9999"
    return moment.isoformat().removesuffix("+00:00") + "Z"


def length(micros: int) -> str:
    """A duration in its largest whole unit: '1 h', '90 min', '1.5 s'."""
    seconds = micros / MICROS
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _fault(what: str, hint: str, *, code: Code = _CODE, **context: object) -> NoReturn:
    raise ArrivalError(code, what, hint=hint, **context)


def given_edges(table: Table) -> Ints:
    """Bucket edges of a grid table with rows in any order: int64[B + 1] microseconds."""
    by_start = np.argsort(table["bucket_start"], kind="stable")
    start, end = table["bucket_start"][by_start], table["bucket_end"][by_start]

    def check(bad: npt.NDArray[np.bool_], what: str, hint: str) -> None:
        if bad.any():
            at = int(np.argmax(bad))
            table.refuse(int(by_start[at]), f"the bucket from {told(int(start[at]))} {what}", hint, code=_CODE)

    whole = "give times without fractions of a second"
    check((start % MICROS != 0) | (end % MICROS != 0), "does not start and end at whole seconds", whole)
    check(end <= start, "does not end after it starts", "check bucket_start and bucket_end")
    joined = np.append(True, start[1:] == end[:-1])
    check(~joined, "does not start at the end of the previous one", "list every bucket once, without gaps")
    if table.has("bucket_index"):
        expected = np.arange(len(start))
        wrong = table["bucket_index"][by_start] != expected
        check(wrong, "is not numbered in time order, from 0", "number buckets 0, 1, 2, ..., or leave it out")
    return np.append(start, end[-1:])


def spanned_edges(counts: Table, span: Span) -> Ints:
    """Edges of the regular grid from `span`; the counts decide what it leaves open."""
    seconds = span.bucket_seconds or DEFAULT_BUCKET_SECONDS
    size = seconds * MICROS
    by_index = counts.has("bucket_index")
    if by_index and (span.start_us is None or span.bucket_seconds is None):
        _fault(
            f"{counts.files[0].name} numbers its buckets, but their times are not given",
            "give --start and --bucket, or a table of buckets with --grid",
        )
    start = int(counts["bucket_start"].min()) if span.start_us is None else span.start_us
    if start % MICROS:
        what = "--start" if span.start_us is not None else "the first bucket_start"
        _fault(f"{what} {told(start)} is not a whole second", "start buckets at whole seconds")
    if span.end_us is not None:
        end = span.end_us
    elif by_index:
        end = start + (int(counts["bucket_index"].max()) + 1) * size
    else:
        # End with the bucket that contains the last count, which may not start with that bucket.
        end = start + (int(counts["bucket_start"].max() - start) // size + 1) * size
    if end <= start:
        _fault(f"the grid ends at {told(end)}, not after its start {told(start)}", "check --start and --end")
    if (end - start) % size:
        number = (end - start) / size
        _fault(
            f"{told(start)} to {told(end)} are {number:.6g} buckets of {length(size)}, not a whole number",
            "move --start or --end, or change --bucket",
        )
    if end > END_US:
        _fault(f"the grid ends at {told(end)}, which {NOT_IN_RANGE}", "check the years of the counts")
    check_number((end - start) // size, _FEWER)
    return np.arange(start, end + 1, size, dtype=np.int64)


def check_number(buckets: int, hint: str) -> None:
    """Refuse a grid of more buckets than runs can number, or than fit the memory.

    Raises LIMIT_EXCEEDED, RESOURCES_INSUFFICIENT.
    """
    if buckets > _BUCKETS_MAX:
        _fault(
            f"the grid has {buckets:,} buckets; a run can number {_BUCKETS_MAX:,}",
            hint,
            code=Code.LIMIT_EXCEEDED,
            buckets=buckets,
            limit=_BUCKETS_MAX,
        )
    room = Room.here()
    needed = buckets * _BYTES_PER_BUCKET
    if room.held + needed > room.limit:
        _fault(
            f"the grid has {buckets:,} buckets, which need about {human.size(needed)} besides the"
            f" {human.size(room.held)} in use; this process may have {human.size(room.limit)} ({room.source})",
            f"{hint}, or raise the limit",
            code=Code.RESOURCES_INSUFFICIENT,
            needed_bytes=room.held + needed,
            limit_bytes=room.limit,
        )


def bucket_of(counts: Table, edges: Ints, off_grid_hint: Callable[[Ints], str]) -> Ints:
    """Bucket of each count row, int64[R]. Raises TIME_GRID_MISMATCH for the first row that is off the grid.

    off_grid_hint: what to do about a time within a bucket, given the edges.
    """
    buckets = len(edges) - 1
    if counts.has("bucket_index"):
        index = counts["bucket_index"]
        beyond = index >= buckets
        if beyond.any():
            row = int(np.argmax(beyond))
            what = f"bucket_index {index[row]} is beyond the grid's last bucket, {buckets - 1}"
            counts.refuse(row, what, "buckets are numbered from 0: check --end, or correct the number", code=_CODE)
        return index
    start = counts["bucket_start"]
    bucket = np.searchsorted(edges, start, side="right") - 1
    outside = (bucket < 0) | (bucket >= buckets)
    if outside.any():
        row = int(np.argmax(outside))
        extent = f"{told(int(edges[0]))} to {told(int(edges[-1]))}"
        what = f"bucket_start {told(int(start[row]))} is outside the grid, {extent}"
        counts.refuse(row, what, "check --start and --end, or correct the time", code=_CODE)
    late = start - edges[bucket]
    if late.any():
        row = int(np.argmax(late != 0))
        after = f"{length(int(late[row]))} after the bucket that starts at {told(int(edges[bucket[row]]))}"
        counts.refuse(row, f"bucket_start {told(int(start[row]))} is {after}", off_grid_hint(edges), code=_CODE)
    return bucket.astype(np.int64)
