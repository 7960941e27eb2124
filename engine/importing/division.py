"""The division of counts of local days among the buckets that their days cover.

docs/reference/layouts.md, "Local days", has the rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arrival_engine.contracts import Code
from arrival_engine.cpu_fallback.streams import domain, entity_stream, length_prefixed
from arrival_engine.engine.importing.contents import Ints, Placed, runs, sorted_order
from arrival_engine.engine.importing.days import RowDays, date_text
from arrival_engine.engine.importing.guardrails import ARRIVALS_MAX
from arrival_engine.engine.importing.kernels import divide_days
from arrival_engine.engine.importing.reading import Table
from arrival_engine.engine.importing.values import MICROS

# Part of a divided day's stream and of the identity of a world of local days: raise it if days are divided otherwise.
DAY_RULE = "local_day.v1"

_PREFIX = length_prefixed("arrival-engine.import") + length_prefixed(DAY_RULE)
# A compiled loop cannot be interrupted, so that each call gets about a tenth of a second of work.
_ARRIVALS_PER_CALL = 4_000_000


@dataclass(frozen=True)
class LocalDays:
    """What was read as local days.

    days: distinct dates. tzids: their zones, in byte order. divided_rows: count rows, repeated ones once, whose day
    covers several buckets; divided_arrivals: their arrivals. most_buckets: buckets that a day covers at most.
    """

    days: int
    tzids: tuple[str, ...]
    shortest_seconds: int
    longest_seconds: int
    divided_rows: int
    divided_arrivals: int
    most_buckets: int


@dataclass(frozen=True, eq=False)
class _Days:
    """Count rows with arrivals and one key (merchant, zone, channel, day) each.

    row: the table's first row of the key. first, cover: the first bucket of its day, and how many the day covers.
    """

    row: Ints
    arrivals: Ints
    first: Ints
    cover: Ints


def place_days(counts: Table, rows: RowDays, edges: Ints) -> tuple[Placed, LocalDays]:
    """The counts in the buckets of their days, each count drawn among them evenly by time, and what was read.

    Raises LIMIT_EXCEEDED for a day of more arrivals than its buckets can hold.
    """
    counted = np.flatnonzero(counts["count"] > 0)
    days = _merged(counts, counted, rows, edges)
    _check_arrivals(counts, days, rows)
    several = days.cover > 1
    pieces = np.repeat(days.arrivals, days.cover)
    if several.any():
        divided = _Days(days.row[several], days.arrivals[several], days.first[several], days.cover[several])
        pieces[np.repeat(several, days.cover)] = _divided(counts, divided, rows, edges)
    kept = pieces > 0
    bucket = np.repeat(days.first, days.cover) + _places(days.cover)
    placed = Placed(np.repeat(days.row, days.cover)[kept], bucket[kept], pieces[kept], len(counted) - len(days.row))
    length = (rows.end - rows.start) // MICROS
    facts = LocalDays(
        days=len(np.unique(rows.date)),
        tzids=tuple(sorted((counts.texts["tz"][code] or "" for code in rows.zones), key=str.encode)),
        shortest_seconds=int(length.min()),
        longest_seconds=int(length.max()),
        divided_rows=int(several.sum()),
        divided_arrivals=int(days.arrivals[several].sum()),
        most_buckets=int(days.cover.max()),
    )
    return placed, facts


def _merged(counts: Table, counted: Ints, rows: RowDays, edges: Ints) -> _Days:
    """Rows that repeat a key become one before the draw, so that the draw does not depend on how counts are written."""
    keys = [*_entity(counts, counted), rows.start[counted]]
    order = sorted_order(*keys)
    first = runs(*(key[order] for key in keys))
    row = counted[order][first]
    bucket = np.searchsorted(edges, rows.start[row])
    cover = np.searchsorted(edges, rows.end[row]) - bucket
    return _Days(row, np.add.reduceat(counts["count"][counted[order]], first), bucket, cover)


def _entity(counts: Table, rows: Ints) -> list[npt.NDArray[np.generic]]:
    """Merchant, zone and channel of table rows."""
    return [counts[name][rows] for name in ("merchant_id", "tz", "channel") if counts.has(name)]


def _check_arrivals(counts: Table, days: _Days, rows: RowDays) -> None:
    """Refuse what no division makes small enough, before it is drawn."""
    above = days.arrivals > days.cover * ARRIVALS_MAX
    if not above.any():
        return
    at = int(np.argmax(above))
    row = int(days.row[at])
    counts.refuse(
        row,
        f"merchant {counts.told(counts['merchant_id'][row])} has {days.arrivals[at]} arrivals"
        f" in {counts.texts['tz'][counts['tz'][row]]} on {date_text(int(rows.date[row]))}; a count row can hold"
        f" {ARRIVALS_MAX}",
        "give counts of hours, or split the merchant's arrivals by channel",
        code=Code.LIMIT_EXCEEDED,
    )


def _places(sizes: Ints) -> Ints:
    """0, 1, 2, ... within each group of these sizes."""
    places: Ints = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return places


def _divided(counts: Table, days: _Days, rows: RowDays, edges: Ints) -> Ints:
    """Arrivals of each bucket that each day covers: int64[sum of days.cover]."""
    piece = np.append(0, np.cumsum(days.cover))
    bucket = np.repeat(days.first, days.cover) + _places(days.cover)
    start, end = rows.start[days.row], rows.end[days.row]
    ends = (edges[bucket + 1] - np.repeat(start, days.cover)).astype(np.uint64)
    stream = _streams(counts, days.row, rows.date[days.row])
    length = (end - start).astype(np.uint64)
    divided = np.zeros(len(bucket), np.int64)
    # Days of up to some number of arrivals per call, and always one day at least.
    total = np.cumsum(days.arrivals)
    at = 0
    while at < len(days.row):
        before = total[at - 1] if at else 0
        until = max(at + 1, int(np.searchsorted(total, before + _ARRIVALS_PER_CALL, side="right")))
        own = slice(at, until)
        divide_days(stream[own], length[own], days.arrivals[own], piece[at : until + 1], ends, divided)
        at = until
    return divided


def _streams(counts: Table, row: Ints, day: Ints) -> npt.NDArray[np.uint64]:
    """Key and counter word 1 of each day: uint64[D, 2]; hashed once per entity, whose days differ in the counter."""
    keys = _entity(counts, row)
    order = sorted_order(*keys)
    first = runs(*(key[order] for key in keys))
    streams = np.empty((len(row), 2), np.uint64)
    for begin, end in zip(first.tolist(), [*first[1:].tolist(), len(row)], strict=True):
        own = order[begin:end]
        at = int(row[own[0]])
        channel = counts.texts["channel"][counts["channel"][at]] if counts.has("channel") else None
        text = domain(int(counts["merchant_id"][at]), counts.texts["tz"][counts["tz"][at]] or "", channel or "")
        key, high = entity_stream(_PREFIX, text)
        streams[own, 0] = key
        streams[own, 1] = np.uint64(high) + day[own].astype(np.uint64)
    return streams
