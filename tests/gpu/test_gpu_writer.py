"""`--device-writer`: the columns as they stand on a device, what is written of them, and its refusals.

`tests.support.stand_in_cudf` takes the place of pylibcudf here; on a device, `on_device/test_device_cudf.py` uses the
real one.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine import RunOptions, run
from arrival_engine.contracts import ArrivalError, Code, arrow_schema
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.cpu_fallback.tables import Columns, empty_columns
from arrival_engine.engine.arrivals.publish import read_published
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import (
    CHECKED_COLUMNS,
    Backend,
    choose_backend,
    finish_batch,
    keep_batch,
)
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.run.device_parts import DevicePartWriter, layout_of
from arrival_engine.engine.run.production import Workshop, produce_parts
from arrival_engine.engine.sealing import seal
from arrival_engine.gpu_kernels import device
from arrival_engine.gpu_kernels.columns import Kept, Lookups, arranged
from arrival_engine.gpu_kernels.cudf_parquet import ARROW_SCHEMA_KEY, arrow_schema_text
from arrival_engine.gpu_kernels.expand import OnDevice
from arrival_engine.gpu_kernels.footer import state_instants
from arrival_engine.gpu_kernels.lane import out_of_memory
from arrival_engine.gpu_kernels.simulator import Simulator, SimulatorOptions
from arrival_engine.gpu_kernels.sort import ARRIVAL_BYTES
from tests.support import gpu as support
from tests.support import stand_in_cudf
from tests.support.device_rows import encodings_of, plain
from tests.support.gpu import without_device
from tests.support.model import CountRow
from tests.support.paths import ROOT
from tests.support.world_files import write_world
from tests.support.worlds import ALONE_ONLINE, UTC, small_world


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run", 100)


def mirrored(case):
    return with_output(case, mirror_dual_clock=True)


def with_output(case, **options):
    settings = case.plan.world.settings
    world = replace(case.plan.world, settings=replace(settings, output=replace(settings.output, **options)))
    return replace(case, plan=replace(case.plan, world=world))


def kept_of(case, batch, results):
    work = case.work
    size = results.columns.row.size
    # A device's columns may be longer than the batch.
    longer = Columns(*(np.append(column, column[:1]) for column in results.columns))
    return Kept(np, Lookups(work.tables, work.rows), longer, int(work.segments.row_start[batch.segments[0]]), size)


# --- The columns -----------------------------------------------------------------------------------


def as_table(schema, columns):
    """The columns as Arrow has them."""
    assert [column.name for column in columns] == schema.names
    arrays = []
    for column in columns:
        kind = schema.field(column.name).type
        nulls = None if column.valid is None else ~column.valid
        if column.texts is None:
            values = column.values if pa.types.is_boolean(kind) else pa.array(column.values, mask=nulls)
            arrays.append(pa.array(values).cast(kind))
            continue
        codes = pa.array(np.where(column.values < len(column.texts), column.values, 0), mask=nulls)
        assert nulls is None or (column.values[nulls] == len(column.texts)).all()
        arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(column.texts)))
    return pa.Table.from_arrays(arrays, schema=schema)


@pytest.mark.parametrize("mirror", [False, True])
def test_columns_on_a_device_are_the_assemblers(small, mirror):
    case = mirrored(small) if mirror else small
    layout, assembler = layout_of(case.plan.world), Assembler(case.plan.world)
    for batch in case.plan.batches:
        results = expand_segments(case.work, batch.segments)
        wanted = pa.Table.from_batches([assembler.whole(finish_batch(case.plan, batch, results))])
        kept = kept_of(case, batch, results)
        for first, last in [(0, batch.arrivals), (batch.arrivals // 3, batch.arrivals // 2)]:
            found = as_table(layout.schema, arranged(layout, kept, first, last))
            assert plain(found).equals(plain(wanted.slice(first, last - first)))


@pytest.mark.cuda_sim
@pytest.mark.parametrize("piece_arrivals", [None, 30])
def test_kernels_leave_these_columns_on_the_device(small, piece_arrivals):
    layout = layout_of(small.plan.world)
    with Simulator() as simulator:
        simulator.open(small.work, SimulatorOptions(piece_arrivals=piece_arrivals))
        for batch in small.plan.batches:
            # The lane's columns are those of earlier batches, grown or not.
            found = simulator.arranged(batch.segments, layout)
            wanted = arranged(
                layout, kept_of(small, batch, expand_segments(small.work, batch.segments)), 0, batch.arrivals
            )
            for column, expected in zip(found, wanted, strict=True):
                assert (column.name, column.values.dtype) == (expected.name, expected.values.dtype)
                assert column.texts == expected.texts
                shown = np.ones(batch.arrivals, bool) if expected.valid is None else expected.valid
                assert np.array_equal(column.values[shown], expected.values[shown]), column.name
                assert (column.valid is None) == (expected.valid is None)
                assert column.valid is None or np.array_equal(column.valid, expected.valid)


@pytest.mark.cuda_sim
def test_a_batch_without_room_to_be_kept_says_what_to_lower(small):
    """Pieces may be as small as they like: its columns have to stand there as a whole."""
    case = small.replanned(10**6)
    (batch,) = case.plan.batches
    capacity = support.device_bytes(case.work) + batch.arrivals * ARRIVAL_BYTES // 2
    with Simulator() as simulator:
        simulator.open(case.work, SimulatorOptions(capacity_bytes=capacity))
        with pytest.raises(ArrivalError, match="has no memory for") as caught:
            simulator.arranged(batch.segments, layout_of(case.plan.world))
        assert "--batch-arrivals" in caught.value.hint
        # The lane that failed is free again: it is the second one's turn, then its own.
        for _ in range(2):
            results, _ = simulator.expand(batch.segments)
            support.assert_same_results(expand_segments(case.work, batch.segments), results)


# --- The footer ------------------------------------------------------------------------------------


def time_table(zone, columns=("alpha", "beta", "gamma")):
    stamps = pa.array([0, 1, 1_700_000_000_000_000, None], pa.timestamp("us", zone))
    others = {f"other{index}": pa.array([index, 2, 3, None]) for index in range(20)}
    return pa.table({**others, **dict.fromkeys(columns, stamps), "text": ["a", "b", "c", None]})


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_the_footer_tells_instants_from_wall_clocks(tmp_path, zone):
    path = tmp_path / "times.parquet"
    written = time_table(zone)
    pq.write_table(written, path, store_schema=False, row_group_size=2)
    before = path.read_bytes()
    state_instants(path, {"alpha": True, "gamma": False})
    after = path.read_bytes()
    table = pq.read_table(path)
    assert [table.schema.field(name).type.tz for name in ("alpha", "beta", "gamma")] == ["UTC", zone, None]
    changed = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert len(changed) == 1
    assert table.cast(written.schema).equals(written)
    state_instants(path, {"alpha": zone is not None, "gamma": zone is not None})
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["text", "other3", "delta"])
def test_a_footer_without_such_a_column_is_refused_and_left_alone(tmp_path, name):
    path = tmp_path / "times.parquet"
    pq.write_table(time_table(None), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"no timestamp column {name}"):
        state_instants(path, {"alpha": True, name: True})
    assert path.read_bytes() == before


def test_a_damaged_footer_is_refused(tmp_path):
    path = tmp_path / "times.parquet"
    pq.write_table(time_table(None), path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    shortened = [whole[: -8 - cut] + (length - cut).to_bytes(4, "little") + b"PAR1" for cut in (1, 9, length - 3)]
    for damaged in (b"", b"PAR1", whole[:-1], whole[:-8] + b"\xff\xff\xff\x7fPAR1", *shortened):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"footer|does not end like"):
            state_instants(path, {"alpha": True})
        assert path.read_bytes() == damaged


def test_arrows_readers_find_the_contracts_schema(tmp_path):
    """Texts are plain in the file, and dictionaries for who reads it."""
    schema = pa.schema([pa.field("text", pa.dictionary(pa.int32(), pa.string()), nullable=False)])
    table = pa.table({"text": ["a", "b"]}, pa.schema([pa.field("text", pa.string(), nullable=False)]))
    with pq.ParquetWriter(tmp_path / "texts.parquet", table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"of": "file", ARROW_SCHEMA_KEY: arrow_schema_text(schema, {"of": "schema"})})
    found = pq.read_schema(tmp_path / "texts.parquet")
    assert found.equals(schema)
    assert found.metadata == {b"of": b"schema"}


# --- A run's parts, with a stand-in for cuDF -------------------------------------------------------


def holding_backend(case, held):
    """A backend as CUDA's with a device writer, the arrays being the host's; at most one batch is held at a time."""
    lane = threading.Lock()

    @contextmanager
    def keeping(batch):
        with lane:
            held.append(batch.index)
            results = expand_segments(case.work, batch.segments)
            whole, checked = results.columns, {name: getattr(results.columns, name) for name in CHECKED_COLUMNS}
            copied = empty_columns(0)._replace(**checked)
            on_device = OnDevice(kept_of(case, batch, results), stand_in_cudf.STREAM, "a device", lambda _: whole)
            yield results._replace(columns=copied), on_device
            held.append(-batch.index)

    @contextmanager
    def opened(plan, _reporter):
        yield lambda batch: keep_batch(plan, batch, keeping(batch))

    return Backend("cuda", "a stand-in", opened, device_writer=True, peak_device_bytes={"a device": 7})


def produced(case, folder, backend):
    folder.mkdir()
    return produce_parts(Workshop(backend, 2, "parquet", Reporter()), case.plan, InsidePath(folder))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("compression", ["lz4", "none"])
def test_parts_of_a_device_have_the_same_rows_and_statements(small, tmp_path, monkeypatch, mirror, compression):
    stand_in_cudf.install(monkeypatch)
    case = with_output(small, mirror_dual_clock=mirror, compression=compression, row_group_rows=37)
    held = []
    theirs = produced(case, tmp_path / "device", holding_backend(case, held))
    ours = produced(case, tmp_path / "host", choose_backend("cpu"))
    assert sorted(abs(index) for index in held) == sorted(2 * [batch.index for batch in case.plan.batches])
    assert [(part.name, part.rows, part.digest) for part in theirs.parts] == [
        (part.name, part.rows, part.digest) for part in ours.parts
    ]
    assert len(ours.parts) > 2
    assert read_published(tmp_path / "device" / "events") == read_published(tmp_path / "host" / "events")
    assert theirs.ledger.digest == ours.ledger.digest
    assert (theirs.peak_device_bytes, ours.peak_device_bytes) == ({"a device": 7}, {})
    for part in ours.parts:
        one, other = (tmp_path / side / "events" / part.name for side in ("device", "host"))
        assert one.read_bytes() != other.read_bytes()
        found, wanted = pq.read_table(one, partitioning=None), pq.read_table(other, partitioning=None)
        assert found.schema.equals(wanted.schema, check_metadata=True)
        assert found.schema.equals(arrow_schema("arrival_events_5B"))
        assert plain(found).equals(plain(wanted))
        groups = [pq.read_metadata(path) for path in (one, other)]
        sizes = [[group.row_group(index).num_rows for index in range(group.num_row_groups)] for group in groups]
        assert sizes[0] == sizes[1]


@pytest.mark.parametrize("encoding", ["delta", "plain"])
def test_a_device_stores_times_and_sequence_value_by_value_where_the_policy_says_plain(
    small, tmp_path, monkeypatch, encoding
):
    stand_in_cudf.install(monkeypatch)
    case = with_output(small, encoding=encoding)
    made = produced(case, tmp_path / "device", holding_backend(case, []))
    for part in made.parts:
        chunks = encodings_of(tmp_path / "device" / "events" / part.name)
        for name in ("arrival_seq", "ts_utc", "ts_local_primary", "ts_local_settlement", "ts_local_operational"):
            assert "DELTA_BINARY_PACKED" not in chunks[name]
            assert ("RLE_DICTIONARY" in chunks[name]) == (encoding == "delta")
        assert "RLE_DICTIONARY" in chunks["tzid_primary"]


def test_a_column_of_nothing_but_null_channels(tmp_path, monkeypatch):
    stand_in_cudf.install(monkeypatch)
    counts = (CountRow(ALONE_ONLINE, UTC, None, 0, 5),)
    case = support.make_case(small_world(counts=counts), tmp_path / "run")
    made = produced(case, tmp_path / "device", holding_backend(case, []))
    table = pq.read_table(tmp_path / "device" / "events" / made.parts[0].name, partitioning=None)
    assert table["channel_group"].null_count == table.num_rows == 5


def test_parts_of_another_writer_are_not_gone_on_with(small, tmp_path, monkeypatch):
    stand_in_cudf.install(monkeypatch)
    produced(small, tmp_path / "run", choose_backend("cpu"))
    shop = Workshop(holding_backend(small, []), 1, "parquet", Reporter())
    with pytest.raises(ArrivalError, match="had device_writer None, this one has 'pylibcudf") as caught:
        produce_parts(shop, small.plan, InsidePath(tmp_path) / "run", resume=True)
    assert caught.value.code == Code.IO_WRITE_CONFLICT
    produced(small, tmp_path / "again", shop.backend)
    resumed = produce_parts(shop, small.plan, InsidePath(tmp_path) / "again", resume=True)
    assert len(resumed.parts) == len(small.plan.batches)


def test_a_batch_that_fails_its_checks_lets_go_of_the_device(small, tmp_path, monkeypatch):
    """Were the first batch's device still held, the second would wait for it for ever."""
    stand_in_cudf.install(monkeypatch)
    monkeypatch.setattr("arrival_engine.gpu_kernels.cudf_parquet.write_part", _no_room)
    with pytest.raises(ArrivalError, match=r"a device has no memory to write \d+ arrivals") as caught:
        produced(small, tmp_path / "device", holding_backend(small, []))
    assert caught.value.hint == out_of_memory("").hint


