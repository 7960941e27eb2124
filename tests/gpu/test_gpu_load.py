"""Count rows on their way to a device: uploaded, or read there by a data frame library. Pandas stands in for cuDF."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import dataset
from arrival_engine.engine.expand.backend import count_files, has_all_rows
from arrival_engine.engine.process import doctor
from arrival_engine.gpu_kernels.load import device_rows, read_rows, reader, uploaded_rows
from arrival_engine.gpu_kernels.memory import HostMemory
from arrival_engine.gpu_kernels.simulator import Simulator
from tests.support import gpu as support
from tests.support.device_rows import assert_same_rows
from tests.support.model import CountRow
from tests.support.worlds import BERLIN, BIG_ID, TWO_ZONES, small_world


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return support.make_case(support.shrunk_small_world(), tmp_path_factory.mktemp("small") / "run")


def by_pandas(case):
    """The world's count files as they are now, although a seal covers them."""
    files = count_files(case.plan.world, library="pandas")
    return replace(files, readers=tuple(path.read_bytes for path in paths_of(case)))


def paths_of(case):
    world = case.plan.world
    return world.receipt.files("s3_bucket_counts_5B", scenario_id=world.scenario_id)


def host_arrays(rows):
    return type(rows)(*(block.storage for block in rows))


def test_rows_read_by_a_data_frame_library_are_the_hosts(small):
    assert_same_rows(read_rows(by_pandas(small)), small.plan.world.rows)


def rewritten(case, change):
    """The world's count files with every table passed through `change`."""
    for path in (found.outside for found in paths_of(case)):
        pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def test_any_integer_type_and_plain_texts_give_the_same_rows(tmp_path):
    """Ids above 2^53 that were compared as floating point would be joined to the wrong merchant."""
    counts = [CountRow(merchant, BERLIN, "mixed", bucket, 3) for merchant in (TWO_ZONES, BIG_ID) for bucket in (0, 1)]
    case = support.make_case(small_world(counts=tuple(counts)), tmp_path / "run")
    assert max(case.plan.world.tables.merchants.id.tolist()) > 1 << 53

    def change(table):
        kinds = {"bucket_index": pa.int16(), "count_N": pa.uint8()}
        fields = [pa.field(f.name, kinds.get(f.name, _plain_text(f.type))) for f in table.schema]
        return table.cast(pa.schema(fields))

    rewritten(case, change)
    assert_same_rows(read_rows(by_pandas(case)), case.plan.world.rows)


def _plain_text(kind):
    return pa.large_string() if pa.types.is_dictionary(kind) or pa.types.is_string(kind) else kind


def test_signed_merchant_ids_are_joined_exactly(tmp_path):
    near = [(1 << 60) + step for step in range(4)]
    counts = [CountRow(TWO_ZONES, BERLIN, "mixed", bucket, 1 + bucket) for bucket in range(4)]
    case = support.make_case(small_world(counts=tuple(counts)), tmp_path / "run")
    entities = by_pandas(case).entities._replace(merchant_id=np.array([near[2]], np.uint64))
    files = by_pandas(case)

    def change(table):
        place = table.schema.get_field_index("merchant_id")
        return table.set_column(place, "merchant_id", pa.array(near[: table.num_rows], pa.int64()))

    rewritten(case, change)
    rows = read_rows(type(files)(files.readers, entities, "pandas"))
    assert rows.bucket.tolist() == [2]
    assert rows.arrivals.tolist() == [3]


def test_rows_of_other_merchants_are_left_out(small):
    files = by_pandas(small)
    entities = files.entities
    first = [index == 0 for index in entities.merchant]
    alone = type(entities)(
        entities.merchant_id[first],
        [zone for zone, kept in zip(entities.zone, first, strict=True) if kept],
        [channel for channel, kept in zip(entities.channel, first, strict=True) if kept],
        entities.merchant[first],
    )
    rows = small.plan.world.rows
    wanted = type(rows)(*(column[small.plan.world.tables.entities.merchant[rows.entity] == 0] for column in rows))
    assert_same_rows(read_rows(type(files)(files.readers, alone, "pandas")), wanted)


def test_a_source_gives_what_uploading_gives(small):
    notices = []
    rows = small.plan.world.rows
    read = device_rows(by_pandas(small), notices.append)(HostMemory(1 << 30), rows)
    assert notices == []
    assert_same_rows(host_arrays(read), rows)
    assert_same_rows(host_arrays(uploaded_rows(HostMemory(1 << 30), rows)), rows)


def broken_library(case):
    return count_files(case.plan.world, library="no_such_data_frames"), "ModuleNotFoundError"


def other_files(case):
    files = by_pandas(case)
    return type(files)(files.readers[:1] * 2, files.entities, "pandas"), "on the host"


@pytest.mark.parametrize("trouble", [broken_library, other_files])
def test_what_cannot_be_read_on_the_device_is_uploaded_and_said(small, trouble):
    files, problem = trouble(small)
    notices = []
    rows = device_rows(files, notices.append)(HostMemory(1 << 30), small.plan.world.rows)
    assert_same_rows(host_arrays(rows), small.plan.world.rows)
    (notice,) = notices
    assert notice.code == "COUNT_READER"
    assert problem in notice.context["problem"]


@pytest.mark.cuda_sim
def test_kernels_expand_rows_that_the_device_has_read(small):
    with Simulator() as simulator:
        assert simulator.open(small.work, files=by_pandas(small)) == ()
        support.assert_equals_cpu(small, lambda span: simulator.expand(span)[0])
        (notice,) = simulator.open(small.work, files=broken_library(small)[0])
        assert notice.code == "COUNT_READER"
        support.assert_equals_cpu(small, lambda span: simulator.expand(span)[0])


def test_the_files_are_those_of_the_scenario(small):
    world = small.plan.world
    tokens = world.receipt.identity.tokens(scenario_id=world.scenario_id)
    files = count_files(world)
    paths = dataset("s3_bucket_counts_5B").files(world.receipt.run_root, tokens)
    assert [read() for read in files.readers] == [path.read_bytes() for path in paths]
    assert files.library == "cudf"


def test_a_part_of_the_rows_is_never_read_from_the_files(small):
    """A cluster's shard would read all files for its own few rows."""
    world = small.plan.world
    assert has_all_rows(world)
    assert not has_all_rows(replace(world, rows=type(world.rows)(*(column[1:] for column in world.rows))))


def test_the_doctor_says_who_reads_and_why():
    (fact,) = [fact for fact in doctor.doctor().facts if fact.name == "count rows"]
    assert fact.value == ": ".join(reader())
