"""The sink of each table format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from arrival_engine.contracts.options import TableFormat
from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.exporting.sink import Layout, Sink
from arrival_engine.engine.storage.url import Place

if TYPE_CHECKING:
    Opener = Callable[[Place, ExportOptions, Layout], Sink]

__all__ = ["opened_sink"]

# Modules with a function `open_sink`. Each is imported when it is needed: not every installation has its packages.
_HOMES: dict[TableFormat, str] = {
    "parquet": "arrival_engine.engine.exporting.parquet_folder",
    "delta": "arrival_engine.engine.exporting.delta",
    "iceberg": "arrival_engine.engine.exporting.iceberg",
    "duckdb": "arrival_engine.engine.exporting.duckdb_file",
}


@contextmanager
def opened_sink(place: Place, options: ExportOptions, layout: Layout) -> Iterator[Sink]:
    """The sink of an export; what it has staged and not committed is removed at the end."""
    open_sink: Opener = import_module(_HOMES[options.to]).open_sink
    sink = open_sink(place, options, layout)
    try:
        yield sink
    finally:
        sink.abandon()
