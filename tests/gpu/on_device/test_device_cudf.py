"""cuDF on a device: it reads the count rows that the host has read, and writes the parts that the host writes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.arrivals.reading import find_rows, part_files
from arrival_engine.engine.expand.backend import count_files
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.synth import synthesise
from arrival_engine.gpu_kernels.load import device_rows, uploaded_rows
from tests.support import gpu as support
from tests.support.device_rows import assert_same_rows, encodings_of, plain
from tests.support.gpu import cudf
from tests.support.world_files import write_world
from tests.support.worlds import small_world


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run")


@cudf
def test_both_readers_put_the_same_arrays_on_a_device(small):
    from arrival_engine.gpu_kernels.device import devices
    from arrival_engine.gpu_kernels.memory import CupyMemory, device_pool

    notices = []
    rows = small.plan.world.rows
    for device in devices():
        memory = CupyMemory(device.ordinal, device_pool(device.ordinal))
        with memory.entered():
            for source in (uploaded_rows, device_rows(count_files(small.plan.world), notices.append)):
                found = source(memory, rows)
                memory.wait()
                assert_same_rows(type(rows)(*(block.storage.get() for block in found)), rows)
    assert notices == []


@cudf
@pytest.mark.parametrize("compression", ["lz4", "zstd", "snappy", "none"])
def test_cudf_writes_the_same_rows(tmp_path, compression):
    tables, digests = [], []
    for device_writer in (False, True):
        root = tmp_path / str(device_writer)
        write_world(small_world(), root, output_policy={"compression": compression})
        seal(root)
        (scenario,) = run(root, RunOptions("cuda", batch_arrivals=700, device_writer=device_writer)).scenarios
        digests.append((scenario.digest, scenario.parts))
        tables.append([pq.read_table(path, partitioning=None) for path in sorted(scenario.path.glob("*.parquet"))])
    assert digests[0] == digests[1]
    for wanted, found in zip(*tables, strict=True):
        assert found.schema.equals(wanted.schema, check_metadata=True)
        assert plain(found).equals(plain(wanted))
    # By the statistics that cuDF wrote; ids reach beyond int64.
    parts = part_files(InsidePath(Path(scenario.path)))
    for merchant in set(pa.concat_tables(tables[0])["merchant_id"].to_pylist()):
        ((_, row),) = find_rows(parts, merchant, 1)
        assert row["merchant_id"] == merchant


@cudf
@pytest.mark.parametrize("encoding", ["delta", "plain"])
def test_cudf_stores_times_and_sequence_value_by_value_where_the_policy_says_plain(tmp_path, encoding):
    write_world(small_world(), tmp_path / "run", output_policy={"encoding": encoding})
    seal(tmp_path / "run")
    (scenario,) = run(tmp_path / "run", RunOptions("cuda", device_writer=True)).scenarios
    for path in scenario.path.glob("*.parquet"):
        chunks = encodings_of(path)
        for name in ("arrival_seq", "ts_utc", "ts_local_primary"):
            assert "DELTA_BINARY_PACKED" not in chunks[name]
            assert encoding == "delta" or "RLE_DICTIONARY" not in chunks[name]


@cudf
@pytest.mark.slow
def test_cudf_writes_the_demo_world_on_threads(tmp_path):
    digests = []
    for device_writer in (False, True):
        root = tmp_path / str(device_writer)
        synthesise(root, preset="demo", seed=42)
        seal(root)
        options = RunOptions("cuda", threads=8, batch_arrivals=50_000, device_writer=device_writer)
        (scenario,) = run(root, options).scenarios
        digests.append(scenario.digest)
    assert digests[0] == digests[1]
