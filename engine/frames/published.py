"""Published arrivals as a stream."""

from __future__ import annotations

from pathlib import Path

from arrival_engine.contracts.options import ColumnSet, IdType
from arrival_engine.engine.frames.arrivals import Arrivals
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.readable.published import published_source
from arrival_engine.engine.readable.shapes import Shape
from arrival_engine.engine.rundir.receipt import read_receipt

__all__ = ["read_arrivals"]


def read_arrivals(
    run_root: Path | str, scenario: str | None = None, *, columns: ColumnSet = "readable", ids: IdType = "uint64"
) -> Arrivals:
    """The published arrivals of a run directory, in columns for people (`readable`) or in the contract's 21.

    `scenario` may be omitted if one is published. `ids`: uint64, int64 (the same 64 bits), text or decimal. Nothing but
    the part files' footers is read before rows are asked for. Raises ValueError for other words, IO_READ_FAILED if
    nothing is published, OPTION_INVALID for a scenario that is not published.
    """
    shape = Shape(columns, ids)
    return Arrivals(published_source(read_receipt(Path(run_root)), scenario, available_cores()), shape)
