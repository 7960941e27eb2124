"""Writers of arrivals that are in memory already: pyarrow's, the engine's own, and one of plain bytes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

    from arrival_engine.contracts.inside import InsidePath
    from arrival_engine.engine.expand.assemble import Assembler
    from arrival_engine.engine.expand.backend import BatchResult
    from arrival_engine.engine.world.load import World

MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory

Item = TypeVar("Item")
# From an empty folder to a function that writes one item there, on any thread, and gives the file's path.
Writer = Callable[[Path], Callable[[Item], "InsidePath"]]


class Held(NamedTuple):
    """One part, ready to be written by either writer."""

    result: BatchResult
    row_groups: list[pa.RecordBatch]


def pyarrow_writer(world: World, assembler: Assembler) -> Writer[Held]:
    """The reference."""
    from bench.arrow_writer import arrow_writer

    def to(folder: Path) -> Callable[[Held], InsidePath]:
        writer = arrow_writer(world, assembler, folder)

        def write(part: Held) -> InsidePath:
            result = part.result
            return writer.directory / writer.write(result.batch.index, iter(part.row_groups), result.digest).name

        return write

    return to


def own_writer(world: World, assembler: Assembler) -> Writer[Held]:
    """The writer of a run."""
    from arrival_engine.contracts.inside import InsidePath
    from arrival_engine.engine.pages.parts import ParquetParts

    def to(folder: Path) -> Callable[[Held], InsidePath]:
        directory = InsidePath(folder)
        writer = ParquetParts(directory, world, assembler)
        return lambda part: directory / writer.write(part.result).name

    return to


def plain_writer(folder: Path) -> Callable[[tuple[str, bytes]], InsidePath]:
    """A writer of named bytes."""
    from arrival_engine.contracts.inside import InsidePath

    def write(named: tuple[str, bytes]) -> InsidePath:
        name, data = named
        path = InsidePath(folder) / name
        with path.open("wb", 0) as file:
            file.write(data)
        return path

    return write


@contextmanager
def temporary(parent: Path) -> Iterator[Path]:
    """A folder in `parent` for as long as the context."""
    folder = Path(tempfile.mkdtemp(dir=parent, prefix="arrivals-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
