"""The request for an import."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from arrival_engine.contracts.options import DecimalMark, EpochUnit, MerchantIds, ThousandsMark, ZoneSource


class ArrowStream(Protocol):
    """A table with the Arrow C stream interface: a Polars or pandas DataFrame, an Arrow table, a DuckDB relation."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The rows as a PyCapsule of an Arrow C stream."""


# A table: files or directories, or tables in memory, one or several.
OneTable: TypeAlias = str | os.PathLike[str] | ArrowStream
Tables: TypeAlias = OneTable | Sequence[OneTable]


@dataclass(frozen=True)
class TableRequest:
    """The tables, how to read them, and what to make of them.

    Each table is one or more CSV or Parquet files, or a directory of such files at any depth, or one or more tables in
    memory: pandas and Polars DataFrames, Arrow tables, DuckDB relations and other objects with `__arrow_c_stream__`,
    each of which is read once. zones: a physical arrival goes to a site in its count row's zone (`counts`), or in a
    zone drawn by group weights (`weights`). start, end, bucket: the time grid as text of options; the counts decide
    what is None, except that buckets last an hour; the bucket `local-day` means the civil days of each row's zone.
    rename: pairs (theirs, ours) of names of columns and partition keys; ignore: theirs to leave out; assume_utc: read
    times without zone as UTC. decimal ("." or ",") and thousands (".", ",", "'" or " "): the marks in numbers that are
    texts, in all tables. merchant_ids: numbers from 1 to 2^64 - 1, or texts, whose ids are then hashes of them. epoch:
    the unit of times that are numbers since 1970. accept_links: former names of zones become the current ones.
    """

    counts: Tables
    sites: Tables
    virtual_merchants: Tables | None = ()
    edges: Tables | None = ()
    group_weights: Tables | None = ()
    grid: Tables | None = ()
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
    merchant_ids: MerchantIds = "number"
    epoch: EpochUnit | None = None
    accept_links: bool = False


@dataclass(frozen=True)
class _Directory:
    run_root: Path


@dataclass(frozen=True)
class ImportRequest(TableRequest, _Directory):
    """A request for a world in a directory, which is the first argument; the tables as in `TableRequest`."""


def is_given(tables: object) -> bool:
    """Whether an argument holds a table."""
    return tables is not None and not (isinstance(tables, list | tuple) and not tables)
