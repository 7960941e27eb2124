"""Worlds in memory: the parts of the engine that need a run directory say so, the others take them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from arrival_engine import expand, plan, stream_arrivals
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.arrivals.metadata import file_metadata
from arrival_engine.engine.expand.backend import count_files
from arrival_engine.engine.world.load import sealed
from arrival_engine.engine.world_files.shelf import MemoryShelf, Shelf
from tests.support.in_memory import coffee, in_memory, on_disk


@pytest.fixture(scope="module")
def world():
    return in_memory(**coffee())


def test_it_has_no_run_directory(world):
    with pytest.raises(TypeError, match="no run directory"):
        sealed(world)
    with pytest.raises(TypeError, match="no run directory"):
        count_files(world)
    assert "arrivals.sealed_inputs_digest" not in file_metadata(world)


def test_a_world_of_a_run_directory_has_one(tmp_path):
    loaded = on_disk(tmp_path / "world", **coffee())
    assert sealed(loaded) is loaded
    assert loaded.seal_digest == sealed(loaded).seal.digest
    assert file_metadata(loaded)["arrivals.sealed_inputs_digest"] == loaded.seal_digest


def test_it_can_be_planned_expanded_and_streamed(world):
    rows = sum(batch.num_rows for batch in expand(plan(world, 1000)))
    assert rows == world.arrivals == sum(batch.num_rows for batch in stream_arrivals(world))


def test_files_that_are_kept_in_memory_have_the_bytes_of_files_on_disk(world, tmp_path):
    columns = {"merchant_id": pa.array([1, 2], pa.uint64()), "merchant": ["a", "b"]}
    disk = Shelf(InsidePath(tmp_path), world.identity, world.scenario_id)
    memory = MemoryShelf(world.identity, world.scenario_id)
    for shelf in (disk, memory):
        shelf.table("merchant_names_5B", {**shelf.common(2, "manifest_fingerprint"), **columns})
        shelf.binary("edge_alias_blob_3B", b"0123")
    path = disk.path("merchant_names_5B")
    assert memory.data["merchant_names_5B"] == path.read_bytes()
    for dataset_id in ("merchant_names_5B", "edge_alias_blob_3B"):
        facts = [(shelf.name(dataset_id), shelf.size(dataset_id), shelf.sha256(dataset_id)) for shelf in (disk, memory)]
        assert facts[0] == facts[1]
