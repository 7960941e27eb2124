"""Two publications that take turns at one path, and readers of it in another process."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine import RunOptions, run
from tests.support.product import located, write_sealed
from tests.support.worlds import small_world

OPTIONS = RunOptions(backend="cpu", threads=1, batch_arrivals=100, replace=True)
KEY = ["merchant_id", "arrival_seq", "ts_utc", "channel_group"]


@dataclass(frozen=True)
class Turns:
    """Sealed worlds of one identity that take turns in one run directory; `rows` by world, `place` of the arrivals."""

    place: Path
    run_root: Path
    worlds: tuple[Path, Path]
    rows: tuple[str, str]

    def publish(self, turn: int, **changes: Any) -> str:
        """Publish the arrivals of one world in place of what is there; the outcome."""
        shutil.copytree(self.worlds[turn % 2], self.run_root, dirs_exist_ok=True)
        (scenario,) = run(self.run_root, replace(OPTIONS, **changes)).scenarios
        return scenario.published


def digest(table: pa.Table) -> str:
    """A hash of the rows, in any order."""
    kinds = {"merchant_id": pa.uint64(), "arrival_seq": pa.int64(), "ts_utc": pa.int64(), "channel_group": pa.string()}
    # DuckDB gives times in its session's zone, and PyArrow's readers give texts as dictionaries.
    columns = [table[name].cast(kind).to_pylist() for name, kind in kinds.items()]
    return hashlib.sha256(json.dumps(sorted(map(repr, zip(*columns, strict=True)))).encode()).hexdigest()


def take_turns(folder: Path) -> Turns:
    """Two worlds with different arrivals, both published once; the second one's are in place."""
    world = small_world()
    other = small_world(counts=tuple(replace(row, n=row.n + 2) if row.n else row for row in world.counts))
    worlds = tuple(write_sealed(each, folder / name).run_root for each, name in ((world, "a"), (other, "b")))
    events = located("arrival_events_5B", folder / "run", world)
    turns = Turns(events, folder / "run", (worlds[0], worlds[1]), ("", ""))
    rows = []
    for turn in (0, 1):
        turns.publish(turn)
        rows.append(digest(pq.read_table(events, partitioning=None)))
    return replace(turns, rows=(rows[0], rows[1]))


_READER = """
import json, sys
import duckdb, pyarrow as pa, pyarrow.dataset as ds, pyarrow.parquet as pq
from tests.support.replacement import KEY, digest
place, how = sys.argv[1:]
def by_duckdb():
    with duckdb.connect() as connection:
        return connection.sql(f"SELECT {', '.join(KEY)} FROM read_parquet('{place}/*.parquet')").to_arrow_table()
read = {
    "duckdb": by_duckdb,
    "dataset": lambda: ds.dataset(place, format="parquet").to_table(columns=KEY),
    "table": lambda: pq.read_table(place, columns=KEY, partitioning=None),
}[how]
print("ready", flush=True)
while True:
    try:
        found = digest(read())
    except (duckdb.Error, OSError, pa.ArrowException) as failure:
        found = f"{type(failure).__name__}: {failure}"
    try:
        print(json.dumps(found), flush=True)
    except BrokenPipeError:
        break
"""


@contextmanager
def reading(place: Path, how: str) -> Iterator[list[str]]:
    """Within, another process reads the place again and again; afterwards the list holds a hash or error of each."""
    found: list[str] = []
    words = [sys.executable, "-c", _READER, str(place), how]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            # The pipe holds what is not read yet: some hundred lines; the reader waits when it is full.
            yield found
        finally:
            process.terminate()
        found += [json.loads(line) for line in process.stdout if line.endswith("\n")]
