"""Tables with a column per time or per hour: how to make the one row per count that an import reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

from arrival_engine.engine.importing.quoting import listed, shell_word

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}(?::[0-9]{2}){0,2}.*)?")
_HOUR = re.compile(r"(?:h|hr|hour)?[ _-]?([0-9]{1,2})(?:[:.]?00(?::00)?)?(?: ?h)?", re.IGNORECASE)
# Fewer may be columns of something else.
_ENOUGH = 3
_LAST_HOUR = 23
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPED = re.compile(r"[\\\"$`!]|'''")


class Wide(NamedTuple):
    """What is wrong with a table of a column per time, and what to do."""

    what: str
    hint: str


def wide(header: Sequence[str], date: str, path: str) -> Wide | None:
    """The verdict on a header, None if it is not that of a wide table.

    date: the column that may hold dates, empty if there is none. path: the file, empty for a table in memory.
    """
    times = [name for name in header if _TIME.fullmatch(name.strip())]
    if len(times) >= _ENOUGH:
        return Wide(
            f"has a column per time ({_two(times)}), but counts have one row each",
            _advice(_select(path, header, times, "bucket_start", ""), path),
        )
    hours = {name: int(match[1]) for name in header if (match := _HOUR.fullmatch(name.strip()))}
    if len(hours) < _ENOUGH or max(hours.values()) > _LAST_HOUR + 1:
        return None
    what = f"has a column per hour ({_two(list(hours))}), but counts have one row each"
    if not date or date in hours or max(hours.values()) > _LAST_HOUR:
        return Wide(what, "write one row per hour, with bucket_start (such as 2026-03-29T01:00:00Z) and count")
    start = f"{_name(date)} || 'T' || lpad(regexp_extract(hour, '[0-9]+'), 2, '0') || ':00' AS bucket_start"
    return Wide(
        what, _advice(_select(path, header, list(hours), "hour", f"EXCLUDE ({_name(date)}, hour), {start}"), path)
    )


def _two(names: Sequence[str]) -> str:
    return f"{listed(names[:2])}, ..."


def _name(column: str) -> str:
    return column if _PLAIN.fullmatch(column) else '"' + column.replace('"', '""') + '"'


def _select(path: str, header: Sequence[str], columns: Sequence[str], name: str, change: str) -> str:
    """SQL of the long table."""
    kept = ", ".join(_name(column) for column in header if column not in set(columns))
    every = f"* EXCLUDE ({kept})" if kept else "*"
    reader = "read_parquet" if path.endswith(".parquet") else "read_csv"
    text = ", all_varchar = true" if reader == "read_csv" else ""
    quoted = path.replace("'", "''")
    source = f"(FROM {reader}('{quoted}'{text}))"
    of_change = f" {change}" if change else ""
    long = f"(UNPIVOT {source} ON COLUMNS({every}) INTO NAME {name} VALUE count)"
    return f"SELECT *{of_change} FROM {long}"  # noqa: S608 - shown to the user, never executed


def _advice(select: str, path: str) -> str:
    if not path:
        return "unpivot it, such as with DataFrame.melt or Polars' unpivot, into the columns bucket_start and count"
    target = f"{PurePath(path).name.partition('.')[0]}-long.csv"
    quoted = target.replace("'", "''")
    query = f"COPY ({select}) TO '{quoted}'"
    # Readable where nothing in it needs an escape.
    simple = not _ESCAPED.search(query)
    code = f"import duckdb; duckdb.sql('''{query} ''')" if simple else f"import duckdb; duckdb.sql({query!r})"
    word = f'"{code}"' if simple else shell_word(code)
    return f"write one row per count, such as to {shell_word(target)}: python -c {word}"
