"""What readers read of the published files for one merchant, for one day, and for one day of one merchant.

DuckDB skips row groups. DataFusion skips pages too, where a file has a page index.
"""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from arrival_engine.engine.process import human
from bench.page_index import measure_page_index
from bench.process import in_process
from bench.product import paths_of
from bench.tabular import Table
from bench.workplace import Workplace, world_facts

EVERY_COLUMN = "*"
FEW_COLUMNS = "merchant_id, ts_utc, site_id"
_NAMED = {EVERY_COLUMN: "every column", FEW_COLUMNS: "three columns"}


def measure(workplace: Workplace) -> dict[str, Any]:
    """Bytes and row groups of each query, in a process that has read nothing before."""
    root = workplace.world
    files = [str(path) for path in paths_of(root, "arrival_events_5B")]
    workplace.say("pruning: queries")
    chosen = in_process(choose_conditions, files=files)
    queries = []
    for name, condition in chosen["conditions"].items():
        for columns in (EVERY_COLUMN, FEW_COLUMNS):
            figures = in_process(run_query, files=files, columns=columns, condition=condition)
            queries.append({"name": name, "columns": columns, "condition": condition, **figures})
    return {
        "world": world_facts(root),
        "bytes": sum(Path(path).stat().st_size for path in files),
        "queries": queries,
        "page_index": measure_page_index(workplace, files, chosen["day"], [EVERY_COLUMN, FEW_COLUMNS]),
    }


def choose_conditions(files: list[str]) -> dict[str, Any]:
    """SQL conditions: the merchant with the median number of arrivals, the one with most, and the middle day.

    The day is given by itself as well: its begin and end.
    """
    import duckdb

    connection = duckdb.connect()
    merchants = connection.execute(
        "SELECT merchant_id FROM read_parquet(?) GROUP BY 1 ORDER BY count(*), 1", [files]
    ).fetchall()
    ((first, last),) = connection.execute(
        "SELECT epoch_us(min(ts_utc)), epoch_us(max(ts_utc)) FROM read_parquet(?)", [files]
    ).fetchall()
    begin = datetime.fromtimestamp((first + last) / 2e6, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    span = begin.isoformat(), (begin + timedelta(days=1)).isoformat()
    day = f"ts_utc >= TIMESTAMPTZ '{span[0]}' AND ts_utc < TIMESTAMPTZ '{span[1]}'"
    median, largest = (f"merchant_id = {merchants[at][0]}" for at in (len(merchants) // 2, -1))
    conditions = {
        "one merchant, the median one": median,
        "one merchant, the largest one": largest,
        "one day of the largest merchant": f"{largest} AND {day}",
        "one day of all merchants": day,
    }
    return {"conditions": conditions, "day": span}


def run_query(files: list[str], columns: str, condition: str) -> dict[str, Any]:
    """Rows found, bytes read and row groups scanned, by DuckDB's own profile."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile.json"
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("PRAGMA enable_profiling = 'json'")
        connection.execute(f"PRAGMA profiling_output = '{profile}'")
        # Columns and conditions are this module's own texts.
        query = f"CREATE TEMP TABLE found AS SELECT {columns} FROM read_parquet(?) WHERE {condition}"  # noqa: S608
        connection.execute(query, [files])
        figures = json.loads(profile.read_text(encoding="utf-8"))
        connection.execute("PRAGMA disable_profiling")
        ((rows,),) = connection.execute("SELECT count(*) FROM found").fetchall()
    scan = figures["query"]
    return {
        "rows": rows,
        "bytes_read": figures["io"]["total_bytes_read"],
        "row_groups": scan["total_row_groups_scanned"],
        "of_row_groups": scan["total_row_groups_to_scan"],
        "seconds": scan["total_time"],
    }


def tables(measured: dict[str, Any]) -> list[Table]:
    """Shares of the bytes and of the row groups, and the bytes of one day with and without a page index."""
    rows = [
        (
            f"{query['name']}, {_NAMED[query['columns']]}",
            human.count(query["rows"]),
            f"{query['bytes_read'] / measured['bytes']:.2%}",
            f"{human.count(query['row_groups'])} of {human.count(query['of_row_groups'])}",
            f"{query['seconds']:.3f} s",
        )
        for query in measured["queries"]
    ]
    header = (f"DuckDB, of {human.size(measured['bytes'])}", "rows", "bytes read", "row groups", "time")
    by_page = measured.get("page_index")
    return [Table(header, rows), *([_by_page(by_page)] if by_page else [])]


def _by_page(measured: dict[str, Any]) -> Table:
    """Ratios are those of our files to pyarrow's."""
    ours, theirs = measured.values()
    lines = [
        (
            f"one day of all merchants, {_NAMED[columns]}",
            *(kind["queries"][columns]["bytes_scanned"] for kind in (ours, theirs)),
        )
        for columns in ours["queries"]
    ]
    lines += [
        (title, ours[name], theirs[name])
        for title, name in {"footers and page indexes": "tail_bytes", "all files": "bytes"}.items()
    ]
    rows = [(title, human.size(own), human.size(other), f"{own / other:.2f}") for title, own, other in lines]
    return Table(("bytes that DataFusion scans", *measured, "ours by pyarrow's"), rows)
