"""The stages of the way from count rows to a file, for pytest-benchmark: `pytest tests/benchmarks --benchmark-enable`.

Time never decides whether these pass; the suite runs each once and looks at what it made.
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.cpu_fallback.philox import philox2x64
from arrival_engine.cpu_fallback.tables import Work
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import finish_batch
from arrival_engine.engine.expand.batch_checks import check_batch
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.pages.parts import ParquetParts
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.engine.world.load import load_world
from bench import kernel_loops
from bench.arrow_writer import arrow_writer

# For figures worth comparing: ARRIVALS_BENCH_SCALE=1 is the demo world, about a million arrivals.
SCALE = float(os.environ.get("ARRIVALS_BENCH_SCALE", "0.05"))
BLOCKS = 100_000


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    synthesise(root, preset="demo", seed=1, scale=SCALE)
    seal(root)
    return plan(load_world(root))


@pytest.fixture(scope="module")
def work(planned):
    return Work(planned.world.tables, planned.world.rows, planned.segments, planned.switches)


@pytest.fixture(scope="module")
def batch(planned):
    return max(planned.batches, key=lambda batch: batch.arrivals)


@pytest.fixture(scope="module")
def result(planned, batch, work):
    return finish_batch(planned, batch, expand_segments(work, batch.segments))


def test_philox(benchmark):
    words = np.empty(kernel_loops.RING + 1, np.uint64)
    benchmark(kernel_loops.philox_blocks, BLOCKS, np.uint64(7), words)
    last = BLOCKS - 1
    x0, x1 = philox2x64(np.uint64(last), np.uint64(1), np.uint64(7))
    assert words[last & kernel_loops.RING] == x0 ^ x1


def test_expand_a_batch(benchmark, planned, batch, work):
    made = benchmark(expand_segments, work, batch.segments)
    assert made.columns.ts_us.size == batch.arrivals > 0
    check_batch(planned, finish_batch(planned, batch, made))


def test_check_a_batch(benchmark, planned, result):
    assert benchmark(check_batch, planned, result) is None


def test_assemble_a_batch(benchmark, planned, result):
    assembler = Assembler(planned.world)
    groups = benchmark(lambda: list(assembler.batches(result)))
    assert sum(group.num_rows for group in groups) == result.batch.arrivals
    assert all(group.schema.equals(assembler.schema) for group in groups)


def test_write_a_part(benchmark, planned, result, tmp_path):
    writer = ParquetParts(InsidePath(tmp_path), planned.world, Assembler(planned.world))
    is_whole(benchmark(lambda: writer.write(result)), tmp_path, result)


def test_write_a_part_by_pyarrow(benchmark, planned, result, tmp_path):
    assembler = Assembler(planned.world)
    groups = list(assembler.batches(result))
    writer = arrow_writer(planned.world, assembler, tmp_path)
    is_whole(benchmark(lambda: writer.write(0, iter(groups), result.digest)), tmp_path, result)


def is_whole(receipt, folder, result):
    assert [path.name for path in folder.iterdir()] == [receipt.name]
    assert PartFile.at(InsidePath(folder) / receipt.name).digest() == result.digest
    assert pq.ParquetFile(folder / receipt.name).metadata.num_rows == receipt.rows == result.batch.arrivals