def _no_room(*_):
    raise MemoryError("std::bad_alloc: out_of_memory")


def test_what_libcudf_throws_is_a_write_error(small, tmp_path, monkeypatch):
    stand_in_cudf.install(monkeypatch)

    def full(*_):
        raise RuntimeError("CUDF failure: Cannot write to output file")

    monkeypatch.setattr(stand_in_cudf.ChunkedParquetWriter, "write", full)
    with pytest.raises(ArrivalError, match="Cannot write to output file") as caught:
        produced(small, tmp_path / "device", holding_backend(small, []))
    assert caught.value.code == Code.IO_WRITE_FAILED


# --- Refusals --------------------------------------------------------------------------------------


@without_device
@pytest.mark.parametrize("backend", ["auto", "cuda"])
def test_without_a_device_nothing_is_begun(tmp_path, backend):
    write_world(support.shrunk_small_world(), tmp_path / "run")
    seal(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArrivalError) as caught:
        run(tmp_path / "run", RunOptions(backend=backend, device_writer=True))
    assert caught.value.code is Code.BACKEND_UNAVAILABLE
    assert device.unusable_reason() in caught.value.message
    assert "--device-writer" in caught.value.hint
    new = {path.name for path in set(tmp_path.rglob("*")) - set(before) if path.is_file()}
    assert new <= {"arrivals.lock", "segment_state_runs.jsonl"}


