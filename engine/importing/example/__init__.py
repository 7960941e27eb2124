"""A small coffee chain as a user would bring it: four tables, written where the user wants them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import writing

__all__ = ["Example", "write_example"]

_TABLES = {
    "counts": "sales per shop chain, time zone, channel and hour, 24 March to 2 April 2026",
    "sites": "the shops, with the weight of each",
    "virtual_merchants": "who sells online, only or also",
    "edges": "where online customers are",
}


@dataclass(frozen=True)
class Example:
    """Tables in a directory: path and description of each, and the import option it belongs to."""

    directory: Path
    files: Mapping[Path, str]
    options: Mapping[str, Path]


def write_example(directory: Path) -> Example:
    """Write the example tables into `directory`, which is made; ones that are there already stay as they are.

    Raises IO_WRITE_CONFLICT, before anything is written, where a file of that name holds something else, and
    IO_WRITE_FAILED.
    """
    wanted = {directory / f"{name}.csv": _table(name) for name in _TABLES}
    with writing("example tables", directory):
        directory.mkdir(parents=True, exist_ok=True)
        for path, data in wanted.items():
            if os.path.lexists(path) and path.read_bytes() != data:
                raise ArrivalError(
                    Code.IO_WRITE_CONFLICT,
                    f"{path} is there already and is not the example's",
                    hint="give another directory, or move the file away",
                    path=path,
                )
        for path, data in wanted.items():
            path.write_bytes(data)
    described = dict(zip(wanted, _TABLES.values(), strict=True))
    options = {f"--{name.replace('_', '-')}": path for name, path in zip(_TABLES, wanted, strict=True)}
    return Example(directory, described, options)


def _table(name: str) -> bytes:
    return files(__name__).joinpath(f"{name}.csv").read_bytes()
