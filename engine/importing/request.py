"""What an import is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arrival_engine.contracts.options import ZoneSource


@dataclass(frozen=True)
class ImportRequest:
    """Where the tables are, how to read them, and what world to make of them.

    Each table is one file or several, CSV or Parquet, or a directory of such files. zones: a physical arrival goes to
    a site in its count row's zone (`counts`), or in a zone drawn by group weights (`weights`). start, end, bucket: the
    time grid, as options are typed; what is left open follows from the counts, and buckets last an hour. rename: pairs
    (theirs, ours) of column names; ignore: columns of theirs to leave out; assume_utc: read times without zone as UTC.
    """

    run_root: Path
    counts: Sequence[Path]
    sites: Sequence[Path]
    virtual_merchants: Sequence[Path] = ()
    edges: Sequence[Path] = ()
    group_weights: Sequence[Path] = ()
    grid: Sequence[Path] = ()
    start: str | None = None
    end: str | None = None
    bucket: str | None = None
    zones: ZoneSource = "counts"
    seed: int = 42
    scenario_id: str = "baseline_v1"
    rename: Sequence[tuple[str, str]] = ()
    ignore: Sequence[str] = ()
    assume_utc: bool = False
