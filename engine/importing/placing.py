"""The time grid of an import, and the bucket of every count, by the options and by what the times look like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import numpy as np

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.engine.importing.cadence import (
    DAY_US,
    Bools,
    Cadence,
    cadence,
    far_apart,
    longer_than_hours,
    usual_gap,
)
from arrival_engine.engine.importing.contents import Ints, Placed
from arrival_engine.engine.importing.days import day_edges, row_days
from arrival_engine.engine.importing.division import DAY_RULE, LocalDays, place_days
from arrival_engine.engine.importing.grid import (
    LOCAL_DAY,
    Span,
    bucket_of,
    duration_seconds,
    given_edges,
    length,
    option_instant,
    spanned_edges,
)
from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.importing.request import TableRequest, is_given
from arrival_engine.engine.importing.values import MICROS

_CODE = Code.TIME_GRID_MISMATCH


@dataclass(frozen=True)
class Placement:
    """Counts on a grid of B buckets: its B + 1 edges in microseconds, and what to say about it.

    days: what was read as local days, and day_rule: how they were divided; None and empty for counts of buckets.
    """

    grid_us: Ints
    placed: Placed
    notices: tuple[Notice, ...]
    days: LocalDays | None = None
    day_rule: str = ""


def asks_for_local_days(request: TableRequest) -> bool:
    """Whether counts are of local days. Raises OPTION_INVALID for options that do not go with that."""
    if request.bucket is None or request.bucket.strip().lower() != LOCAL_DAY:
        return False
    for option, given, why in (
        ("--grid", is_given(request.grid), "because both set the buckets"),
        ("--start", request.start is not None, "because the counts set the days; a count of 0 adds its day"),
        ("--end", request.end is not None, "because the counts set the days; a count of 0 adds its day"),
        ("--assume-utc", request.assume_utc, "because a local day is one of its row's zone, not of UTC"),
    ):
        if given:
            raise ArrivalError(
                Code.OPTION_INVALID,
                f"--bucket {LOCAL_DAY} cannot be combined with {option}, {why}",
                hint=f"leave out {option}, or give another --bucket",
            )
    return True


def place(request: TableRequest, counts: Table, listed: Table) -> Placement:
    """Choose the grid and find the bucket of each count.

    listed: the table of buckets, without rows if it was not given. Raises SCHEMA_VIOLATION for counts without times,
    S1_OR_S3_OUTPUT_MISSING for counts that are all zero, and what `days` and `grid` raise.
    """
    if not (counts.has("bucket_start") or counts.has("bucket_index")):
        raise ArrivalError(
            Code.SCHEMA_VIOLATION,
            f"{counts.files[0].name} has neither bucket_start nor bucket_index; counts need one of them",
            hint="add one, or rename the column that holds it: --rename THEIRS=bucket_start",
        )
    if counts.has("bucket_start") and counts.has("bucket_index"):
        raise ArrivalError(
            Code.SCHEMA_VIOLATION,
            f"{counts.files[0].name} has both bucket_start and bucket_index",
            hint="one is enough: leave the other out with --ignore",
        )
    counted = np.flatnonzero(counts["count"] > 0)
    if not len(counted):
        counts.refuse(0, f"all {counts.rows} counts are zero", "give at least one row with arrivals")
    if asks_for_local_days(request):
        return _local_days(counts)
    grid_us = _grid(request, counts, listed)
    bucket = bucket_of(counts, grid_us, partial(_off_grid_hint, counts))
    lengths = np.unique(np.diff(grid_us)).tolist()
    span = f"bucket of {length(lengths[0])}" if len(lengths) == 1 else "bucket"
    notices = far_apart(counts, bucket, "buckets", span)
    return Placement(grid_us, Placed(counted, bucket[counted], counts["count"][counted]), tuple(notices))


def _local_days(counts: Table) -> Placement:
    if not counts.has("bucket_start"):
        raise ArrivalError(
            _CODE,
            f"{counts.files[0].name} numbers its buckets, but numbers do not name local days",
            hint="give bucket_start, as a date such as 2026-03-29, in place of bucket_index",
        )
    rows = row_days(counts)
    grid_us = day_edges(counts, rows)
    placed, facts = place_days(counts, rows, grid_us)
    notices = far_apart(counts, rows.date, "days", "local day")
    return Placement(grid_us, placed, tuple(notices), facts, DAY_RULE)


def _grid(request: TableRequest, counts: Table, listed: Table) -> Ints:
    span = Span(
        option_instant("--start", request.start, request.assume_utc, request.epoch),
        option_instant("--end", request.end, request.assume_utc, request.epoch),
        duration_seconds(request.bucket) if request.bucket is not None else None,
    )
    if listed.rows:
        if not span.empty:
            raise ArrivalError(
                Code.OPTION_INVALID,
                "--grid cannot be combined with --start, --end and --bucket, because both set the buckets",
                hint="give either --grid or the others",
            )
        return given_edges(listed)
    if span.bucket_seconds is None and counts.has("bucket_start"):
        found = cadence(counts)
        longer = longer_than_hours(found)
        if longer.any():
            _refuse_longer(counts, found, longer, assume_utc=request.assume_utc)
    return spanned_edges(counts, span)


def _refuse_longer(counts: Table, found: Cadence, longer: Bools, *, assume_utc: bool) -> NoReturn:
    """Refuse to take longer buckets for hours: counts of days would all fall into the first hour of their day."""
    gap = usual_gap(found, longer)
    apart = "are all starts of days" if gap is None else f"are usually {length(gap)} apart"
    if longer.all():
        each = "" if gap is None else " per merchant, zone and channel"
        raise ArrivalError(
            _CODE,
            f"the times in {counts.files[0].name} {apart}{each}, but the length of their buckets is not given",
            hint="; ".join([*_longer_buckets(found, gap, assume_utc), "--bucket 1h if every count is of one hour"]),
        )
    row = int(found.row[found.first[int(np.argmax(longer))]])
    counts.refuse(
        row,
        f"the times of merchant {counts.told(counts['merchant_id'][row])} in {counts.texts['tz'][counts['tz'][row]]} "
        f"{apart}, those of others are not, and the length of the buckets is not given",
        "import counts of hours and counts of longer buckets into two worlds, or give --bucket 1h if every count is of"
        " one hour",
        code=_CODE,
    )


def _longer_buckets(found: Cadence, gap: int | None, assume_utc: bool) -> list[str]:
    """What to give for counts whose times are so far apart, if a count is of all the time up to the next."""
    size = gap or DAY_US
    even = not ((found.time - found.time.min()) % size).any()
    if found.local.all():
        options = [f"give --bucket {LOCAL_DAY} if every count is of one local day"]
        if size > DAY_US and even:
            options.append(f"--bucket {size // MICROS}s if every count is of {length(size)}")
        elif size > DAY_US:
            options.append("list the buckets with --grid if they are longer than a day")
        return options
    if not even:
        return ["list the buckets with --grid if they are longer than an hour"]
    options = [f"give --bucket {size // MICROS}s if every count is of {length(size)}"]
    if assume_utc and found.utc.all():
        options.append(f"leave out --assume-utc and give --bucket {LOCAL_DAY} if every count is of one local day")
    return options


def _off_grid_hint(counts: Table, edges: Ints) -> str:
    """What to do about times that are not all starts of the grid's buckets."""
    found = cadence(counts)
    if found.local.all():
        return f"give --bucket {LOCAL_DAY} if every count is of one local day, or correct this time"
    gap = usual_gap(found)
    fitting = int(np.gcd.reduce(np.unique(found.time - edges[0])))
    if fitting % (60 * MICROS):
        return "correct the time, or list the buckets with --grid"
    give = f"give --bucket {fitting // MICROS}s"
    if gap in (None, fitting):
        return f"{give}, which fits all times, or correct this one"
    return (
        f"one grid does not fit all times, which are usually {length(gap or 0)} apart per merchant, zone and channel:"
        " correct this one, or import the zones whose buckets differ into worlds of their own;"
        f" {give} only if every count is of {length(fitting)}"
    )
