"""What to export, in which form, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from arrival_engine.contracts.options import Clustering, ColumnSet, IdType, TableFormat
from arrival_engine.contracts.safe_text import is_line, shell_word

__all__ = ["ExportOptions"]

# Formats without unsigned integers of 64 bits.
_SIGNED: frozenset[TableFormat] = frozenset({"delta", "iceberg"})
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")


@dataclass(frozen=True)
class ExportOptions:
    """What to export and how; no option changes an arrival.

    to: the table format. scenario: None for the only one. ids: None for the format's own, which is int64 for delta and
    iceberg, and uint64 for the others. cluster_by: the order of rows, by merchant and arrival_seq, or by UTC day first.
    partitioned: one folder `day=YYYY-MM-DD` per UTC day. publish: read published arrivals; False expands the sealed
    world. replace: put the export in place of another one. catalog, table: of iceberg. license: an SPDX expression or a
    URL. threads: None for every core this process may use. Raises ValueError for options that are not valid or do not
    go together.
    """

    to: TableFormat = "parquet"
    scenario: str | None = None
    columns: ColumnSet = "readable"
    ids: IdType | None = None
    cluster_by: Clustering = "merchant"
    partitioned: bool = False
    publish: bool = True
    replace: bool = False
    catalog: str | None = None
    table: str | None = None
    license: str | None = None
    threads: int | None = None
    accept_tz_cache: bool = False

    def __post_init__(self) -> None:
        choices = {"to": TableFormat, "columns": ColumnSet, "ids": IdType, "cluster_by": Clustering}
        for name, kind in choices.items():
            given, known = getattr(self, name), get_args(kind)
            if given not in known and not (name == "ids" and given is None):
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {given!r}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, not {self.threads}")
        if self.partitioned and self.cluster_by != "day":
            raise ValueError("partitioned needs cluster_by day: the folders are days")
        if self.partitioned and self.to == "duckdb":
            raise ValueError("partitioned is for exports of several files: a DuckDB file is one")
        if self.to in _SIGNED and self.ids == "uint64":
            raise ValueError(f"ids uint64 is not possible: {self.to} has no unsigned integers; int64 is the same bits")
        self._check_texts()

    def _check_texts(self) -> None:
        if self.to != "iceberg" and (self.catalog is not None or self.table is not None):
            raise ValueError("catalog and table are for iceberg")
        if self.table is not None and not _TABLE.fullmatch(self.table):
            raise ValueError(f"table must be NAMESPACE.NAME in letters, digits and _, not {self.table!r}")
        if self.license is not None and not (self.license.strip() and is_line(self.license)):
            raise ValueError("license must be an SPDX expression or a URL on one line")
        if self.accept_tz_cache and self.publish:
            raise ValueError("accept_tz_cache is for publish False: to read published arrivals takes no tz cache")

    @property
    def id_type(self) -> IdType:
        """The form of ids, that of the format if none was asked for."""
        return self.ids or ("int64" if self.to in _SIGNED else "uint64")

    def recipe(self, scenario_id: str) -> str:
        """The command that makes the same export from any run directory of the same world, at any place."""
        words = ["arrivals export RUN_ROOT TARGET", f"--to {self.to}", f"--scenario {shell_word(scenario_id)}"]
        words += [f"--columns {self.columns}", f"--ids {self.id_type}", f"--cluster-by {self.cluster_by}"]
        words += ["--partitioned"] if self.partitioned else []
        words += [f"--license {shell_word(self.license)}"] if self.license else []
        return " ".join(words)

    def command(self, scenario_id: str, target: str) -> str:
        """The command of this export, with RUN_ROOT for the run directory."""
        words = [self.recipe(scenario_id).replace(" TARGET ", f" {shell_word(target)} ", 1)]
        words += [] if self.publish else ["--no-publish"]
        words += [f"--catalog {shell_word(self.catalog)}"] if self.catalog else []
        words += [f"--table {self.table}"] if self.table else []
        return " ".join(words)
