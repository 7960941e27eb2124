"""The request for an import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arrival_engine.contracts.options import DecimalMark, ThousandsMark, ZoneSource


@dataclass(frozen=True)
class ImportRequest:
    """The tables, how to read them, and the world to make of them.

    Each table is one or more CSV or Parquet files, or a directory of such files at any depth. zones: a physical
    arrival goes to a site in its count row's zone (`counts`), or in a zone drawn by group weights (`weights`). start,
    end, bucket: the time grid as text of options; the counts decide what is None, except that buckets last an hour;
    the bucket `local-day` means the civil days of each row's zone. rename: pairs (theirs, ours) of names of columns
    and partition keys; ignore: theirs to leave out; assume_utc: read times without zone as UTC. decimal ("." or ",")
    and thousands (".", ",", "'" or " "): the marks in numbers that are texts, in all tables.
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
    thousands: ThousandsMark | None = None
    decimal: DecimalMark | None = None