@pytest.mark.parametrize("wrong", [{"backend": "cpu"}, {"format": "arrow"}])
def test_a_device_writer_writes_parquet_on_a_device(wrong):
    with pytest.raises(ValueError, match="device_writer writes Parquet on a CUDA device"):
        RunOptions(device_writer=True, **wrong)


@pytest.mark.parametrize("wrong", [("--backend", "cpu"), ("--format", "arrow"), ("--scheduler", "local")])
def test_options_that_mean_nothing_with_it_are_bad_usage(tmp_path, wrong):
    command = [sys.executable, "-m", "arrival_engine", "run", str(tmp_path), "--device-writer", *wrong]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "--device-writer" in done.stderr


def test_times_as_texts_are_refused(tmp_path):
    model = support.shrunk_small_world()
    write_world(model, tmp_path / "run", output_policy={"timestamp_encoding": "rfc3339"})
    seal(tmp_path / "run")
    world = support.load_world(tmp_path / "run")
    with pytest.raises(ArrivalError, match="rfc3339 times, which no device writes") as caught:
        DevicePartWriter(InsidePath(tmp_path), world, Assembler(world))
    assert caught.value.code == Code.ROUTING_POLICY_INVALID


@pytest.mark.parametrize(
    ("version", "importable", "reason"),
    [
        (None, False, "is not installed"),
        ((25, 8), True, "cuDF 25.08 is older than 26.10, the oldest"),
        (device.LEAST_CUDF, True, ""),
        ((27, 2), True, ""),
        (None, True, ""),
    ],
)
def test_a_cudf_that_cannot_write_parts_is_named(version, importable, reason):
    found = device._cudf_problem(version, importable)
    assert reason in found
    assert bool(found) == bool(reason)
