"""What DuckDB reads of the published files for one merchant, for one day, and for one day of one merchant."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from arrival_engine.engine.process import human
from bench.process import in_process
from bench.product import paths_of
from bench.tabular import Table
from bench.workplace import Workplace, world_facts

EVERY_COLUMN = "*"
FEW_COLUMNS = "merchant_id, ts_utc, site_id"


def measure(workplace: Workplace) -> dict[str, Any]:
    """Bytes and row groups of each query, in a process that has read nothing before."""
    root = workplace.world
    files = [str(path) for path in paths_of(root, "arrival_events_5B")]
    workplace.say("pruning: queries")
    conditions = in_process(choose_conditions, files=files)
    queries = []
    for name, condition in conditions.items():
        for columns in (EVERY_COLUMN, FEW_COLUMNS):
            figures = in_process(run_query, files=files, columns=columns, condition=condition)
            queries.append({"name": name, "columns": columns, "condition": condition, **figures})
    return {"world": world_facts(root), "bytes": sum(Path(path).stat().st_size for path in files), "queries": queries}


def choose_conditions(files: list[str]) -> dict[str, str]:
    """SQL conditions: the merchant with the median number of arrivals, the one with most, and the middle day."""
    import duckdb

    connection = duckdb.connect()
    merchants = connection.execute(
        "SELECT merchant_id FROM read_parquet(?) GROUP BY 1 ORDER BY count(*), 1", [files]
    ).fetchall()
    ((first, last),) = connection.execute(
        "SELECT epoch_us(min(ts_utc)), epoch_us(max(ts_utc)) FROM read_parquet(?)", [files]
    ).fetchall()
    begin = datetime.fromtimestamp((first + last) / 2e6, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = begin + timedelta(days=1)
    day = f"ts_utc >= TIMESTAMPTZ '{begin.isoformat()}' AND ts_utc < TIMESTAMPTZ '{end.isoformat()}'"
    median, largest = (f"merchant_id = {merchants[at][0]}" for at in (len(merchants) // 2, -1))
    return {
        "one merchant, the median one": median,
        "one merchant, the largest one": largest,
        "one day of the largest merchant": f"{largest} AND {day}",
        "one day of all merchants": day,
    }


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
    """Shares of the bytes and of the row groups."""
    rows = [
        (
            f"{query['name']}, {'every column' if query['columns'] == EVERY_COLUMN else 'three columns'}",
            human.count(query["rows"]),
            f"{query['bytes_read'] / measured['bytes']:.2%}",
            f"{human.count(query['row_groups'])} of {human.count(query['of_row_groups'])}",
            f"{query['seconds']:.3f} s",
        )
        for query in measured["queries"]
    ]
    return [Table((f"of {human.size(measured['bytes'])}", "rows", "bytes read", "row groups", "time"), rows)]
