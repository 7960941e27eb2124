"""What each column of a part costs either Parquet writer, on one thread, to memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.pages import encoder
from arrival_engine.engine.pages.framing import Framing
from arrival_engine.engine.pages.sheet import Sheet
from arrival_engine.engine.world.load import World
from bench.arrow_writer import arrow_writer
from bench.timing import repeated
from bench.writers import MEMORY, Held, own_writer, temporary

# Of a sheet, by what they lay; the first argument is the column.
_LAYING = ("codes", "runs", "numbers", "texts", "flags")
# What the engine's writer does for all columns together.
FRAME, REST = "page headers, indexes and footer", "columns of the batch, and the file"


def column_costs(part: Held, world: World, assembler: Assembler, repeats: int) -> dict[str, Any]:
    """Seconds by column of pyarrow and of the engine's writer, and bytes.

    pyarrow writes each column as a file of its own; what such a file has besides its pages is within the noise.
    """
    sizes, seconds = _own_costs(part, world, assembler, repeats)
    columns = {}
    with temporary(MEMORY) as target:
        writer = arrow_writer(world, assembler, target)
        for name in assembler.schema.names:
            alone = [group.select([name]) for group in part.row_groups]
            one = replace(writer, schema=pa.schema([assembler.schema.field(name)]))

            def write(one=one, alone=alone):
                return one.write(0, iter(alone), part.result.digest)

            columns[name] = {
                "values": part.result.batch.arrivals,
                "bytes": write().bytes,
                "own_bytes": sizes[name],
                "own_cpu_s": seconds.pop(name),
                **repeated(write, repeats),
            }
    return {"columns": columns, "own_rest_cpu_s": seconds}


def _own_costs(
    part: Held, world: World, assembler: Assembler, repeats: int
) -> tuple[dict[str, int], dict[str, list[float]]]:
    """Bytes by column, and processor seconds by column and of what remains, in each repeat."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    with temporary(MEMORY) as folder, _timed_sheets() as spent:
        write = own_writer(world, assembler)(folder)
        path = write(part)
        for _ in range(repeats):
            spent.clear()
            begin = time.thread_time()
            write(part)
            spent[REST] = time.thread_time() - begin - sum(spent.values())
            for name, each in spent.items():
                seconds[name].append(each)
        sizes = _column_bytes(pq.read_metadata(path.outside))
    return sizes, dict(seconds)


@contextmanager
def _timed_sheets() -> Iterator[dict[str, float]]:
    """Adds up the processor seconds that the encoder's sheets spend on each column, within the context."""
    spent: defaultdict[str, float] = defaultdict(float)

    def timed(method: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
        def call(sheet: Sheet | Framing, *given: Any) -> Any:
            begin = time.thread_time()
            try:
                return method(sheet, *given)
            finally:
                spent[name or given[0]] += time.thread_time() - begin

        return call

    methods = {method: timed(getattr(Sheet, method)) for method in _LAYING}
    # The encoder looks the class up in its module for each part.
    names = vars(encoder)
    names["Sheet"] = type("TimedSheet", (Sheet,), methods)
    framing = {method: timed(getattr(Framing, method), FRAME) for method in ("pages", "end")}
    names["Framing"] = type("TimedFraming", (Framing,), framing)
    try:
        yield spent
    finally:
        names["Sheet"], names["Framing"] = Sheet, Framing


def _column_bytes(footer: pq.FileMetaData) -> dict[str, int]:
    """Bytes of the pages of each column."""
    sizes: defaultdict[str, int] = defaultdict(int)
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for chunk in map(group.column, range(footer.num_columns)):
            sizes[chunk.path_in_schema] += chunk.total_compressed_size
    return sizes
