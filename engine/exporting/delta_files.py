"""Data files as Delta's `add` actions, with statistics from their Parquet footers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from arrival_engine.engine.exporting.files import DataFile

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from deltalake.transaction import AddAction

__all__ = ["add_actions", "partition_values", "statistics"]

# As Delta's own writers do.
_TEXT_MAX = 32
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def add_actions(folder: str, files: Iterable[DataFile], partition: Iterable[str] = ()) -> list[AddAction]:
    """One action per file, with its path below the table; a file without rows is in no partition."""
    from deltalake.transaction import AddAction

    now = time.time_ns() // 1_000_000
    return [
        AddAction(
            path=quote(f"{folder}/{file.name}", safe="/="),
            size=file.bytes,
            partition_values={**dict.fromkeys(partition), **partition_values(file.name)},
            modification_time=now,
            data_change=True,
            stats=json.dumps(statistics(file.footer), separators=(",", ":")),
        )
        for file in files
    ]


def partition_values(name: str) -> dict[str, str]:
    """The values that folders of a path give: `day=2026-01-01/x.parquet` is in the partition day 2026-01-01."""
    pairs = (folder.partition("=") for folder in name.split("/")[:-1])
    return {key: unquote(value) for key, sign, value in pairs if sign}


def statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """Delta's statistics of one file: numRecords, minValues, maxValues, nullCount.

    A column has no bounds if it has no values, if the footer does not state them, or if its type has no exact form in
    JSON: booleans and decimals.
    """
    found: dict[str, Any] = {"numRecords": footer.num_rows}
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for index, column in enumerate(footer.schema.names):
        chunks = [footer.row_group(group).column(index).statistics for group in range(footer.num_row_groups)]
        if any(chunk is None or not chunk.has_null_count for chunk in chunks):
            continue
        nulls[column] = sum(chunk.null_count for chunk in chunks)
        bounded = [chunk for chunk in chunks if chunk.has_min_max]
        if not bounded or any(not chunk.has_min_max and chunk.num_values for chunk in chunks):
            continue
        least, most = _least(min(chunk.min for chunk in bounded)), _most(max(chunk.max for chunk in bounded))
        if least is not None and most is not None:
            low[column], high[column] = least, most
    return {**found, "minValues": low, "maxValues": high, "nullCount": nulls}


def _least(value: object) -> int | str | None:
    return value[:_TEXT_MAX] if isinstance(value, str) else _exact(value)


def _most(value: object) -> int | str | None:
    if not isinstance(value, str) or len(value) <= _TEXT_MAX:
        return _exact(value)
    # A beginning of the text is below it. The next text of that length is above it.
    for at in range(_TEXT_MAX - 1, -1, -1):
        following = ord(value[at]) + 1
        if following in _SURROGATES:
            following = _SURROGATES.stop
        if following <= _LAST_CHARACTER:
            return value[:at] + chr(following)
    return None


def _exact(value: object) -> int | str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, str)):
        return value
    if isinstance(value, datetime):
        text = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return text.isoformat(timespec="microseconds") + ("Z" if value.tzinfo else "")
    return value.isoformat() if isinstance(value, date) else None
