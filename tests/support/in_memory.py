"""A user's tables as objects in memory, and worlds in memory compared with those of run directories."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from arrival_engine.engine.expand.expansion import expand
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.frames.world import world_of
from arrival_engine.engine.importing import ImportRequest, import_world
from arrival_engine.engine.importing.prepare import prepare
from arrival_engine.engine.importing.request import TableRequest
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.world.load import World, load_world
from tests.support.paths import ROOT

COFFEE = ROOT / "engine" / "importing" / "example"
TABLES = ("counts", "sites", "virtual_merchants", "edges")


def coffee() -> dict[str, pa.Table]:
    """The example of `arrivals import --example coffee`, by the names of arguments."""
    return {name: read_csv(COFFEE / f"{name}.csv") for name in TABLES}


def read_csv(path: Path) -> pa.Table:
    """A CSV file as Arrow reads it, times and all, but ids above 2^63 as they are."""
    options = pa.csv.ConvertOptions(column_types={"merchant_id": pa.uint64()})
    return pa.csv.read_csv(str(path), convert_options=options)


def in_memory(**request: Any) -> World:
    """The world of a request that names no directory."""
    return world_of(prepare(TableRequest(**request), Reporter()))


def on_disk(run_root: Path, **request: Any) -> World:
    """The same, imported, sealed and loaded."""
    import_world(ImportRequest(run_root, **request))
    seal(run_root)
    return load_world(run_root)


def assert_same_world(found: World, wanted: World) -> None:
    """Every array, text and setting is the same, and so is every arrival; only one of them is sealed."""
    assert found.seal_digest is None
    for field in dataclasses.fields(World):
        if field.name != "seal_digest":
            _assert_same(getattr(found, field.name), getattr(wanted, field.name), field.name)
    ours, theirs = (pa.Table.from_batches(expand(plan(world), threads=1)) for world in (found, wanted))
    assert ours == theirs


def _assert_same(found: Any, wanted: Any, name: str) -> None:
    if isinstance(found, np.ndarray):
        assert found.dtype == wanted.dtype, name
        assert np.array_equal(found, wanted), name
    elif dataclasses.is_dataclass(found):
        for field in dataclasses.fields(found):
            _assert_same(getattr(found, field.name), getattr(wanted, field.name), f"{name}.{field.name}")
    elif hasattr(found, "_fields"):
        for inner in found._fields:
            _assert_same(getattr(found, inner), getattr(wanted, inner), f"{name}.{inner}")
    else:
        assert found == wanted, name
