"""Batches encoded as part files in memory, and compared with Arrow's tables of the same batches."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arrival_engine.contracts.thrift import MAGIC, Compact
from arrival_engine.engine.arrivals.metadata import file_metadata
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult, choose_backend
from arrival_engine.engine.expand.planning import Plan, plan
from arrival_engine.engine.pages.encoder import PageEncoder
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.world.load import World

BOUNDED = ("merchant_id", "bucket_index", "arrival_seq", "ts_utc")


def with_output(world: World, **options: Any) -> World:
    """The world under another output policy."""
    output = replace(world.settings.output, **options)
    return replace(world, settings=replace(world.settings, output=output))


def results(planned: Plan) -> Iterator[BatchResult]:
    """The batches of a plan; each is valid until the next."""
    with choose_backend("cpu").open(planned, Reporter()) as expand:
        for batch in planned.batches:
            result = expand(batch)
            yield result
            result.release()


class Encoding:
    """Encodes the batches of a world. `groups` are as the run's own."""

    def __init__(self, world: World, **options: Any) -> None:
        self.world = world
        self.assembler = Assembler(world)
        self.encoder = PageEncoder(world, self.assembler.schema, **options)
        self.metadata = file_metadata(world)

    def file(self, result: BatchResult) -> bytes:
        groups = np.array([0, *(last for _, last in self.assembler.row_groups(result))], np.int64)
        return b"".join(map(bytes, self.encoder.pieces(result, groups, self.metadata)))

    def table(self, result: BatchResult) -> pa.Table:
        schema = self.assembler.schema.with_metadata(self.metadata)
        return pa.Table.from_batches(list(self.assembler.batches(result))).cast(schema)


def check_world(world: World, batch_arrivals: int, **options: Any) -> int:
    """Every batch decoded is the assembler's table, with its statistics; returns the number of pages."""
    pages = 0
    encoding = Encoding(world, **options)
    for result in results(plan(world, batch_arrivals)):
        data, wanted = encoding.file(result), encoding.table(result)
        assert encoding.file(result) == data
        file = pq.ParquetFile(io.BytesIO(data))
        assert file.schema_arrow.equals(wanted.schema, check_metadata=True)
        assert_same_columns(file.read(), wanted)
        assert_statistics(file, wanted)
        pages += check_pages(data, wanted)
    return pages


def assert_same_columns(found: pa.Table, wanted: pa.Table) -> None:
    found.validate(full=True)
    assert found.schema.equals(wanted.schema, check_metadata=True)
    for name in wanted.schema.names:
        one, other = found[name], wanted[name]
        if pa.types.is_dictionary(one.type):
            one, other = one.cast(pa.string()), other.cast(pa.string())
        assert one.equals(other), name


def assert_statistics(file: pq.ParquetFile, wanted: pa.Table) -> None:
    """Statistics and null counts are those that Arrow writes for the same row groups."""
    rows, names = 0, wanted.schema.names
    bounded = [name for name in BOUNDED if not pa.types.is_string(wanted.schema.field(name).type)]
    assert file.metadata.num_rows == wanted.num_rows
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        sink = io.BytesIO()
        pq.write_table(wanted.slice(rows, group.num_rows), sink, version="2.6", write_statistics=names)
        arrow = pq.read_metadata(sink).row_group(0)
        rows += group.num_rows
        for column, name in enumerate(names):
            found, other = group.column(column), arrow.column(column)
            assert (found.num_values, found.physical_type) == (other.num_values, other.physical_type)
            assert found.statistics.null_count == other.statistics.null_count, name
            assert found.statistics.has_min_max == (name in bounded), name
            if name in bounded:
                assert (found.statistics.min_raw, found.statistics.max_raw) == (
                    other.statistics.min_raw,
                    other.statistics.max_raw,
                ), name
    assert rows == wanted.num_rows


def check_pages(data: bytes, wanted: pa.Table) -> int:
    """Offset and column indexes are those of the pages, whose bounds are those of their rows; returns their number."""
    pages = rows = 0
    end = len(MAGIC)
    for group in Compact(footer_of(data)).struct()[4]:
        for name, chunk in zip(wanted.schema.names, group[1], strict=True):
            facts = chunk[3]
            assert min(facts[9], facts.get(11, facts[9])) == end
            end += facts[7]
            found = _pages(data, chunk)
            starts = [rows + first for _, first in found] + [rows + group[3]]
            _check_bounds(data, chunk, [wanted[name][a:b] for a, b in pairwise(starts)], name)
            pages += len(found)
        rows += group[3]
    assert rows == wanted.num_rows
    return pages


def footer_of(data: bytes) -> bytes:
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


def _pages(data: bytes, chunk: dict[int, Any]) -> list[tuple[int, int]]:
    """Position and first row of each page, by its headers; the offset index says the same."""
    facts, at, row, found = chunk[3], chunk[3].get(11, chunk[3][9]), 0, []
    end = at + facts[7]
    while at < end:
        header = Compact(data[at:end])
        stated = header.struct()
        size = header.at + stated[3]
        if stated[1] == 0:
            found.append((at, row))
            assert set(stated[5]) == {1, 2, 3, 4}
            row += stated[5][1]
        else:
            assert at == facts[11]
        at += size
    assert at == end
    index = Compact(data[chunk[4] : chunk[4] + chunk[5]])
    locations = index.struct()[1]
    assert index.at == chunk[5]
    assert [(location[1], location[3]) for location in locations] == found
    assert [location[1] + location[2] for location in locations] == [*(begin for begin, _ in found[1:]), end]
    assert row == facts[5]
    return found


def _check_bounds(data: bytes, chunk: dict[int, Any], values: list[pa.ChunkedArray], name: str) -> None:
    if 6 not in chunk:
        assert 7 not in chunk
        return
    reader = Compact(data[chunk[6] : chunk[6] + chunk[7]])
    index = reader.struct()
    assert reader.at == chunk[7]
    assert name in BOUNDED
    plain = [page.cast(pa.int64()) if pa.types.is_timestamp(page.type) else page for page in values]
    extremes = [pc.min_max(page).as_py() for page in plain]
    least, greatest = ([found[key] for found in extremes] for key in ("min", "max"))
    assert index[1] == [2] * len(values)
    assert index[2] == [(value % 2**64).to_bytes(8, "little") for value in least]
    assert index[3] == [(value % 2**64).to_bytes(8, "little") for value in greatest]
    assert index[4] == int(least == sorted(least) and greatest == sorted(greatest))
    assert index[5] == [page.null_count for page in values]
